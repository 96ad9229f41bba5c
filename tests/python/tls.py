"""Connects as a driver does, with the options given as JSON, and prints what came of it."""

import json
import sys

import pymongo
from pymongo.errors import PyMongoError

uri, options = sys.argv[1], {"serverSelectionTimeoutMS": 5000, **json.loads(sys.argv[2])}
client = pymongo.MongoClient(uri, **options)
try:
    collection = client.tls.things
    inserted = collection.insert_one({"large": "~" * 5_000_000}).inserted_id
    print(json.dumps({"length": len(collection.find_one(inserted)["large"])}))
except PyMongoError as error:
    print(json.dumps({"error": str(error)}))
finally:
    client.close()
