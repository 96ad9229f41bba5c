"""What a scenario is given: clients of one side, a database of its own, and the nodes behind."""

import itertools
import os
import threading
from collections import Counter

from pymongo import MongoClient, WriteConcern
from pymongo.monitoring import CommandListener

from .replica_set import ReplicaSet

_serial = itertools.count()


class CommandLog(CommandListener):
    """The names of the commands that a client sent, in order, and what became of them."""

    def __init__(self):
        self.started_commands = []
        self.replies = []

    def started(self, event):
        self.started_commands.append((event.command_name, dict(event.command)))

    def succeeded(self, event):
        self.replies.append((event.command_name, event.reply))

    def failed(self, event):
        self.replies.append((event.command_name, event.failure))

    def names(self) -> list[str]:
        return [name for name, _ in self.started_commands]

    def counts(self) -> Counter:
        return Counter(self.names())


class Context:
    """One run of one scenario on one side.

    Invariant: the database name is used by no other run, and is dropped by `close`, with all clients closed.
    """

    def __init__(self, side: str, uri: str, replica_set: ReplicaSet):
        self.side = side
        self.uri = uri
        self.replica_set = replica_set
        self.database = f"parity_{side}_{os.getpid()}_{next(_serial)}"
        self._clients = []
        self._lock = threading.Lock()
        self._main = None
        self._other_databases = []

    def connect(self, **options) -> MongoClient:
        """A new client of this side, closed at the end."""
        # Bounds every wait, so that a reply that never comes is a failure and not a run without an end.
        options.setdefault("socketTimeoutMS", 40_000)
        options.setdefault("serverSelectionTimeoutMS", 15_000)
        client = MongoClient(self.uri, **options)
        with self._lock:
            self._clients.append(client)
        return client

    def connect_logged(self, **options) -> tuple[MongoClient, CommandLog]:
        """As `connect`, with a log of the commands that the driver sends."""
        log = CommandLog()
        return self.connect(event_listeners=[log], **options), log

    @property
    def client(self) -> MongoClient:
        """The client of this side for scenarios that need but one."""
        if self._main is None:
            self._main = self.connect()
        return self._main

    @property
    def db(self):
        """The scenario's own database, by `client`."""
        return self.client[self.database]

    def other_database(self) -> str:
        """The name of one more database, dropped at the end too."""
        name = f"{self.database}_other"
        self._other_databases.append(name)
        return name

    def seed(self, collection: str, documents, **options):
        """Puts documents on every node, past the proxy, and returns this side's collection.

        `w: 3` and not majority: a read of any secondary must see them.
        """
        nodes = len(self.replica_set.nodes)
        direct = self.replica_set.client[self.database].get_collection(
            collection, write_concern=WriteConcern(w=nodes, wtimeout=30_000)
        )
        if options:
            direct.database.create_collection(collection, **options)
        direct.insert_many(documents)
        return self.db[collection]

    def fail_point(self, **data) -> "FailPoint":
        """`failCommand` on the primary, confined to this scenario's namespaces by `namespace`."""
        return FailPoint(self.replica_set.primary.client, data)

    @property
    def presents_as_mongos(self) -> bool:
        """Whether this side's hello is that of a `mongos`."""
        return self.client.admin.command("hello").get("msg") == "isdbgrid"

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for name in (self.database, *self._other_databases):
            self.replica_set.client.drop_database(name)


class FailPoint:
    """A `failCommand` fail point that is on inside its `with` block.

    A node has only one such fail point, so the scenarios that use it take turns. All of them are in the area
    `retries`, which one process runs.
    """

    _turn = threading.Lock()

    def __init__(self, client: MongoClient, data: dict):
        self.client = client
        self.mode = data.pop("mode", {"times": 1})
        self.data = data

    def __enter__(self):
        FailPoint._turn.acquire()
        try:
            self.client.admin.command("configureFailPoint", "failCommand", mode=self.mode, data=self.data)
        except BaseException:
            FailPoint._turn.release()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.client.admin.command("configureFailPoint", "failCommand", mode="off")
        finally:
            FailPoint._turn.release()
