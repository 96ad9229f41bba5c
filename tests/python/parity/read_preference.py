"""Which node serves a read, told by the nodes' own counters."""

import time

from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.read_preferences import Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred

from . import expect
from .raw_wire import RawConnection
from .registry import scenario

READS = 30


def _reads(ctx, preference, count: int = READS, **options) -> dict:
    """Address -> finds served of `count` finds with a preference (None: that of the URI's options)."""
    namespace = f"{ctx.database}.things"
    before = ctx.replica_set.served(namespace)
    client = ctx.connect(**options)
    _discover(client, len(before))
    things = client[ctx.database].get_collection("things", read_preference=preference)
    for n in range(count):
        expect.equal(things.find_one({"_id": n}), {"_id": n})
    return ctx.replica_set.served_exactly(namespace, before, "queries", count)


def _discover(client, nodes: int) -> None:
    """Waits until a client of the replica set itself knows all nodes: until then it falls back to those it knows."""
    client.admin.command("ping")

    def known():
        topology = client.topology_description
        return topology.topology_type_name == "Sharded" or len(topology.readable_servers) == nodes

    expect.eventually(known, "a client that has discovered all nodes")


def _seed(ctx):
    ctx.seed("things", [{"_id": n} for n in range(READS * 2)])
    primary = ctx.replica_set.primary
    return primary.address, ctx.replica_set.secondaries


@scenario
def each_mode_is_served_where_it_asks(ctx):
    primary, secondaries = _seed(ctx)
    addresses = {node.address for node in secondaries}
    shares = {}
    for preference in (Primary(), PrimaryPreferred(), Secondary(), SecondaryPreferred(), Nearest()):
        queries = _reads(ctx, preference)
        shares[preference.mongos_mode] = {
            "primary": queries[primary],
            "secondaries": sum(queries[address] for address in addresses),
        }
    for mode in ("primary", "primaryPreferred"):
        expect.equal(shares[mode], {"primary": READS, "secondaries": 0}, mode)
    for mode in ("secondary", "secondaryPreferred"):
        expect.equal(shares[mode], {"primary": 0, "secondaries": READS}, mode)
    shares["nearest"] = sum(shares["nearest"].values())
    return shares


@scenario
def reads_spread_over_nodes_of_like_latency(ctx):
    _, secondaries = _seed(ctx)
    idle = {node.address for node in secondaries}
    deadline = time.monotonic() + 30
    # On a busy machine one node may look slower than the window allows, for a while.
    while idle and time.monotonic() < deadline:
        queries = _reads(ctx, Secondary(), localThresholdMS=1000)
        idle -= {address for address, count in queries.items() if count}
    expect.equal(idle, set(), "secondaries that served nothing")
    return "spread"


@scenario
def tags_choose_the_node(ctx):
    primary, secondaries = _seed(ctx)
    outcomes = []
    for node in secondaries:
        for preference in (
            Secondary([{"role": node.tags["role"]}]),
            Nearest([{"role": "none"}, {"role": node.tags["role"], "dc": node.tags["dc"]}]),
            SecondaryPreferred([{"role": "none"}, {"role": node.tags["role"]}, {}]),
        ):
            queries = _reads(ctx, preference)
            expect.equal(queries[node.address], READS, f"finds on {node.address} with {preference}")
            outcomes.append(preference.mongos_mode)
    own_tags = next(node.tags for node in ctx.replica_set.nodes if node.address == primary)
    expect.equal(_reads(ctx, Nearest([own_tags]))[primary], READS)
    fallen_back = _reads(ctx, SecondaryPreferred([{"role": "none"}]))
    expect.equal(fallen_back[primary], READS, "finds on the primary when no secondary has the tags")
    any_secondary = _reads(ctx, Secondary([{"role": "none"}, {}]))
    expect.equal(any_secondary[primary], 0)
    preferred = _reads(ctx, PrimaryPreferred([{"role": "none"}]))
    expect.equal(preferred[primary], READS)
    return outcomes


@scenario
def max_staleness_admits_fresh_secondaries(ctx):
    primary, _ = _seed(ctx)
    shares = [
        _reads(ctx, Secondary(max_staleness=90))[primary],
        _reads(ctx, SecondaryPreferred(max_staleness=120))[primary],
    ]
    by_options = _reads(ctx, None, readPreference="secondary", maxStalenessSeconds=90)
    expect.equal([*shares, by_options[primary]], [0, 0, 0], "finds on the primary")
    return shares


@scenario
def tags_in_the_uri_choose_the_node(ctx):
    _, secondaries = _seed(ctx)
    chosen = secondaries[0]
    queries = _reads(ctx, None, readPreference="secondary", readPreferenceTags=f"role:{chosen.tags['role']}")
    expect.equal(queries[chosen.address], READS)
    return queries[chosen.address]


