"""Write concerns: unacknowledged, majority, numbers, tags, and those that can't be met."""

import subprocess
import sys

from pymongo import DeleteMany, InsertOne, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, WriteConcernError, WTimeoutError

from . import expect
from .registry import scenario
from .replica_set import WRITE_CONCERN_MODE


@scenario
def unacknowledged_writes_are_seen_by_the_next_read(ctx):
    things = ctx.seed("things", [{"_id": "seed"}])
    silent = things.with_options(write_concern=WriteConcern(0))
    counts = []
    for n in range(30):
        result = silent.insert_one({"_id": n})
        expect.equal(result.acknowledged, False)
        counts.append(things.count_documents({}))
    expect.equal(counts, list(range(2, 32)))
    silent.update_many({}, {"$set": {"n": 1}})
    updated = things.count_documents({"n": 1})
    silent.delete_one({"_id": "seed"})
    deleted = things.count_documents({})
    silent.replace_one({"_id": 0}, {"n": "replaced"})
    replaced = things.find_one({"_id": 0})
    expect.equal([updated, deleted, replaced], [31, 30, {"_id": 0, "n": "replaced"}])
    return [counts, updated, deleted, replaced]


@scenario
def unacknowledged_bulks_are_executed_errors_and_all(ctx):
    things = ctx.seed("things", [{"_id": 3}])
    silent = things.with_options(write_concern=WriteConcern(0))
    result = silent.bulk_write([InsertOne({"_id": n}) for n in range(6)], ordered=False)
    unordered = things.count_documents({})
    silent.bulk_write([UpdateOne({"_id": 1}, {"$set": {"n": 1}}), DeleteMany({"n": 1})])
    ordered = things.count_documents({})
    silent.insert_many([{"_id": n} for n in range(100, 5100)], ordered=False)
    many = expect.eventually(lambda: things.count_documents({}) == 5005, "all of 5,000 unacknowledged documents")
    expect.equal([result.acknowledged, unordered, ordered], [False, 6, 5])
    return [unordered, ordered, many]


LEAVES_AT_ONCE = """
import os, sys
from pymongo import MongoClient, WriteConcern
things = MongoClient(sys.argv[1])[sys.argv[2]].get_collection("things", write_concern=WriteConcern(0))
things.insert_one({"_id": "last words", "blob": b"x" * 1_000_000})
os._exit(0)
"""


@scenario
def an_unacknowledged_write_of_a_process_that_exits_is_executed(ctx):
    ctx.seed("things", [{"_id": "seed"}])
    for _ in range(3):
        subprocess.run([sys.executable, "-c", LEAVES_AT_ONCE, ctx.uri, ctx.database], check=True, timeout=60)
        expect.eventually(lambda: ctx.db.things.delete_one({"_id": "last words"}).deleted_count, "the document")
    return "executed"


@scenario
def concerns_that_are_met(ctx):
    outcomes = []
    for number, concern in enumerate(
        [
            WriteConcern(1),
            WriteConcern(2),
            WriteConcern(3, wtimeout=30_000),
            WriteConcern("majority"),
            WriteConcern("majority", j=True),
            WriteConcern(1, j=True),
            WriteConcern(WRITE_CONCERN_MODE, wtimeout=30_000),
        ]
    ):
        things = ctx.db.get_collection("things", write_concern=concern)
        things.insert_one({"_id": number})
        things.update_one({"_id": number}, {"$set": {"n": number}})
        outcomes.append(things.find_one_and_update({"_id": number}, {"$inc": {"n": 1}}))
    expect.equal(outcomes, [{"_id": n, "n": n} for n in range(7)])
    return outcomes


@scenario
def w_by_number_and_by_tags_reaches_the_nodes(ctx):
    """Read on the nodes: `w: 3` is on all of them when it is acknowledged, `everySite` in both data centres."""
    found = []
    for concern, needed in (
        (WriteConcern(3, wtimeout=30_000), 3),
        (WriteConcern(WRITE_CONCERN_MODE, wtimeout=30_000), 2),
    ):
        things = ctx.db.get_collection("things", write_concern=concern)
        for n in range(10):
            things.insert_one({"_id": f"{concern.document['w']}{n}"})
            holders = [
                node
                for node in ctx.replica_set.nodes
                if node.client[ctx.database].things.find_one({"_id": f"{concern.document['w']}{n}"})
            ]
            sites = {node.tags["dc"] for node in holders}
            expect.true(len(holders) >= needed and len(sites) == 2, f"{needed} holders in both data centres")
        found.append(needed)
    return found


@scenario
def concerns_that_cannot_be_met(ctx):
    def insert(identity, concern):
        return lambda: ctx.db.get_collection("things", write_concern=concern).insert_one({"_id": identity})

    too_many = expect.failure(insert(1, WriteConcern(5, wtimeout=500)), WriteConcernError, 100)
    unknown = expect.failure(insert(2, WriteConcern("noSuchMode")), WriteConcernError, 79)
    in_bulk = expect.failure(
        lambda: ctx.db.get_collection("things", write_concern=WriteConcern(7)).bulk_write(
            [InsertOne({"_id": 3}), InsertOne({"_id": 1})], ordered=False
        ),
        BulkWriteError,
    )
    create = expect.failure(
        lambda: ctx.client.get_database(ctx.database, write_concern=WriteConcern(6)).create_collection("made")
    )
    # Each was applied on the primary all the same.
    applied = sorted(one["_id"] for one in ctx.db.things.find())
    expect.equal(applied, [1, 2, 3])
    return [too_many, unknown, in_bulk, create, applied]


@scenario(alone=True)
def a_concern_that_takes_too_long(ctx):
    things = ctx.seed("things", [{"_id": 0}])
    held = ctx.replica_set.secondaries[0].client.admin
    held.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
    try:
        slow = things.with_options(write_concern=WriteConcern(3, wtimeout=150))
        errors = []
        for n in range(1, 100):
            # The secondary takes what it had fetched already; soon it lags for good.
            try:
                slow.insert_one({"_id": n})
            except WTimeoutError as error:
                errors.append(error)
                break
        expect.true(errors, "a write concern timeout while a secondary takes nothing")
        errors.append(expect.failure(lambda: slow.update_one({"_id": 0}, {"$set": {"n": 1}}), WTimeoutError, 64))
        errors.append(expect.failure(lambda: slow.insert_many([{"_id": "a"}, {"_id": "b"}]), BulkWriteError))
        majority = things.with_options(write_concern=WriteConcern("majority")).delete_one({"_id": "a"})
    finally:
        held.command("configureFailPoint", "stopReplProducer", mode="off")
    expect.equal(errors[0].code, 64)
    expect.equal(majority.deleted_count, 1)
    things.with_options(write_concern=WriteConcern(3, wtimeout=30_000)).insert_one({"_id": "after"})
    return [errors, majority.deleted_count, things.find_one({"_id": 0}), things.find_one({"_id": "b"})]
