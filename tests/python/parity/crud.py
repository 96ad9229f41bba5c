"""Documents created, read, updated and deleted one or a few at a time."""

import datetime
import uuid

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReturnDocument
from pymongo.collation import Collation
from pymongo.errors import WriteError

from . import expect
from .registry import scenario


@scenario
def insert_find_update_replace_delete(ctx):
    things = ctx.db.things
    expect.equal(things.insert_one({"_id": 1, "n": 1}).inserted_id, 1)
    many = things.insert_many([{"_id": n, "n": n} for n in range(2, 11)])
    expect.equal(many.inserted_ids, list(range(2, 11)))
    updated = things.update_one({"_id": 1}, {"$inc": {"n": 100}})
    updated_many = things.update_many({"n": {"$lt": 6}}, {"$set": {"small": True}})
    unmatched = things.update_one({"_id": 99}, {"$set": {"n": 0}})
    replaced = things.replace_one({"_id": 10}, {"n": "ten"})
    deleted = things.delete_one({"_id": 3})
    deleted_many = things.delete_many({"_id": {"$in": [4, 5, 77]}})
    left = list(things.find().sort("_id"))
    expect.equal([one["_id"] for one in left], [1, 2, 6, 7, 8, 9, 10])
    expect.equal(left[0]["n"], 101)
    return [
        left,
        [(result.matched_count, result.modified_count) for result in (updated, updated_many, unmatched, replaced)],
        [deleted.deleted_count, deleted_many.deleted_count],
    ]


@scenario
def upserts_report_the_new_id(ctx):
    things = ctx.db.things
    first = things.update_one({"_id": "a"}, {"$set": {"n": 1}}, upsert=True)
    second = things.update_one({"_id": "a"}, {"$set": {"n": 2}}, upsert=True)
    generated = things.replace_one({"name": "b"}, {"name": "b"}, upsert=True)
    expect.equal(first.upserted_id, "a")
    expect.equal(second.upserted_id, None)
    expect.true(isinstance(generated.upserted_id, bson.ObjectId), "a generated _id")
    return [first.raw_result, second.raw_result, generated.raw_result]


@scenario
def updates_with_pipelines_filters_and_let(ctx):
    things = ctx.db.things
    things.insert_one({"_id": 1, "price": 10, "scores": [1, 5, 9]})
    things.update_one({"_id": 1}, [{"$set": {"total": {"$multiply": ["$price", "$$factor"]}}}], let={"factor": 3})
    things.update_one({"_id": 1}, {"$inc": {"scores.$[high]": 100}}, array_filters=[{"high": {"$gte": 5}}])
    seen = things.find_one({"$expr": {"$eq": ["$total", "$$wanted"]}}, let={"wanted": 30})
    expect.equal(seen, {"_id": 1, "price": 10, "scores": [1, 105, 109], "total": 30})
    return seen


