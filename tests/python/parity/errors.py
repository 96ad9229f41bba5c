"""Errors: the server's code, name, labels and details arrive as they are."""

from pymongo.errors import DuplicateKeyError, OperationFailure, WriteError
from pymongo.server_api import ServerApi

from . import expect
from .registry import scenario


@scenario
def duplicate_keys(ctx):
    things = ctx.db.things
    things.create_index([("a", 1), ("b", 1)], unique=True, name="pair")
    things.insert_one({"_id": 1, "a": 1, "b": "x"})
    errors = [
        expect.failure(lambda: things.insert_one({"_id": 1}), DuplicateKeyError, 11000),
        expect.failure(lambda: things.insert_one({"_id": 2, "a": 1, "b": "x"}), DuplicateKeyError, 11000),
        expect.failure(
            lambda: things.update_one({"_id": 3}, {"$set": {"a": 1, "b": "x"}}, upsert=True), DuplicateKeyError
        ),
        expect.failure(
            lambda: things.find_one_and_update({"_id": 4}, {"$set": {"a": 1, "b": "x"}}, upsert=True), DuplicateKeyError
        ),
    ]
    expect.equal(errors[1].details["keyValue"], {"a": 1, "b": "x"})
    return [[error, error.details.get("keyPattern"), error.details.get("keyValue")] for error in errors]


@scenario
def unknown_and_malformed_commands(ctx):
    db = ctx.db
    db.things.insert_one({"_id": 1})
    return [
        expect.failure(lambda: db.command("noSuchCommand"), code=59),
        expect.failure(lambda: db.command("noSuchCommand", 1, x=[1] * 10), code=59),
        expect.failure(lambda: db.command("FIND", "things"), code=59),
        expect.failure(lambda: db.command("find", "things", noSuchField=1), code=40415),
        expect.failure(lambda: db.command("find", 7), code=2),
        expect.failure(lambda: db.command("find", ""), code=73),
        expect.failure(lambda: db.command("insert", "things", documents=[]), code=16),
        expect.failure(lambda: db.command("insert", "things"), code=40414),
        expect.failure(lambda: db.command("find", "things", filter={"$noSuchOperator": 1}), code=2),
        expect.failure(lambda: db.command("aggregate", "things", pipeline="text", cursor={}), code=14),
        expect.failure(lambda: db.command("replSetGetStatus"), code=13),
        expect.failure(lambda: db.command("insert", "$bad", documents=[{}])),
        expect.failure(lambda: db.command("findAndModify", "things"), code=9),
        expect.failure(lambda: db.command("create", "things", viewOn=1), code=14),
        expect.failure(lambda: db.command("getMore", 1.5, collection="things"), code=14),
    ]


@scenario
def bad_writes(ctx):
    things = ctx.db.things
    things.insert_many([{"_id": 1, "text": "words", "list": [1]}, {"_id": 2}])
    return [
        expect.failure(lambda: things.update_one({"_id": 1}, {"$inc": {"text": 1}}), WriteError, 14),
        expect.failure(lambda: things.update_one({"_id": 1}, {"$push": {"text": 1}}), WriteError, 2),
        expect.failure(lambda: things.update_one({"_id": 1}, {"$set": {"_id": 5}}), WriteError, 66),
        expect.failure(lambda: things.update_one({"_id": 1}, {"$set": {"a": 1, "a.b": 1}}), WriteError, 40),
        expect.failure(lambda: things.update_one({"$no": 1}, {"$set": {"a": 1}}), WriteError, 2),
        expect.failure(lambda: things.insert_one({"_id": [1]}), WriteError),
        expect.failure(lambda: things.insert_one({"_id": {"$a": 1}}), WriteError),
        expect.failure(lambda: things.update_one({}, {"$set": {"list.$[x]": 1}}), WriteError),
    ]


@scenario
def versioned_api(ctx):
    strict = ctx.connect(server_api=ServerApi("1", strict=True, deprecation_errors=True))
    things = strict[ctx.database].things
    things.insert_many([{"_id": n} for n in range(20)])
    seen = len(list(things.find(batch_size=5)))
    ping = strict.admin.command("ping")
    not_in_it = expect.failure(lambda: things.distinct("_id"), OperationFailure, 323)
    unknown = expect.failure(lambda: ctx.db.command("ping", apiVersion="7"), OperationFailure, 322)
    without = expect.failure(lambda: ctx.db.command("ping", apiStrict=True), OperationFailure)
    # The proxy answers these itself; the codes are a server's, the words its own.
    hellos = [
        expect.failure(lambda: ctx.db.command("hello", apiVersion="2"), OperationFailure, 322).code,
        expect.failure(lambda: ctx.db.command("hello", apiStrict=True), OperationFailure, 4886600).code,
        expect.failure(lambda: ctx.db.command("isMaster", apiVersion="1", apiStrict=True), OperationFailure, 323).code,
        ctx.db.command("hello", apiVersion="1", apiStrict=True)["ok"],
    ]
    with strict.start_session() as session, session.start_transaction():
        things.insert_one({"_id": 99}, session=session)
    expect.equal([seen, things.count_documents({})], [20, 21])
    return [seen, ping, not_in_it, unknown, without, hellos]


@scenario
def comments_reach_the_server(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(10)])
    ctx.replica_set.profile(ctx.database)
    list(things.find(comment="on find", batch_size=4))
    things.insert_one({"_id": 10}, comment={"on": "insert"})
    things.update_one({"_id": 10}, {"$set": {"n": 1}}, comment="on update")
    things.delete_one({"_id": 10}, comment="on delete")
    list(things.aggregate([], comment="on aggregate"))
    things.find_one_and_update({"_id": 1}, {"$set": {"n": 1}}, comment="on findAndModify")
    records = ctx.replica_set.profiled(ctx.database, {"command.comment": {"$exists": True}})
    comments = sorted(
        f"{record['op']} {record['command']['comment']}" for found in records.values() for record in found
    )
    expect.equal(sum(comment.startswith("getmore") for comment in comments), 2)
    expect.true("query on find" in comments, f"the find's comment in {comments}")
    return comments
