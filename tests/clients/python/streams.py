"""Change streams: what they tell, and that they resume."""

from harness import expect, failure, now, scenario

HASTY = {"max_await_time_ms": 100}


def told(events):
    kept = ("operationType", "documentKey", "fullDocument", "updateDescription", "ns")
    return [{key: event[key] for key in kept if key in event} for event in events]


def ids(events):
    return [event["documentKey"]["_id"] for event in events]


async def take(stream, count):
    return [await stream.next() for _ in range(count)]


@scenario
async def change_streams_of_a_collection_a_database_and_the_set(ctx):
    things = await ctx.seed("watched", 1)
    mine = [{"$match": {"ns.db": ctx.database, "ns.coll": "watched"}}]
    streams = [
        await now(things.watch(full_document="updateLookup", **HASTY)),
        await now(ctx.db.watch(mine, **HASTY)),
        await now(ctx.client.watch(mine, **HASTY)),
    ]
    for stream in streams:
        expect.equal(await stream.try_next(), None)
    await things.insert_one({"_id": 1, "n": 1})
    await things.update_one({"_id": 1}, {"$set": {"n": 2}})
    await things.replace_one({"_id": 1}, {"n": 3})
    await things.delete_one({"_id": 1})
    seen = []
    for stream in streams:
        events = await take(stream, 4)
        expect.equal([event["operationType"] for event in events], ["insert", "update", "replace", "delete"])
        seen.append(told(events))
        await stream.close()
    return seen


@scenario
async def a_change_stream_resumes_when_its_cursor_is_killed(ctx):
    await ctx.seed("resumed", 1)
    client, log = ctx.connect()
    things = client[ctx.database].resumed
    stream = await now(things.watch(**HASTY))
    expect.equal(await stream.try_next(), None)
    seen = []
    for n in range(1, 4):
        await things.insert_one({"_id": n})
        seen += ids(await take(stream, 1))
        identity = log.last_reply("aggregate")["cursor"]["id"]
        killed = await client[ctx.database].command("killCursors", "resumed", cursors=[identity])
        expect.equal(killed["cursorsKilled"], [identity])
        # Happens while the stream has no cursor.
        await things.insert_one({"_id": n * 100})
        seen += ids(await take(stream, 1))
    await stream.close()
    expect.equal(seen, [1, 100, 2, 200, 3, 300])
    aggregates = [command for name, command in log.commands if name == "aggregate"]
    return [seen, [sorted(one["pipeline"][0]["$changeStream"]) for one in aggregates]]


@scenario
async def a_change_stream_is_resumed_by_a_token_of_another(ctx):
    things = await ctx.seed("token", 1)
    first = await now(things.watch(**HASTY))
    await first.try_next()
    await things.insert_many([{"_id": n} for n in range(1, 6)])
    token = (await take(first, 2))[1]["_id"]
    await first.close()
    again = ctx.connect()[0][ctx.database].token
    after = await now(again.watch(resume_after=token, **HASTY))
    events = await take(after, 3)
    await after.close()
    expect.equal(ids(events), [3, 4, 5])

    async def bad():
        return await (await now(again.watch(resume_after={"_data": "00"}))).next()

    return [told(events), await failure(bad())]


@scenario
async def a_change_stream_ends_with_its_collection(ctx):
    things = await ctx.seed("invalidated", 1)
    stream = await now(things.watch(**HASTY))
    await stream.try_next()
    await things.drop()
    kinds = [event["operationType"] for event in await take(stream, 2)]
    expect.equal(kinds, ["drop", "invalidate"])
    return [kinds, stream.alive]
