"""Sessions: implicit and explicit, causally consistent, on snapshots; how they end."""

import time

import bson
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import InvalidOperation, OperationFailure
from pymongo.read_concern import ReadConcern

from . import expect
from .registry import scenario


@scenario
def a_causal_session_reads_its_writes_on_secondaries(ctx):
    things = ctx.seed("things", [{"_id": 0, "n": 0}])
    writes = things.with_options(write_concern=WriteConcern(1))
    reads = things.with_options(read_preference=ReadPreference.SECONDARY)
    namespace = f"{ctx.database}.things"
    before = ctx.replica_set.served(namespace)
    client_reads = []
    with ctx.client.start_session(causal_consistency=True) as session:
        for n in range(1, 41):
            writes.update_one({"_id": 0}, {"$set": {"n": n}}, session=session)
            client_reads.append(reads.find_one({"_id": 0}, session=session)["n"])
    expect.equal(client_reads, list(range(1, 41)))
    after = ctx.replica_set.served(namespace)
    primary = ctx.replica_set.primary.address
    expect.equal(after[primary]["queries"], before[primary]["queries"], "finds on the primary")
    return client_reads


@scenario
def causality_passes_from_session_to_session(ctx):
    things = ctx.seed("things", [{"_id": 0, "n": 0}])
    majority = {"write_concern": WriteConcern("majority"), "read_concern": ReadConcern("majority")}
    writes = things.with_options(**majority)
    other, log = ctx.connect_logged()
    reads = other[ctx.database].get_collection("things", read_preference=ReadPreference.SECONDARY, **majority)
    seen = []
    for n in range(10):
        with ctx.client.start_session() as writer, other.start_session() as reader:
            writes.update_one({"_id": 0}, {"$set": {"n": n}}, session=writer)
            reader.advance_cluster_time(writer.cluster_time)
            reader.advance_operation_time(writer.operation_time)
            seen.append(reads.find_one({"_id": 0}, session=reader)["n"])
    expect.equal(seen, list(range(10)))
    concerns = [sorted(command["readConcern"]) for name, command in log.started_commands if name == "find"]
    expect.equal(concerns, [["afterClusterTime", "level"]] * 10)
    return seen


@scenario
def snapshot_sessions_read_one_moment(ctx):
    things = ctx.seed("things", [{"_id": n, "n": 0} for n in range(3)])
    # A snapshot is of what is majority committed, which a write with w: 3 is soon after its acknowledgement.
    committed = things.with_options(read_concern=ReadConcern("majority"))
    expect.eventually(lambda: len(list(committed.find())) == 3, "the documents are majority committed")
    with ctx.client.start_session(snapshot=True) as session:
        first = [one["n"] for one in things.find({}, session=session).sort("_id")]
        things.with_options(write_concern=WriteConcern("majority")).update_many({}, {"$set": {"n": 1}})
        same = [one["n"] for one in things.find({}, session=session).sort("_id")]
        by_aggregate = things.count_documents({"n": 0}, session=session)
        distinct = things.distinct("n", session=session)
        on_secondary = things.with_options(read_preference=ReadPreference.SECONDARY)
        there = [one["n"] for one in on_secondary.find({}, session=session, batch_size=2).sort("_id")]
        refused = expect.failure(lambda: things.insert_one({}, session=session))
    now = [one["n"] for one in things.find().sort("_id")]
    expect.equal([same, by_aggregate, distinct, there, now], [first, 3, [0], first, [1, 1, 1]])
    return [first, same, by_aggregate, distinct, there, now, refused]


