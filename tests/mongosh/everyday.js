// The everyday commands of mongosh. A step that meets an unexpected error prints it and makes the exit code 1; the last
// line tells how many steps ran.
//
// Usage: mongosh URI --quiet --norc --eval "var database = '...', nodes = 3" --file steps.js --file everyday.js
'use strict';

const shop = db.getSiblingDB(database);
const admin = db.getSiblingDB('admin');

step('insert, update, replace, delete', () => {
  const told = [
    shop.things.insertOne({ _id: 1, n: 1 }),
    shop.things.insertMany([{ _id: 2 }, { _id: 3 }, { _id: 4 }]),
    shop.things.updateOne({ _id: 1 }, { $inc: { n: 5 } }),
    shop.things.updateMany({}, { $set: { seen: true } }),
    shop.things.updateOne({ _id: 9 }, { $set: { n: 9 } }, { upsert: true }),
    shop.things.replaceOne({ _id: 2 }, { n: 'two' }),
    shop.things.deleteOne({ _id: 3 }),
    shop.things.deleteMany({ _id: { $gt: 3 } }),
  ];
  const left = shop.things.find().sort({ _id: 1 }).toArray();
  check(left.length === 2 && left[0].n === 6, 'two documents left');
  return { told, left };
});

step('find and modify', () => [
  shop.things.findOneAndUpdate({ _id: 1 }, { $set: { n: 7 } }, { returnDocument: 'after' }),
  shop.things.findOneAndReplace({ _id: 2 }, { n: 'again' }),
  shop.things.findAndModify({ query: { _id: 2 }, update: { $set: { m: 1 } }, new: true }),
  shop.things.findOneAndDelete({ _id: 2 }),
]);

step('a cursor over many batches', () => {
  shop.many.insertMany(Array.from({ length: 1000 }, (_, n) => ({ _id: n, text: `document ${n}` })));
  const cursor = shop.many.find({}, { text: 0 }).sort({ _id: 1 }).batchSize(70);
  const ids = [];
  while (cursor.hasNext()) ids.push(cursor.next()._id);
  check(ids.length === 1000 && ids.every((id, n) => id === n), 'every document once, in order');
  const half = shop.many.find().batchSize(10);
  half.next();
  half.close();
  let count = 0;
  shop.many.find().skip(900).limit(50).batchSize(7).forEach(() => { count += 1; });
  return [ids.length, count];
});

step('aggregate', () => {
  const sums = shop.many.aggregate([
    { $group: { _id: { $mod: ['$_id', 3] }, count: { $sum: 1 } } },
    { $sort: { _id: 1 } },
  ]).toArray();
  shop.many.aggregate([{ $match: { _id: { $lt: 5 } } }, { $out: 'few' }]);
  shop.many.aggregate([{ $match: { _id: { $lt: 7 } } }, { $merge: 'few' }]);
  const batches = shop.many.aggregate([{ $sort: { _id: -1 } }], { cursor: { batchSize: 60 } }).toArray().length;
  const operations = admin.aggregate([{ $currentOp: {} }, { $limit: 1 }]).toArray().length;
  check(shop.few.countDocuments() === 7 && batches === 1000, 'seven documents and all batches');
  return { sums, batches, operations };
});

step('counts and distinct values', () => [
  shop.many.countDocuments({ _id: { $gte: 990 } }),
  shop.many.estimatedDocumentCount(),
  shop.many.distinct('_id', { _id: { $lt: 4 } }),
  shop.many.find({ _id: 5 }).itcount(),
]);

step('indexes', () => {
  const made = [
    shop.many.createIndex({ text: 1 }, { unique: true }),
    shop.many.createIndexes([{ n: 1 }, { m: -1 }]),
  ];
  const listed = shop.many.getIndexes();
  check(listed.length === 4, 'four indexes');
  return [
    made,
    listed,
    shop.many.find({ text: 'document 5' }).hint('text_1').toArray(),
    refusal(() => shop.many.insertOne({ text: 'document 5' })),
    shop.many.dropIndex('n_1'),
    shop.many.dropIndexes(),
  ];
});

