"""The workloads of worker.py by PyMongo 2, in Python 2.7, with the same settings and the same lines.

PyMongo 2.4 knows nothing but OP_INSERT, OP_UPDATE and OP_QUERY, asks `getlasterror` behind each write, and retries nothing.
"""

import json
import os
import sys
import threading
import time

from pymongo import MongoClient, ReadPreference

BULK = 1000
PREFERENCES = [
    ReadPreference.PRIMARY,
    ReadPreference.SECONDARY,
    ReadPreference.SECONDARY_PREFERRED,
    ReadPreference.NEAREST,
    ReadPreference.PRIMARY_PREFERRED,
]


class Worker(object):
    def __init__(self, client, name):
        self.client = client
        self.database = client.chaos
        self.name = name
        self.number = 0

    def upsert(self, collection, spec, change, **options):
        told = collection.update(spec, change, upsert=True, **options)
        assert told["n"] == 1 and told["err"] is None, "told %r" % told
        return told

    def inc(self, _):
        self.upsert(self.database.inc, {"_id": self.name}, {"$inc": {"n": 1}})

    def once(self, identity):
        told = self.upsert(self.database.once, {"_id": identity}, {"$inc": {"n": 1}})
        assert not told["updatedExisting"], "told %r" % told

    def w1(self, identity):
        told = self.upsert(self.database.w1, {"_id": identity}, {"$inc": {"n": 1}}, w=1)
        assert not told["updatedExisting"], "told %r" % told

    def push(self, identity):
        page = "%s/%d" % (self.name, self.number // 100)
        self.upsert(self.database.push, {"_id": page}, {"$push": {"ids": identity}})

    def insert(self, identity):
        self.database.insert.insert({"u": identity}, manipulate=False)

    def modify(self, identity):
        after = self.database.modify.find_and_modify(
            {"_id": identity}, {"$inc": {"n": 1}}, upsert=True, new=True, writeConcern={"w": "majority"}
        )
        assert after and after["n"] == 1, "told %r" % after

    def bulk(self, identity):
        self.database.bulk.insert([{"op": identity, "i": i} for i in range(BULK)], manipulate=False)

    def silent(self, identity):
        # On one connection, or nothing would put the read behind the write.
        self.client.start_request()
        try:
            self.database.silent.insert({"u": identity}, manipulate=False, w=0)
            assert self.database.silent.find_one({"u": identity}), "unseen"
        finally:
            self.client.end_request()

    def read(self, identity):
        query = {"$query": {"_id": 1}, "$comment": "operation " + identity}
        preference = PREFERENCES[self.number % len(PREFERENCES)]
        found = self.database.seeds.find_one(query, read_preference=preference)
        assert found, "the document is not there"

    def slow(self, identity):
        query = {"$query": {"_id": 1, "$where": "sleep(40) || true"}, "$comment": "operation " + identity}
        found = self.database.seeds.find_one(query, read_preference=ReadPreference.SECONDARY_PREFERRED)
        assert found, "the document is not there"

    def run(self, cycle, pause, out, stop):
        while not os.path.exists(stop):
            workload = cycle[self.number % len(cycle)]
            identity = "%s:%d" % (self.name, self.number)
            start = time.time()
            try:
                getattr(self, workload)(identity)
                error = None
            except Exception as e:  # whatever it is, it is what an application would see
                error = ("%s: %s" % (type(e).__name__, e))[:600]
            line = [self.name, workload, identity, start, time.time(), error]
            out.write(json.dumps(line) + "\n")
            self.number += 1
            time.sleep(pause)


def main(settings):
    client = MongoClient(settings["uri"], w="majority")
    # Line by line, so that a process that is killed leaves what it did.
    with open(settings["out"], "w", 1) as out:
        threads = []
        for number, cycle in enumerate(settings["cycles"]):
            worker = Worker(client, "%s-%d" % (settings["name"], number))
            # Workers begin at different places, so that each fault meets all workloads.
            worker.number = number * 3
            arguments = (cycle, settings["pause"], out, settings["stop"])
            threads.append(threading.Thread(target=worker.run, args=arguments))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


main(json.loads(sys.argv[1]))
