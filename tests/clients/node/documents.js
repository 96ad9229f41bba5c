// Documents, bulk writes, aggregation, indexes and collections.
'use strict';

const { assert, failure, names } = require('./harness');

exports['insert, find, update, replace, delete'] = async (ctx) => {
  const things = ctx.collection('crud');
  const told = [
    await things.insertOne({ _id: 1, n: 1 }),
    await things.insertMany([{ _id: 2 }, { _id: 3 }, { _id: 4 }]),
    await things.updateOne({ _id: 1 }, { $inc: { n: 5 } }),
    await things.updateMany({}, { $set: { seen: true } }),
    await things.updateOne({ _id: 9 }, { $set: { n: 9 } }, { upsert: true }),
    await things.replaceOne({ _id: 2 }, { n: 'two' }),
    await things.deleteOne({ _id: 3 }),
    await things.deleteMany({ _id: { $gt: 3 } }),
  ];
  const left = await things.find().sort({ _id: 1 }).toArray();
  assert.deepEqual(left.map((one) => one.n), [6, 'two']);
  return [told, left, await things.findOne({ _id: 77 }), names(ctx.client)];
};

exports['find one and modify it'] = async (ctx) => {
  const things = await ctx.seed('modify', 3);
  return [
    await things.findOneAndUpdate({ _id: 1 }, { $set: { n: 7 } }, { returnDocument: 'after' }),
    await things.findOneAndReplace({ _id: 2 }, { n: 'again' }),
    await things.findOneAndUpdate({ _id: 5 }, { $set: { n: 5 } }, { upsert: true, includeResultMetadata: true }),
    await things.findOneAndDelete({ _id: 2 }, { projection: { n: 1 } }),
    await things.findOneAndDelete({ _id: 99 }),
  ];
};

