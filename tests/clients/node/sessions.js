// Sessions and transactions.
'use strict';

const { ReadPreference } = require('mongodb');
const { assert, failure, names } = require('./harness');

const accounts = (ctx, name) => ctx.seed(name, 4, () => ({ sum: 100 }));
const sums = async (things, session) => (await things.find({}, { session }).sort({ _id: 1 }).toArray()).map((one) => one.sum);

exports['withTransaction commits all'] = async (ctx) => {
  const things = await accounts(ctx, 'committed');
  const options = { readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority' }, readPreference: 'primary' };
  const told = await ctx.client.withSession((session) => session.withTransaction(async () => {
    await things.updateOne({ _id: 0 }, { $inc: { sum: -30 } }, { session });
    await things.updateOne({ _id: 1 }, { $inc: { sum: 30 } }, { session });
    await things.bulkWrite([{ insertOne: { document: { _id: 9, sum: 1 } } }, { deleteOne: { filter: { _id: 3 } } }], { session });
    return [await sums(things, session), await sums(things)];
  }, options));
  const after = await sums(things);
  assert.deepEqual([told, after], [[[70, 130, 100, 1], [100, 100, 100, 100]], [70, 130, 100, 1]]);
  return [told, after];
};

exports['withTransaction retries a conflict'] = async (ctx) => {
  const things = await accounts(ctx, 'conflict');
  let tries = 0;
  const returned = await ctx.client.withSession((session) => session.withTransaction(async () => {
    tries += 1;
    const seen = await things.findOne({ _id: 0 }, { session });
    if (tries === 1) await things.updateOne({ _id: 0 }, { $inc: { sum: 1000 } });
    await things.updateOne({ _id: 0 }, { $set: { sum: seen.sum - 30 } }, { session });
    return 'done';
  }));
  const after = await sums(things);
  assert.deepEqual([returned, tries, after], ['done', 2, [1070, 100, 100, 100]]);
  return [returned, tries, after];
};

exports['transactions abort'] = async (ctx) => {
  const things = await accounts(ctx, 'aborted');
  const session = ctx.client.startSession();
  session.startTransaction();
  await things.deleteMany({}, { session });
  const inside = await sums(things, session);
  await session.abortTransaction();
  const own = await failure(() => session.withTransaction(async () => {
    await things.deleteMany({}, { session });
    throw new Error('the application\'s own');
  }));
  session.startTransaction();
  await things.updateOne({ _id: 0 }, { $inc: { sum: 1 } }, { session });
  const duplicate = await failure(() => things.insertOne({ _id: 1 }, { session }), 11000);
  const over = await failure(() => things.insertOne({ _id: 12 }, { session }), 251);
  await session.abortTransaction();
  await session.endSession();
  // The locks are gone too: this write would wait otherwise.
  await things.updateOne({ _id: 0 }, { $inc: { sum: 1 } });
  const after = await sums(things);
  assert.deepEqual([inside, after], [[], [101, 100, 100, 100]]);
  return [inside, own.message, duplicate, over, after];
};

exports['cursors in a transaction, and one left at its end'] = async (ctx) => {
  const things = await ctx.seed('within', 200);
  const session = ctx.client.startSession();
  session.startTransaction();
  await things.insertOne({ _id: 200 }, { session });
  const found = await things.find({}, { session, batchSize: 30 }).sort({ _id: 1 }).toArray();
  const grouped = await things.aggregate([{ $group: { _id: { $mod: ['$_id', 50] } } }], { session, batchSize: 7 }).toArray();
  const distinct = await things.distinct('_id', { _id: { $lt: 5 } }, { session });
  const left = things.find({}, { session, batchSize: 2 });
  await left.next();
  await session.commitTransaction();
  await session.commitTransaction();
  await session.endSession();
  assert.deepEqual([found.length, grouped.length, await things.countDocuments()], [201, 50, 201]);
  return [found.length, grouped.length, distinct];
};

exports['two transactions at once, and refusals'] = async (ctx) => {
  const things = await accounts(ctx, 'at_once');
  const [one, other] = [ctx.client.startSession(), ctx.client.startSession()];
  one.startTransaction();
  other.startTransaction();
  await things.updateOne({ _id: 0 }, { $inc: { sum: 1 } }, { session: one });
  await things.updateOne({ _id: 1 }, { $inc: { sum: 2 } }, { session: other });
  const conflict = await failure(() => things.updateOne({ _id: 0 }, { $inc: { sum: 5 } }, { session: other }), 112);
  await one.commitTransaction();
  await other.abortTransaction();
  const again = await failure(() => other.commitTransaction());
  other.startTransaction({ readPreference: 'secondary' });
  const secondary = await failure(() => things.findOne({}, { session: other }));
  await other.abortTransaction().catch(() => {});
  await one.endSession();
  await other.endSession();
  return [conflict, again.message, secondary.name, await sums(things)];
};

exports['a causal session reads its writes on secondaries'] = async (ctx) => {
  const things = await ctx.seed('causal', 1);
  const reads = ctx.collection('causal', { readPreference: ReadPreference.SECONDARY });
  const seen = [];
  await ctx.client.withSession({ causalConsistency: true }, async (session) => {
    for (let n = 1; n < 31; n += 1) {
      await things.updateOne({ _id: 0 }, { $set: { n } }, { session, writeConcern: { w: 1 } });
      seen.push((await reads.findOne({ _id: 0 }, { session })).n);
    }
  });
  assert.deepEqual(seen, Array.from({ length: 30 }, (_, n) => n + 1));
  const finds = ctx.client.log.filter(([name]) => name === 'find');
  return [seen, finds.map(([, command]) => Object.keys(command.readConcern))];
};

exports['a session passes its times on to another'] = async (ctx) => {
  const things = await ctx.seed('passed', 1);
  const other = await ctx.connect();
  const reads = other.db(ctx.database).collection('passed', { readPreference: 'secondary' });
  const seen = [];
  for (let n = 0; n < 10; n += 1) {
    const [writer, reader] = [ctx.client.startSession(), other.startSession()];
    await things.updateOne({ _id: 0 }, { $set: { n } }, { session: writer, writeConcern: { w: 'majority' } });
    reader.advanceClusterTime(writer.clusterTime);
    reader.advanceOperationTime(writer.operationTime);
    seen.push((await reads.findOne({ _id: 0 }, { session: reader, readConcern: 'majority' })).n);
    await writer.endSession();
    await reader.endSession();
  }
  assert.deepEqual(seen, Array.from({ length: 10 }, (_, n) => n));
  return seen;
};

exports['a snapshot session reads one moment'] = async (ctx) => {
  const things = await ctx.seed('snapshot', 3, () => ({ n: 0 }));
  // What w: 3 acknowledged is majority committed only a moment later.
  await things.updateMany({}, { $set: { n: 0, settled: true } }, { writeConcern: { w: 'majority' } });
  const session = ctx.client.startSession({ snapshot: true });
  const read = async (options) => (await things.find({}, { session, ...options }).sort({ _id: 1 }).toArray()).map((one) => one.n);
  const first = await read();
  await things.updateMany({}, { $set: { n: 1 } }, { writeConcern: { w: 'majority' } });
  const told = [first, await read(), await read({ batchSize: 2, readPreference: 'secondary' }),
    await things.countDocuments({ n: 0 }, { session }), await things.distinct('n', {}, { session })];
  const write = await failure(() => things.insertOne({ _id: 'x' }, { session }));
  await session.endSession();
  assert.deepEqual(told, [[0, 0, 0], [0, 0, 0], [0, 0, 0], 3, [0]]);
  return [told, write];
};

exports['sessions are sent, reused and ended'] = async (ctx) => {
  const client = await ctx.connect();
  const things = client.db(ctx.database).collection('lsid');
  await things.insertMany(Array.from({ length: 10 }, (_, n) => ({ _id: n })));
  await things.find({}, { batchSize: 3 }).toArray();
  const ids = new Set(client.log.map(([, command]) => command.lsid.id.toString('hex')));
  await client.close();
  const last = client.log.at(-1);
  assert.deepEqual([ids.size, last[0], last[1].endSessions.length], [1, 'endSessions', 1]);
  return names(client);
};
