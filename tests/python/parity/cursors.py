"""Cursors larger than a batch, closed early, used from other clients, and on any node."""

import bson
from pymongo import CursorType, ReadPreference
from pymongo.errors import CursorNotFound

from . import expect
from .raw_wire import RawConnection
from .registry import scenario

DOCUMENTS = [{"_id": n, "text": "x" * 50} for n in range(1000)]


def _logged(ctx):
    ctx.seed("things", DOCUMENTS)
    client, log = ctx.connect_logged()
    return client[ctx.database].things, log


@scenario
def find_over_many_batches(ctx):
    things, log = _logged(ctx)
    seen = [one["_id"] for one in things.find().sort("_id").batch_size(90)]
    expect.equal(seen, list(range(1000)))
    expect.equal(log.counts(), {"find": 1, "getMore": 11})
    default_batches = len(list(things.find()))
    return [log.names(), default_batches]


@scenario
def aggregate_over_many_batches(ctx):
    things, log = _logged(ctx)
    seen = [one["_id"] for one in things.aggregate([{"$sort": {"_id": -1}}], batchSize=90)]
    expect.equal(seen, list(range(999, -1, -1)))
    expect.equal(log.counts(), {"aggregate": 1, "getMore": 11})
    empty_first = list(things.aggregate([{"$limit": 150}], batchSize=0))
    return [log.names(), len(empty_first)]


@scenario
def limits_skips_and_single_batches(ctx):
    things, log = _logged(ctx)
    lengths = [
        len(list(things.find().limit(250).batch_size(100))),
        len(list(things.find().limit(-50))),
        len(list(things.find().skip(950).batch_size(20))),
        len(list(things.find(no_cursor_timeout=True).batch_size(300))),
    ]
    expect.equal(lengths, [250, 50, 50, 1000])
    return [lengths, log.names()]


@scenario
def closing_early_kills_the_cursor(ctx):
    things, log = _logged(ctx)
    cursor = things.find().batch_size(10)
    next(cursor)
    identity = cursor.cursor_id
    expect.true(identity, "an open cursor")
    cursor.close()
    killed = dict(log.replies)["killCursors"]
    expect.equal(killed["cursorsKilled"], [identity])
    gone = expect.failure(
        lambda: things.database.command("getMore", bson.Int64(identity), collection="things"), CursorNotFound, 43
    )
    return [log.names(), sorted(killed), gone.code, gone.details["codeName"]]


@scenario
def kill_cursors_answers_for_each_cursor(ctx):
    things, _ = _logged(ctx)
    db = things.database
    opened = [db.command("find", "things", batchSize=2)["cursor"]["id"] for _ in range(3)]
    unknown = bson.Int64(123456789)
    reply = db.command("killCursors", "things", cursors=[*map(bson.Int64, opened), unknown])
    expect.equal(sorted(reply["cursorsKilled"]), sorted(opened))
    expect.equal(reply["cursorsNotFound"], [unknown])
    expect.equal((reply["cursorsAlive"], reply["cursorsUnknown"]), ([], []))
    none = db.command("killCursors", "things", cursors=[unknown])
    wrong = expect.failure(lambda: db.command("killCursors", "things", cursors=["text"]), code=14)
    return [sorted(reply), none, wrong.code]


@scenario
def a_cursor_goes_on_over_other_connections(ctx):
    ctx.seed("things", DOCUMENTS)
    # Outside sessions: a cursor belongs to the session that opened it.
    reply = _sessionless(ctx, {"find": "things", "batchSize": 400, "sort": {"_id": 1}})
    more = _sessionless(ctx, {"getMore": reply["cursor"]["id"], "collection": "things", "batchSize": 400})
    last = _sessionless(ctx, {"getMore": reply["cursor"]["id"], "collection": "things"})
    seen = reply["cursor"]["firstBatch"] + more["cursor"]["nextBatch"] + last["cursor"]["nextBatch"]
    expect.equal([one["_id"] for one in seen], list(range(1000)))
    expect.equal(last["cursor"]["id"], 0)
    return len(seen)


