"""The versioned API, compression, and options of the URI."""

import re

import pymongo
from harness import expect, failure, now, scenario
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_preferences import Secondary
from pymongo.server_api import ServerApi


@scenario
async def the_versioned_api_strict_with_deprecation_errors(ctx):
    await ctx.seed("versioned", 50)
    client, log = ctx.connect(server_api=ServerApi("1", strict=True, deprecation_errors=True))
    db = client[ctx.database]
    things = db.versioned
    found = await things.find(batch_size=7).to_list(None)
    await things.insert_one({"_id": 99})

    async def remove(session):
        await things.delete_one({"_id": 99}, session=session)
        return await things.find_one({}, session=session)

    async with await now(client.start_session()) as session:
        removed = await session.with_transaction(remove)
    stream = await now(things.watch(max_await_time_ms=100))
    await stream.try_next()
    await things.insert_one({"_id": 98})
    event = (await stream.next())["operationType"]
    await stream.close()
    early = things.find(batch_size=7)
    await early.next()
    await early.close()
    expect.equal(len(found), 50)
    return [
        removed,
        event,
        await failure(things.distinct("_id"), 323),
        await failure(db.command("collStats", "versioned"), 323),
        await failure(ctx.db.command("ping", apiVersion="2"), 322),
        await failure(ctx.db.command("ping", apiStrict=True)),
        log.names.count("getMore") >= 8,
    ]


def compressed(compressors):
    async def run(ctx):
        client, _ = ctx.connect(f"compressors={compressors}")
        things = client[ctx.database][f"compressed_{re.sub('[^a-z]', '_', compressors)}"]
        documents = [{"_id": n, "text": "tide " * 50 + str(n)} for n in range(200)]
        await things.insert_many(documents)
        expect.equal(await things.find(batch_size=60).sort("_id").to_list(None), documents)
        await things.update_many({}, {"$set": {"big": "y" * 3000}})
        pipeline = [{"$group": {"_id": None, "n": {"$sum": {"$strLenCP": "$big"}}}}]
        sums = await (await now(things.aggregate(pipeline))).to_list(None)
        return [sums, await failure(things.insert_one({"_id": 1}), 11000)]

    run.__name__ = f"compressors={compressors}"
    return run


for one in ("snappy", "zlib", "zlib&zlibCompressionLevel=9", "zstd", "zstd,snappy,zlib"):
    scenario(compressed(one))

URI_OPTIONS = [
    "retryWrites=false&retryReads=false",
    "w=majority&journal=true&wTimeoutMS=20000",
    "w=0",
    "readConcernLevel=majority",
    "readPreference=secondary",
    "readPreference=secondaryPreferred&maxStalenessSeconds=120",
    "readPreference=nearest&readPreferenceTags=dc:west&readPreferenceTags=",
    "appName=harbour&maxPoolSize=2&minPoolSize=1&maxIdleTimeMS=5000&waitQueueTimeoutMS=9000",
    "heartbeatFrequencyMS=1000&connectTimeoutMS=5000&maxConnecting=1",
    "serverMonitoringMode=poll",
    "timeoutMS=15000",
    "uuidRepresentation=standard&tz_aware=true",
]


def with_option(option):
    async def run(ctx):
        name = f"uri_{re.sub('[^a-zA-Z0-9]', '_', option)[:60]}"
        seeded = await ctx.seed(name, 20)
        # What w: 3 acknowledged is majority committed only a moment later.
        majority = seeded.with_options(write_concern=WriteConcern("majority"))
        await majority.update_one({"_id": 0}, {"$set": {"settled": True}})
        client, log = ctx.connect(option)
        things = client[ctx.database][name]
        found = await things.find({"_id": {"$lt": 20}}, batch_size=6).sort("_id").to_list(None)
        expect.equal(len(found), 20)
        inserted = (await things.insert_one({"_id": 100})).acknowledged
        sent = dict(log.commands)
        # What was not acknowledged may still be on its way.
        for _ in range(1000):
            if await ctx.db[name].find_one({"_id": 100}):
                break
        else:
            raise AssertionError("the document never came")
        insert = sent["insert"]
        return [inserted, insert.get("writeConcern"), "txnNumber" in insert, sent["find"].get("readConcern"), log.names]

    run.__name__ = f"with {option}"
    return run


for one in URI_OPTIONS:
    scenario(with_option(one))


@scenario
async def preferences_that_no_server_fits(ctx):
    client, _ = ctx.connect()
    nowhere = Secondary(tag_sets=[{"dc": "nowhere"}])
    things = client[ctx.database].get_collection("nowhere", read_preference=nowhere)
    # Directly the driver itself finds no server; through Tidegate it is told so.
    with pymongo.timeout(0.8):
        missed = await failure(things.find_one({}))
    stale = things.with_options(read_preference=Secondary(max_staleness=120))
    return [isinstance(missed, PyMongoError), await stale.find_one({})]


@scenario
async def direct_connection(ctx):
    await ctx.seed("single", 49)
    client, log = ctx.connect(uri=ctx.single)
    things = client[ctx.database].single
    await things.with_options(write_concern=WriteConcern(3)).insert_one({"_id": 49})
    found = await things.find(batch_size=9).to_list(None)
    preferred = await things.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED).find().to_list(None)
    async with await now(client.start_session()) as session:
        async with await now(session.start_transaction()):
            await things.delete_one({"_id": 1}, session=session)
    expect.equal([len(found), len(preferred), await things.count_documents({})], [50, 50, 49])
    return log.names
