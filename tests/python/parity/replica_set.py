"""The replica set seen from behind: a connection to each node and the counters that the nodes keep themselves.

Which node served an operation is read here, from the server's `top` counters and profiler, never from the proxy.
"""

import time
from dataclasses import dataclass

from pymongo import MongoClient
from pymongo.errors import OperationFailure

# Every member has a `role` of its own and is in one of two data centres (`dc`), the first two members sharing one;
# `w: "everySite"` waits for a node of each.
WRITE_CONCERN_MODE = "everySite"
# The least that `replSetResizeOplog` takes.
OPLOG_MEGABYTES = 990
_RECONFIG_IN_PROGRESS = {103, 109, 308}


@dataclass(frozen=True)
class Node:
    """One data-bearing member: its address, tags, and a client connected to it alone."""

    address: str
    tags: dict
    client: MongoClient

    def is_primary(self) -> bool:
        return bool(self.client.admin.command("hello")["isWritablePrimary"])


class ReplicaSet:
    """All nodes of the set that a direct URI names."""

    def __init__(self, uri: str):
        self.client = MongoClient(uri, serverSelectionTimeoutMS=20_000)
        config = _tag_members(self.client)
        self.nodes = [
            Node(
                member["host"],
                member["tags"],
                MongoClient(f"mongodb://{member['host']}/?directConnection=true", serverSelectionTimeoutMS=20_000),
            )
            for member in config["members"]
            if not member["arbiterOnly"]
        ]
        for node in self.nodes:
            # A primary sends a hundredth of its reads to its secondaries too, to warm their caches. The counters there
            # would tell of reads that no client asked for.
            node.client.admin.command("setParameter", 1, mirrorReads={"samplingRate": 0.0})
            # The large documents would roll over a small oplog faster than a busy secondary reads it, and a secondary
            # that has lost its place there is lost for good. This is a limit and takes no space by itself.
            oplog = node.client.local["oplog.rs"].options()
            if oplog["size"] < OPLOG_MEGABYTES << 20:
                node.client.admin.command("replSetResizeOplog", 1, size=float(OPLOG_MEGABYTES))

    @property
    def primary(self) -> Node:
        """The node that is primary now."""
        return next(node for node in self.nodes if node.is_primary())

    @property
    def secondaries(self) -> list[Node]:
        """The nodes that are not primary now."""
        return [node for node in self.nodes if not node.is_primary()]

    def served(self, namespace: str) -> dict:
        """How often each node was asked about a namespace so far: address -> the kinds that its `top` counts."""
        counts = {}
        for node in self.nodes:
            usage = node.client.admin.command("top")["totals"].get(namespace, {})
            counts[node.address] = {
                kind: usage.get(kind, {}).get("count", 0)
                for kind in ("queries", "getmore", "commands", "insert", "update", "remove")
            }
        return counts

    def served_exactly(self, namespace: str, before: dict, kind: str, count: int) -> dict:
        """Address -> how many operations of one kind each node served since `before`, once they are `count` together.

        A node counts an operation after it has answered it, so the last ones may be missing for a moment.
        """
        deadline = time.monotonic() + 10
        while True:
            served = served_since(before, self.served(namespace), kind)
            if sum(served.values()) == count:
                return served
            if sum(served.values()) > count or time.monotonic() > deadline:
                raise AssertionError(f"expected {count} {kind} on {namespace} in the nodes' counters, saw {served}")
            time.sleep(0.01)

    def profile(self, database: str):
        """Has every node record each operation on a database (to be read by `profiled`)."""
        for node in self.nodes:
            node.client[database].command("profile", 2)

    def profiled(self, database: str, query: dict) -> dict:
        """Address -> the profiler's records of that node that match `query`. Ends the profiling."""
        records = {}
        for node in self.nodes:
            node.client[database].command("profile", 0)
            records[node.address] = list(node.client[database]["system.profile"].find(query))
        return records

    def close(self) -> None:
        for node in self.nodes:
            node.client.close()
        self.client.close()


def served_since(before: dict, after: dict, kind: str) -> dict:
    """Address -> how many operations of one kind a node served between two readings of `ReplicaSet.served`."""
    return {address: after[address][kind] - before[address][kind] for address in after}


def _tag_members(client: MongoClient) -> dict:
    """Gives the set the tags and the write concern mode that the scenarios use, if it lacks them; returns its
    configuration. Several processes may do this at once: whoever loses the race reads again."""
    for attempt in range(40):
        config = client.admin.command("replSetGetConfig")["config"]
        wanted = False
        for index, member in enumerate(config["members"]):
            if not member["arbiterOnly"] and not {"dc", "role"} <= member["tags"].keys():
                member["tags"] |= {"dc": "east" if index < 2 else "west", "role": "abcdefg"[index]}
                wanted = True
        modes = config["settings"].setdefault("getLastErrorModes", {})
        if WRITE_CONCERN_MODE not in modes:
            modes[WRITE_CONCERN_MODE] = {"dc": 2}
            wanted = True
        if not wanted:
            return config
        config["version"] += 1
        try:
            client.admin.command("replSetReconfig", config)
        except OperationFailure as error:
            if error.code not in _RECONFIG_IN_PROGRESS:
                raise
            time.sleep(0.1 * (1 + attempt % 5))
    raise TimeoutError("the replica set did not take its tags: another reconfiguration keeps going on")
