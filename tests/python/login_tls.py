"""Logs in as the options given as JSON say, and prints who that is and what it may do: 1, or the code of the error."""

import json
import sys

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

uri, options = sys.argv[1], json.loads(sys.argv[2])


def outcome(action):
    try:
        action()
    except OperationFailure as error:
        return error.code
    return 1


with pymongo.MongoClient(uri, serverSelectionTimeoutMS=1000, **options) as client:
    try:
        status = client.admin.command("connectionStatus")["authInfo"]
        told = {
            "users": status["authenticatedUsers"],
            "write": outcome(lambda: client.dock.loads.insert_one({})),
            "credentials": outcome(lambda: client.admin["system.users"].find_one()),
        }
    except PyMongoError as error:
        told = {"code": getattr(error, "code", None)}
print(json.dumps(told))
