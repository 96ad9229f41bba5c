"""Indexes, and the lists of databases, collections and indexes with their cursors."""

import pymongo
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from . import expect
from .registry import scenario


@scenario
def indexes_of_all_kinds(ctx):
    things = ctx.db.things
    names = things.create_indexes(
        [
            IndexModel([("a", 1), ("b", -1)], name="compound"),
            IndexModel("unique", unique=True, sparse=True),
            IndexModel("partial", partialFilterExpression={"n": {"$gt": 5}}),
            IndexModel("expires", expireAfterSeconds=3600),
            IndexModel([("words", "text")], default_language="none"),
            IndexModel([("place", "2dsphere")]),
            IndexModel([("hash", "hashed")]),
            IndexModel([("$**", 1)], name="wildcard"),
            IndexModel("hidden", hidden=True),
            IndexModel("folded", collation={"locale": "de"}),
        ],
        comment="indexes",
        commitQuorum="majority",
    )
    listed = things.index_information()
    things.insert_one({"_id": 1, "unique": 1, "words": "tide gate", "place": [1.0, 2.0]})
    duplicate = expect.failure(lambda: things.insert_one({"_id": 2, "unique": 1}), DuplicateKeyError, 11000)
    by_text = list(things.find({"$text": {"$search": "gate"}}, {"_id": 1}))
    near = list(things.find({"place": {"$nearSphere": [1.0, 2.0]}}, {"_id": 1}))
    expect.equal([by_text, near], [[{"_id": 1}], [{"_id": 1}]])
    things.drop_index("wildcard")
    things.drop_index([("hash", "hashed")])
    absent = expect.failure(lambda: things.drop_index("absent"), code=27)
    things.drop_indexes()
    expect.equal(list(things.index_information()), ["_id_"])
    return [names, listed, duplicate, absent]


@scenario
def bad_indexes_are_refused(ctx):
    things = ctx.db.things
    things.insert_many([{"a": 1}, {"a": 1}])
    things.create_index("b", name="b")
    again = things.create_index("b", name="b")
    return [
        again,
        expect.failure(lambda: things.create_index("a", unique=True), code=11000),
        expect.failure(lambda: things.create_index("b", name="other"), code=85),
        expect.failure(lambda: things.create_index("b", name="b", unique=True), code=86),
        expect.failure(lambda: things.create_index([("b", "nonsense")]), code=67),
        expect.failure(lambda: list(things.find().hint("absent")), code=2),
    ]


@scenario
def databases_are_listed(ctx):
    ctx.db.things.insert_one({})
    ours = {"name": {"$regex": f"^{ctx.database}$"}}
    names = [one["name"] for one in ctx.client.list_databases(filter=ours, nameOnly=True)]
    expect.equal(names, [ctx.database])
    return [
        names,
        {"admin", "config", "local"} <= set(ctx.client.list_database_names()),
        sorted(next(ctx.client.list_databases(filter=ours))),
    ]


@scenario
def collections_are_listed_over_many_batches(ctx):
    for n in range(25):
        ctx.db.create_collection(f"c{n:02}")
    ctx.db.create_collection("a_view", viewOn="c00", pipeline=[])
    client, log = ctx.connect_logged()
    # The driver has no option for it: the command, its cursor and the getMores by hand.
    db = client[ctx.database]
    cursor = db.command("listCollections", cursor={"batchSize": 4}, filter={"name": {"$regex": "^c"}})["cursor"]
    names = [one["name"] for one in cursor["firstBatch"]]
    expect.equal(len(names), 4)
    batches = 1
    while cursor["id"]:
        cursor = db.command("getMore", cursor["id"], collection="$cmd.listCollections", batchSize=4)["cursor"]
        names += [one["name"] for one in cursor["nextBatch"]]
        batches += 1
    expect.equal(sorted(names), [f"c{n:02}" for n in range(25)])
    views = [one["name"] for one in db.list_collections(filter={"type": "view"})]
    name_only = sorted(one["name"] for one in db.list_collections(nameOnly=True, comment="names"))
    return [batches, sorted(names), views, name_only, log.counts()["getMore"]]


@scenario
def indexes_are_listed_over_many_batches(ctx):
    things = ctx.db.things
    things.create_indexes([IndexModel([(f"f{n:02}", pymongo.ASCENDING)]) for n in range(20)])
    with ctx.client.start_session() as session:
        cursor = ctx.db.command("listIndexes", "things", cursor={"batchSize": 3}, session=session)["cursor"]
        names = [one["name"] for one in cursor["firstBatch"]]
        expect.equal(len(names), 3)
        batches = 1
        while cursor["id"]:
            more = ctx.db.command("getMore", cursor["id"], collection="things", batchSize=3, session=session)
            cursor = more["cursor"]
            names += [one["name"] for one in cursor["nextBatch"]]
            batches += 1
    expect.equal(names, ["_id_"] + [f"f{n:02}_1" for n in range(20)])
    absent = list(ctx.db.absent.list_indexes())
    return [batches, names, absent]
