// The versioned API, compression, and options of the URI.
'use strict';

const { MongoError, ReadPreference } = require('mongodb');
const { assert, failure, names } = require('./harness');

exports['the versioned API, strict, with deprecation errors'] = async (ctx) => {
  await ctx.seed('versioned', 50);
  const client = await ctx.connect({ serverApi: { version: '1', strict: true, deprecationErrors: true } });
  const db = client.db(ctx.database);
  const things = db.collection('versioned');
  const found = await things.find({}, { batchSize: 7 }).toArray();
  const told = [await things.insertOne({ _id: 99 }), await things.updateOne({ _id: 99 }, { $set: { n: 1 } }),
    await things.countDocuments(), await things.aggregate([{ $match: { _id: 99 } }]).toArray()];
  await client.withSession((session) => session.withTransaction(async () => {
    await things.deleteOne({ _id: 99 }, { session });
    await things.findOne({}, { session });
  }));
  const stream = things.watch([], { maxAwaitTimeMS: 100 });
  await stream.tryNext();
  await things.insertOne({ _id: 98 });
  const event = (await stream.next()).operationType;
  await stream.close();
  const early = things.find({}, { batchSize: 7 });
  await early.next();
  await early.close();
  assert.equal(found.length, 50);
  return [told, event,
    await failure(() => things.distinct('_id'), 323),
    await failure(() => db.command({ collStats: 'versioned' }), 323),
    await failure(() => things.aggregate([{ $indexStats: {} }]).toArray(), 323),
    names(client).length];
};

exports['versions that there are not'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  return [await failure(() => db.command({ ping: 1, apiVersion: '2' }), 322),
    await failure(() => db.command({ ping: 1, apiStrict: true }))];
};

const roundTrip = async (ctx, client, name) => {
  const things = client.db(ctx.database).collection(name);
  const documents = Array.from({ length: 200 }, (_, n) => ({ _id: n, text: `${'tide '.repeat(50)}${n}` }));
  await things.insertMany(documents);
  const found = await things.find({}, { batchSize: 60 }).sort({ _id: 1 }).toArray();
  assert.deepEqual(found, documents);
  await things.updateMany({}, { $set: { big: 'y'.repeat(3000) } });
  const sum = await things.aggregate([{ $group: { _id: null, n: { $sum: { $strLenCP: '$big' } } } }]).toArray();
  return [found.length, sum, await failure(() => things.insertOne({ _id: 1 }), 11000)];
};

for (const compressors of ['snappy', 'zlib', 'zlib&zlibCompressionLevel=9', 'snappy,zlib']) {
  exports[`compressors=${compressors}`] = async (ctx) =>
    roundTrip(ctx, await ctx.connect({}, `compressors=${compressors}`), `compressed_${compressors.replace(/\W/g, '_')}`);
}

const URI_OPTIONS = [
  'retryWrites=false&retryReads=false',
  'w=1',
  'w=majority&journal=true&wTimeoutMS=20000',
  'w=0',
  'readConcernLevel=majority',
  'readConcernLevel=linearizable',
  'readPreference=secondary',
  'readPreference=secondaryPreferred&maxStalenessSeconds=120',
  'readPreference=nearest&readPreferenceTags=dc:west&readPreferenceTags=',
  'readPreference=primaryPreferred&localThresholdMS=100',
  'appName=harbour&maxPoolSize=2&minPoolSize=1&maxIdleTimeMS=5000&waitQueueTimeoutMS=9000',
  'heartbeatFrequencyMS=1000&connectTimeoutMS=5000&maxConnecting=1',
  'serverMonitoringMode=poll',
  'serverMonitoringMode=stream',
];

for (const option of URI_OPTIONS) {
  exports[`with ${option}`] = async (ctx) => {
    const name = `uri_${option.replace(/\W/g, '_').slice(0, 60)}`;
    const seeded = await ctx.seed(name, 20);
    // What w: 3 acknowledged is majority committed only a moment later.
    await seeded.updateOne({ _id: 0 }, { $set: { settled: true } }, { writeConcern: { w: 'majority' } });
    const client = await ctx.connect({}, option);
    const things = client.db(ctx.database).collection(name);
    const found = await things.find({ _id: { $lt: 20 } }, { batchSize: 6 }).sort({ _id: 1 }).toArray();
    assert.equal(found.length, 20);
    const inserted = await things.insertOne({ _id: 100 });
    const [, sent] = client.log.find(([command]) => command === 'insert');
    const [, asked] = client.log.find(([command]) => command === 'find');
    // What was not acknowledged may still be on its way.
    const deadline = Date.now() + 10000;
    while (!(await ctx.collection(name).findOne({ _id: 100 })) && Date.now() < deadline);
    assert.ok(await ctx.collection(name).findOne({ _id: 100 }), 'the document inserted');
    return [inserted, sent.writeConcern, 'txnNumber' in sent, asked.readConcern, names(client)];
  };
}

exports['preferences that no server fits'] = async (ctx) => {
  const client = await ctx.connect({ serverSelectionTimeoutMS: 800 });
  const nowhere = { readPreference: new ReadPreference('secondary', [{ dc: 'nowhere' }]), maxTimeMS: 800 };
  const missed = await failure(() => client.db(ctx.database).collection('nowhere').findOne({}, nowhere));
  const hasty = { readPreference: new ReadPreference('secondary', null, { maxStalenessSeconds: 10 }) };
  const stale = await failure(() => client.db(ctx.database).collection('nowhere').findOne({}, hasty));
  // Directly the driver itself finds no server; through Tidegate it is told so.
  return [missed instanceof MongoError, stale instanceof MongoError];
};

exports['directConnection=true'] = async (ctx) => {
  await ctx.seed('single', 49);
  const client = await ctx.connect({}, '', ctx.single);
  const things = client.db(ctx.database).collection('single');
  await things.insertOne({ _id: 49 }, { writeConcern: { w: 3 } });
  const found = await things.find({}, { batchSize: 9 }).toArray();
  const preferred = await things.find({}, { readPreference: 'secondaryPreferred' }).toArray();
  await client.withSession((session) => session.withTransaction(() => things.deleteOne({ _id: 1 }, { session })));
  assert.deepEqual([found.length, preferred.length, await things.countDocuments()], [50, 50, 49]);
  return names(client);
};
