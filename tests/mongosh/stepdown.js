// rs.stepDown() as a user does it: the primary changes, and the same shell goes on writing and reading. Prints one JSON
// line a step. It disturbs whoever else uses the set.
//
// Usage: mongosh URI --quiet --norc --eval "var database = '...'" --file steps.js --file stepdown.js
'use strict';

const shop = db.getSiblingDB(database);

function primary() {
  const member = rs.status().members.find((one) => one.stateStr === 'PRIMARY');
  return member && member.name;
}

function eventually(condition, what) {
  const deadline = Date.now() + 30000;
  for (;;) {
    try {
      const value = condition();
      if (value) return value;
    } catch (error) {
      // While there is no primary a shell may be told so.
      if (Date.now() > deadline) throw error;
    }
    if (Date.now() > deadline) throw new Error(`expected within 30 s: ${what}`);
    sleep(50);
  }
}

shop.things.insertOne({ _id: 'before' }, { writeConcern: { w: 'majority' } });
const before = eventually(primary, 'a primary');
const answer = rs.stepDown(20, 10);
print(JSON.stringify({ step: 'stepped down', outcome: answer.ok }));
// Retryable, so it is applied once, by the new primary at the latest.
const inserted = eventually(() => {
  shop.things.updateOne({ _id: 'after' }, { $set: { n: 1 } }, { upsert: true });
  return shop.things.countDocuments({ _id: 'after' });
}, 'a write after the stepdown');
print(JSON.stringify({ step: 'written after it', outcome: inserted }));
const after = eventually(() => {
  const name = primary();
  return name !== before && name;
}, 'another primary');
const seen = shop.things.find().sort({ _id: 1 }).toArray().map((one) => one._id);
print(JSON.stringify({ step: 'another primary', outcome: after !== before }));
print(JSON.stringify({ step: 'nothing lost', outcome: seen }));
eventually(() => rs.status().members.filter((one) => one.stateStr === 'SECONDARY').length >= 2, 'two secondaries');
shop.dropDatabase();
print(JSON.stringify({ steps: 4, failures: 0 }));
