"""Documents, bulk writes, aggregation, indexes, collections, files."""

import asyncio

from gridfs.errors import NoFile
from harness import expect, failure, now, scenario
from pymongo import DeleteOne, InsertOne, ReadPreference, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError


def told(result):
    """The public attributes of a write's result."""
    names = ("acknowledged", "inserted_id", "inserted_ids", "matched_count", "modified_count", "upserted_id", "deleted_count")
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


@scenario
async def insert_find_update_replace_delete(ctx):
    things = ctx.db.crud
    results = [
        await things.insert_one({"_id": 1, "n": 1}),
        await things.insert_many([{"_id": 2}, {"_id": 3}, {"_id": 4}]),
        await things.update_one({"_id": 1}, {"$inc": {"n": 5}}),
        await things.update_many({}, {"$set": {"seen": True}}),
        await things.update_one({"_id": 9}, {"$set": {"n": 9}}, upsert=True),
        await things.replace_one({"_id": 2}, {"n": "two"}),
        await things.delete_one({"_id": 3}),
        await things.delete_many({"_id": {"$gt": 3}}),
    ]
    left = await things.find().sort("_id").to_list(None)
    expect.equal([one["n"] for one in left], [6, "two"])
    return [[told(one) for one in results], left, await things.find_one({"_id": 77}), ctx.log.names]


@scenario
async def find_one_and_modify_it(ctx):
    things = await ctx.seed("modify", 3)
    return [
        await things.find_one_and_update({"_id": 1}, {"$set": {"n": 7}}, return_document=ReturnDocument.AFTER),
        await things.find_one_and_replace({"_id": 2}, {"n": "again"}),
        await things.find_one_and_update({"_id": 5}, {"$set": {"n": 5}}, upsert=True),
        await things.find_one_and_delete({"_id": 2}, projection={"n": 1}),
        await things.find_one_and_delete({"_id": 99}),
    ]