step('explain', () => {
  const plan = shop.many.find({ _id: 3 }).explain('executionStats');
  return [plan.queryPlanner.winningPlan.stage, plan.executionStats.nReturned, plan.command,
    shop.many.explain().aggregate([{ $match: { _id: 3 } }]).queryPlanner.namespace];
});

step('bulk writes', () => {
  const told = shop.bulk.bulkWrite([
    { insertOne: { document: { _id: 1 } } },
    { insertOne: { document: { _id: 2 } } },
    { updateOne: { filter: { _id: 1 }, update: { $set: { n: 1 } } } },
    { replaceOne: { filter: { _id: 3 }, replacement: { n: 3 }, upsert: true } },
    { deleteMany: { filter: { _id: 2 } } },
  ]);
  const unordered = shop.bulk.initializeUnorderedBulkOp();
  for (let n = 10; n < 1010; n += 1) unordered.insert({ _id: n });
  unordered.find({ _id: { $gt: 1000 } }).remove();
  const executed = unordered.execute();
  const error = refusal(() => shop.bulk.insertMany([{ _id: 1 }, { _id: 5000 }, { _id: 1 }], { ordered: false }));
  check(shop.bulk.countDocuments() === 994, `994 documents, not ${shop.bulk.countDocuments()}`);
  return { told, executed: executed.insertedCount, removed: executed.deletedCount, error };
});

step('collections and databases', () => {
  shop.createCollection('capped', { capped: true, size: 4096 });
  shop.createView('odd', 'few', [{ $match: { _id: { $mod: [2, 1] } } }]);
  const names = shop.getCollectionNames();
  shop.capped.renameCollection('renamed');
  check(shop.odd.countDocuments() === 3, 'three documents in the view');
  const listed = admin.runCommand({ listDatabases: 1, nameOnly: true, filter: { name: database } }).databases;
  return [names.sort(), shop.getCollectionInfos({ name: 'renamed' })[0].options, shop.renamed.drop(), listed,
    db.getMongo().getDBNames().includes(database)];
});

step('statistics', () => {
  const stats = shop.stats();
  const collection = shop.many.stats();
  return [stats.db, stats.collections, stats.views, collection.count, collection.ns, shop.many.dataSize() > 0,
    shop.many.totalIndexSize() > 0, shop.many.validate().valid];
});

step('the replica set', () => {
  const status = rs.status();
  const config = rs.conf();
  check(status.members.filter((member) => member.stateStr === 'PRIMARY').length === 1, 'one primary');
  check(status.members.length === nodes && config.members.length === nodes, `${nodes} members`);
  // The version and the write concern modes are others' to change meanwhile.
  return [keys(status), status.set, status.members.map((member) => [member.name, member.stateStr]), config._id,
    config.members, keys(config), config.settings.electionTimeoutMillis];
});

step('hello', () => {
  const hello = db.hello();
  check(hello.isWritablePrimary, 'a writable server');
  // Fields of a set or of a mongos are those of the presentation.
  return [hello.maxBsonObjectSize, hello.maxWriteBatchSize, hello.maxWireVersion, hello.ok, db.isMaster().ok];
});

step('the server', () => {
  const status = db.serverStatus();
  check(status.repl && status.connections.current > 0, 'the status of a node');
  return [status.version, db.version(), keys(db.hostInfo()), db.serverBuildInfo().version, admin.runCommand({ ping: 1 }),
    keys(db.serverCmdLineOpts()), admin.runCommand({ getParameter: 1, featureCompatibilityVersion: 1 }),
    keys(admin.runCommand({ connectionStatus: 1 })), Object.keys(admin.runCommand({ listCommands: 1 }).commands).length > 100];
});

step('operations in progress', () => {
  const all = db.currentOp();
  return [keys(all), Array.isArray(all.inprog), db.currentOp({ 'command.comment': database }).inprog.length,
    db.killOp(2000000000)];
});

