"""The exercise of an old PyMongo (2.4 to 3.13), by the methods that all of them have.

Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.
"""

import sys
import warnings

import pymongo
from harness import run
from pymongo import MongoClient
from steps_reads import READS
from steps_writes import WRITES

warnings.simplefilter("ignore", DeprecationWarning)


class Context(object):
    """What the steps share."""

    def __init__(self, address, name, set_name):
        self.client = connect(address, set_name)
        self.database = self.client[name]
        self.things = self.database.things


def connect(address, set_name):
    """A client as applications of the driver's time made it."""
    if not set_name:
        return MongoClient("mongodb://%s/" % address)
    if pymongo.version_tuple[0] == 2:
        from pymongo import MongoReplicaSetClient

        return MongoReplicaSetClient(address, replicaSet=set_name)
    return MongoClient("mongodb://%s/?replicaSet=%s" % (address, set_name))


def connected(context):
    """connect"""
    context.client.drop_database(context.database.name)
    return bool(context.client.admin.command("ismaster")["ismaster"])


def dropped(context):
    """drop"""
    context.things.drop_indexes()
    context.database.drop_collection("things")
    context.client.drop_database(context.database.name)
    return context.things.count()


if __name__ == "__main__":
    run([connected] + WRITES + READS + [dropped], Context(*(sys.argv[1:] + [None])[:3]))
