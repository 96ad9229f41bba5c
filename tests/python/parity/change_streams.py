"""Change streams on collections, databases and the whole set, and how they resume."""

import bson
from pymongo import ReadPreference

from . import expect
from .registry import scenario


def _take(stream, count: int, seconds: float = 15.0) -> list:
    """The next `count` events; fails if they don't come in time."""
    taken = []

    def next_one():
        event = stream.try_next()
        if event is not None:
            taken.append(event)
        return len(taken) >= count

    expect.eventually(next_one, f"{count} events", seconds)
    return taken


def _told(events) -> list:
    """What an event says besides its moment: resume tokens and times differ in every run."""
    return [
        {key: value for key, value in event.items() if key not in ("_id", "clusterTime", "wallTime", "collectionUUID")}
        for event in events
    ]


@scenario
def of_a_collection(ctx):
    things = ctx.db.things
    things.insert_one({"_id": 0})
    with things.watch(max_await_time_ms=200, full_document="updateLookup") as stream:
        things.insert_one({"_id": 1, "n": 1})
        things.update_one({"_id": 1}, {"$set": {"n": 2}})
        things.replace_one({"_id": 1}, {"n": 3})
        things.delete_one({"_id": 1})
        ctx.db.other.insert_one({})
        events = _take(stream, 4)
        nothing_more = stream.try_next()
    kinds = [event["operationType"] for event in events]
    expect.equal(kinds, ["insert", "update", "replace", "delete"])
    expect.equal(nothing_more, None)
    return _told(events)


@scenario
def of_a_database(ctx):
    ctx.db.first.insert_one({"_id": 0})
    with ctx.db.watch(max_await_time_ms=200) as stream:
        ctx.db.first.insert_one({"_id": 1})
        ctx.db.second.insert_one({"_id": 2})
        ctx.client[ctx.other_database()].third.insert_one({"_id": 3})
        ctx.db.first.drop()
        events = _take(stream, 3)
    expect.equal([event["operationType"] for event in events], ["insert", "insert", "drop"])
    return _told(events)


@scenario
def of_the_whole_set(ctx):
    other = ctx.other_database()
    ours = [{"$match": {"ns.db": {"$in": [ctx.database, other]}}}]
    with ctx.client.watch(ours, max_await_time_ms=200) as stream:
        ctx.db.first.insert_one({"_id": 1})
        ctx.client[other].second.insert_one({"_id": 2})
        events = _take(stream, 2)
    expect.equal([event["documentKey"]["_id"] for event in events], [1, 2])
    return _told(events)