step('a transaction committed and one aborted', () => {
  shop.accounts.insertMany([{ _id: 'a', sum: 10 }, { _id: 'b', sum: 10 }]);
  const session = db.getMongo().startSession();
  const accounts = session.getDatabase(database).accounts;
  session.startTransaction({ readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority' } });
  accounts.updateOne({ _id: 'a' }, { $inc: { sum: -3 } });
  accounts.updateOne({ _id: 'b' }, { $inc: { sum: 3 } });
  const outside = shop.accounts.findOne({ _id: 'a' }).sum;
  session.commitTransaction();
  session.startTransaction();
  accounts.deleteMany({});
  const inside = accounts.countDocuments({});
  session.abortTransaction();
  session.startTransaction();
  const error = refusal(() => accounts.insertOne({ _id: 'a' }));
  session.abortTransaction();
  session.endSession();
  const sums = shop.accounts.find().sort({ _id: 1 }).toArray().map((one) => one.sum);
  check(outside === 10 && inside === 0 && sums[0] === 7 && sums[1] === 13, 'one transfer');
  return { outside, inside, sums, error };
});

step('change streams', () => {
  const events = [];
  const seen = (stream, count) => {
    const deadline = Date.now() + 15000;
    for (let taken = 0; taken < count && Date.now() < deadline;) {
      const event = stream.tryNext();
      if (event) {
        taken += 1;
        events.push([event.operationType, event.ns, event.documentKey]);
      }
    }
  };
  for (const [watched, within] of [[shop.watched, []], [shop, []], [db.getMongo(), [{ $match: { 'ns.db': database } }]]]) {
    const stream = watched.watch(within, { maxAwaitTimeMS: 200 });
    const id = events.length;
    shop.watched.insertOne({ _id: id });
    shop.watched.deleteOne({ _id: id });
    seen(stream, 2);
    stream.close();
  }
  check(events.length === 6, `six events, not ${events.length}`);
  return events;
});

step('read preferences', () => {
  shop.getCollection('many').insertOne({ _id: 'everywhere' }, { writeConcern: { w: nodes, wtimeout: 30000 } });
  const told = [];
  for (const mode of ['primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest']) {
    told.push([mode, shop.many.find({ _id: 'everywhere' }).readPref(mode).toArray().length,
      shop.many.find({}).readPref(mode).batchSize(100).itcount()]);
  }
  db.getMongo().setReadPref('secondary');
  told.push([db.getMongo().getReadPrefMode(), shop.many.countDocuments({ _id: 'everywhere' })]);
  db.getMongo().setReadPref('primary');
  return told;
});

step('write and read concerns', () => [
  shop.concerns.insertOne({ _id: 1 }, { writeConcern: { w: 'majority', j: true } }),
  shop.concerns.insertOne({ _id: 2 }, { writeConcern: { w: 0 } }).acknowledged,
  shop.concerns.find().readConcern('majority').itcount() <= 2,
  shop.concerns.find().readConcern('linearizable').maxTimeMS(20000).itcount(),
  refusal(() => shop.concerns.insertOne({ _id: 3 }, { writeConcern: { w: 50, wtimeout: 500 } })),
]);

step('errors', () => [
  refusal(() => shop.runCommand({ noSuchCommand: 1 })),
  refusal(() => shop.runCommand({ find: 'things', filter: { $noSuchOperator: 1 } })),
  refusal(() => shop.things.insertOne({ _id: 1 })),
  refusal(() => shop.things.updateOne({ _id: 1 }, { $inc: { _id: 1 } })),
  refusal(() => shop.things.find({ $where: 'sleep(500) || true' }).maxTimeMS(50).toArray()),
  refusal(() => shop.things.aggregate([{ $noSuchStage: 1 }]).toArray()),
  refusal(() => shop.runCommand({ getMore: Long.fromNumber(77), collection: 'things' })),
]);

step('dropping', () => [shop.few.drop(), shop.absent.drop(), shop.dropDatabase()]);

finish();
