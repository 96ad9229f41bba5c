// Runs scenarios and prints one JSON line each, without what belongs to one run (ids, times, addresses), so that the lines of a
// direct run and of one through Tidegate can be compared. The last line tells how many ran and how many failed.
//
// A scenario checks its own expectations, so that two equal failures are no pass.
'use strict';

const assert = require('node:assert/strict');
const { MongoClient } = require('mongodb');

const VOLATILE = new Set(['$clusterTime', 'operationTime', 'electionId', 'opTime', 'topologyVersion', 'recoveryToken']);

// What one run is given: clients of one side and a database of its own.
class Context {
  constructor(uri, single, database) {
    this.uri = uri;
    // One address, with directConnection=true.
    this.single = single;
    this.database = database;
    this.clients = [];
  }

  // A new client, closed at the end. `extra` is appended to the URI.
  async connect(options = {}, extra = '', uri = this.uri) {
    const bounds = { serverSelectionTimeoutMS: 20000, socketTimeoutMS: 40000, monitorCommands: true };
    const client = new MongoClient(extra ? `${uri}&${extra}` : uri, { ...bounds, ...options });
    this.clients.push(client);
    client.log = [];
    client.replies = [];
    client.on('commandStarted', (event) => client.log.push([event.commandName, event.command]));
    client.on('commandSucceeded', (event) => client.replies.push([event.commandName, event.reply]));
    await client.connect();
    return client;
  }

  collection(name, options) {
    return this.client.db(this.database).collection(name, options);
  }

  // The documents 0 to count - 1 on every node, so that a read of any secondary sees them.
  async seed(name, count, more = () => ({})) {
    const documents = Array.from({ length: count }, (_, n) => ({ _id: n, ...more(n) }));
    await this.collection(name).insertMany(documents, { writeConcern: { w: 3, wtimeoutMS: 30000 } });
    return this.collection(name);
  }

  async closeClients() {
    for (const client of this.clients.splice(0)) await client.close();
  }
}

const names = (client) => client.log.map(([name]) => name).filter((name) => name !== 'endSessions');

function tidy(value, database) {
  if (value === null || value === undefined) return null;
  if (value instanceof Error) return described(value, database);
  if (value instanceof Date) return '<date>';
  if (Array.isArray(value)) return value.map((one) => tidy(one, database));
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'string') {
    return value
      .replaceAll(database, '<database>')
      .replace(/(127\.0\.0\.1|localhost)(:\d+)?/g, '<host>')
      .replace(/\b[0-9a-f]{24}\b/g, '<object id>')
      .replace(/Timestamp\(\d+, \d+\)/g, '<timestamp>');
  }
  if (typeof value !== 'object') return value;
  if (['Long', 'Int32', 'Double'].includes(value._bsontype)) return Number(value.toString());
  if (value._bsontype) return `<${value._bsontype}>`;
  if (Buffer.isBuffer(value)) return `<${value.length} bytes>`;
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const kept = entries.filter(([key]) => !VOLATILE.has(key)).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(kept.map(([key, inner]) => [tidy(key, database), tidy(inner, database)]));
}

// What an application can tell of an error.
function described(error, database) {
  return {
    name: error.name,
    code: error.code ?? null,
    codeName: error.codeName ?? null,
    labels: [...(error.errorLabels ?? [])].sort(),
    message: tidy(error.message, database),
    writeErrors: tidy(error.writeErrors?.map((one) => [one.index, one.code, one.errmsg]), database),
    result: tidy(error.result?.result ?? null, database),
  };
}

// The error that an action must fail with.
async function failure(action, code) {
  let result;
  try {
    result = await action();
  } catch (error) {
    if (code !== undefined) assert.equal(error.code, code, `the code of ${error}`);
    return error;
  }
  throw new Error(`expected an error, got ${JSON.stringify(tidy(result, ''))}`);
}

async function main(scenarios) {
  const [uri, single, database] = process.argv.slice(2);
  let failures = 0;
  for (const [name, run] of Object.entries(scenarios)) {
    const start = Date.now();
    const context = new Context(uri, single, database);
    try {
      context.client = await context.connect();
      const outcome = tidy(await run(context), database);
      console.log(JSON.stringify({ scenario: name, ms: Date.now() - start, outcome }));
    } catch (error) {
      failures += 1;
      console.log(JSON.stringify({ scenario: name, failed: `${error.stack}` }));
    } finally {
      await context.closeClients();
    }
  }
  const last = new Context(uri, single, database);
  await (await last.connect()).db(database).dropDatabase();
  await last.closeClients();
  console.log(JSON.stringify({ scenarios: Object.keys(scenarios).length, failures }));
}

module.exports = { assert, failure, main, names };
