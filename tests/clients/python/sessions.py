"""Sessions and transactions."""

import bson
from harness import expect, failure, now, scenario
from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern


def accounts(ctx, name):
    return ctx.seed(name, 4, lambda n: {"sum": 100})


async def sums(things, session=None):
    return [one["sum"] for one in await things.find(session=session).sort("_id").to_list(None)]


@scenario
async def with_transaction_commits_all(ctx):
    things = await accounts(ctx, "committed")

    async def transfer(session):
        await things.update_one({"_id": 0}, {"$inc": {"sum": -30}}, session=session)
        await things.update_one({"_id": 1}, {"$inc": {"sum": 30}}, session=session)
        await things.insert_one({"_id": 9, "sum": 1}, session=session)
        return [await sums(things, session), await sums(things)]

    async with await now(ctx.client.start_session()) as session:
        seen = await session.with_transaction(
            transfer, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
        )
    after = await sums(things)
    expect.equal([seen, after], [[[70, 130, 100, 100, 1], [100] * 4], [70, 130, 100, 100, 1]])
    return [seen, after]


@scenario
async def with_transaction_retries_a_conflict(ctx):
    things = await accounts(ctx, "conflict")
    tries = []

    async def transfer(session):
        tries.append(1)
        seen = await things.find_one({"_id": 0}, session=session)
        if len(tries) == 1:
            await things.update_one({"_id": 0}, {"$inc": {"sum": 1000}})
        await things.update_one({"_id": 0}, {"$set": {"sum": seen["sum"] - 30}}, session=session)
        return "done"

    async with await now(ctx.client.start_session()) as session:
        returned = await session.with_transaction(transfer)
    after = await sums(things)
    expect.equal([returned, len(tries), after], ["done", 2, [1070, 100, 100, 100]])
    return [returned, len(tries), after]


@scenario
async def transactions_abort(ctx):
    things = await accounts(ctx, "aborted")
    async with await now(ctx.client.start_session()) as session:
        await now(session.start_transaction())
        await things.delete_many({}, session=session)
        inside = await sums(things, session)
        await session.abort_transaction()
        try:
            async with await now(session.start_transaction()):
                await things.delete_many({}, session=session)
                raise KeyError("the application's own")
        except KeyError:
            pass
        await now(session.start_transaction())
        await things.update_one({"_id": 0}, {"$inc": {"sum": 1}}, session=session)
        duplicate = await failure(things.insert_one({"_id": 1}, session=session), 11000)
        over = await failure(things.insert_one({"_id": 12}, session=session), 251)
        await session.abort_transaction()
    # The locks are gone too: this write would wait otherwise.
    await things.update_one({"_id": 0}, {"$inc": {"sum": 1}})
    after = await sums(things)
    expect.equal([inside, after], [[], [101, 100, 100, 100]])
    return [inside, duplicate, over, after]


@scenario
async def cursors_in_a_transaction(ctx):
    things = await ctx.seed("within", 200)
    async with await now(ctx.client.start_session()) as session:
        await now(session.start_transaction())
        await things.insert_one({"_id": 200}, session=session)
        found = await things.find(session=session, batch_size=30).sort("_id").to_list(None)
        pipeline = [{"$group": {"_id": {"$mod": ["$_id", 50]}}}]
        grouped = await now(things.aggregate(pipeline, session=session, batchSize=7))
        counted = len(await grouped.to_list(None))
        left = things.find(session=session, batch_size=2)
        await left.next()
        await session.commit_transaction()
        await session.commit_transaction()
    expect.equal([len(found), counted, await things.count_documents({})], [201, 50, 201])
    return [len(found), counted]


@scenario
async def two_transactions_at_once(ctx):
    things = await accounts(ctx, "at_once")
    one, other = await now(ctx.client.start_session()), await now(ctx.client.start_session())
    await now(one.start_transaction())
    await now(other.start_transaction())
    await things.update_one({"_id": 0}, {"$inc": {"sum": 1}}, session=one)
    await things.update_one({"_id": 1}, {"$inc": {"sum": 2}}, session=other)
    conflict = await failure(things.update_one({"_id": 0}, {"$inc": {"sum": 5}}, session=other), 112)
    await one.commit_transaction()
    await other.abort_transaction()
    await one.end_session()
    await other.end_session()
    return [conflict, await sums(things)]


@scenario
async def a_causal_session_reads_its_writes_on_secondaries(ctx):
    things = await ctx.seed("causal", 1)
    writes = things.with_options(write_concern=WriteConcern(1))
    reads = things.with_options(read_preference=ReadPreference.SECONDARY)
    seen = []
    async with await now(ctx.client.start_session(causal_consistency=True)) as session:
        for n in range(1, 31):
            await writes.update_one({"_id": 0}, {"$set": {"n": n}}, session=session)
            seen.append((await reads.find_one({"_id": 0}, session=session))["n"])
    expect.equal(seen, list(range(1, 31)))
    return [seen, [sorted(command["readConcern"]) for name, command in ctx.log.commands if name == "find"]]


@scenario
async def a_session_passes_its_times_on_to_another(ctx):
    things = await ctx.seed("passed", 1)
    writes = things.with_options(write_concern=WriteConcern("majority"))
    other = ctx.connect()[0]
    reads = other[ctx.database].get_collection(
        "passed", read_preference=ReadPreference.SECONDARY, read_concern=ReadConcern("majority")
    )
    seen = []
    for n in range(10):
        writer, reader = await now(ctx.client.start_session()), await now(other.start_session())
        await writes.update_one({"_id": 0}, {"$set": {"n": n}}, session=writer)
        await now(reader.advance_cluster_time(writer.cluster_time))
        await now(reader.advance_operation_time(writer.operation_time))
        seen.append((await reads.find_one({"_id": 0}, session=reader))["n"])
        await writer.end_session()
        await reader.end_session()
    expect.equal(seen, list(range(10)))
    return seen


@scenario
async def a_snapshot_session_reads_one_moment(ctx):
    things = await ctx.seed("snapshot", 3, lambda n: {"n": 0})
    majority = things.with_options(write_concern=WriteConcern("majority"))
    # What w: 3 acknowledged is majority committed only a moment later.
    await majority.update_many({}, {"$set": {"n": 0, "settled": True}})
    away = things.with_options(read_preference=ReadPreference.SECONDARY)
    async with await now(ctx.client.start_session(snapshot=True)) as session:

        async def read(of):
            return [one["n"] for one in await of.find(session=session, batch_size=2).sort("_id").to_list(None)]

        first = await read(things)
        await majority.update_many({}, {"$set": {"n": 1}})
        seen = [first, await read(things), await read(away), await things.count_documents({"n": 0}, session=session)]
        refused = await failure(things.insert_one({}, session=session))
    expect.equal(seen, [[0, 0, 0]] * 3 + [3])
    return [seen, type(refused).__name__, getattr(refused, "code", None)]


@scenario
async def sessions_are_sent_reused_and_ended(ctx):
    client, log = ctx.connect()
    things = client[ctx.database].lsid
    await things.insert_many([{"_id": n} for n in range(10)])
    await things.find(batch_size=3).to_list(None)
    used = {bytes(command["lsid"]["id"]) for _, command in log.commands}
    unknown = await failure(client.admin.command("endSessions", "text"))
    ended = await client.admin.command("endSessions", [{"id": bson.Binary(b"\1" * 16, 4)}])
    await now(client.close())
    expect.equal([len(used), log.names[-1]], [1, "endSessions"])
    return [log.names, unknown, ended]
