"""What a user that may only read is told. Usage: URI, the same with a wrong password, the same with an unknown user."""

import json
import sys

import pymongo
from pymongo.errors import OperationFailure


def refused(action):
    try:
        return action()
    except OperationFailure as error:
        return [error.code, error.details["errmsg"]]


def connect(uri):
    return pymongo.MongoClient(uri, serverSelectionTimeoutMS=10000)


with connect(sys.argv[1]) as client:
    status = client.admin.command("connectionStatus")["authInfo"]
    told = {
        "users": status["authenticatedUsers"],
        "roles": status["authenticatedUserRoles"],
        "found": len(list(client.shore.birds.find())),
        "denied": refused(lambda: client.shore.birds.insert_one({})),
    }
for name, uri in zip(["wrong", "unknown"], sys.argv[2:]):
    with connect(uri) as client:
        told[name] = refused(client.shore.birds.find_one)
print(json.dumps(told, default=str))