@scenario
def tags_that_no_node_has_are_refused_in_time(ctx):
    # Directly the driver gives up, through a mongos presentation the server side does: only that the read fails
    # within its time, as an error of pymongo's, can be the same.
    _seed(ctx)
    client = ctx.connect(serverSelectionTimeoutMS=500)
    things = client[ctx.database].get_collection("things", read_preference=Secondary([{"role": "none"}]))
    expect.failure(lambda: list(things.find().max_time_ms(500)), PyMongoError)
    return "refused"


@scenario
def commands_go_where_their_preference_says(ctx):
    """Told by the profiler of each node, which records the commands of one database."""
    primary, secondaries = _seed(ctx)
    ctx.replica_set.profile(ctx.database)
    commands = [
        {"count": "things"},
        {"distinct": "things", "key": "_id"},
        {"aggregate": "things", "pipeline": [{"$count": "n"}], "cursor": {}},
        {"find": "things", "limit": 1},
        {"listIndexes": "things"},
        {"listCollections": 1},
        {"dbStats": 1},
        {"collStats": "things"},
        {"explain": {"find": "things"}},
        {"aggregate": 1, "pipeline": [{"$documents": [{"n": 1}]}], "cursor": {}},
    ]
    modes = [Primary(), PrimaryPreferred(), Secondary(), SecondaryPreferred()]
    for preference in modes:
        for number, command in enumerate(commands):
            comment = f"{preference.mongos_mode} {number}"
            ctx.db.command({**command, "comment": comment}, read_preference=preference)
    records = ctx.replica_set.profiled(ctx.database, {"command.comment": {"$exists": True}})
    served = {}
    for address, found in records.items():
        role = "primary" if address == primary else "secondary"
        for record in found:
            served.setdefault(record["command"]["comment"], []).append(role)
    for preference in modes:
        role = "primary" if preference.mongos_mode.startswith("primary") else "secondary"
        for number, command in enumerate(commands):
            comment = f"{preference.mongos_mode} {number}"
            expect.equal(served.get(comment, [role]), [role], f"who served {command} with {preference.mongos_mode}")
    return served


@scenario
def admin_commands_take_every_preference(ctx):
    outcomes = []
    for preference in (Primary(), PrimaryPreferred(), Secondary(), SecondaryPreferred(), Nearest()):
        admin = ctx.client.admin
        outcomes.append(
            [
                admin.command("ping", read_preference=preference),
                admin.command("buildInfo", read_preference=preference)["version"],
                admin.command("connectionStatus", read_preference=preference)["authInfo"],
                admin.command("getParameter", 1, quiet=1, read_preference=preference)["ok"],
            ]
        )
    return outcomes


@scenario
def bad_preferences_are_refused(ctx):
    ctx.seed("things", [{"_id": 1}])
    find = {"find": "things", "$db": ctx.database}
    outcomes = []
    with RawConnection.to_primary_of(ctx.client) as connection:
        for preference in (
            {"mode": "primary", "tags": [{"role": "0"}]},
            {"mode": "primary", "maxStalenessSeconds": 120},
            {"mode": "secondary", "maxStalenessSeconds": 10},
            {"mode": "secondary", "maxStalenessSeconds": -5},
            {"mode": "nonsense"},
            {"mode": 1},
            {"tags": [{"role": "0"}]},
            {"mode": "nearest", "tags": "text"},
            {"mode": "primary", "hedge": {"enabled": True}},
            "secondary",
            {},
        ):
            reply = connection.command({**find, "$readPreference": preference})
            outcomes.append([reply["ok"], reply.get("code"), reply.get("codeName")])
    expect.true(all(ok == 0 for ok, *_ in outcomes), f"refusals only, saw {outcomes}")
    return outcomes


@scenario
def driver_helpers_work_on_secondaries(ctx):
    _seed(ctx)
    things = ctx.db.get_collection("things", read_preference=ReadPreference.SECONDARY)
    cursor = things.find({}, batch_size=10).sort("_id")
    first = [next(cursor) for _ in range(25)]
    count = things.count_documents({})
    estimated = things.estimated_document_count()
    grouped = list(things.aggregate([{"$group": {"_id": None, "n": {"$sum": 1}}}]))
    indexes = [one["name"] for one in things.list_indexes()]
    distinct = len(things.distinct("_id"))
    expect.equal([len(first), count, estimated, distinct], [25, 60, 60, 60])
    return [first[-1], count, estimated, grouped, indexes, distinct]
