// Change streams: what they tell, and that they resume.
'use strict';

const { assert, failure, names } = require('./harness');

const told = (events) => events.map(({ operationType, documentKey, fullDocument, updateDescription, ns }) => (
  { operationType, documentKey, fullDocument, updateDescription, ns }));
const hasty = { maxAwaitTimeMS: 100 };
const ids = (events) => events.map((event) => event.documentKey._id);

async function take(stream, count) {
  const events = [];
  while (events.length < count) events.push(await stream.next());
  return events;
}

exports['change streams of a collection, a database and the set'] = async (ctx) => {
  const db = ctx.client.db(ctx.database);
  const things = await ctx.seed('watched', 1);
  const mine = [{ $match: { 'ns.db': ctx.database, 'ns.coll': 'watched' } }];
  const streams = [things.watch([], { ...hasty, fullDocument: 'updateLookup' }), db.watch(mine, hasty), ctx.client.watch(mine, hasty)];
  // The aggregate goes out with the first look.
  for (const stream of streams) assert.equal(await stream.tryNext(), null);
  await things.insertOne({ _id: 1, n: 1 });
  await things.updateOne({ _id: 1 }, { $set: { n: 2 } });
  await things.replaceOne({ _id: 1 }, { n: 3 });
  await things.deleteOne({ _id: 1 });
  const seen = [];
  for (const stream of streams) {
    const events = await take(stream, 4);
    assert.deepEqual(events.map((event) => event.operationType), ['insert', 'update', 'replace', 'delete']);
    // Only the collection's stream looks documents up.
    seen.push(told(events));
    await stream.close();
  }
  return seen;
};

exports['a change stream resumes when its cursor is killed'] = async (ctx) => {
  await ctx.seed('resumed', 1);
  const client = await ctx.connect();
  const things = client.db(ctx.database).collection('resumed');
  const stream = things.watch([], { maxAwaitTimeMS: 200 });
  assert.equal(await stream.tryNext(), null);
  const seen = [];
  for (let n = 1; n < 4; n += 1) {
    await things.insertOne({ _id: n });
    seen.push(...ids(await take(stream, 1)));
    const id = client.replies.findLast(([name]) => name === 'aggregate')[1].cursor.id;
    const killed = await client.db(ctx.database).command({ killCursors: 'resumed', cursors: [id] });
    assert.equal(killed.cursorsKilled.length, 1);
    // Happens while the stream has no cursor.
    await things.insertOne({ _id: n * 100 });
    seen.push(...ids(await take(stream, 1)));
  }
  await stream.close();
  assert.deepEqual(seen, [1, 100, 2, 200, 3, 300]);
  const aggregates = client.log.filter(([name]) => name === 'aggregate');
  return [seen, aggregates.map(([, command]) => Object.keys(command.pipeline[0].$changeStream).sort())];
};

exports['a change stream is resumed by a token of another'] = async (ctx) => {
  const things = await ctx.seed('token', 1);
  const first = things.watch([], { maxAwaitTimeMS: 200 });
  await first.tryNext();
  await things.insertMany([1, 2, 3, 4, 5].map((n) => ({ _id: n })));
  const token = (await take(first, 2))[1]._id;
  await first.close();
  const again = (await ctx.connect()).db(ctx.database).collection('token');
  const after = again.watch([], { resumeAfter: token });
  const events = await take(after, 3);
  await after.close();
  const started = again.watch([], { startAfter: token });
  assert.deepEqual(ids(await take(started, 1)), [3]);
  await started.close();
  assert.deepEqual(ids(events), [3, 4, 5]);
  const bad = await failure(() => again.watch([], { resumeAfter: { _data: '00' } }).next());
  return [told(events), bad];
};

exports['a change stream as an event emitter goes over many batches'] = async (ctx) => {
  const client = await ctx.connect();
  const things = client.db(ctx.database).collection('emitted');
  await things.insertOne({ _id: 'first' });
  const stream = things.watch([{ $match: { operationType: 'insert' } }], { batchSize: 7 });
  const events = [];
  const whole = new Promise((resolve, reject) => {
    stream.on('change', (event) => { if (events.push(event) === 100) resolve(); });
    stream.on('error', reject);
  });
  const isOpen = () => client.replies.some(([name]) => name === 'aggregate');
  while (!isOpen()) await new Promise((resolve) => setTimeout(resolve, 10));
  await things.insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: n })));
  await whole;
  await stream.close();
  assert.deepEqual(ids(events), Array.from({ length: 100 }, (_, n) => n));
  assert.ok(names(client).filter((name) => name === 'getMore').length >= 14, 'at least 14 getMores');
  return events.length;
};

exports['a change stream ends with its collection'] = async (ctx) => {
  const things = await ctx.seed('invalidated', 1);
  const stream = things.watch([], hasty);
  await stream.tryNext();
  await things.drop();
  const kinds = (await take(stream, 2)).map((event) => event.operationType);
  assert.deepEqual(kinds, ['drop', 'invalidate']);
  const ended = await failure(() => stream.next());
  return [kinds, ended.name];
};
