"""Time limits: the server's (maxTimeMS) and the driver's."""

import pymongo
from pymongo.errors import ExecutionTimeout, NetworkTimeout, OperationFailure

from . import expect
from .registry import scenario

SLOW = {"$where": "sleep(100) || true"}
SLOW_STAGE = {
    "$match": {"$expr": {"$function": {"body": "function() { sleep(100); return true }", "args": [], "lang": "js"}}}
}


def _things(ctx):
    return ctx.seed("things", [{"_id": n} for n in range(20)])


def _timed_out(action) -> str:
    """Fails unless the server ends `action` for its time, which has a code of its own within JavaScript."""
    error = expect.failure(action, OperationFailure)
    expect.true(error.code in (50, 11601), f"the code of a time limit, not {error!r}")
    return "timed out"


@scenario
def max_time_ms_ends_what_takes_longer(ctx):
    things = _things(ctx)
    outcomes = [
        _timed_out(lambda: list(things.find(SLOW).max_time_ms(50))),
        _timed_out(lambda: list(things.aggregate([SLOW_STAGE], maxTimeMS=50))),
        _timed_out(lambda: ctx.db.command("count", "things", query=SLOW, maxTimeMS=50)),
        _timed_out(lambda: things.distinct("_id", SLOW, maxTimeMS=50)),
        expect.failure(lambda: list(things.find().max_time_ms(-1)), OperationFailure),
        len(list(things.find({"_id": {"$lt": 2}, **SLOW}).max_time_ms(20_000))),
    ]
    expect.equal(outcomes[-1], 2)
    return outcomes


@scenario
def max_time_ms_ends_a_write_that_waits(ctx):
    things = _things(ctx)
    holder = ctx.replica_set.client
    with holder.start_session() as session, session.start_transaction():
        # Who writes this document outside waits until the transaction ends.
        holder[ctx.database].things.update_one({"_id": 0}, {"$set": {"n": 1}}, session=session)
        update = {"q": {"_id": 0}, "u": {"$set": {"n": 2}}}
        errors = [
            expect.failure(
                lambda: things.find_one_and_update({"_id": 0}, {"$set": {"n": 2}}, maxTimeMS=100), ExecutionTimeout, 50
            ),
            expect.failure(
                lambda: ctx.db.command("update", "things", updates=[update], maxTimeMS=100), ExecutionTimeout, 50
            ),
        ]
    expect.equal(things.find_one({"_id": 0}), {"_id": 0, "n": 1})
    return errors


@scenario
def max_time_ms_spans_the_batches_of_a_cursor(ctx):
    things = _things(ctx)
    # All 20 documents take 2 s.
    cursor = things.find(SLOW, batch_size=2).max_time_ms(1500)
    first = [next(cursor), next(cursor)]
    return [len(first), _timed_out(lambda: list(cursor))]


@scenario
def the_drivers_own_timeout(ctx):
    things = _things(ctx)
    things.find_one()

    def slow_read():
        with pymongo.timeout(0.3):
            list(things.find(SLOW))

    def slow_command():
        with pymongo.timeout(0.3):
            ctx.db.command("aggregate", "things", pipeline=[SLOW_STAGE], cursor={})

    # Either end may notice first; that it is a timeout is what the application is told.
    timeouts = [expect.failure(slow_read).timeout, expect.failure(slow_command).timeout]
    expect.equal(timeouts, [True, True])
    with pymongo.timeout(20):
        things.insert_one({"_id": "in time"})
        inside = things.find_one({"_id": "in time"})
    by_client = ctx.connect(timeoutMS=300)[ctx.database].things
    timeouts.append(expect.failure(lambda: list(by_client.find(SLOW))).timeout)
    return [timeouts, inside, things.count_documents({})]


@scenario
def a_socket_timeout_leaves_the_client_working(ctx):
    things = _things(ctx)
    hasty = ctx.connect(socketTimeoutMS=600, retryReads=False)[ctx.database].things
    error = expect.failure(lambda: list(hasty.find(SLOW)), NetworkTimeout)
    # Replies that come late must go to nobody else.
    seen = [hasty.find_one({"_id": n}) for n in range(20)]
    expect.equal(seen, [{"_id": n} for n in range(20)])
    expect.equal(things.count_documents({}), 20)
    return [type(error).__name__, seen]
