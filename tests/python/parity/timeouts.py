"""Time limits: the server's (maxTimeMS) and the driver's."""

import time

import pymongo
from pymongo.errors import ExecutionTimeout, NetworkTimeout, PyMongoError

from . import expect
from .registry import scenario

SLOW = {"$where": "sleep(100) || true"}
SLOW_STAGE = {
    "$match": {"$expr": {"$function": {"body": "function() { sleep(100); return true }", "args": [], "lang": "js"}}}
}


def _things(ctx):
    return ctx.seed("things", [{"_id": n} for n in range(20)])


@scenario
def max_time_ms_ends_what_takes_longer(ctx):
    things = _things(ctx)
    started = time.monotonic()
    errors = [
        expect.failure(lambda: list(things.find(SLOW).max_time_ms(50)), ExecutionTimeout, 50),
        expect.failure(lambda: list(things.aggregate([SLOW_STAGE], maxTimeMS=50)), ExecutionTimeout, 50),
        expect.failure(lambda: ctx.db.command("count", "things", query=SLOW, maxTimeMS=50), ExecutionTimeout, 50),
        expect.failure(lambda: things.distinct("_id", SLOW, maxTimeMS=50), ExecutionTimeout, 50),
        expect.failure(
            lambda: things.find_one_and_update(SLOW, {"$set": {"n": 1}}, maxTimeMS=20), ExecutionTimeout, 50
        ),
        expect.failure(
            lambda: ctx.db.command("update", "things", updates=[{"q": SLOW, "u": {"$set": {"n": 1}}}], maxTimeMS=20)
        ),
        expect.failure(lambda: list(things.find().max_time_ms(-1)), PyMongoError),
    ]
    expect.true(time.monotonic() - started < 5, "timeouts in time")
    enough = len(list(things.find({"_id": {"$lt": 2}, **SLOW}).max_time_ms(20_000)))
    expect.equal(enough, 2)
    return [errors, enough]


@scenario
def max_time_ms_spans_the_batches_of_a_cursor(ctx):
    things = _things(ctx)
    cursor = things.find(SLOW, batch_size=2).max_time_ms(450)
    first = [next(cursor), next(cursor)]
    error = expect.failure(lambda: list(cursor), ExecutionTimeout, 50)
    return [len(first), error]


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
    return [timeouts, inside, by_client.count_documents({})]


@scenario
def a_socket_timeout_leaves_the_client_working(ctx):
    things = _things(ctx)
    hasty = ctx.connect(socketTimeoutMS=200, retryReads=False)[ctx.database].things
    error = expect.failure(lambda: list(hasty.find(SLOW)), NetworkTimeout)
    # Replies that come late must go to nobody else.
    seen = [hasty.find_one({"_id": n}) for n in range(20)]
    expect.equal(seen, [{"_id": n} for n in range(20)])
    expect.equal(things.count_documents({}), 20)
    return [type(error).__name__, seen]
