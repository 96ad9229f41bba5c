// Cursors: batches, early closes, tailable ones.
'use strict';

const { Long } = require('mongodb');
const { assert, failure, names } = require('./harness');

const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const text = () => ({ text: 'x'.repeat(50) });

exports['cursors over many batches'] = async (ctx) => {
  const things = await ctx.seed('batches', 1000, text);
  const client = await ctx.connect();
  const read = client.db(ctx.database).collection('batches');
  const found = await read.find().sort({ _id: 1 }).batchSize(90).toArray();
  assert.deepEqual(found.map((one) => one._id), numbers(1000));
  const backwards = [];
  for await (const one of read.aggregate([{ $sort: { _id: -1 } }], { batchSize: 90 })) backwards.push(one._id);
  assert.deepEqual(backwards.reverse(), numbers(1000));
  const lengths = [
    (await things.find().limit(250).batchSize(100).toArray()).length,
    (await things.find().limit(-50).toArray()).length,
    (await things.find().skip(950).batchSize(20).toArray()).length,
    (await things.find({}, { noCursorTimeout: true }).batchSize(300).toArray()).length,
    (await things.find({}, { singleBatch: true, batchSize: 7 }).toArray()).length,
  ];
  assert.deepEqual(lengths, [250, 50, 50, 1000, 7]);
  return [lengths, names(client)];
};

exports['cursors side by side over several connections'] = async (ctx) => {
  const things = await ctx.seed('beside', 300, text);
  const cursors = numbers(8).map((n) => things.find({}, { batchSize: 7 + n }).sort({ _id: 1 }));
  const all = await Promise.all(cursors.map((cursor) => cursor.toArray()));
  for (const one of all) assert.deepEqual(one.map((document) => document._id), numbers(300));
  const modes = ['primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest'];
  const elsewhere = await Promise.all(
    modes.map((readPreference) => things.find({}, { batchSize: 20, readPreference }).sort({ _id: 1 }).toArray()));
  for (const one of elsewhere) assert.deepEqual(one.map((document) => document._id), numbers(300));
  return all.map((one) => one.length);
};

exports['a cursor closed early is killed'] = async (ctx) => {
  await ctx.seed('closed', 100);
  const client = await ctx.connect();
  const db = client.db(ctx.database);
  const cursor = db.collection('closed').find({}, { batchSize: 10 });
  await cursor.next();
  const id = cursor.id;
  await cursor.close();
  const killed = client.replies.find(([name]) => name === 'killCursors')[1];
  assert.deepEqual(killed.cursorsKilled.map(String), [String(id)]);
  const gone = await failure(() => db.command({ getMore: Long.fromString(String(id)), collection: 'closed' }), 43);
  return [names(client), Object.keys(killed).sort(), gone.codeName];
};

exports['a cursor killed by another client is not found'] = async (ctx) => {
  const things = await ctx.seed('killed', 100);
  const cursor = things.find({}, { batchSize: 10 });
  await cursor.next();
  const other = await ctx.connect();
  const killed = await other.db(ctx.database).command({ killCursors: 'killed', cursors: [cursor.id] });
  assert.equal(killed.cursorsKilled.length, 1);
  const gone = await failure(() => cursor.toArray(), 43);
  return [gone.name, gone.codeName, gone.errorLabels];
};

exports['tailable cursors wait for documents'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  await db.createCollection('tailed', { capped: true, size: 1 << 20 });
  const tailed = db.collection('tailed');
  await tailed.insertMany([{ _id: 0 }, { _id: 1 }]);
  const cursor = tailed.find({}, { tailable: true, awaitData: true, maxAwaitTimeMS: 300, batchSize: 2 });
  const seen = [await cursor.next(), await cursor.next()];
  const nothing = await cursor.tryNext();
  for (let n = 2; n < 6; n += 1) {
    const next = cursor.next();
    await new Promise((resolve) => setTimeout(resolve, 30));
    await tailed.insertOne({ _id: n });
    seen.push(await next);
  }
  await cursor.close();
  const plain = tailed.find({}, { tailable: true });
  const first = await plain.next();
  await plain.close();
  const refused = await failure(() => ctx.collection('not_capped_absent').insertOne({ _id: 1 })
    .then(() => ctx.collection('not_capped_absent').find({}, { tailable: true }).next()), 2);
  assert.deepEqual([seen.map((one) => one._id), nothing], [numbers(6), null]);
  return [seen, first, refused];
};

exports['cursors of commands'] = async (ctx) => {
  await ctx.seed('commanded', 50);
  const db = ctx.client.db(ctx.database);
  const cursor = db.runCursorCommand({ find: 'commanded', sort: { _id: 1 }, batchSize: 10 });
  const found = await cursor.setBatchSize(15).toArray();
  assert.equal(found.length, 50);
  const explained = await db.collection('commanded').find({ _id: 3 }).explain('executionStats');
  return [found.length, explained.executionStats.nReturned, explained.queryPlanner.winningPlan.stage];
};
