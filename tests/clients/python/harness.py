"""Runs scenarios with pymongo's asynchronous clients or with Motor's, and prints one JSON line each.

The lines hold nothing that belongs to one run (ids, times, addresses), so that those of a direct run and of one through
Tidegate can be compared. The last line tells how many ran and how many failed. A scenario checks its own expectations, so
that two equal failures are no pass.
"""

import inspect
import json
import sys
import time
import traceback
from pathlib import Path

import gridfs
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandListener

# What makes outcomes comparable is the same for the synchronous driver's scenarios.
sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from parity import expect  # noqa: E402
from parity.normalise import normalised  # noqa: E402

SCENARIOS = {}


def scenario(function):
    """Registers a scenario, named after its function."""
    SCENARIOS[function.__name__.replace("_", " ")] = function
    return function


async def now(value):
    """The two libraries differ in what is awaited: the result, if `value` is to be, else `value`."""
    return await value if inspect.isawaitable(value) else value


async def failure(awaitable, code=None, kind=PyMongoError):
    """The error that `awaitable` must raise."""
    try:
        result = await awaitable
    except kind as error:
        if code is not None:
            expect.equal(getattr(error, "code", None), code, f"code of {error!r}")
        return error
    raise AssertionError(f"expected {kind.__name__}, got the result {result!r:.300}")


class CommandLog(CommandListener):
    """The commands that a client sent, and the replies."""

    def __init__(self):
        self.commands = []
        self.replies = []

    def started(self, event):
        self.commands.append((event.command_name, dict(event.command)))

    def succeeded(self, event):
        self.replies.append((event.command_name, event.reply))

    def failed(self, event):
        pass

    @property
    def names(self):
        return [name for name, _ in self.commands]

    def last_reply(self, name):
        return [reply for command, reply in self.replies if command == name][-1]


class Context:
    """What one scenario is given: clients of one side and a database."""

    def __init__(self, library: str, uri: str, single: str, database: str):
        self.library = library
        self.uri = uri
        # One address, with directConnection=true.
        self.single = single
        self.database = database
        self._clients = []
        self.client, self.log = self.connect()

    def connect(self, extra: str = "", uri: str | None = None, **options):
        """A new client with a `log`, closed at the end. `extra` is appended to the URI."""
        log = CommandLog()
        bounds = {"serverSelectionTimeoutMS": 20_000, "socketTimeoutMS": 40_000, "event_listeners": [log]}
        uri = uri or self.uri
        make = AsyncMongoClient
        if self.library == "motor":
            from motor.motor_asyncio import AsyncIOMotorClient as make
        client = make(f"{uri}&{extra}" if extra else uri, **bounds, **options)
        self._clients.append(client)
        return client, log

    @property
    def db(self):
        return self.client[self.database]

    async def seed(self, name: str, count: int, more=lambda n: {}):
        """The documents 0 to count - 1 on every node, so that a read of any secondary sees them."""
        documents = [{"_id": n, **more(n)} for n in range(count)]
        everywhere = self.db.get_collection(name, write_concern=WriteConcern(w=3, wtimeout=30_000))
        await everywhere.insert_many(documents)
        return self.db[name]

    def bucket(self, db, **options):
        """A GridFS bucket of the library's own class."""
        if self.library == "motor":
            from motor.motor_asyncio import AsyncIOMotorGridFSBucket

            return AsyncIOMotorGridFSBucket(db, **options)
        return gridfs.AsyncGridFSBucket(db, **options)

    async def close(self):
        for client in self._clients:
            await now(client.close())


async def main(library: str, uri: str, single: str, database: str) -> int:
    failures = 0
    for name, run in SCENARIOS.items():
        context = Context(library, uri, single, database)
        line = {"scenario": name}
        started = time.monotonic()
        try:
            line["outcome"] = normalised(await run(context), database)
        except Exception:
            failures += 1
            line["failed"] = traceback.format_exc()
        finally:
            await context.close()
        line["ms"] = round((time.monotonic() - started) * 1000)
        print(json.dumps(line), flush=True)
    last = Context(library, uri, single, database)
    await last.client.drop_database(database)
    await last.close()
    print(json.dumps({"scenarios": len(SCENARIOS), "failures": failures}))
    return 1 if failures else 0
