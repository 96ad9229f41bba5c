"""Capped and tailable, time series, clustered and view collections; raw documents."""

import datetime
import threading
import time

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import CursorType

from . import expect
from .registry import scenario


@scenario
def tailable_cursors_go_on_after_the_last_document(ctx):
    log = ctx.db.create_collection("log", capped=True, size=1_000_000, max=1000)
    log.insert_many([{"_id": n} for n in range(10)])
    cursor = log.find(cursor_type=CursorType.TAILABLE, batch_size=4)
    seen = [one["_id"] for one in cursor]
    expect.equal([seen, cursor.alive], [list(range(10)), True])
    log.insert_many([{"_id": n} for n in range(10, 15)])
    seen += [one["_id"] for one in cursor]
    expect.equal(seen, list(range(15)))
    cursor.close()
    ctx.db.drop_collection("log")
    return seen


@scenario
def awaiting_cursors_wait_for_the_next_document(ctx):
    log = ctx.db.create_collection("log", capped=True, size=1_000_000)
    log.insert_one({"_id": 0})
    cursor = log.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(5_000)
    expect.equal(next(cursor), {"_id": 0})
    writer = threading.Timer(0.3, log.insert_one, [{"_id": 1}])
    started = time.monotonic()
    writer.start()
    second = next(cursor)
    waited = time.monotonic() - started
    writer.join()
    expect.true(0.2 < waited < 4, f"the document after some 0.3 s, not {waited:.2f} s")
    quick = log.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(100)
    expect.equal([one["_id"] for one in quick], [0, 1])
    expect.equal(quick.alive, True)
    log.drop()
    # The driver takes the error of a tailable cursor as its end.
    expect.equal([list(quick), quick.alive], [[], False])
    return second


@scenario
def capped_collections_drop_their_oldest(ctx):
    log = ctx.db.create_collection("log", capped=True, size=4096, max=3)
    log.insert_many([{"_id": n} for n in range(10)])
    seen = [one["_id"] for one in log.find().sort("$natural", -1)]
    expect.equal(seen, [9, 8, 7])
    converted = ctx.db.command("convertToCapped", "log", size=8192)
    return [seen, log.options(), converted]


@scenario
def time_series(ctx):
    series = ctx.db.create_collection(
        "series", timeseries={"timeField": "at", "metaField": "sensor", "granularity": "minutes"}
    )
    start = datetime.datetime(2024, 1, 1)
    series.insert_many(
        [{"_id": n, "at": start + datetime.timedelta(minutes=n), "sensor": n % 2, "value": n} for n in range(200)]
    )
    averages = list(
        series.aggregate([{"$group": {"_id": "$sensor", "average": {"$avg": "$value"}}}, {"$sort": {"_id": 1}}])
    )
    window = len(list(series.find({"at": {"$gte": start + datetime.timedelta(minutes=150)}}, batch_size=20)))
    listed = next(ctx.db.list_collections(filter={"name": "series"}))
    deleted = series.delete_many({"sensor": 1}).deleted_count
    expect.equal([one["average"] for one in averages], [99.0, 100.0])
    expect.equal([window, series.count_documents({})], [50, 100])
    return [averages, window, listed["type"], listed["options"], deleted]


@scenario
def views_and_clustered_collections(ctx):
    ctx.db.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"})
    ctx.db.clustered.insert_many([{"_id": n, "n": n % 5} for n in range(100)])
    ctx.db.create_collection("fours", viewOn="clustered", pipeline=[{"$match": {"n": 4}}])
    seen = [one["_id"] for one in ctx.db.fours.find(batch_size=6).sort("_id")]
    counts = [ctx.db.fours.count_documents({"_id": {"$gt": 50}}), len(ctx.db.fours.distinct("_id"))]
    refused = expect.failure(lambda: ctx.db.fours.insert_one({}), code=166)
    expect.equal([len(seen), counts], [20, [10, 20]])
    return [seen, counts, refused, ctx.db.clustered.options()]


@scenario
def raw_documents_keep_their_bytes(ctx):
    raw = [RawBSONDocument(bson.encode({"_id": n, "z": 1, "a": {"deep": [n] * n}})) for n in range(50)]
    things = ctx.db.get_collection("things", codec_options=CodecOptions(document_class=RawBSONDocument))
    things.insert_many(raw)
    seen = [one.raw for one in things.find(batch_size=7).sort("_id")]
    expect.equal(seen, [one.raw for one in raw])
    changed = things.find_one_and_update({"_id": 3}, {"$set": {"z": 2}})
    expect.equal(changed.raw, raw[3].raw)
    return [len(one) for one in seen]
