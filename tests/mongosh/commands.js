// What people type into mongosh, line by line: each line is a step of its own, and its text is the step's name.
//
// Usage: as everyday.js.
'use strict';

const plain = (result) => (result && typeof result.toArray === 'function' ? result.toArray() : result);
// What `show` and `use` answer is made for a terminal.
const shown = (result) => String(result?.value ?? result).length > 0;

use(database);
db.tides.insertMany([{ _id: 1, port: 'Husum', m: 3.1 }, { _id: 2, port: 'Emden', m: 2.9 }, { _id: 3, port: 'Husum', m: 3.4 }]);

const LINES = [
  () => db.getName(),
  () => db.tides.insertOne({ _id: 4, port: 'Wilhelmshaven', m: 3.8 }),
  () => db.tides.insertMany([{ _id: 5, port: 'Norderney' }, { _id: 6, port: 'Borkum' }]),
  () => db.tides.find().sort({ _id: 1 }),
  () => db.tides.find({ m: { $gt: 3 } }).sort({ m: -1 }).limit(2),
  () => db.tides.find({ port: /^H/ }, { _id: 0, port: 1 }),
  () => db.tides.findOne({ _id: 2 }),
  () => db.tides.find().count(),
  () => db.tides.countDocuments({ port: 'Husum' }),
  () => db.tides.estimatedDocumentCount(),
  () => db.tides.distinct('port'),
  () => db.tides.updateOne({ _id: 1 }, { $set: { m: 3.2 } }),
  () => db.tides.updateMany({ port: 'Husum' }, { $inc: { seen: 1 } }),
  () => db.tides.updateOne({ _id: 1 }, [{ $set: { twice: { $multiply: ['$m', 2] } } }]),
  () => db.tides.updateOne({ _id: 7 }, { $set: { port: 'Cuxhaven' } }, { upsert: true }),
  () => db.tides.replaceOne({ _id: 5 }, { port: 'Norderney', m: 2.5 }),
  () => db.tides.findOneAndUpdate({ _id: 6 }, { $set: { m: 2.4 } }, { returnNewDocument: true }),
  () => db.tides.findOneAndDelete({ _id: 7 }),
  () => db.tides.deleteOne({ _id: 6 }),
  () => db.tides.bulkWrite([{ insertOne: { document: { _id: 8 } } }, { deleteOne: { filter: { _id: 8 } } }]),
  () => db.tides.aggregate([{ $group: { _id: '$port', most: { $max: '$m' } } }, { $sort: { _id: 1 } }]),
  () => db.tides.aggregate([{ $match: { m: { $gt: 3 } } }, { $count: 'high' }]),
  () => db.tides.aggregate([{ $sort: { _id: 1 } }, { $out: 'copied' }]),
  () => db.copied.find().itcount(),
  () => db.tides.createIndex({ port: 1 }),
  () => db.tides.createIndex({ m: 1 }, { name: 'height', sparse: true }),
  () => db.tides.getIndexes(),
  () => db.tides.find({ port: 'Husum' }).explain().queryPlanner.winningPlan.inputStage.indexName,
  () => db.tides.find({ port: 'Husum' }).hint('port_1').itcount(),
  () => db.tides.hideIndex('height'),
  () => db.tides.unhideIndex('height'),
  () => db.tides.dropIndex('height'),
  () => db.createCollection('log', { capped: true, size: 4096, max: 10 }),
  () => db.log.isCapped(),
  () => db.log.insertOne({ _id: 1, text: 'high water' }),
  () => db.createView('heights', 'tides', [{ $project: { m: 1 } }]),
  () => db.heights.find({ _id: 1 }),
  () => db.getCollectionNames().sort(),
  () => db.getCollectionInfos({ type: 'view' }).map((one) => one.name),
  () => db.runCommand({ collMod: 'tides', validator: { _id: { $type: 'number' } } }),
  () => refusal(() => db.tides.insertOne({ _id: 'text' })),
  () => refusal(() => db.tides.insertOne({ _id: 1 })),
  () => db.tides.stats().count,
  () => db.tides.validate().valid,
  () => db.tides.latencyStats().length > 0,
  () => db.stats().collections,
  () => db.copied.renameCollection('moved'),
  () => db.moved.drop(),
  () => db.hello().isWritablePrimary,
  () => db.version(),
  () => db.serverStatus().ok,
  () => db.adminCommand({ ping: 1 }),
  () => db.adminCommand({ getParameter: 1, logLevel: 1 }),
  () => db.adminCommand({ listDatabases: 1, nameOnly: true }).databases.some((one) => one.name === database),
  () => db.currentOp().ok,
  () => db.getProfilingStatus().slowms,
  () => db.getMongo().getReadPrefMode(),
  () => db.tides.find().readPref('secondaryPreferred').itcount() >= 0,
  () => db.tides.find().readConcern('majority').itcount() >= 0,
  () => rs.status().ok,
  () => rs.conf()._id,
  () => rs.hello().ok,
  () => db.getLogComponents().verbosity,
  () => shown(show('dbs')),
  () => shown(show('collections')),
  () => db.dropDatabase(),
];

for (const line of LINES) step(line.toString().replace('() => ', ''), () => plain(line()));

finish();
