"""The steps that write."""

from harness import code, refused
from pymongo.errors import OperationFailure

SHAPES = ["circle", "square", "star"]


def insert(context):
    """insert"""
    returned = context.things.insert({"_id": 0, "n": 0, "shape": "circle", "deep": {"list": [1, {"two": 2.5}]}})
    return [returned, context.things.find_one({"_id": 0})]


def bulk(context):
    """bulk"""
    documents = [{"_id": n, "n": n, "shape": SHAPES[n % 3], "text": "x" * 100} for n in range(1, 300)]
    return [len(context.things.insert(documents)), context.things.count()]


def bulk_duplicate(context):
    """bulk with a duplicate, continued"""
    documents = [{"_id": n, "n": n} for n in (400, 0, 401)]
    failed = refused(context.things.insert, documents, continue_on_error=True)
    return [failed, context.things.find({"_id": {"$gte": 400}}).count()]


def bulk_duplicate_stops(context):
    """bulk with a duplicate, stopped"""
    documents = [{"_id": n, "n": n} for n in (402, 0, 403)]
    failed = refused(context.things.insert, documents)
    removed = context.things.remove({"_id": {"$gte": 400}})
    return [failed, removed["n"]]


def unacknowledged(context):
    """w=0"""
    thing = context.database.unacknowledged
    # All on one connection of the driver's pool, so that the order holds.
    seen = [thing.insert({"_id": n, "n": n}, w=0) for n in range(3)]
    seen.append(thing.find_one({"_id": 2}))
    thing.update({"_id": 1}, {"$set": {"n": 10}}, w=0)
    thing.update({"_id": 7}, {"_id": 7, "n": 70}, upsert=True, w=0)
    thing.update({}, {"$inc": {"n": 1}}, multi=True, w=0)
    thing.remove({"_id": 0}, w=0)
    thing.insert({"_id": 2}, w=0)
    return seen + [list(thing.find().sort("_id", 1))]


def update(context):
    """update"""
    result = context.things.update({"_id": 1}, {"$set": {"shape": "line"}, "$push": {"list": 1}})
    return [result["n"], result["updatedExisting"], context.things.find_one({"_id": 1}, {"text": 0})]


def update_multi(context):
    """update, multi"""
    result = context.things.update({"shape": "star"}, {"$inc": {"n": 1000}}, multi=True)
    return [result["n"], context.things.find({"n": {"$gte": 1000}}).count()]


def update_nothing(context):
    """update, none"""
    result = context.things.update({"_id": "none"}, {"$set": {"n": 1}})
    return [result["n"], result["updatedExisting"]]


def upsert(context):
    """upsert"""
    result = context.things.update({"_id": 500}, {"$set": {"n": 5}}, upsert=True)
    return [result["n"], result["updatedExisting"], result.get("upserted"), context.things.find_one({"_id": 500})]


def replace(context):
    """replace"""
    result = context.things.update({"_id": 500}, {"n": 6, "new": True})
    return [result["n"], context.things.find_one({"_id": 500}), context.things.save({"_id": 501, "saved": 1})]


def remove(context):
    """remove"""
    some = context.things.remove({"_id": {"$gte": 500}})
    none = context.things.remove({"_id": "none"})
    return [some["n"], none["n"]]


def index(context):
    """index"""
    made = [
        context.things.ensure_index([("shape", 1), ("n", -1)], background=True),
        context.things.create_index("code", unique=True, sparse=True, name="codes"),
    ]
    found = context.things.index_information()
    return [made, sorted((name, sorted(about["key"]), bool(about.get("unique"))) for name, about in found.items())]


def duplicate_key(context):
    """duplicate key"""
    context.things.insert({"_id": 600, "code": 1})
    seen = [
        refused(context.things.insert, {"_id": 0}),
        refused(context.things.insert, {"_id": 601, "code": 1}),
        refused(context.things.update, {"_id": 0}, {"$set": {"code": 1}}),
        refused(context.things.update, {"_id": 602}, {"$set": {"code": 1}}, upsert=True),
    ]
    context.things.remove({"_id": {"$gte": 600}})
    return seen


def write_concern(context):
    """getLastError, majority"""
    result = context.things.update({"_id": 2}, {"$set": {"safe": 1}}, w="majority", wtimeout=10000)
    with_number = context.things.insert({"_id": 700}, w=1, j=True)
    removed = context.things.remove({"_id": 700}, w="majority", wtimeout=10000)
    return [result["n"], result["updatedExisting"], with_number, removed["n"]]


def too_many(context):
    """getLastError, more members than there are"""
    try:
        context.things.update({"_id": 2}, {"$set": {"safe": 2}}, w=9, wtimeout=100)
    except OperationFailure as error:
        return [code(error), context.things.find_one({"_id": 2}, ["safe"])]
    return "accepted"


def find_and_modify(context):
    """findAndModify"""
    things = context.things
    fields = {"shape": 1, "n": 1}
    return [
        things.find_and_modify({"_id": 3}, {"$set": {"n": -3}}, fields=fields),
        things.find_and_modify({"_id": 3}, {"$inc": {"n": -1}}, new=True, fields=fields),
        things.find_and_modify({"_id": 800}, {"$set": {"n": 8}}, upsert=True, new=True),
        things.find_and_modify({"_id": 800}, remove=True),
        things.find_and_modify({"_id": "none"}, {"$set": {"n": 1}}),
        things.find_and_modify({"shape": "square"}, {"$set": {"first": 1}}, sort=[("n", -1)], fields={"first": 1}, new=True),
    ]


WRITES = [
    insert,
    bulk,
    bulk_duplicate,
    bulk_duplicate_stops,
    unacknowledged,
    update,
    update_multi,
    update_nothing,
    upsert,
    replace,
    remove,
    index,
    duplicate_key,
    write_concern,
    too_many,
    find_and_modify,
]
