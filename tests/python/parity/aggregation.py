"""Aggregations: on collections, databases and the whole server; with stages that write."""

from pymongo import ReadPreference
from pymongo.collation import Collation

from . import expect
from .registry import scenario


def _sales(ctx):
    return ctx.seed("sales", [{"_id": n, "item": "abc"[n % 3], "price": n} for n in range(60)])


@scenario
def groups_lookups_and_facets(ctx):
    sales = _sales(ctx)
    ctx.db.items.insert_many([{"_id": one, "name": one * 3} for one in "abc"])
    outcomes = [
        list(sales.aggregate([{"$group": {"_id": "$item", "sum": {"$sum": "$price"}}}, {"$sort": {"_id": 1}}])),
        list(
            sales.aggregate(
                [
                    {"$match": {"_id": {"$lt": 3}}},
                    {"$lookup": {"from": "items", "localField": "item", "foreignField": "_id", "as": "items"}},
                    {"$unwind": "$items"},
                    {"$sort": {"_id": 1}},
                ]
            )
        ),
        list(sales.aggregate([{"$facet": {"n": [{"$count": "n"}], "top": [{"$sort": {"_id": -1}}, {"$limit": 2}]}}])),
        list(sales.aggregate([{"$unionWith": "items"}, {"$count": "n"}])),
        list(sales.aggregate([{"$bucketAuto": {"groupBy": "$price", "buckets": 3}}])),
        list(
            sales.aggregate(
                [{"$match": {"$expr": {"$eq": ["$price", "$$wanted"]}}}],
                let={"wanted": 7},
                comment={"why": "parity"},
                allowDiskUse=True,
                hint="_id_",
            )
        ),
        list(sales.aggregate([{"$match": {"item": "A"}}, {"$count": "n"}], collation=Collation("en", strength=2))),
    ]
    expect.equal(outcomes[0][0], {"_id": "a", "sum": sum(range(0, 60, 3))})
    expect.equal(outcomes[3], [{"n": 63}])
    expect.equal(outcomes[6], [{"n": 20}])
    return outcomes


@scenario
def out_replaces_a_collection(ctx):
    sales = _sales(ctx)
    other = ctx.other_database()
    ctx.db.target.insert_one({"_id": "old"})
    returned = list(sales.aggregate([{"$match": {"item": "a"}}, {"$out": "target"}]))
    list(sales.aggregate([{"$match": {"item": "b"}}, {"$out": {"db": other, "coll": "target"}}]))
    counts = [ctx.db.target.count_documents({}), ctx.client[other].target.count_documents({})]
    expect.equal(counts, [20, 20])
    expect.equal(ctx.db.target.find_one({"_id": "old"}), None)
    return [returned, counts]


@scenario
def merge_updates_a_collection(ctx):
    sales = _sales(ctx)
    ctx.db.totals.insert_one({"_id": "a", "kept": True})
    pipeline = [
        {"$group": {"_id": "$item", "sum": {"$sum": "$price"}}},
        {"$merge": {"into": "totals", "whenMatched": "merge", "whenNotMatched": "insert"}},
    ]
    list(sales.aggregate(pipeline))
    seen = list(ctx.db.totals.find().sort("_id"))
    expect.equal(seen[0], {"_id": "a", "kept": True, "sum": 570})
    refusal = expect.failure(
        lambda: sales.aggregate([{"$set": {"_id": "a"}}, {"$merge": {"into": "totals", "whenMatched": "fail"}}]),
        code=11000,
    )
    return [seen, refusal]


@scenario
def writing_stages_work_whatever_the_read_preference(ctx):
    sales = _sales(ctx).with_options(read_preference=ReadPreference.SECONDARY)
    list(sales.aggregate([{"$match": {"item": "a"}}, {"$out": "by_out"}]))
    list(sales.aggregate([{"$match": {"item": "a"}}, {"$merge": {"into": "by_merge"}}]))
    counts = [ctx.db.by_out.count_documents({}), ctx.db.by_merge.count_documents({})]
    expect.equal(counts, [20, 20])
    return counts


@scenario
def aggregates_of_a_database(ctx):
    documents = [{"_id": n} for n in range(250)]
    seen = list(ctx.db.aggregate([{"$documents": documents}, {"$match": {"_id": {"$gte": 5}}}], batchSize=100))
    expect.equal(len(seen), 245)
    with ctx.client.start_session() as session:
        ctx.db.things.find_one({}, session=session)
        ours = list(
            ctx.client.admin.aggregate([{"$listLocalSessions": {}}, {"$match": {"_id.id": session.session_id["id"]}}])
        )
    running = list(
        ctx.client.admin.aggregate(
            [
                {"$currentOp": {"allUsers": True, "idleSessions": False}},
                {"$match": {"command.aggregate": 1, "command.comment": ctx.database}},
                {"$project": {"command.aggregate": 1, "ns": 1, "type": 1}},
            ],
            comment=ctx.database,
        )
    )
    expect.equal(running, [{"type": "op", "ns": "admin.$cmd.aggregate", "command": {"aggregate": 1}}])
    refusal = expect.failure(lambda: ctx.db.aggregate([{"$currentOp": {}}]), code=73)
    return [len(seen), len(ours), running, refusal]


@scenario
def statistics_by_stages(ctx):
    sales = _sales(ctx)
    sales.create_index("item")
    list(sales.find({"item": "a"}))
    storage = list(sales.aggregate([{"$collStats": {"count": {}}}]))
    indexes = sorted(one["name"] for one in sales.aggregate([{"$indexStats": {}}]))
    plans = list(sales.aggregate([{"$planCacheStats": {}}]))
    expect.equal(storage[0]["count"], 60)
    expect.equal(indexes, ["_id_", "item_1"])
    return [storage[0]["ns"], storage[0]["count"], indexes, len(plans)]


@scenario
def map_reduce_inline_and_into_a_collection(ctx):
    _sales(ctx)
    command = {
        "mapReduce": "sales",
        "map": "function() { emit(this.item, this.price); }",
        "reduce": "function(key, values) { return Array.sum(values); }",
    }
    inline = ctx.db.command({**command, "out": {"inline": 1}})
    written = ctx.db.command({**command, "out": {"replace": "sums"}})
    seen = list(ctx.db.sums.find().sort("_id"))
    expect.equal(seen[0], {"_id": "a", "value": 570.0})
    return [sorted(one["_id"] for one in inline["results"]), written["result"], seen]


@scenario
def a_pipeline_that_fails_tells_why(ctx):
    sales = _sales(ctx)
    return [
        expect.failure(lambda: sales.aggregate([{"$noSuchStage": {}}]), code=40324),
        expect.failure(lambda: list(sales.aggregate([{"$project": {"x": {"$divide": ["$price", 0]}}}]))),
        expect.failure(lambda: ctx.db.command("aggregate", "sales", pipeline=[]), code=9),
    ]
