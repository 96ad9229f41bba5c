// Large and far-reaching steps of mongosh: bulk, big messages, resumed change streams, causal sessions, write concerns
// and read preferences by tags. It reconfigures the set and counts the nodes' reads, so the set must be its own, with
// mirrored reads off.
//
// Usage: mongosh URI --quiet --norc --eval "var database = '...', nodes = 3" --file steps.js --file breadth.js
'use strict';

const shop = db.getSiblingDB(database);
const MANY = 100000;
const LARGEST = 16 * 1024 * 1024;
// What a document {_id: <int32>, data: <string>} takes besides the string.
const AROUND = 25;
// More than replication itself may read from a node meanwhile.
const READS = 20;
const STRAY_READS = 5;

// Each node on a connection of its own: its read counter and what it has replicated.
const members = rs.conf().members.map(({ host, tags }) => {
  const node = new Mongo(`mongodb://${host}/?directConnection=true&readPreference=secondaryPreferred`);
  return {
    role: tags.role,
    primary: node.getDB('admin').hello().isWritablePrimary,
    finds: () => Number(node.getDB('admin').serverStatus().metrics.commands.find.total),
    has: (collection, id) => node.getDB(database).getCollection(collection).find({ _id: id }).toArray().length === 1,
  };
});
const primary = members.find((member) => member.primary);
const [near, far] = members.filter((member) => !member.primary);

function large(id, size) {
  return { _id: id, data: 'x'.repeat(size - AROUND) };
}

function filled(collection) {
  const [sum] = collection.aggregate([{ $group: { _id: null, ids: { $sum: '$_id' }, count: { $sum: 1 } } }]).toArray();
  check(sum.count === MANY && Number(sum.ids) === (MANY * (MANY - 1)) / 2, `${MANY} documents, each once`);
  check(collection.countDocuments() === MANY, `a count of ${MANY}`);
  return sum;
}

step('one insertMany of 100,000 documents', () => {
  const told = shop.inserted.insertMany(Array.from({ length: MANY }, (_, n) => ({ _id: n })));
  const ids = Object.keys(told.insertedIds).length;
  check(told.acknowledged && ids === MANY, `${MANY} ids, not ${ids}`);
  return filled(shop.inserted);
});

step('one bulkWrite of 100,000 documents', () => {
  const writes = Array.from({ length: MANY }, (_, n) => ({ insertOne: { document: { _id: n } } }));
  const told = shop.bulk.bulkWrite(writes, { ordered: false });
  check(told.insertedCount === MANY, `${MANY} insertions, not ${told.insertedCount}`);
  return filled(shop.bulk);
});

step('a change stream resumed', () => {
  const next = (stream) => {
    const deadline = Date.now() + 15000;
    while (Date.now() < deadline) {
      const event = stream.tryNext();
      if (event) return event;
    }
    throw new Error('expected an event within 15 s');
  };
  const first = shop.watched.watch([], { maxAwaitTimeMS: 200 });
  shop.watched.insertOne({ _id: 'seen' });
  const seen = next(first);
  const token = first.getResumeToken();
  first.close();
  shop.watched.insertMany([{ _id: 'missed' }, { _id: 'missed too' }]);
  return [['resumeAfter', seen._id], ['resumeAfter', token], ['startAfter', token]].map(([option, from]) => {
    const resumed = shop.watched.watch([], { [option]: from, maxAwaitTimeMS: 200 });
    const events = [next(resumed), next(resumed)].map((event) => [event.operationType, event.documentKey._id]);
    resumed.close();
    check(events[0][1] === 'missed' && events[1][1] === 'missed too', `what was missed, not ${JSON.stringify(events)}`);
    return events;
  });
});

step('a causally consistent session', () => {
  const session = db.getMongo().startSession({ causalConsistency: true });
  const notes = session.getDatabase(database).notes;
  const stale = [];
  for (const w of ['majority', 1]) {
    for (let n = 0; n < 30; n += 1) {
      const _id = `${w} ${n}`;
      notes.insertOne({ _id }, { writeConcern: { w } });
      const read = notes.find({ _id }).readPref('secondary').readConcern(w === 1 ? 'local' : 'majority').toArray();
      if (read.length !== 1) stale.push(_id);
    }
  }
  const time = session.getOperationTime();
  session.endSession();
  check(stale.length === 0, `every write read on a secondary, not without ${stale}`);
  check(time && time.getHighBits() > 0, 'an operation time of the session');
  return stale;
});

step('write concerns', () => {
  const written = [2, 3, 'majority'].map((w) => {
    const told = shop.concerns.insertOne({ _id: `w ${w}` }, { writeConcern: { w, wtimeout: 30000 } });
    // Newer servers acknowledge a majority write before secondaries apply it, so that one is not looked for on them.
    const holders = members.filter((member) => member.has('concerns', `w ${w}`)).length;
    check(w === 'majority' || holders >= w, `w: ${w} on as many nodes, not ${holders}`);
    return told;
  });
  const committed = shop.concerns.find().readConcern('majority').itcount();
  check(committed === 3, `three committed documents, not ${committed}`);
  return { written, committed };
});

