"""Works with documents small and large over compressed connections, and prints how many URIs it did so by.

Arguments: a database, then URIs, each with the `compressors` to be used.
"""

import json
import os
import sys
import warnings

from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

# What PyMongo lacks a library for it leaves uncompressed, with a warning.
warnings.simplefilter("error")


def work(uri, database):
    with MongoClient(uri) as client:
        things = client[database].things
        things.drop()
        documents = [{"_id": n, "text": "tide " * 40 + str(n)} for n in range(2000)]
        things.insert_many(documents)
        # Many batches, one batch, and one above what the proxy holds whole.
        for size in (0, 50, 2000):
            assert list(things.find(batch_size=size).sort("_id")) == documents, size
        sums = list(things.aggregate([{"$group": {"_id": None, "n": {"$sum": {"$strLenCP": "$text"}}}}]))
        assert sums == [{"_id": None, "n": sum(len(d["text"]) for d in documents)}], sums
        try:
            things.insert_one({"_id": 0})
            raise AssertionError("no error")
        except DuplicateKeyError:
            pass
        with client.start_session() as session, session.start_transaction():
            things.delete_many({"_id": {"$lt": 1000}}, session=session)
            assert things.count_documents({}, session=session) == 1000
        # As large as a document may be: half of it noise, half of it easily compressed.
        largest = {"_id": "largest", "noise": os.urandom(8 << 20), "calm": "~" * ((8 << 20) - 100)}
        things.insert_one(largest)
        assert things.find_one("largest") == largest


for uri in sys.argv[2:]:
    work(uri, sys.argv[1])
print(json.dumps(len(sys.argv) - 2))