@scenario
def implicit_sessions_send_an_lsid(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    things.insert_many([{"_id": n} for n in range(10)])
    list(things.find(batch_size=3))
    lsids = {bytes(command["lsid"]["id"]) for _, command in log.started_commands}
    expect.equal(len(lsids), 1, "server sessions of a client that does one thing at a time")
    with client.start_session() as session:
        things.find_one({}, session=session)
        things.find_one({}, session=session)
        used = bytes(session.session_id["id"])
    expect.equal([bytes(command["lsid"]["id"]) for _, command in log.started_commands[-2:]], [used, used])
    foreign = ctx.connect().start_session()
    wrong_client = expect.failure(lambda: things.find_one({}, session=foreign), InvalidOperation)
    foreign.end_session()
    return [log.names(), wrong_client]


def _session_ids(ctx) -> set:
    """Ids of all sessions that any node has in its own memory."""
    return {
        bytes(one["_id"]["id"])
        for node in ctx.replica_set.nodes
        for one in node.client.admin.aggregate([{"$listLocalSessions": {"allUsers": True}}])
    }


@scenario
def closing_a_client_ends_its_sessions(ctx):
    client, log = ctx.connect_logged()
    client[ctx.database].things.insert_one({})
    used = bytes(log.started_commands[0][1]["lsid"]["id"])
    expect.true(used in _session_ids(ctx), "the session to be known before")
    client.close()
    expect.equal(log.names(), ["insert", "endSessions"])
    # A node forgets ended sessions when it next refreshes its cache, every five minutes if not told to.
    for node in ctx.replica_set.nodes:
        node.client.admin.command("refreshLogicalSessionCacheNow")
    expect.eventually(lambda: used not in _session_ids(ctx), "the session to be gone after close")
    return [log.names(), log.replies[-1][1]]


@scenario
def killed_sessions_lose_their_cursors_and_transactions(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(300)])
    with ctx.client.start_session() as session, ctx.client.start_session() as other:
        cursor = things.find({}, session=session, batch_size=10)
        next(cursor)
        secondary = things.with_options(read_preference=ReadPreference.SECONDARY).find(
            {}, session=session, batch_size=10
        )
        next(secondary)
        bystander = things.find({}, session=other, batch_size=10)
        next(bystander)
        killed = ctx.client.admin.command("killSessions", [session.session_id])
        gone = expect.failure(lambda: list(cursor), OperationFailure)
        expect.equal(len(list(bystander)), 299, "what the other session's cursor still yields")
        session_after = things.find_one({}, session=session)
        secondary.close()
    with ctx.client.start_session() as session:
        session.start_transaction()
        things.update_one({"_id": 0}, {"$set": {"n": 1}}, session=session)
        ctx.client.admin.command("killSessions", [session.session_id])
        lost = expect.failure(session.commit_transaction, OperationFailure)
    expect.equal(things.count_documents({"n": 1}), 0)
    return [killed, gone.code, session_after, lost]


@scenario
def session_commands(ctx):
    started = ctx.client.admin.command("startSession")
    refreshed = ctx.client.admin.command("refreshSessions", [started["id"]])
    ended = ctx.client.admin.command("endSessions", [started["id"]])
    unknown = ctx.client.admin.command("endSessions", [{"id": bson.Binary(b"\1" * 16, 4)}])
    empty = expect.failure(lambda: ctx.client.admin.command("endSessions", "text"))
    return [sorted(started), started["timeoutMinutes"], refreshed, ended, unknown, empty]


@scenario
def read_concerns(ctx):
    things = ctx.seed("things", [{"_id": 1}])
    outcomes = []
    # What is written with w: 3 is majority committed a moment later.
    time.sleep(0.2)
    for level in ("local", "available", "majority", "linearizable", "snapshot"):
        outcomes.append(things.with_options(read_concern=ReadConcern(level)).find_one({}))
    secondary = things.with_options(read_concern=ReadConcern("linearizable"), read_preference=ReadPreference.SECONDARY)
    # Directly it is an answer of a node that isn't the primary, which is never relayed as that: no comparison.
    expect.failure(lambda: secondary.find_one({}))
    outcomes.append(expect.failure(lambda: things.with_options(read_concern=ReadConcern("nonsense")).find_one({})))
    expect.equal(outcomes[:5], [{"_id": 1}] * 5)
    return outcomes