@scenario
def resumes_by_itself_when_its_cursor_is_killed(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    things.insert_one({"_id": 0})
    seen = []
    with things.watch(max_await_time_ms=200) as stream:
        for n in range(1, 4):
            things.insert_one({"_id": n})
            seen += [event["documentKey"]["_id"] for event in _take(stream, 1)]
            identity = bson.Int64(stream._cursor.cursor_id)
            killed = client[ctx.database].command("killCursors", "things", cursors=[identity])
            expect.equal(killed["cursorsKilled"], [identity])
            # Happens while the stream has no cursor.
            things.insert_one({"_id": n * 100})
            seen += [event["documentKey"]["_id"] for event in _take(stream, 1)]
    expect.equal(seen, [1, 100, 2, 200, 3, 300])
    expect.equal(log.counts()["aggregate"], 4, "aggregates: the first and one for each resumption")
    resumed = [
        sorted(command["pipeline"][0]["$changeStream"]) for name, command in log.started_commands if name == "aggregate"
    ]
    return [seen, resumed]


@scenario
def resumes_after_a_token(ctx):
    things = ctx.db.things
    things.insert_one({"_id": 0})
    with things.watch(max_await_time_ms=200) as stream:
        things.insert_many([{"_id": n} for n in range(1, 6)])
        token = _take(stream, 2)[-1]["_id"]
        expect.equal(stream.resume_token, token)
    again = ctx.connect()[ctx.database].things
    with again.watch(resume_after=token, max_await_time_ms=200) as stream:
        events = _take(stream, 3)
    expect.equal([event["documentKey"]["_id"] for event in events], [3, 4, 5])
    bad = expect.failure(lambda: things.watch(resume_after={"_data": "00"}))
    return [_told(events), bad]


@scenario
def starts_at_an_operation_time(ctx):
    things = ctx.db.things
    with ctx.client.start_session() as session:
        things.insert_one({"_id": 0}, session=session)
        time = session.operation_time
        things.insert_many([{"_id": 1}, {"_id": 2}], session=session)
    with things.watch(start_at_operation_time=time, max_await_time_ms=200) as stream:
        events = _take(stream, 3)
    expect.equal([event["documentKey"]["_id"] for event in events], [0, 1, 2])
    return _told(events)


@scenario
def is_invalidated_and_starts_after_that(ctx):
    things = ctx.db.things
    things.insert_one({"_id": 0})
    with things.watch(max_await_time_ms=200) as stream:
        things.drop()
        events = _take(stream, 2)
        expect.equal(stream.alive, False)
    with things.watch(start_after=events[-1]["_id"], max_await_time_ms=200) as stream:
        things.insert_one({"_id": 1})
        events += _take(stream, 1)
    expect.equal([event["operationType"] for event in events], ["drop", "invalidate", "insert"])
    return _told(events)


@scenario
def goes_over_many_batches_and_waits(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    things.insert_one({"_id": 0})
    with things.watch(batch_size=7, max_await_time_ms=300) as stream:
        things.insert_many([{"_id": n} for n in range(1, 101)])
        events = _take(stream, 100)
        more = log.counts()["getMore"]
        waited = [command for name, command in log.started_commands if name == "getMore"]
    expect.equal([event["documentKey"]["_id"] for event in events], list(range(1, 101)))
    expect.true(more >= 14, f"at least 14 getMores, saw {more}")
    expect.true(all(command["maxTimeMS"] == 300 for command in waited), "a wait of 300 ms in each getMore")
    return len(events)


@scenario
def shows_images_and_expanded_events(ctx):
    ctx.db.create_collection("things", changeStreamPreAndPostImages={"enabled": True})
    things = ctx.db.things
    options = {"full_document": "required", "full_document_before_change": "required", "show_expanded_events": True}
    with things.watch(max_await_time_ms=200, **options) as stream:
        things.insert_one({"_id": 1, "n": 1})
        things.update_one({"_id": 1}, {"$inc": {"n": 1}})
        things.create_index("n")
        events = _take(stream, 3)
    expect.equal(events[1]["fullDocumentBeforeChange"], {"_id": 1, "n": 1})
    expect.equal(events[1]["fullDocument"], {"_id": 1, "n": 2})
    expect.equal(events[2]["operationType"], "createIndexes")
    return _told(events)


@scenario
def filters_by_its_pipeline_on_a_secondary(ctx):
    things = ctx.seed("things", [{"_id": 0}])
    before = ctx.replica_set.served(f"{ctx.database}.things")
    watched = things.with_options(read_preference=ReadPreference.SECONDARY)
    with watched.watch([{"$match": {"fullDocument.n": {"$gt": 1}}}], max_await_time_ms=200) as stream:
        things.insert_many([{"_id": n, "n": n} for n in range(1, 5)])
        events = _take(stream, 3)
    after = ctx.replica_set.served(f"{ctx.database}.things")
    primary = ctx.replica_set.primary.address
    expect.equal(after[primary]["getmore"], before[primary]["getmore"], "getMores on the primary")
    refused = expect.failure(lambda: ctx.client.admin.things.watch())
    bad = expect.failure(lambda: things.watch([{"$group": {"_id": 1}}]))
    return [_told(events), refused, bad]
