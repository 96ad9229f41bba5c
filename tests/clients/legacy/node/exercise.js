// The exercise of an old Node driver (1.2 to 3.1), by callbacks and the methods that all of them have, or two names of one.
//
// Arguments: the driver's module, an address, a database, and the replica set's name if the driver is to take the
// address for a member of one. Written for Node 6 as well as for current ones.
'use strict';

const reads = require('./reads');
const writes = require('./writes');

const [driver, address, name, setName] = process.argv.slice(2);
const mongodb = require(driver);

// Calls `subject.method(...arguments, callback)` and gives a promise.
function call(subject, method) {
  const given = Array.prototype.slice.call(arguments, 2);
  return new Promise((resolve, reject) => {
    given.push((error, result) => (error ? reject(error) : resolve(result)));
    subject[method].apply(subject, given);
  });
}

// Runs a generator that yields promises.
function follow(generator) {
  return new Promise((resolve, reject) => {
    const step = (method, value) => {
      let next;
      try {
        next = generator[method](value);
      } catch (error) {
        return reject(error);
      }
      if (next.done) return resolve(next.value);
      Promise.resolve(next.value).then(
        (result) => step('next', result),
        (error) => step('throw', error)
      );
    };
    step('next');
  });
}

// The code of an error, wherever this driver keeps it.
function code(error) {
  const first = error.writeErrors && error.writeErrors[0];
  return error.code || (first && first.code) || error.name || String(error);
}

// The code with which something fails.
function refused(promise) {
  return promise.then(
    () => 'accepted',
    (error) => code(error)
  );
}

// How many documents a write concerned: results were numbers first, then documents.
function changed(result) {
  if (Array.isArray(result)) return changed(result[0]);
  if (typeof result === 'number') return result;
  return result && result.result ? result.result.n : result;
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function* exercise() {
  const uri = `mongodb://${address}/${name}${setName ? `?replicaSet=${setName}` : ''}`;
  const connected = yield call(mongodb.MongoClient, 'connect', uri);
  // Since 3.0 this is the client.
  const db = connected.collection ? connected : connected.db(name);
  yield call(db, 'dropDatabase');
  print({ step: 'connect', outcome: true });
  const context = { mongodb, client: connected, db, things: db.collection('things'), call, follow, refused, changed };
  const steps = Object.assign({}, writes, reads);
  for (const step of Object.keys(steps)) {
    try {
      print({ step, outcome: yield follow(steps[step](context)) });
    } catch (error) {
      print({ step, error: code(error), message: String(error.message || error) });
    }
  }
  yield call(db, 'dropDatabase');
  yield call(connected, 'close', true);
}

follow(exercise()).then(
  // Some leave timers behind that would hold the process.
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack || error}\n`);
    process.exit(1);
  }
);
