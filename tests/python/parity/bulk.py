"""Bulk writes: large ones, ordered and unordered ones with errors."""

from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, InvalidOperation

from . import expect
from .registry import scenario

MANY = 100_000


@scenario
def a_hundred_thousand_documents_in_one_insert(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    result = things.insert_many([{"_id": n, "text": "some words"} for n in range(MANY)], ordered=False)
    expect.equal(result.inserted_ids[-1], MANY - 1)
    expect.equal(log.names(), ["insert"], "commands: all documents in one message")
    expect.equal(log.replies[0][1]["n"], MANY)
    sums = list(things.aggregate([{"$group": {"_id": None, "n": {"$sum": 1}, "ids": {"$sum": "$_id"}}}]))
    expect.equal(sums, [{"_id": None, "n": MANY, "ids": MANY * (MANY - 1) // 2}])
    return [log.names(), sums]


@scenario
def a_hundred_thousand_mixed_writes(ctx):
    inserts = [InsertOne({"_id": n, "n": 0}) for n in range(94_000)]
    updates = [UpdateOne({"_id": n}, {"$inc": {"n": 1}}) for n in range(3_000)]
    deletes = [DeleteOne({"_id": 93_999 - n}) for n in range(3_000)]
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    result = things.bulk_write(inserts + updates + deletes)
    expect.equal((result.inserted_count, result.modified_count, result.deleted_count), (94_000, 3_000, 3_000))
    expect.equal(things.count_documents({}), 91_000)
    expect.equal(things.count_documents({"n": 1}), 3_000)
    return [result.bulk_api_result, log.names()]


@scenario
def every_kind_of_write_in_one_bulk(ctx):
    things = ctx.db.things
    result = things.bulk_write(
        [
            InsertOne({"_id": 1}),
            InsertOne({"_id": 2}),
            UpdateOne({"_id": 1}, {"$set": {"n": 1}}),
            UpdateMany({}, {"$set": {"m": 1}}),
            UpdateOne({"_id": 3}, {"$set": {"n": 3}}, upsert=True),
            ReplaceOne({"_id": 4}, {"n": 4}, upsert=True),
            ReplaceOne({"_id": 2}, {"n": 2}),
            DeleteOne({"_id": 1}),
            DeleteMany({"n": {"$gt": 3}}),
        ],
        comment="bulk",
    )
    expect.equal(result.upserted_ids, {4: 3, 5: 4})
    left = list(things.find().sort("_id"))
    expect.equal(left, [{"_id": 2, "n": 2}, {"_id": 3, "n": 3}])
    return [result.bulk_api_result, left]


@scenario
def an_ordered_bulk_stops_at_its_first_error(ctx):
    things = ctx.db.things
    things.insert_one({"_id": 5})
    error = expect.failure(lambda: things.insert_many([{"_id": n} for n in range(10)]), BulkWriteError)
    expect.equal(error.details["nInserted"], 5)
    expect.equal([one["index"] for one in error.details["writeErrors"]], [5])
    expect.equal(things.count_documents({}), 6)
    return error


@scenario
def an_unordered_bulk_tells_every_error(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": n} for n in range(0, 30, 3)])
    error = expect.failure(
        lambda: things.bulk_write(
            [InsertOne({"_id": n}) for n in range(30)]
            + [UpdateOne({"_id": 1}, {"$unknown": 1}), UpdateOne({"_id": 1}, {"$set": {"_id": 2}})]
            + [DeleteOne({"_id": 29}), DeleteOne({"$unknown": 1})],
            ordered=False,
        ),
        BulkWriteError,
    )
    expect.equal(error.details["nInserted"], 20)
    expect.equal(error.details["nRemoved"], 1)
    expect.equal(len(error.details["writeErrors"]), 13)
    return [error, things.count_documents({})]


@scenario
def a_client_bulk_write_needs_a_newer_server(ctx):
    return expect.failure(
        lambda: ctx.client.bulk_write([InsertOne({"_id": 1}, namespace=f"{ctx.database}.things")]), InvalidOperation
    )