exports['counts, distinct values, aggregation'] = async (ctx) => {
  const things = await ctx.seed('counted', 100, (n) => ({ k: n % 7 }));
  const sums = await things.aggregate([{ $group: { _id: '$k', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray();
  await things.aggregate([{ $match: { k: 1 } }, { $out: 'counted_out' }]).toArray();
  await things.aggregate([{ $match: { k: 2 } }, { $merge: 'counted_out' }]).toArray();
  const out = await ctx.collection('counted_out').countDocuments();
  assert.equal(out, 29);
  const joined = await things.aggregate([
    { $match: { _id: { $lt: 3 } } },
    { $lookup: { from: 'counted_out', localField: '_id', foreignField: '_id', as: 'out' } },
    { $sort: { _id: 1 } },
  ]).toArray();
  return [sums, out, joined, await things.countDocuments({ k: 1 }), await things.estimatedDocumentCount(),
    (await things.distinct('k')).sort()];
};

exports['ordered and unordered bulk writes'] = async (ctx) => {
  const things = ctx.collection('bulk');
  const told = await things.bulkWrite([
    { insertOne: { document: { _id: 1 } } },
    { insertOne: { document: { _id: 2 } } },
    { updateOne: { filter: { _id: 1 }, update: { $set: { n: 1 } } } },
    { updateMany: { filter: {}, update: { $set: { all: 1 } } } },
    { replaceOne: { filter: { _id: 3 }, replacement: { n: 3 }, upsert: true } },
    { deleteOne: { filter: { _id: 2 } } },
  ]);
  const many = await things.insertMany(Array.from({ length: 2500 }, (_, n) => ({ _id: 100 + n })), { ordered: false });
  const stopped = await failure(() => things.bulkWrite([
    { insertOne: { document: { _id: 50 } } },
    { insertOne: { document: { _id: 1 } } },
    { insertOne: { document: { _id: 51 } } },
  ]), 11000);
  const unordered = await failure(() => things.insertMany([{ _id: 1 }, { _id: 60 }, { _id: 3 }], { ordered: false }), 11000);
  assert.equal(await things.countDocuments(), 2504);
  return [told, many.insertedCount, stopped, unordered, await things.find({ _id: { $lt: 100 } }).sort({ _id: 1 }).toArray()];
};

exports['bulk writes of a client need a newer server'] = async (ctx) => {
  const error = await failure(() => ctx.client.bulkWrite([
    { name: 'insertOne', namespace: `${ctx.database}.newer`, document: { _id: 1 } },
  ]));
  return [error.name, error.message];
};

exports['indexes'] = async (ctx) => {
  const things = await ctx.seed('indexed', 10, (n) => ({ n, text: `t${n}` }));
  const made = [await things.createIndex({ n: 1 }, { unique: true }),
    await things.createIndexes([{ key: { text: 1 }, name: 'text' }, { key: { n: 1, text: -1 }, sparse: true }])];
  const refused = await failure(() => things.insertOne({ _id: 77, n: 3 }), 11000);
  const listed = await things.listIndexes({ batchSize: 1 }).toArray();
  const hinted = await things.find({ n: { $gte: 8 } }).hint('n_1').toArray();
  const badHint = await failure(() => things.find().hint('none').toArray(), 2);
  await things.dropIndex('text');
  return [made, refused, listed, hinted, badHint, (await things.indexes()).length, await things.dropIndexes()];
};

exports['collections'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  await db.createCollection('made_capped', { capped: true, size: 4096 });
  await db.createCollection('made_view', { viewOn: 'made_capped', pipeline: [] });
  await db.createCollection('made_series', { timeseries: { timeField: 't' } });
  await db.createCollection('made_checked', { validator: { n: { $type: 'int' } } });
  const invalid = await failure(() => db.collection('made_checked').insertOne({ _id: 1, n: 'text' }), 121);
  const exists = await failure(() => db.createCollection('made_capped', { capped: true, size: 8192 }), 48);
  await db.collection('made_capped').rename('made_renamed');
  const listed = await db.listCollections({ name: /^made_/ }, { batchSize: 2 }).toArray();
  const told = listed.map((one) => [one.name, one.type, one.options.capped ?? null]).sort();
  assert.equal(told.length, 4);
  const dropped = [];
  for (const name of ['made_renamed', 'made_view', 'made_series', 'made_checked', 'made_absent']) {
    dropped.push(await db.collection(name).drop());
  }
  const databases = await ctx.client.db('admin').admin().listDatabases({ filter: { name: 'admin' }, nameOnly: true });
  return [told, invalid, exists, dropped, databases];
};

exports['errors'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  const things = await ctx.seed('errors', 3);
  return [
    await failure(() => db.command({ noSuchCommand: 1 }), 59),
    await failure(() => things.find({ $noSuchOperator: 1 }).toArray(), 2),
    await failure(() => things.updateOne({ _id: 1 }, { $inc: { _id: 1 } }), 66),
    await failure(() => things.aggregate([{ $noSuchStage: 1 }]).toArray(), 40324),
    (await failure(() => things.find({ $where: 'sleep(400) || true' }, { maxTimeMS: 50 }).toArray(), 50)).codeName,
    await failure(() => things.insertOne({ _id: 9 }, { writeConcern: { w: 50, wtimeoutMS: 100 } }), 100),
    await failure(() => things.insertOne({ text: 'x'.repeat(17 << 20) })),
  ];
};

exports['a hundred operations at once over few connections'] = async (ctx) => {
  const client = await ctx.connect({ maxPoolSize: 5 });
  const things = client.db(ctx.database).collection('parallel');
  await Promise.all(Array.from({ length: 100 }, (_, n) => things.insertOne({ _id: n })));
  const found = await Promise.all(Array.from({ length: 100 }, (_, n) => things.findOne({ _id: n })));
  assert.deepEqual(found, Array.from({ length: 100 }, (_, n) => ({ _id: n })));
  return found.length;
};
