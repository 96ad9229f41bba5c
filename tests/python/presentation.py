"""PyMongo on what a listener presents: does everyday work by one connection string, and prints what it saw."""

import json
import sys
import time

import pymongo
from pymongo.errors import NotPrimaryError, OperationFailure
from pymongo.read_preferences import Nearest, PrimaryPreferred, Secondary, SecondaryPreferred


def work(client, name):
    """CRUD, a cursor of several batches, a transaction that commits and one that aborts."""
    database = client[name]
    database.tides.drop()
    majority = pymongo.WriteConcern("majority", wtimeout=20_000)
    tides = database.get_collection("tides", write_concern=majority)
    tides.insert_many([{"_id": number} for number in range(250)])
    read = len(list(tides.find(batch_size=20)))
    with client.start_session() as session:
        with session.start_transaction():
            tides.insert_one({"_id": "committed"}, session=session)
        session.start_transaction()
        tides.insert_one({"_id": "aborted"}, session=session)
        inside = len(list(tides.find({}, session=session, batch_size=50)))
        session.abort_transaction()
    cursor = tides.find(batch_size=2)
    next(cursor)
    cursor.close()
    return {"read": read, "inside": inside, "left": tides.count_documents({})}


def server(client, preference):
    """Which node answers, by its own word."""
    status = client.admin.command("serverStatus", read_preference=preference)
    return status["repl"]["me"]


def replica_set(client):
    deadline = time.time() + 20
    while time.time() < deadline and not (client.primary and client.secondaries):
        time.sleep(0.05)
    shown = {
        "primary": client.primary and "%s:%d" % client.primary,
        "secondaries": sorted("%s:%d" % address for address in client.secondaries),
        "kind": client.topology_description.topology_type_name,
    }
    served = {
        preference.__class__.__name__: server(client, preference)
        for preference in (Secondary(), SecondaryPreferred(), PrimaryPreferred(), pymongo.ReadPreference.PRIMARY)
    }
    nearest = {server(client, Nearest()) for _ in range(30)}
    tides = client.presented.tides.with_options(read_preference=Secondary())
    # A majority has it, and this secondary soon.
    while (found := tides.find_one({"_id": 0})) is None and time.time() < deadline:
        time.sleep(0.05)
    return {"shown": shown, "served": served, "nearest": sorted(nearest), "found": found}


def refused(client):
    """What a write on a secondary comes to."""
    try:
        client.presented.tides.insert_one({})
    except NotPrimaryError as error:
        return error.details["code"]
    except OperationFailure as error:
        return error.code
    return None


def main(task, uri):
    client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=20_000)
    outcome = {}
    if task == "replica_set":
        outcome["work"] = work(client, "presented")
        outcome.update(replica_set(client))
    elif task == "secondary":
        outcome["refused"] = refused(client)
        outcome["read"] = client.presented.tides.count_documents({})
        outcome["server"] = server(client, pymongo.ReadPreference.PRIMARY)
    elif task == "node":
        hello = client.admin.command("hello")
        outcome["hello"] = {key: hello.get(key) for key in ("setName", "me", "secondary", "hosts")}
        outcome["server"] = server(client, pymongo.ReadPreference.PRIMARY)
        outcome["operations"] = len(client.admin.command("currentOp")["inprog"]) > 0
        outcome["refused"] = refused(client)
    else:
        outcome["work"] = work(client, task)
        outcome["kind"] = client.topology_description.topology_type_name
        hello = client.admin.command("hello")
        outcome["hello"] = sorted(set(hello) & {"msg", "setName", "serviceId"})
    print(json.dumps(outcome, default=str))


main(*sys.argv[1:])
