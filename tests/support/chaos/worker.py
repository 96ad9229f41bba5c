"""Workloads that show a second application, by PyMongo, until a file appears; one line of JSON for each operation.

Usage: worker.py SETTINGS, a JSON object with `uri`, `name`, `cycles` (one thread for each, and the workloads that it does in
turns), `pause` (seconds between two operations), `out` (the file for the lines), `stop` (the file to wait for) and `user` (null, or `name`,
`db` and `other`, a user whose data this one may not read).

A line is `[worker, workload, id, start, end, error]`, times in seconds since 1970, the error null for what was acknowledged.
"""

import json
import os
import random
import sys
import threading
import time

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import OperationFailure

BULK = 1000
ACCOUNTS = 10
PREFERENCES = [
    ReadPreference.PRIMARY,
    ReadPreference.SECONDARY,
    ReadPreference.SECONDARY_PREFERRED,
    ReadPreference.NEAREST,
    ReadPreference.PRIMARY_PREFERRED,
]


def raw(document):
    """A document to which the driver adds no `_id`."""
    return RawBSONDocument(bson.encode(document))


class Worker:
    def __init__(self, client, name, seed, user):
        self.client = client
        self.user = user
        self.database = client.chaos
        self.name = name
        self.random = random.Random(seed)
        self.number = 0

    def inc(self, _):
        result = self.database.inc.update_one({"_id": self.name}, {"$inc": {"n": 1}}, upsert=True)
        assert result.upserted_id or result.modified_count == 1, f"told {result.raw_result}"

    def once(self, identity):
        result = self.database.once.update_one({"_id": identity}, {"$inc": {"n": 1}}, upsert=True)
        assert result.upserted_id == identity, f"told {result.raw_result}"

    def w1(self, identity):
        collection = self.database.w1.with_options(write_concern=WriteConcern(1))
        result = collection.update_one({"_id": identity}, {"$inc": {"n": 1}}, upsert=True)
        assert result.upserted_id == identity, f"told {result.raw_result}"

    def push(self, identity):
        page = f"{self.name}/{self.number // 100}"
        result = self.database.push.update_one({"_id": page}, {"$push": {"ids": identity}}, upsert=True)
        assert result.upserted_id or result.modified_count == 1, f"told {result.raw_result}"

    def insert(self, identity):
        self.database.insert.insert_one(raw({"u": identity}))

    def modify(self, identity):
        after = self.database.modify.find_one_and_update(
            {"_id": identity}, {"$inc": {"n": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        assert after and after["n"] == 1, f"told {after}"

    def bulk(self, identity):
        result = self.database.bulk.bulk_write([InsertOne(raw({"op": identity, "i": i})) for i in range(BULK)])
        assert result.inserted_count == BULK, f"told {result.bulk_api_result}"

    def silent(self, identity):
        collection = self.database.silent.with_options(write_concern=WriteConcern(0))
        collection.insert_one(raw({"u": identity}))
        # Served after it, and where it was written.
        assert self.database.silent.find_one({"u": identity}, comment=f"operation {identity}"), "unseen"

    def transfer(self, identity):
        giver, taker = self.random.sample(range(ACCOUNTS), 2)
        amount = self.random.randint(1, 9)

        def transact(session):
            accounts = self.database.accounts
            accounts.update_one({"_id": giver}, {"$inc": {"n": -amount}}, session=session)
            accounts.update_one({"_id": taker}, {"$inc": {"n": amount}}, session=session)
            self.database.transfer.insert_one({"_id": identity, "n": 1}, session=session)

        with self.client.start_session() as session:
            session.with_transaction(transact, write_concern=WriteConcern("majority"))

    def read(self, identity):
        preference = PREFERENCES[self.number % len(PREFERENCES)]
        seeds = self.database.seeds.with_options(read_preference=preference)
        assert seeds.find_one({"_id": 1}, comment=f"operation {identity}"), "the document is not there"

    def slow(self, identity):
        """A read that is long enough for faults to meet it."""
        seeds = self.database.seeds.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED)
        where = {"_id": 1, "$where": "sleep(40) || true"}
        assert seeds.find_one(where, comment=f"operation {identity}"), "the document is not there"

    def whoami(self, identity):
        """Who this is to the proxy, and to the node that has the data."""
        me = {key: self.user[key] for key in ("user", "db")}
        status = self.client.admin.command("connectionStatus")["authInfo"]
        assert status["authenticatedUsers"] == [me], f"told {status}"
        comment = f"operation {identity}"
        own = self.client[f"own_{self.user['user']}"].things.find_one(comment=comment)
        assert own == {"_id": self.user["user"]}, f"told {own}"
        try:
            others = self.client[f"own_{self.user['other']}"].things.find_one(comment=f"{comment} as another")
        except OperationFailure as error:
            if error.code != 13:
                raise
        else:
            raise AssertionError(f"told {others}, which is another's")

    def run(self, cycle, pause, out, stop):
        while not os.path.exists(stop):
            workload = cycle[self.number % len(cycle)]
            identity = f"{self.name}:{self.number}"
            start = time.time()
            try:
                getattr(self, workload)(identity)
                error = None
            except Exception as e:  # whatever it is, it is what an application would see
                error = f"{type(e).__name__}: {e}"[:600]
            line = [self.name, workload, identity, start, time.time(), error]
            out.write(json.dumps(line) + "\n")
            self.number += 1
            time.sleep(pause)


def main(settings):
    client = pymongo.MongoClient(settings["uri"])
    # Line by line, so that a process that is killed leaves what it did.
    with open(settings["out"], "w", buffering=1) as out:
        threads = []
        for number, cycle in enumerate(settings["cycles"]):
            worker = Worker(client, f"{settings['name']}-{number}", f"{settings['name']} {number}", settings["user"])
            # Workers begin at different places, so that each fault meets all workloads.
            worker.number = number * 3
            arguments = (cycle, settings["pause"], out, settings["stop"])
            threads.append(threading.Thread(target=worker.run, args=arguments))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


main(json.loads(sys.argv[1]))
