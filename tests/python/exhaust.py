"""PyMongo's exhaust cursors: read to the end, closed early, several at a time; prints what was read."""

import json
import sys
import threading

import pymongo
from pymongo.cursor import CursorType


def numbers(things, **options):
    cursor = things.find(cursor_type=CursorType.EXHAUST, **options).sort("_id")
    return [one["_id"] for one in cursor]


def main(uri):
    client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=20_000)
    things = client.exhaust.pymongo
    things.drop()
    things.insert_many([{"_id": number, "pad": "x" * 200} for number in range(2000)])
    outcome = {"small": len(numbers(things, batch_size=100)), "large": len(numbers(things))}
    outcome["ordered"] = numbers(things, batch_size=7) == list(range(2000))

    cursor = things.find(cursor_type=CursorType.EXHAUST, batch_size=10).sort("_id")
    outcome["early"] = [next(cursor)["_id"] for _ in range(15)]
    cursor.close()

    together = []
    threads = [threading.Thread(target=lambda: together.append(len(numbers(things, batch_size=30)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome["together"] = together
    # The pool has nothing left over from a chain.
    outcome["after"] = [things.count_documents({}) for _ in range(10)]
    print(json.dumps(outcome))


main(sys.argv[1])
