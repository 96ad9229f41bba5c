"""What the driver discovers, and that nothing depends on a connection."""

import asyncio

from harness import expect, now, scenario
from pymongo import ReadPreference


@scenario
async def the_topology(ctx):
    """The kinds of the topology and of its servers, once all are known: compared with what the presentation says."""
    await ctx.db.things.find_one({})
    for _ in range(1000):
        seen = ctx.client.topology_description
        kinds = sorted(one.server_type_name for one in seen.server_descriptions().values())
        if "Unknown" not in kinds:
            break
        await asyncio.sleep(0.01)
    return [seen.topology_type_name, kinds]


@scenario
async def cursors_and_transactions_over_ever_new_connections(ctx):
    await ctx.seed("anew", 60)
    # No connection is idle for so short a time: each command takes a new one, except where the driver itself keeps one.
    client, log = ctx.connect(maxIdleTimeMS=1)
    things = client[ctx.database].anew
    seen = []
    for n in range(12):
        preference = ReadPreference.SECONDARY if n % 3 == 2 else ReadPreference.PRIMARY
        cursor = things.with_options(read_preference=preference).find(batch_size=15).sort("_id")
        found = []
        async for one in cursor:
            found.append(one["_id"])
            if len(found) % 15 == 0:
                await asyncio.sleep(0.003)
        expect.equal(found, list(range(60)))
        seen.append(len(found))
    async with await now(client.start_session()) as session:
        await now(session.start_transaction())
        for n in range(100, 106):
            await things.insert_one({"_id": n}, session=session)
            await asyncio.sleep(0.003)
        inside = await things.count_documents({}, session=session)
        await session.commit_transaction()
    expect.equal([inside, await things.count_documents({})], [66, 66])
    return [seen, inside, log.names]
