// What the driver discovers, and that nothing depends on a connection.
'use strict';

const { assert, names } = require('./harness');

const pause = (millis) => new Promise((resolve) => { setTimeout(resolve, millis); });

// The kinds of the topology and of its servers, once all are known: compared with what the presentation says.
exports['the topology'] = async (ctx) => {
  await ctx.collection('things').findOne({});
  const seen = () => ctx.client.topology.description;
  const kinds = () => [...seen().servers.values()].map((one) => one.type).sort();
  for (let n = 0; n < 1000 && kinds().includes('Unknown'); n += 1) await pause(10);
  return [seen().type, kinds()];
};

exports['cursors and transactions over ever new connections'] = async (ctx) => {
  await ctx.seed('anew', 60);
  // No connection is idle for so short a time: each command takes a new one, except where the driver itself keeps one.
  const client = await ctx.connect({ maxIdleTimeMS: 1 });
  const things = client.db(ctx.database).collection('anew');
  const seen = [];
  for (let n = 0; n < 12; n += 1) {
    const readPreference = n % 3 === 2 ? 'secondary' : 'primary';
    const found = [];
    for await (const one of things.find({}, { batchSize: 15, readPreference }).sort({ _id: 1 })) {
      if (found.push(one._id) % 15 === 0) await pause(3);
    }
    assert.deepEqual(found, Array.from({ length: 60 }, (_, id) => id));
    seen.push(found.length);
  }
  const session = client.startSession();
  session.startTransaction();
  for (let n = 100; n < 106; n += 1) {
    await things.insertOne({ _id: n }, { session });
    await pause(3);
  }
  const inside = await things.countDocuments({}, { session });
  await session.commitTransaction();
  await session.endSession();
  assert.deepEqual([inside, await things.countDocuments()], [66, 66]);
  return [seen, inside, names(client)];
};
