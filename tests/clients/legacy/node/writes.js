// The steps that write.
'use strict';

const SHAPES = ['circle', 'square', 'star'];

module.exports = {
  *insert(c) {
    yield c.call(c.things, 'insert', { _id: 0, n: 0, shape: 'circle', deep: { list: [1, { two: 2.5 }] } }, { w: 1 });
    return yield c.call(c.things, 'findOne', { _id: 0 });
  },

  *bulk(c) {
    const documents = [];
    for (let n = 1; n < 300; n += 1) {
      documents.push({ _id: n, n, shape: SHAPES[n % 3], text: 'x'.repeat(100) });
    }
    yield c.call(c.things, 'insert', documents, { w: 1 });
    return yield c.call(c.things, 'count');
  },

  *'bulk with a duplicate, continued'(c) {
    // Later drivers know the second name alone.
    const options = { w: 1, keepGoing: true, continueOnError: true, ordered: false };
    const failed = yield c.refused(c.call(c.things, 'insert', [{ _id: 400 }, { _id: 0 }, { _id: 401 }], options));
    return [failed, yield c.call(c.things, 'count', { _id: { $gte: 400 } })];
  },

  *'bulk with a duplicate, stopped'(c) {
    const failed = yield c.refused(c.call(c.things, 'insert', [{ _id: 402 }, { _id: 0 }, { _id: 403 }], { w: 1 }));
    return [failed, c.changed(yield c.call(c.things, 'remove', { _id: { $gte: 400 } }, { w: 1 }))];
  },

  *'w=0'(c) {
    // The driver has several connections, each with an order of its own: what the next write needs is waited for.
    const thing = c.db.collection('unacknowledged');
    for (let n = 0; n < 3; n += 1) {
      yield c.call(thing, 'insert', { _id: n, n }, { w: 0 });
      yield settled(c, thing, { _id: n });
    }
    yield c.call(thing, 'update', { _id: 1 }, { $set: { n: 10 } }, { w: 0 });
    yield settled(c, thing, { n: 10 });
    yield c.call(thing, 'update', { _id: 7 }, { _id: 7, n: 70 }, { w: 0, upsert: true });
    yield settled(c, thing, { n: 70 });
    yield c.call(thing, 'update', {}, { $inc: { n: 1 } }, { w: 0, multi: true });
    yield settled(c, thing, { n: 71 });
    yield c.call(thing, 'remove', { _id: 0 }, { w: 0 });
    yield settled(c, thing, { _id: 0 }, false);
    yield c.call(thing, 'insert', { _id: 2 }, { w: 0 });
    yield c.call(thing, 'insert', { _id: 9 }, { w: 0 });
    yield settled(c, thing, { _id: 9 });
    return yield c.call(thing.find().sort({ _id: 1 }), 'toArray');
  },

  *update(c) {
    const result = yield c.call(c.things, 'update', { _id: 1 }, { $set: { shape: 'line' }, $push: { list: 1 } }, { w: 1 });
    const found = yield c.call(c.things, 'findOne', { _id: 1 });
    return [c.changed(result), found.shape, found.list];
  },

  *'update, multi'(c) {
    const options = { w: 1, multi: true };
    const result = yield c.call(c.things, 'update', { shape: 'star' }, { $inc: { n: 1000 } }, options);
    return [c.changed(result), yield c.call(c.things, 'count', { n: { $gte: 1000 } })];
  },

  *'update, none'(c) {
    return c.changed(yield c.call(c.things, 'update', { _id: 'none' }, { $set: { n: 1 } }, { w: 1 }));
  },

  *upsert(c) {
    const result = yield c.call(c.things, 'update', { _id: 500 }, { $set: { n: 5 } }, { w: 1, upsert: true });
    return [c.changed(result), yield c.call(c.things, 'findOne', { _id: 500 })];
  },

  *replace(c) {
    const result = yield c.call(c.things, 'update', { _id: 500 }, { n: 6, new: true }, { w: 1 });
    yield c.call(c.things, 'save', { _id: 501, saved: 1 }, { w: 1 });
    return [c.changed(result), yield c.call(c.things.find({ _id: { $gte: 500 } }).sort({ _id: 1 }), 'toArray')];
  },

  *remove(c) {
    const some = yield c.call(c.things, 'remove', { _id: { $gte: 500 } }, { w: 1 });
    return [c.changed(some), c.changed(yield c.call(c.things, 'remove', { _id: 'none' }, { w: 1 }))];
  },

  *index(c) {
    const made = [
      yield c.call(c.things, 'ensureIndex', { shape: 1, n: -1 }, { w: 1, background: true }),
      yield c.call(c.things, 'createIndex', { code: 1 }, { w: 1, unique: true, sparse: true, name: 'codes' }),
    ];
    const found = yield c.call(c.things, 'indexes');
    const about = found.map((one) => [one.name, one.key, Boolean(one.unique)]);
    return [made, about.sort((a, b) => (a[0] < b[0] ? -1 : 1))];
  },

  *'duplicate key'(c) {
    yield c.call(c.things, 'insert', { _id: 600, code: 1 }, { w: 1 });
    const set = { $set: { code: 1 } };
    const seen = [
      yield c.refused(c.call(c.things, 'insert', { _id: 0 }, { w: 1 })),
      yield c.refused(c.call(c.things, 'insert', { _id: 601, code: 1 }, { w: 1 })),
      yield c.refused(c.call(c.things, 'update', { _id: 0 }, set, { w: 1 })),
      yield c.refused(c.call(c.things, 'update', { _id: 602 }, set, { w: 1, upsert: true })),
    ];
    yield c.call(c.things, 'remove', { _id: { $gte: 600 } }, { w: 1 });
    return seen;
  },

  *'getLastError, majority'(c) {
    const concern = { w: 'majority', wtimeout: 10000 };
    const result = yield c.call(c.things, 'update', { _id: 2 }, { $set: { safe: 1 } }, concern);
    yield c.call(c.things, 'insert', { _id: 700 }, { w: 1, j: true });
    return [c.changed(result), c.changed(yield c.call(c.things, 'remove', { _id: 700 }, concern))];
  },

  *'getLastError, more members than there are'(c) {
    const failed = yield c.refused(c.call(c.things, 'update', { _id: 2 }, { $set: { safe: 2 } }, { w: 9, wtimeout: 100 }));
    return [failed, (yield c.call(c.things, 'findOne', { _id: 2 })).safe];
  },

  *findAndModify(c) {
    const modify = (query, sort, change, options) =>
      c.call(c.things, 'findAndModify', query, sort, change, options).then((answer) =>
        answer && answer.value !== undefined && answer.ok !== undefined ? answer.value : answer
      );
    const first = (yield modify({ _id: 3 }, [], { $set: { n: -3 } }, { w: 1 })).n;
    const second = (yield modify({ _id: 3 }, [], { $inc: { n: -1 } }, { w: 1, new: true })).n;
    return [
      first,
      second,
      yield modify({ _id: 800 }, [], { $set: { n: 8 } }, { w: 1, upsert: true, new: true }),
      yield modify({ _id: 800 }, [], null, { w: 1, remove: true }),
      yield modify({ _id: 'none' }, [], { $set: { n: 1 } }, { w: 1 }),
      (yield modify({ shape: 'square' }, [['n', -1]], { $set: { first: 1 } }, { w: 1, new: true }))._id,
    ];
  },
};

// Waits until what was written without acknowledgement is seen, or what was removed is not.
function* found(c, thing, query, expected) {
  for (let tries = 0; tries < 3000; tries += 1) {
    if (Boolean(yield c.call(thing, 'findOne', query)) === expected) return true;
    yield new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`not seen: ${JSON.stringify(query)}`);
}

function settled(c, thing, query, expected) {
  return c.follow(found(c, thing, query, expected !== false));
}
