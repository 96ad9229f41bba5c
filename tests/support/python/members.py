"""Prints the driver's version and the tags of every member of the set at the given URI."""

import json
import sys

import pymongo

client = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=20_000)
members = client.admin.command("replSetGetConfig")["config"]["members"]
print(json.dumps({"pymongo": pymongo.version, "tags": {m["host"]: m["tags"] for m in members}}))
