"""Cursors: batches, early closes, tailable and exhaust ones."""

import asyncio

import bson
from harness import expect, failure, now, scenario
from pymongo import CursorType, ReadPreference
from pymongo.errors import CursorNotFound, InvalidOperation


def text(n):
    return {"text": "x" * 50}


@scenario
async def cursors_over_many_batches(ctx):
    await ctx.seed("batches", 1000, text)
    client, log = ctx.connect()
    things = client[ctx.database].batches
    found = [one["_id"] async for one in things.find().sort("_id").batch_size(90)]
    expect.equal(found, list(range(1000)))
    backwards = await now(things.aggregate([{"$sort": {"_id": -1}}], batchSize=90))
    expect.equal([one["_id"] async for one in backwards], list(range(999, -1, -1)))
    lengths = [
        len(await things.find().limit(250).batch_size(100).to_list(None)),
        len(await things.find().limit(-50).to_list(None)),
        len(await things.find().skip(950).batch_size(20).to_list(None)),
        len(await things.find(no_cursor_timeout=True).batch_size(300).to_list(None)),
    ]
    expect.equal(lengths, [250, 50, 50, 1000])
    return [lengths, log.names]


@scenario
async def cursors_side_by_side_over_several_connections(ctx):
    things = await ctx.seed("beside", 300, text)
    cursors = [things.find(batch_size=7 + n).sort("_id") for n in range(8)]
    for mode in ("Primary", "PrimaryPreferred", "Secondary", "SecondaryPreferred", "Nearest"):
        preferred = things.with_options(read_preference=getattr(ReadPreference, _constant(mode)))
        cursors.append(preferred.find(batch_size=20).sort("_id"))
    found = await asyncio.gather(*(cursor.to_list(None) for cursor in cursors))
    for one in found:
        expect.equal([document["_id"] for document in one], list(range(300)))
    return [len(one) for one in found]


def _constant(mode):
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in mode).strip("_").upper()


@scenario
async def a_cursor_closed_early_is_killed(ctx):
    await ctx.seed("closed", 100)
    client, log = ctx.connect()
    db = client[ctx.database]
    cursor = db.closed.find(batch_size=10)
    await cursor.next()
    identity = cursor.cursor_id
    await cursor.close()
    killed = log.last_reply("killCursors")
    expect.equal(killed["cursorsKilled"], [identity])
    gone = await failure(db.command("getMore", bson.Int64(identity), collection="closed"), 43, CursorNotFound)
    return [log.names, sorted(killed), gone.details["codeName"]]


@scenario
async def a_cursor_killed_by_another_client_is_not_found(ctx):
    things = await ctx.seed("killed", 100)
    cursor = things.find(batch_size=10)
    await cursor.next()
    other = ctx.connect()[0][ctx.database]
    killed = await other.command("killCursors", "killed", cursors=[bson.Int64(cursor.cursor_id)])
    expect.equal(len(killed["cursorsKilled"]), 1)
    gone = await failure(cursor.to_list(None), 43)
    return [type(gone).__name__, gone.details["codeName"]]


@scenario
async def tailable_cursors_wait_for_documents(ctx):
    await ctx.db.create_collection("tailed", capped=True, size=1 << 20)
    tailed = ctx.db.tailed
    await tailed.insert_many([{"_id": 0}, {"_id": 1}])
    cursor = tailed.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(300).batch_size(2)
    seen = [await cursor.next(), await cursor.next()]
    for n in range(2, 6):
        waiting = asyncio.ensure_future(cursor.next())
        await asyncio.sleep(0.03)
        await tailed.insert_one({"_id": n})
        while True:
            try:
                seen.append(await waiting)
                break
            except StopAsyncIteration:
                # The wait was over before the document came.
                waiting = asyncio.ensure_future(cursor.next())
    alive = cursor.alive
    await cursor.close()
    expect.equal([one["_id"] for one in seen], list(range(6)))
    plain = tailed.find(cursor_type=CursorType.TAILABLE)
    first = await plain.next()
    await plain.close()
    await ctx.db.not_capped.insert_one({"_id": 1})
    return [seen, alive, first, await failure(ctx.db.not_capped.find(cursor_type=CursorType.TAILABLE).next(), 2)]


@scenario
async def exhaust_cursors(ctx):
    await ctx.seed("exhausted", 300, text)
    client, log = ctx.connect()
    things = client[ctx.database].exhausted
    try:
        found = await things.find(cursor_type=CursorType.EXHAUST, batch_size=20).sort("_id").to_list(None)
    except InvalidOperation as error:
        return error
    expect.equal([one["_id"] for one in found], list(range(300)))
    early = things.find(cursor_type=CursorType.EXHAUST, batch_size=20)
    await early.next()
    await early.close()
    # The connections are good for other things afterwards.
    expect.equal(await things.count_documents({}), 300)
    beside = await asyncio.gather(
        *(things.find(cursor_type=CursorType.EXHAUST, batch_size=30).sort("_id").to_list(None) for _ in range(4))
    )
    return [len(found), [len(one) for one in beside], sorted(set(log.names))]
