// The steps that read, and those that end what reads began.
'use strict';

module.exports = {
  *'cursor with getMore'(c) {
    const found = yield c.call(c.things.find().sort({ _id: 1 }).batchSize(50), 'toArray');
    const numbers = found.map((each) => each.n);
    return [found.length, numbers.slice(0, 5), numbers.slice(148, 152), numbers.reduce((sum, n) => sum + n, 0)];
  },

  *"cursor with the driver's batches"(c) {
    return (yield c.call(c.things.find(), 'toArray')).length;
  },

  *'limit and skip over batches'(c) {
    const found = yield c.call(c.things.find().sort({ _id: 1 }).skip(10).limit(120).batchSize(50), 'toArray');
    return [found.length, found[0]._id, found[119]._id];
  },

  *killCursors(c) {
    const cursor = c.things.find().sort({ _id: 1 }).batchSize(10);
    // 3.0 renamed it.
    const first = yield c.call(cursor, cursor.nextObject ? 'nextObject' : 'next');
    yield c.call(cursor, 'close');
    return [first._id, (yield c.call(c.things, 'findOne', { _id: 9 }))._id];
  },

  *sort(c) {
    const found = yield c.call(c.things.find({ shape: 'circle' }).sort([['n', -1]]).limit(3), 'toArray');
    return found.map((each) => [each._id, each.n]);
  },

  *'find with operators'(c) {
    const query = { $or: [{ _id: 5 }, { n: { $in: [7, 8] } }], text: { $exists: true } };
    const found = yield c.call(c.things.find(query), 'toArray');
    const bad = yield c.refused(c.call(c.things.find({ n: { $unknown: 1 } }), 'toArray'));
    return [found.map((each) => each._id).sort(), bad];
  },

  *count(c) {
    return [yield c.call(c.things, 'count'), yield c.call(c.things, 'count', { shape: 'circle' })];
  },

  *distinct(c) {
    return (yield c.call(c.things, 'distinct', 'shape')).sort();
  },

  *aggregate(c) {
    const pipeline = [
      { $match: { shape: { $exists: true } } },
      { $group: { _id: '$shape', count: { $sum: 1 } } },
      { $sort: { _id: 1 } },
    ];
    const answer = yield c.call(c.things, 'aggregate', pipeline);
    return Array.isArray(answer) ? answer : yield c.call(answer, 'toArray');
  },

  *group(c) {
    const reduce = 'function(each, sum) { sum.count += 1; }';
    const answer = yield c.call(c.things, 'group', { shape: 1 }, { _id: { $lt: 10 } }, { count: 0 }, reduce, true);
    return answer.map((each) => [each.shape, each.count]).sort();
  },

  *mapReduce(c) {
    const answer = yield c.call(
      c.things,
      'mapReduce',
      'function() { emit(this.shape, 1); }',
      'function(key, values) { return Array.sum(values); }',
      { query: { _id: { $lt: 10 } }, out: { inline: 1 } }
    );
    return answer.map((each) => [each._id, each.value]).sort();
  },

  *listCollections(c) {
    // By the names that each generation had for it.
    let found;
    if (c.db.listCollections) found = yield c.call(c.db.listCollections(), 'toArray');
    else found = yield c.call(c.db, 'collectionNames', { namesOnly: true });
    const names = found.map((each) => (each.name || each).replace(`${c.db.databaseName}.`, ''));
    return names.filter((name) => !name.startsWith('system.')).sort();
  },

  *listDatabases(c) {
    const { databases } = yield c.call(c.db.admin(), 'listDatabases');
    return databases.some((each) => each.name === c.db.databaseName);
  },

  *'read from a secondary'(c) {
    const options = { readPreference: c.mongodb.ReadPreference.SECONDARY_PREFERRED, slaveOk: true };
    let found = [];
    // Secondaries follow in their own time.
    for (let tries = 0; tries < 3000 && found.length === 0; tries += 1) {
      found = yield c.call(c.things.find({ _id: 4 }, options), 'toArray');
    }
    return found.map((each) => each.n);
  },

  *GridFS(c) {
    const store = (mode) => new c.mongodb.GridStore(c.db, 'file', 'tide.txt', mode, { w: 1 });
    const writer = yield c.call(store('w'), 'open');
    yield c.call(writer, 'write', Buffer.alloc(400000, 't'));
    yield c.call(writer, 'close');
    const reader = yield c.call(store('r'), 'open');
    const data = yield c.call(reader, 'read');
    const seen = [data.length, reader.md5];
    yield c.call(reader, 'close');
    return seen;
  },

  *'errors of commands'(c) {
    return [yield c.refused(c.call(c.db, 'command', { unknownCommand: 1 }))];
  },

  *drop(c) {
    yield c.call(c.things, 'dropAllIndexes');
    yield c.call(c.db, 'dropCollection', 'things');
    return yield c.call(c.things, 'count');
  },
};
