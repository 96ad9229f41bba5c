"""The largest documents, replies and requests."""

import bson
from pymongo.errors import DocumentTooLarge, OperationFailure
from pymongo.write_concern import WriteConcern

from . import expect
from .raw_wire import RawConnection
from .registry import scenario

LARGEST = 16 * 1024 * 1024


def _document(identity: int, size: int) -> dict:
    """A document of exactly `size` bytes."""
    document = {"_id": identity, "blob": b""}
    return {"_id": identity, "blob": b"\xa5" * (size - len(bson.encode(document)))}


@scenario
def the_largest_document_goes_in_and_comes_out(ctx):
    things = ctx.db.things
    for number, size in enumerate((LARGEST, LARGEST - 1, LARGEST // 2)):
        document = _document(number, size)
        expect.equal(len(bson.encode(document)), size)
        things.insert_one(document)
        expect.true(things.find_one({"_id": number}) == document, f"the document of {size} bytes")
    replaced = things.replace_one({"_id": 0}, _document(0, LARGEST)).matched_count
    found = things.find_one_and_delete({"_id": 0})
    return [replaced, len(found["blob"]), [len(one["blob"]) for one in things.find().sort("_id")]]


@scenario
def documents_too_large_are_refused(ctx):
    things = ctx.db.things
    by_driver = expect.failure(lambda: things.insert_one(_document(1, LARGEST + 17_000)), DocumentTooLarge)
    grown = _document(2, LARGEST)
    things.insert_one(grown)
    by_growth = expect.failure(lambda: things.update_one({"_id": 2}, {"$set": {"more": 1}}), OperationFailure)
    outcomes = []
    with RawConnection.to_primary_of(ctx.client) as connection:
        for size in (LARGEST + 1, LARGEST + 16 * 1024):
            reply = connection.command(
                {"insert": "things", "$db": ctx.database}, {"documents": [bson.encode(_document(3, size))]}
            )
            outcomes.append({key: reply[key] for key in reply if key in ("n", "ok", "code", "codeName", "writeErrors")})
        still = connection.command({"ping": 1, "$db": "admin"})["ok"]
    expect.equal(still, 1.0)
    expect.equal(things.count_documents({}), 1)
    return [type(by_driver).__name__, by_growth, outcomes]


@scenario
def batches_of_sixteen_mebibytes(ctx):
    things = ctx.db.things
    things.insert_many([_document(n, 1_000_000) for n in range(40)])
    client, log = ctx.connect_logged()
    seen = list(client[ctx.database].things.find().sort("_id"))
    expect.true(all(one == _document(n, 1_000_000) for n, one in enumerate(seen)), "every byte")
    raw = [len(batch) for batch in client[ctx.database].things.find_raw_batches().sort("_id")]
    expect.equal(sum(raw), 40_000_000)
    expect.true(max(raw) > 15_000_000, f"a batch near 16 MiB, saw {raw}")
    aggregated = sum(len(one["blob"]) for one in client[ctx.database].things.aggregate([], batchSize=1000))
    return [len(seen), raw, aggregated, log.names()]


@scenario
def one_request_close_to_48_megabytes(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].things
    things.insert_many([_document(n, 15_980_000) for n in range(3)], ordered=False)
    expect.equal(log.names(), ["insert"], "commands: all three documents in one message")
    sizes = [len(bson.encode(one)) for one in things.find().sort("_id")]
    expect.equal(sizes, [15_980_000] * 3)
    return [log.names(), sizes]


@scenario
def bulks_larger_than_a_message_are_split(ctx):
    client, log = ctx.connect_logged()
    things = client[ctx.database].get_collection("things", write_concern=WriteConcern("majority"))
    things.insert_many([_document(n, 700_000) for n in range(100)])
    split = log.names()
    expect.equal(split, ["insert", "insert"], "commands: 70 MB in two messages")
    total = list(things.aggregate([{"$group": {"_id": None, "size": {"$sum": {"$bsonSize": "$$ROOT"}}}}]))
    expect.equal(total[0]["size"], 70_000_000)
    return [split, total]


@scenario
def deep_and_wide_documents(ctx):
    deep = {"end": True}
    for _ in range(90):
        deep = {"d": deep}
    wide = {f"field{n}": n for n in range(20_000)}
    things = ctx.db.things
    things.insert_many([{"_id": "deep", "d": deep}, {"_id": "wide", **wide}])
    expect.true(things.find_one({"_id": "deep"})["d"] == deep, "the deep document")
    expect.true(things.find_one({"_id": "wide"}) == {"_id": "wide", **wide}, "the wide document, in order")
    for _ in range(200):
        deep = {"d": deep}
    too_deep = expect.failure(lambda: things.insert_one({"_id": "too deep", "d": deep}))
    many_ids = list(things.find({"_id": {"$in": [f"absent{n}" for n in range(100_000)] + ["deep"]}}, {"_id": 1}))
    expect.equal(many_ids, [{"_id": "deep"}])
    return [too_deep, many_ids]