def _sessionless(ctx, command):
    """Sends a command on a connection of its own."""
    with RawConnection.to_primary_of(ctx.client) as connection:
        return connection.command({**command, "$db": ctx.database})


@scenario
def unknown_cursors_are_not_found(ctx):
    ctx.seed("things", DOCUMENTS[:1])
    errors = [
        expect.failure(lambda: ctx.db.command("getMore", bson.Int64(99), collection="things"), CursorNotFound, 43),
        expect.failure(lambda: ctx.db.command("getMore", bson.Int64(0), collection="things")),
        expect.failure(lambda: ctx.db.command("getMore", "text", collection="things"), code=14),
        expect.failure(lambda: ctx.db.command("getMore", bson.Int64(99)), code=40414),
    ]
    cursor = ctx.db.command("find", "things", batchSize=0)["cursor"]["id"]
    errors.append(expect.failure(lambda: ctx.db.command("getMore", bson.Int64(cursor), collection="other")))
    return errors


@scenario
def get_more_follows_the_cursor_to_its_node(ctx):
    ctx.seed("things", DOCUMENTS)
    namespace = f"{ctx.database}.things"
    before = ctx.replica_set.served(namespace)
    things = ctx.db.get_collection("things", read_preference=ReadPreference.SECONDARY)
    cursors = [things.find().sort("_id").batch_size(50) for _ in range(12)]
    seen = [[] for _ in cursors]
    for _ in range(1000):
        for cursor, ids in zip(cursors, seen):
            ids.append(next(cursor)["_id"])
    expect.true(all(ids == list(range(1000)) for ids in seen), "every cursor to yield every document once, in order")
    # Each cursor has one last, empty batch to fetch.
    expect.true(all(not list(cursor) for cursor in cursors), "exhausted cursors")
    queries = ctx.replica_set.served_exactly(namespace, before, "queries", 12)
    more = ctx.replica_set.served_exactly(namespace, before, "getmore", 12 * 20)
    primary = ctx.replica_set.primary.address
    expect.equal((queries[primary], more[primary]), (0, 0), "what the primary served")
    for address in queries:
        expect.equal(more[address], 20 * queries[address], f"getMores on {address}")
    return [sum(queries.values()), sum(more.values())]


@scenario
def cursors_interleave_on_all_nodes(ctx):
    ctx.seed("things", DOCUMENTS[:200])
    preferences = [ReadPreference.PRIMARY, ReadPreference.SECONDARY, ReadPreference.NEAREST]
    cursors = [
        ctx.db.get_collection("things", read_preference=preferences[n % 3]).find({"_id": {"$gte": n}}).batch_size(2 + n)
        for n in range(9)
    ]
    counts = [0] * 9
    open_cursors = dict(enumerate(cursors))
    while open_cursors:
        for n, cursor in list(open_cursors.items()):
            try:
                next(cursor)
                counts[n] += 1
            except StopIteration:
                del open_cursors[n]
    expect.equal(counts, [200 - n for n in range(9)])
    return counts


@scenario
def raw_batches(ctx):
    things, log = _logged(ctx)
    batches = list(things.find_raw_batches({}, sort=[("_id", 1)], batch_size=300))
    expect.equal([len(bson.decode_all(batch)) for batch in batches], [300, 300, 300, 100])
    aggregated = list(things.aggregate_raw_batches([{"$sort": {"_id": 1}}], batchSize=300))
    expect.true(b"".join(batches) == b"".join(aggregated), "the same bytes from both")
    return [[len(batch) for batch in batches], log.names()]


@scenario
def exhaust_is_as_the_presentation_says(ctx):
    # Drivers refuse exhaust cursors on a mongos, so this is the one outcome that rightly differs by presentation.
    ctx.seed("things", DOCUMENTS)

    def read():
        return [one["_id"] for one in ctx.db.things.find(cursor_type=CursorType.EXHAUST).sort("_id").batch_size(100)]

    if ctx.presents_as_mongos:
        refusal = expect.failure(read)
        expect.true("Exhaust" in str(refusal), "pymongo's own refusal")
    else:
        expect.equal(read(), list(range(1000)))
    return "as the presentation says"