@scenario
def find_and_modify_in_all_forms(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": n, "rank": 10 - n} for n in range(5)])
    before = things.find_one_and_update({"_id": 1}, {"$inc": {"rank": 1}})
    after = things.find_one_and_update({"_id": 1}, {"$inc": {"rank": 1}}, return_document=ReturnDocument.AFTER)
    lowest = things.find_one_and_delete({}, sort=[("rank", 1)], projection={"_id": 1})
    replaced = things.find_one_and_replace({"_id": 2}, {"rank": "two"}, return_document=ReturnDocument.AFTER)
    nothing = things.find_one_and_update({"_id": 77}, {"$set": {"rank": 0}})
    upserted = things.find_one_and_update(
        {"_id": 78}, {"$set": {"rank": 78}}, upsert=True, return_document=ReturnDocument.AFTER
    )
    expect.equal([before["rank"], after["rank"], lowest, nothing], [9, 11, {"_id": 4}, None])
    raw = ctx.db.command("findAndModify", "things", query={"_id": 78}, remove=True)
    expect.equal(raw["value"], {"_id": 78, "rank": 78})
    return [before, after, lowest, replaced, nothing, upserted, raw]


@scenario
def find_options(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": n, "word": word, "n": n % 3} for n, word in enumerate(["b", "A", "a", "B", "c", "C"])])
    things.create_index("n")
    folded = Collation(locale="en", strength=2)
    outcomes = [
        list(things.find({}, {"word": 0}).sort([("n", -1), ("_id", 1)]).skip(1).limit(3)),
        list(things.find({"word": "a"}).collation(folded).sort("_id")),
        list(things.find({"n": 1}).hint([("n", 1)]).sort("_id")),
        list(things.find({}, {"_id": 0, "n": 1}).hint("n_1").min([("n", 1)]).max([("n", 2)])),
        list(things.find({}).comment("a comment").max_time_ms(20_000).sort("_id").limit(1)),
        list(things.find({"_id": 0}, {"shown": {"$concat": ["$word", "!"]}})),
        list(things.find().sort("_id").limit(-2)),
        list(things.find({}, show_record_id=True).sort("_id").limit(1)),
        list(things.find({}, return_key=True).hint("n_1").limit(1)),
        list(things.find({}, allow_disk_use=True).sort("_id", -1).limit(1)),
    ]
    expect.equal(outcomes[1], [{"_id": 1, "word": "A", "n": 1}, {"_id": 2, "word": "a", "n": 2}])
    expect.equal(outcomes[5], [{"_id": 0, "shown": "b!"}])
    expect.equal(len(outcomes[6]), 2)
    return outcomes


@scenario
def counts_and_distinct(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": n, "n": n % 7, "word": "aA"[n % 2]} for n in range(100)])
    counts = [
        things.count_documents({}),
        things.count_documents({"n": 3}),
        things.count_documents({}, skip=90),
        things.count_documents({}, limit=5),
        things.estimated_document_count(),
        ctx.db.command("count", "things", query={"n": 0})["n"],
        ctx.db.absent.count_documents({}),
    ]
    expect.equal(counts, [100, 14, 10, 5, 100, 15, 0])
    values = [
        sorted(things.distinct("n")),
        things.distinct("n", {"_id": {"$lt": 2}}),
        things.distinct("word", collation=Collation(locale="en", strength=2)),
    ]
    expect.equal(values[0], list(range(7)))
    return [counts, values]


@scenario
def every_bson_type_comes_back_byte_for_byte(ctx):
    document = {
        "_id": "all",
        "double": 1.5,
        "nan": float("inf"),
        "string": "ü\u0000\U0001f30a",
        "document": {"a": {"b": {}}},
        "array": [1, "two", [3.0], {}],
        "binary": b"\x00\xff",
        "old_binary": bson.Binary(b"\x01", 2),
        "uuid": bson.Binary.from_uuid(uuid.UUID(int=5)),
        "object_id": bson.ObjectId("0123456789abcdef01234567"),
        "yes": True,
        "no": False,
        "date": datetime.datetime(1969, 12, 31, 23, 59, 59, 999000),
        "null": None,
        "regex": bson.Regex("^a.*b$", "im"),
        "code": bson.Code("x + 1"),
        "scoped": bson.Code("x + y", {"y": 2}),
        "int32": -1,
        "timestamp": bson.Timestamp(7, 9),
        "int64": bson.Int64(1 << 62),
        "decimal": bson.Decimal128("1.2300E+10"),
        "min": bson.MinKey(),
        "max": bson.MaxKey(),
        "db_ref": bson.DBRef("c", 1, "d"),
        "dotted.name": 1,
        "$dollar": 2,
        "": "an empty name",
    }
    raw = bson.encode(document)
    things = ctx.db.get_collection("things", codec_options=CodecOptions(document_class=RawBSONDocument))
    things.insert_one(RawBSONDocument(raw))
    seen = things.find_one({"_id": "all"})
    expect.equal(seen.raw, raw, "the stored document's bytes")
    return len(seen.raw)


@scenario
def collections_are_created_renamed_and_dropped(ctx):
    db = ctx.db
    db.create_collection("first", validator={"n": {"$type": "int"}})
    refusal = expect.failure(lambda: db.first.insert_one({"n": "text"}), WriteError, 121)
    again = expect.failure(lambda: db.command("create", "first", capped=True, size=4096), code=48)
    db.first.insert_one({"_id": 1, "n": 1})
    db.first.rename("second")
    changed = db.command("collMod", "second", validator={}, validationLevel="off")
    db.second.insert_one({"_id": 2, "n": "text"})
    names = db.list_collection_names()
    options = db.second.options()
    statistics = db.command("collStats", "second")
    dropped = db.drop_collection("second")
    expect.equal(names, ["second"])
    expect.equal(db.list_collection_names(), [])
    return [refusal, again, changed, options, statistics["count"], statistics["ns"], dropped]


@scenario
def reads_of_what_is_not_there_are_empty(ctx):
    return [
        list(ctx.db.nothing.find()),
        ctx.db.nothing.find_one(),
        list(ctx.db.nothing.aggregate([{"$match": {}}])),
        ctx.db.nothing.distinct("n"),
        ctx.db.list_collection_names(),
        ctx.db.nothing.delete_many({}).deleted_count,
        ctx.db.command("dbStats")["collections"],
    ]


@scenario
def explain_tells_the_plan(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": n, "n": n} for n in range(20)])
    things.create_index("n")
    by_index = things.find({"n": {"$gt": 15}}).explain()
    expect.equal(by_index["executionStats"]["nReturned"], 4)
    stages = [by_index["queryPlanner"]["winningPlan"]["stage"]]
    for command in (
        {"update": "things", "updates": [{"q": {"n": 1}, "u": {"$set": {"x": 1}}}]},
        {"delete": "things", "deletes": [{"q": {"n": 1}, "limit": 1}]},
        {"count": "things", "query": {"n": 1}},
        {"distinct": "things", "key": "n"},
        {"findAndModify": "things", "query": {"n": 1}, "remove": True},
        {"aggregate": "things", "pipeline": [{"$match": {"n": 1}}], "cursor": {}},
    ):
        told = ctx.db.command("explain", command, verbosity="queryPlanner")
        stages.append(told["queryPlanner"]["winningPlan"].get("stage"))
    expect.equal(things.count_documents({"x": 1}), 0, "explain writes nothing")
    return stages