step('write concerns by tags', () => {
  const absent = refusal(() => shop.concerns.insertOne({ _id: 0 }, { writeConcern: { w: 'nowhere' } }));
  check(absent.code === 79, `UnknownReplWriteConcern, not ${JSON.stringify(absent)}`);
  const config = rs.conf();
  config.settings.getLastErrorModes = { everySite: { dc: 2 }, everyRole: { role: 3 } };
  check(rs.reconfig(config).ok === 1, 'a new configuration');
  const written = ['everySite', 'everyRole'].map((w) => {
    const told = shop.concerns.insertOne({ _id: w }, { writeConcern: { w, wtimeout: 30000 } });
    check(told.acknowledged, 'an acknowledged write');
    return told;
  });
  check(members.every((member) => member.has('concerns', 'everyRole')), 'the last write on every node');
  return { absent, written };
});

step('read preferences with tags, told by the nodes\' own counters', () => {
  shop.places.insertOne({ _id: 1 }, { writeConcern: { w: nodes, wtimeout: 30000 } });
  const role = (member) => ({ role: member.role });
  const nowhere = { role: 'nowhere' };
  // The mode, its tag sets, and the nodes that may serve it.
  const cases = [
    ['primary', undefined, [primary]],
    ['primaryPreferred', [role(far)], [primary]],
    ['secondary', [role(near)], [near]],
    ['secondary', [role(far)], [far]],
    ['secondary', [nowhere, role(far)], [far]],
    ['secondary', [role(primary), role(near)], [near]],
    ['secondary', [nowhere, {}], [near, far]],
    ['secondaryPreferred', [role(near)], [near]],
    ['secondaryPreferred', [role(primary)], [primary]],
    ['nearest', [role(primary)], [primary]],
    ['nearest', [role(near)], [near]],
    ['nearest', [role(far)], [far]],
  ];
  return cases.map(([mode, tags, expected]) => {
    const before = members.map((member) => member.finds());
    for (let n = 0; n < READS; n += 1) {
      const found = shop.places.find({ _id: 1 }).readPref(mode, tags).toArray().length;
      check(found === 1, 'the document');
    }
    const served = members.map((member, n) => member.finds() - before[n]);
    const rightly = members.reduce((sum, member, n) => sum + (expected.includes(member) ? served[n] : 0), 0);
    const wrongly = served.reduce((sum, count) => sum + count, 0) - rightly;
    check(rightly >= READS && wrongly < STRAY_READS,
      `${mode} ${JSON.stringify(tags)} served by ${expected.map((one) => one.role)}, not ${served} times`);
    return [mode, expected.map((one) => (one === primary ? 'primary' : 'secondary'))];
  });
});

step('a document as large as any', () => {
  const told = shop.large.insertOne(large(1, LARGEST));
  const read = shop.large.findOne({ _id: 1 });
  check(read.data === 'x'.repeat(LARGEST - AROUND), `all of it, not ${read.data.length} characters`);
  const [measured] = shop.large.aggregate([{ $project: { size: { $bsonSize: '$$ROOT' } } }]).toArray();
  check(measured.size === LARGEST, `${LARGEST} bytes, not ${measured.size}`);
  const error = refusal(() => shop.large.insertOne(large(2, LARGEST + 1)));
  check(shop.large.countDocuments() === 1, 'only the one that fits');
  return { told, length: read.data.length, error };
});

step('one insertMany of 48 MB', () => {
  const size = 16000000 - 100;
  shop.heavy.insertMany([1, 2, 3].map((id) => large(id, size)));
  const lengths = shop.heavy.find().sort({ _id: 1 }).toArray().map((one) => one.data.length);
  check(lengths.length === 3 && lengths.every((length) => length === size - AROUND), `three whole documents: ${lengths}`);
  return lengths;
});

step('a find with batches of 16 MiB', () => {
  const size = 1000000;
  const count = 40;
  shop.wide.insertMany(Array.from({ length: count }, (_, n) => large(n, size)));
  const session = db.getMongo().startSession();
  const wide = session.getDatabase(database);
  const batches = [];
  const ids = [];
  const take = (batch) => {
    batches.push(batch.length);
    batch.forEach((one) => {
      check(one.data.length === size - AROUND, 'a whole document');
      ids.push(one._id);
    });
  };
  let { cursor } = wide.runCommand({ find: 'wide', sort: { _id: 1 }, batchSize: 1000, hint: { _id: 1 } });
  take(cursor.firstBatch);
  while (Number(cursor.id) !== 0) {
    ({ cursor } = wide.runCommand({ getMore: cursor.id, collection: 'wide', batchSize: 1000 }));
    take(cursor.nextBatch);
  }
  session.endSession();
  check(ids.length === count && ids.every((id, n) => id === n), 'every document once, in order');
  // As many as fit into a reply of 16 MiB.
  check(batches[0] === Math.floor(LARGEST / size), `a full first batch, not ${batches}`);
  return batches;
});

step('dropping', () => shop.dropDatabase());

finish();
