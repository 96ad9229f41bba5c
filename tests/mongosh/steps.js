// What the scripts of steps share; loaded before them. A step prints one JSON line, without what belongs to one run
// (ids, times, ports), so that the lines of a direct run and of one through Tidegate can be compared.
'use strict';

let steps = 0;
let failures = 0;

// What may differ between two runs, or rightly between a replica set and a `mongos` presentation.
const VOLATILE = new Set(['$clusterTime', 'operationTime', 'electionId', 'opTime', 'topologyVersion', 'localTime']);

function tidy(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Date) return '<date>';
  if (Array.isArray(value)) return value.map(tidy);
  if (typeof value === 'string') {
    return value
      .replaceAll(database, '<database>')
      .replace(/(127\.0\.0\.1|localhost)(:\d+)?/g, '<host>')
      .replace(/\b[0-9a-f]{24}\b/g, '<object id>');
  }
  if (typeof value !== 'object') return value;
  switch (value._bsontype) {
    case undefined:
      break;
    case 'Long':
    case 'Int32':
    case 'Double':
      return Number(value.toString());
    default:
      return `<${value._bsontype}>`;
  }
  const tidied = {};
  for (const key of Object.keys(value).sort()) {
    if (!VOLATILE.has(key)) tidied[tidy(key)] = tidy(value[key]);
  }
  return tidied;
}

function check(condition, what) {
  if (!condition) throw new Error(`expected ${what}`);
}

function step(name, action) {
  steps += 1;
  try {
    print(JSON.stringify({ step: name, outcome: tidy(action()) }));
  } catch (error) {
    failures += 1;
    print(JSON.stringify({ step: name, failed: `${error.name}: ${error.message}` }));
  }
}

// What an action that must fail tells the user.
function refusal(action) {
  let result;
  try {
    result = action();
  } catch (error) {
    // Whether a time limit is met inside the executor or before it is a matter of microseconds.
    const message = error.code === 50 ? error.message.replace(/^Executor error during find command :: caused by :: /, "") : error.message;
    return { name: error.name, code: error.code, codeName: error.codeName, message, labels: error.errorLabels };
  }
  throw new Error(`expected an error, got ${JSON.stringify(tidy(result))}`);
}

function keys(document) {
  return Object.keys(document).filter((key) => !VOLATILE.has(key)).sort();
}

// The last line of a script.
function finish() {
  print(JSON.stringify({ steps, failures }));
  if (failures > 0) exit(1);
}