@scenario
async def counts_distinct_values_aggregation(ctx):
    things = await ctx.seed("counted", 100, lambda n: {"k": n % 7})
    grouped = await now(things.aggregate([{"$group": {"_id": "$k", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]))
    sums = await grouped.to_list(None)
    await (await now(things.aggregate([{"$match": {"k": 1}}, {"$out": "counted_out"}]))).to_list(None)
    await (await now(things.aggregate([{"$match": {"k": 2}}, {"$merge": "counted_out"}]))).to_list(None)
    out = await ctx.db.counted_out.count_documents({})
    expect.equal(out, 29)
    return [sums, out, await things.estimated_document_count(), sorted(await things.distinct("k"))]


@scenario
async def ordered_and_unordered_bulk_writes(ctx):
    things = ctx.db.bulk
    result = await things.bulk_write(
        [
            InsertOne({"_id": 1}),
            InsertOne({"_id": 2}),
            UpdateOne({"_id": 1}, {"$set": {"n": 1}}),
            UpdateMany({}, {"$set": {"all": 1}}),
            ReplaceOne({"_id": 3}, {"n": 3}, upsert=True),
            DeleteOne({"_id": 2}),
        ]
    )
    many = await things.insert_many([{"_id": 100 + n} for n in range(2500)], ordered=False)
    batch = [InsertOne({"_id": 50}), InsertOne({"_id": 1}), InsertOne({"_id": 51})]
    stopped = await failure(things.bulk_write(batch), kind=BulkWriteError)
    unordered = await failure(
        things.insert_many([{"_id": 1}, {"_id": 60}, {"_id": 3}], ordered=False), kind=BulkWriteError
    )
    expect.equal(await things.count_documents({}), 2504)
    return [result.bulk_api_result, len(many.inserted_ids), stopped, unordered]


@scenario
async def indexes(ctx):
    things = await ctx.seed("indexed", 10, lambda n: {"n": n})
    name = await things.create_index("n", unique=True)
    refused = await failure(things.insert_one({"_id": 77, "n": 3}), 11000, DuplicateKeyError)
    listed = await (await now(things.list_indexes())).to_list(None)
    hinted = await things.find({"n": {"$gte": 8}}).hint("n_1").to_list(None)
    bad = await failure(things.find().hint("none").to_list(None), 2)
    await things.drop_index(name)
    return [name, refused, listed, hinted, bad, sorted(await things.index_information())]


@scenario
async def collections_and_errors(ctx):
    await ctx.db.create_collection("made_capped", capped=True, size=4096)
    await ctx.db.create_collection("made_view", viewOn="made_capped", pipeline=[])
    await ctx.db.create_collection("made_checked", validator={"n": {"$type": "int"}})
    names = sorted(await ctx.db.list_collection_names(filter={"name": {"$regex": "^made_"}}))
    await ctx.db.made_capped.rename("made_renamed")
    things = await ctx.seed("errors", 3)
    slow = await failure(things.find({"$where": "sleep(400) || true"}).max_time_ms(50).to_list(None), 50)
    late = ctx.db.get_collection("errors", write_concern=WriteConcern(w=50, wtimeout=100))
    return [
        names,
        await failure(ctx.db.made_checked.insert_one({"_id": 1, "n": "text"}), 121),
        await failure(ctx.db.command("noSuchCommand"), 59),
        await failure(things.find({"$noSuchOperator": 1}).to_list(None), 2),
        await failure(things.update_one({"_id": 1}, {"$inc": {"_id": 1}}), 66),
        await failure(late.insert_one({"_id": 9})),
        type(slow).__name__,
    ]


@scenario
async def a_hundred_operations_at_once_over_few_connections(ctx):
    client, _ = ctx.connect(maxPoolSize=5)
    things = client[ctx.database].parallel
    await asyncio.gather(*(things.insert_one({"_id": n}) for n in range(100)))
    found = await asyncio.gather(*(things.find_one({"_id": n}) for n in range(100)))
    expect.equal(found, [{"_id": n} for n in range(100)])
    return len(found)


@scenario
async def a_file_goes_up_and_comes_down(ctx):
    content = b"Tidegate " * 150_000
    everywhere = ctx.client.get_database(ctx.database, write_concern=WriteConcern(w=3, wtimeout=30_000))
    bucket = ctx.bucket(everywhere)
    await bucket.upload_from_stream_with_id("file", "name.bin", content, metadata={"kind": "test"})
    stream = await bucket.open_download_stream("file")
    expect.true(await stream.read() == content, "the content that went up")
    away = ctx.bucket(ctx.client.get_database(ctx.database, read_preference=ReadPreference.SECONDARY))
    stream = await away.open_download_stream("file")
    expect.true(await stream.read() == content, "the content on a secondary")
    found = await (await now(bucket.find({}))).next()
    return [(found.filename, found.length, found.metadata), await ctx.db["fs.chunks"].count_documents({}), sorted(await ctx.db["fs.chunks"].index_information())]


@scenario
async def revisions_renames_deletions_of_files(ctx):
    bucket = ctx.bucket(ctx.db, bucket_name="own", chunk_size_bytes=1024)
    for n in range(3):
        await bucket.upload_from_stream_with_id(n, "name", bytes([n]) * 5000)
    revisions = []
    for revision in (0, 1, -1):
        stream = await bucket.open_download_stream_by_name("name", revision)
        revisions.append((await stream.read())[0])
    expect.equal(revisions, [0, 1, 2])
    await bucket.rename(1, "renamed")
    await bucket.delete(0)
    absent = await failure(bucket.open_download_stream(0), kind=NoFile)
    aborted = bucket.open_upload_stream("aborted")
    await aborted.write(b"x" * 5000)
    await aborted.abort()
    left = sorted([one["filename"] async for one in ctx.db["own.files"].find()])
    expect.equal(left, ["name", "renamed"])
    # The message repeats the client with its options.
    return [revisions, type(absent).__name__, left]
