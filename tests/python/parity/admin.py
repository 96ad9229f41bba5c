"""Administrative commands, whole where they are the same at any time, else their shape."""

from . import expect
from .registry import scenario


def _shape(reply) -> list[str]:
    return sorted(key for key in reply if key not in ("$clusterTime", "operationTime"))


@scenario
def what_every_tool_asks_first(ctx):
    admin = ctx.client.admin
    build = admin.command("buildInfo")
    expect.equal(build["version"], ctx.replica_set.primary.client.admin.command("buildInfo")["version"])
    expect.equal(ctx.client.server_info()["version"], build["version"])
    you = admin.command("whatsmyuri")
    expect.equal(_shape(you), ["ok", "you"])
    status = admin.command("connectionStatus", showPrivileges=True)
    return [admin.command("ping"), build, you, status, ctx.db.command("ping"), ctx.db.command("buildinfo")["ok"]]


@scenario
def hello_says_what_drivers_need(ctx):
    """A `mongos` presentation rightly lacks the set's own fields; limits and versions are those of the nodes."""
    outcomes = []
    node = ctx.replica_set.primary.client.admin.command("hello")
    for name in ("hello", "isMaster", "ismaster"):
        hello = ctx.client.admin.command(name)
        expect.true(hello.get("isWritablePrimary") or hello.get("ismaster"), "a writable server")
        if hello.get("msg") == "isdbgrid":
            expect.true(
                not {"setName", "hosts", "primary", "me", "secondary"} & hello.keys(), f"no set's fields in {hello}"
            )
        for key in ("maxBsonObjectSize", "maxWriteBatchSize", "maxWireVersion", "logicalSessionTimeoutMinutes"):
            expect.equal(hello[key], node[key], key)
        # Room for what a proxy splices into a message is taken off the largest one.
        size = hello["maxMessageSizeBytes"]
        expect.true(47_900_000 <= size <= node["maxMessageSizeBytes"], f"a message size near 48 MB, saw {size}")
        outcomes.append([hello["readOnly"], hello["ok"], type(hello["localTime"]).__name__, "connectionId" in hello])
    return outcomes


@scenario
def the_replica_set_is_told_as_it_is(ctx):
    admin = ctx.client.admin
    status = admin.command("replSetGetStatus")
    config = admin.command("replSetGetConfig")
    expect.equal(sorted(one["stateStr"] for one in status["members"]), ["PRIMARY", "SECONDARY", "SECONDARY"])
    refused = expect.failure(lambda: admin.command("replSetInitiate", {}), code=23)
    return [
        _shape(status),
        status["set"],
        [[one["name"], one["stateStr"]] for one in status["members"]],
        config["config"],
        refused.code,
        admin.command("getDefaultRWConcern")["defaultWriteConcern"],
    ]


@scenario
def server_status_and_its_kin(ctx):
    admin = ctx.client.admin
    shapes = {
        name: _shape(admin.command(name))
        for name in ("hostInfo", "getCmdLineOpts", "connPoolStats", "features", "lockInfo", "listDatabases")
    }
    status = admin.command("serverStatus", metrics=0, tcmalloc=0)
    expect.equal(status["repl"]["setName"], ctx.replica_set.client.admin.command("hello")["setName"])
    parameters = admin.command("getParameter", "*")
    one = admin.command({"getParameter": 1, "featureCompatibilityVersion": 1})
    commands = sorted(admin.command("listCommands")["commands"])
    expect.true({"find", "aggregate", "replSetStepDown"} <= set(commands), "the node's commands")
    log = admin.command("getLog", "global")
    return [shapes, _shape(status), len(parameters), one, commands, _shape(log)]


@scenario
def operations_are_listed_and_killed(ctx):
    admin = ctx.client.admin
    current = admin.command("currentOp")
    ours = admin.command("currentOp", {"command.comment": ctx.database})
    nothing = admin.command("killOp", op=2_000_000_000)
    expect.true(isinstance(current["inprog"], list), "a list of operations")
    return [_shape(current), _shape(ours), nothing]


@scenario
def validation_statistics_and_maintenance(ctx):
    things = ctx.seed("things", [{"_id": n} for n in range(100)])
    things.create_index("n")
    valid = ctx.db.validate_collection("things")
    data_hash = ctx.db.command("dbHash")
    statistics = ctx.db.command("dbStats")
    split = ctx.db.command("dataSize", f"{ctx.database}.things")
    profile = ctx.db.command("profile", -1)
    plans = ctx.db.command("planCacheClear", "things")
    reindexed = expect.failure(lambda: ctx.db.command("reIndex", "things"))
    expect.equal([valid["valid"], valid["nrecords"]], [True, 100])
    return [
        data_hash["collections"].keys() - {"system.profile"},
        [statistics["collections"], statistics["objects"], statistics["indexes"]],
        split["numObjects"],
        _shape(profile),
        plans,
        reindexed.code,
    ]


@scenario
def users_and_roles_without_authentication(ctx):
    ctx.db.command("createUser", "someone", pwd="secret", roles=["readWrite"])
    try:
        info = ctx.db.command("usersInfo", "someone")
        again = expect.failure(lambda: ctx.db.command("createUser", "someone", pwd="x", roles=[]), code=51003)
        ctx.db.command("createRole", "reader", privileges=[], roles=["read"])
        roles = ctx.db.command("rolesInfo", "reader")
    finally:
        ctx.db.command("dropAllUsersFromDatabase")
        ctx.db.command("dropAllRolesFromDatabase")
    expect.equal(info["users"][0]["user"], "someone")
    return [info["users"], again, roles["roles"]]
