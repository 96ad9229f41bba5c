// The workloads of worker.py by the Node driver; see there for its settings and lines. NODE_PATH names the driver.
'use strict';

const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { MongoClient } = require('mongodb');

const BULK = 1000;
const ACCOUNTS = 10;
const PREFERENCES = ['primary', 'secondary', 'secondaryPreferred', 'nearest', 'primaryPreferred'];

function expect(holds, told) {
  if (!holds) throw new Error(typeof told === 'string' ? told : `told ${JSON.stringify(told)}`);
}

class Worker {
  constructor(client, name, number, user) {
    this.user = user;
    this.client = client;
    this.database = client.db('chaos');
    this.name = name;
    this.number = number;
  }

  async inc() {
    const result = await this.database.collection('inc').updateOne({ _id: this.name }, { $inc: { n: 1 } }, { upsert: true });
    expect(result.upsertedCount + result.modifiedCount === 1, result);
  }

  async upsert(collection, identity) {
    const result = await collection.updateOne({ _id: identity }, { $inc: { n: 1 } }, { upsert: true });
    expect(result.upsertedCount === 1, result);
  }

  async once(identity) {
    await this.upsert(this.database.collection('once'), identity);
  }

  async w1(identity) {
    await this.upsert(this.database.collection('w1', { writeConcern: { w: 1 } }), identity);
  }

  async push(identity) {
    const page = { _id: `${this.name}/${Math.floor(this.number / 100)}` };
    const result = await this.database.collection('push').updateOne(page, { $push: { ids: identity } }, { upsert: true });
    expect(result.upsertedCount + result.modifiedCount === 1, result);
  }

  async insert(identity) {
    await this.database.collection('insert').insertOne({ u: identity }, { forceServerObjectId: true });
  }

  async modify(identity) {
    const options = { upsert: true, returnDocument: 'after' };
    const after = await this.database.collection('modify').findOneAndUpdate({ _id: identity }, { $inc: { n: 1 } }, options);
    expect(after?.n === 1, after);
  }

  async bulk(identity) {
    const writes = Array.from({ length: BULK }, (_, i) => ({ insertOne: { document: { op: identity, i } } }));
    const result = await this.database.collection('bulk').bulkWrite(writes, { forceServerObjectId: true });
    expect(result.insertedCount === BULK, result);
  }

  async silent(identity) {
    const silent = this.database.collection('silent', { writeConcern: { w: 0 } });
    await silent.insertOne({ u: identity }, { forceServerObjectId: true });
    expect(await this.database.collection('silent').findOne({ u: identity }, { comment: `operation ${identity}` }), 'unseen');
  }

  async transfer(identity) {
    const giver = Math.floor(Math.random() * ACCOUNTS);
    const taker = (giver + 1 + Math.floor(Math.random() * (ACCOUNTS - 1))) % ACCOUNTS;
    const amount = 1 + Math.floor(Math.random() * 9);
    const accounts = this.database.collection('accounts');
    const transact = async (session) => {
      await accounts.updateOne({ _id: giver }, { $inc: { n: -amount } }, { session });
      await accounts.updateOne({ _id: taker }, { $inc: { n: amount } }, { session });
      await this.database.collection('transfer').insertOne({ _id: identity, n: 1 }, { session });
    };
    const options = { writeConcern: { w: 'majority' } };
    await this.client.withSession((session) => session.withTransaction(() => transact(session), options));
  }

  async read(identity) {
    const readPreference = PREFERENCES[this.number % PREFERENCES.length];
    const options = { readPreference, comment: `operation ${identity}` };
    expect(await this.database.collection('seeds').findOne({ _id: 1 }, options), 'the document is not there');
  }

  async slow(identity) {
    const filter = { _id: 1, $where: 'sleep(40) || true' };
    const options = { readPreference: 'secondaryPreferred', comment: `operation ${identity}` };
    expect(await this.database.collection('seeds').findOne(filter, options), 'the document is not there');
  }

  async whoami(identity) {
    const { user, db, other } = this.user;
    const { authInfo } = await this.client.db('admin').command({ connectionStatus: 1 });
    const [me] = authInfo.authenticatedUsers;
    expect(authInfo.authenticatedUsers.length === 1 && me.user === user && me.db === db, authInfo);
    const comment = `operation ${identity}`;
    const own = await this.client.db(`own_${user}`).collection('things').findOne({}, { comment });
    expect(own?._id === user, own);
    let others;
    try {
      others = await this.client.db(`own_${other}`).collection('things').findOne({}, { comment: `${comment} as another` });
    } catch (e) {
      if (e.code === 13) return;
      throw e;
    }
    expect(false, others);
  }

  async run(cycle, { pause, stop }, out) {
    while (!fs.existsSync(stop)) {
      const workload = cycle[this.number % cycle.length];
      const identity = `${this.name}:${this.number}`;
      const start = Date.now() / 1000;
      let error = null;
      try {
        await this[workload](identity);
      } catch (e) {
        error = `${e.name}: ${e.message}`.slice(0, 600);
      }
      fs.writeSync(out, `${JSON.stringify([this.name, workload, identity, start, Date.now() / 1000, error])}\n`);
      this.number += 1;
      await sleep(pause * 1000);
    }
  }
}

async function main(settings) {
  const out = fs.openSync(settings.out, 'w');
  // Half of them as old applications are configured.
  const clients = [true, false].map((retryWrites) => new MongoClient(settings.uri, { retryWrites }));
  const workers = settings.cycles.map((cycle, number) => {
    const worker = new Worker(clients[number % 2], `${settings.name}-${number}`, number * 3, settings.user);
    return worker.run(cycle, settings, out);
  });
  await Promise.all(workers);
  for (const client of clients) await client.close();
}

main(JSON.parse(process.argv[2]));
