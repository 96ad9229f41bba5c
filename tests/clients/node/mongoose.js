// mongoose, current. Usage as driver.js.
'use strict';

const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const mongoose = require('mongoose');
const { assert, failure, main } = require('./harness');

const { Schema } = mongoose;

// A connection of its own with the models of the scenarios, closed at the end.
async function open(ctx, name, schema, options = {}) {
  const bounds = { dbName: ctx.database, serverSelectionTimeoutMS: 20000, autoIndex: false };
  const connection = await mongoose.createConnection(ctx.uri, { ...bounds, ...options }).asPromise();
  ctx.clients.push(connection);
  return { connection, Model: connection.model(name, schema, name) };
}

const plain = (document) => document.toObject();
const ship = () => new Schema({
  _id: Number,
  name: { type: String, required: true, index: { unique: true } },
  tons: { type: Number, min: 0 },
  ports: [{ _id: false, name: String }],
  home: { type: Number, ref: 'm_harbours' },
}, { timestamps: true });

const scenarios = {
  'documents are saved, validated, changed and removed': async (ctx) => {
    const { Model } = await open(ctx, 'm_ships', ship());
    const made = await Model.create({ _id: 1, name: 'Ebb', tons: 5, ports: [{ name: 'Husum' }] });
    made.tons = 6;
    made.ports.push({ name: 'Emden' });
    await made.save();
    const invalid = await failure(() => Model.create({ _id: 2, tons: -1 }));
    const told = [
      await Model.insertMany([{ _id: 3, name: 'Flow' }, { _id: 4, name: 'Neap' }]),
      await Model.findOneAndUpdate({ _id: 3 }, { $inc: { tons: 2 } }, { returnDocument: 'after' }),
      await Model.findByIdAndDelete(4),
    ].flat().map(plain);
    const updated = await Model.updateMany({}, { $set: { tons: 9 } });
    const stale = await Model.findById(1);
    await Model.updateOne({ _id: 1 }, { $set: { ports: [] }, $inc: { __v: 1 } });
    stale.ports[0].name = 'gone';
    stale.ports = [...stale.ports, { name: 'more' }];
    const outdated = await failure(() => stale.save());
    assert.equal(await Model.countDocuments(), 2);
    return [plain(made), invalid.name, Object.keys(invalid.errors).sort(), told, updated, outdated.name,
      (await Model.find().sort({ _id: 1 })).map(plain), await Model.exists({ name: 'Flow' }), await Model.distinct('name')];
  },

  'indexes, and documents that break them': async (ctx) => {
    const { Model } = await open(ctx, 'm_unique', ship());
    await Model.createCollection();
    await Model.createIndexes();
    await Model.create({ _id: 1, name: 'Ebb' });
    const duplicate = await failure(() => Model.create({ _id: 2, name: 'Ebb' }), 11000);
    return [duplicate, await Model.listIndexes(), await Model.diffIndexes(), await Model.syncIndexes()];
  },

  'population and lean documents': async (ctx) => {
    const { connection, Model } = await open(ctx, 'm_fleet', ship());
    const Harbour = connection.model('m_harbours', new Schema({ _id: Number, town: String }), 'm_harbours');
    await Harbour.create([{ _id: 1, town: 'Husum' }, { _id: 2, town: 'Emden' }]);
    await Model.create([{ _id: 1, name: 'Ebb', home: 1 }, { _id: 2, name: 'Flow', home: 2 }, { _id: 3, name: 'Neap' }]);
    const found = await Model.find().sort({ _id: 1 }).populate('home').lean();
    assert.deepEqual(found.map((one) => one.home?.town), ['Husum', 'Emden', undefined]);
    return found;
  },

  'bulk writes and bulk saves': async (ctx) => {
    const { Model } = await open(ctx, 'm_bulk', ship());
    const told = await Model.bulkWrite([
      { insertOne: { document: { _id: 1, name: 'Ebb' } } },
      { updateOne: { filter: { _id: 1 }, update: { $set: { tons: 3 } } } },
      { updateOne: { filter: { _id: 2 }, update: { $set: { name: 'Flow' } }, upsert: true } },
      { deleteOne: { filter: { _id: 2 } } },
    ]);
    const documents = Array.from({ length: 200 }, (_, n) => new Model({ _id: 10 + n, name: `ship ${n}` }));
    await Model.bulkSave(documents);
    assert.equal(await Model.countDocuments(), 201);
    return [told, await Model.aggregate([{ $group: { _id: null, n: { $sum: 1 } } }])];
  },

  'cursors': async (ctx) => {
    const { Model } = await open(ctx, 'm_many', ship());
    await Model.insertMany(Array.from({ length: 300 }, (_, n) => ({ _id: n, name: `ship ${n}` })));
    const seen = [];
    for await (const one of Model.find().sort({ _id: 1 }).batchSize(40).cursor()) seen.push(one._id);
    let sum = 0;
    await Model.find().cursor({ batchSize: 30 }).eachAsync((one) => { sum += one._id; }, { parallel: 5 });
    const grouped = [];
    for await (const one of Model.aggregate([{ $sort: { _id: -1 } }]).cursor({ batchSize: 50 })) grouped.push(one._id);
    const early = Model.find().batchSize(5).cursor();
    await early.next();
    await early.close();
    assert.deepEqual(seen, Array.from({ length: 300 }, (_, n) => n));
    assert.deepEqual([sum, grouped.reverse()], [44850, seen]);
    return [seen.length, sum, grouped.length];
  },

  'transactions': async (ctx) => {
    const { connection, Model } = await open(ctx, 'm_moved', ship());
    await Model.createCollection();
    const first = await Model.create({ _id: 1, name: 'Ebb', tons: 10 });
    await connection.transaction(async (session) => {
      first.tons = 7;
      await first.save({ session });
      await Model.create([{ _id: 2, name: 'Flow', tons: 3 }], { session });
    });
    const undone = await failure(() => connection.transaction(async (session) => {
      first.tons = 0;
      await first.save({ session });
      throw new Error('the application\'s own');
    }));
    const session = await connection.startSession();
    session.startTransaction();
    const within = await Model.findById(1).session(session);
    within.tons = 8;
    await within.save();
    const outside = (await Model.findById(1)).tons;
    await session.commitTransaction();
    await session.endSession();
    const tons = (await Model.find().sort({ _id: 1 })).map((one) => one.tons);
    assert.deepEqual([outside, tons], [7, [8, 3]]);
    return [undone.message, first.tons, outside, tons];
  },

  'change streams': async (ctx) => {
    const { connection, Model } = await open(ctx, 'm_watched', ship());
    await Model.createCollection();
    // mongoose does not tell when a stream is open: this one begins at a time that has passed.
    const session = await connection.startSession();
    await Model.findOne().session(session);
    const stream = Model.watch([], { startAtOperationTime: session.operationTime });
    await session.endSession();
    const events = [];
    const three = new Promise((resolve, reject) => {
      stream.on('change', (event) => { if (events.push(event) === 3) resolve(); });
      stream.on('error', reject);
    });
    await Model.create({ _id: 1, name: 'Ebb' });
    await Model.updateOne({ _id: 1 }, { tons: 3 });
    await Model.deleteOne({ _id: 1 });
    await three;
    await stream.close();
    const after = Model.watch([], { resumeAfter: events[0]._id, hydrate: true, fullDocument: 'updateLookup' });
    events.push(await new Promise((resolve, reject) => {
      after.once('change', resolve);
      after.once('error', reject);
    }));
    await after.close();
    const kinds = events.map((event) => [event.operationType, event.documentKey]);
    assert.deepEqual(kinds.map(([kind]) => kind), ['insert', 'update', 'delete', 'update']);
    return kinds;
  },

  'files': async (ctx) => {
    const { connection } = await open(ctx, 'm_none', ship());
    const bucket = new mongoose.mongo.GridFSBucket(connection.db, { bucketName: 'm_files', chunkSizeBytes: 1000 });
    const upload = bucket.openUploadStream('name');
    await pipeline(Readable.from([Buffer.alloc(5500, 7)]), upload);
    const chunks = [];
    for await (const chunk of bucket.openDownloadStream(upload.id)) chunks.push(chunk.length);
    assert.deepEqual(chunks, [1000, 1000, 1000, 1000, 1000, 500]);
    return chunks;
  },

  'a strict connection that reads from secondaries': async (ctx) => {
    const { Model } = await open(ctx, 'm_away', ship(), {
      readPreference: 'secondaryPreferred', serverApi: { version: '1', strict: true }, w: 3, retryWrites: false, maxPoolSize: 3,
    });
    await Model.create({ _id: 1, name: 'Ebb' });
    const refused = await failure(() => Model.distinct('name'), 323);
    return [await Model.findOne({ _id: 1 }).lean(), await Model.find().read('secondary').lean(), refused];
  },
};

main(scenarios);
