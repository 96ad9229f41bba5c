"""The steps that read, and those that end what reads began."""

import gridfs
import pymongo
from bson.son import SON
from harness import eventually, refused
from pymongo import ASCENDING, DESCENDING, ReadPreference


def cursor(context):
    """cursor with getMore"""
    found = list(context.things.find({}, {"n": 1}).sort("_id", ASCENDING).batch_size(50))
    return [len(found), found[0], found[149:152], found[-1], sum(each["n"] for each in found)]


def cursor_default(context):
    """cursor with the driver's batches"""
    return len(list(context.things.find(timeout=False) if pymongo.version_tuple[0] == 2 else context.things.find()))


def limits(context):
    """limit and skip over batches"""
    found = context.things.find({}, {"n": 1}).sort("_id", 1).skip(10).limit(120).batch_size(50)
    ids = [each["_id"] for each in found]
    single = context.things.find({}, {"n": 1}).sort("_id", 1).limit(-5)
    return [len(ids), ids[0], ids[-1], [each["_id"] for each in single]]


def kill_cursors(context):
    """killCursors"""
    found = context.things.find().sort("_id", 1).batch_size(10)
    first = next(found)["_id"]
    asked = SON([("getMore", found.cursor_id), ("collection", "things"), ("batchSize", 1)])
    found.close()
    # Some drivers leave it to a thread that looks once a second.
    gone = eventually(lambda: refused(context.database.command, asked), lambda answer: answer != "accepted")
    return [first, context.things.find_one({"_id": 9})["_id"], gone]


def sort(context):
    """sort"""
    found = context.things.find({"shape": "circle"}, {"n": 1}).sort([("n", DESCENDING), ("_id", ASCENDING)]).limit(3)
    return [list(found), list(context.things.find({}, ["shape"]).sort("$natural", ASCENDING).limit(2))]


def hint(context):
    """hint and explain"""
    found = context.things.find({"shape": "square", "n": {"$lt": 10}}, {"n": 1}).hint([("shape", 1), ("n", -1)])
    explained = context.things.find({"shape": "square"}).explain()
    return [list(found), "queryPlanner" in explained]


def operators(context):
    """find with operators"""
    found = context.things.find({"$or": [{"_id": 5}, {"n": {"$in": [7, 8.0]}}], "text": {"$exists": True}}, {"n": 1})
    bad = refused(lambda: list(context.things.find({"n": {"$unknown": 1}})))
    return [sorted(each["_id"] for each in found), bad]


def count(context):
    """count"""
    things = context.things
    limited = things.find({"shape": "circle"}).skip(10).limit(20)
    return [things.count(), things.find({"shape": "circle"}).count(), limited.count(), limited.count(True)]


def distinct(context):
    """distinct"""
    return [sorted(context.things.distinct("shape")), context.things.find({"_id": {"$lt": 3}}).distinct("_id")]


def aggregate(context):
    """aggregate"""
    answer = context.things.aggregate(
        [
            {"$match": {"shape": {"$exists": True}}},
            {"$group": {"_id": "$shape", "count": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
    )
    return answer["result"] if isinstance(answer, dict) else list(answer)


def group(context):
    """group"""
    reduce = "function(each, sum) { sum.count += 1; }"
    answer = context.things.group({"shape": True}, {"_id": {"$lt": 10}}, {"count": 0}, reduce)
    return sorted((each["shape"], each["count"]) for each in answer)


def map_reduce(context):
    """mapReduce"""
    things = context.things
    answer = things.inline_map_reduce(
        "function() { emit(this.shape, 1); }",
        "function(key, values) { return Array.sum(values); }",
        query={"_id": {"$lt": 10}},
    )
    return sorted((each["_id"], each["value"]) for each in answer)


def collections(context):
    """listCollections"""
    return sorted(name for name in context.database.collection_names() if not name.startswith("system."))


def databases(context):
    """listDatabases"""
    return [context.database.name in context.client.database_names(), "version" in context.client.server_info()]


def capped(context):
    """capped collection and tailable cursor"""
    log = context.database.create_collection("log", capped=True, size=4096)
    log.insert([{"_id": n} for n in range(3)])
    if pymongo.version_tuple[0] == 2:
        tail = log.find(tailable=True, await_data=False)
    else:
        tail = log.find(cursor_type=pymongo.CursorType.TAILABLE)
    seen = [next(tail)["_id"] for _ in range(3)]
    log.insert({"_id": 3})
    seen.append(next(tail)["_id"])
    tail.close()
    return [seen, log.options().get("capped")]


def secondary(context):
    """read from a secondary"""
    preference = ReadPreference.SECONDARY_PREFERRED
    if pymongo.version_tuple[0] == 2:
        things = context.database.things
        things.read_preference = preference
        found = things.find({"_id": 4}, {"n": 1}, slave_okay=True)
    else:
        things = context.things.with_options(read_preference=preference)
        found = things.find({"_id": 4}, {"n": 1})
    # Secondaries follow in their own time.
    seen = eventually(things.count, lambda count: count == 300)
    return [list(found), seen]


def files(context):
    """GridFS"""
    store = gridfs.GridFS(context.database)
    store.put(b"tide" * 100000, _id="file", filename="tide.txt")
    read = store.get("file")
    seen = [read.length, read.md5, len(read.read()), store.list()]
    store.delete("file")
    return seen + [store.exists("file")]


def errors(context):
    """errors of commands"""
    command = context.database.command
    return [refused(command, "unknownCommand"), refused(command, "drop", "missing")]


READS = [
    cursor,
    cursor_default,
    limits,
    kill_cursors,
    sort,
    hint,
    operators,
    count,
    distinct,
    aggregate,
    group,
    map_reduce,
    collections,
    databases,
    capped,
    secondary,
    files,
    errors,
]
