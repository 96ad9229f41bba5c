"""Makes outcomes comparable: what differs from run to run, or rightly between the two sides, is removed here.

Invariant: nothing else in this package hides a difference, except a scenario that says so in its own words.
"""

import datetime
import re
import uuid

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, NotPrimaryError, OperationFailure, PyMongoError, WTimeoutError

# Fields whose value belongs to one moment, one node or one connection.
VOLATILE_FIELDS = frozenset(
    {
        "$clusterTime",
        "operationTime",
        # A proxy has a topology version of its own, and errors that it relays carry none.
        "topologyVersion",
        # mongod adds these to write replies for shards only; drivers ignore them.
        "electionId",
        "opTime",
    }
)
HOST_AND_PORT = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
HEX_OBJECT_ID = re.compile(r"\b[0-9a-f]{24}\b")
HEX_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
TIMESTAMP = re.compile(r"Timestamp\(\d+, \d+\)|\{ ts: [^}]*\}")


def normalised(value, database: str):
    """`value` as JSON-able data without identities: ids, times, hosts and the scenario's database name."""
    if isinstance(value, RawBSONDocument):
        value = bson.decode(value.raw)
    if isinstance(value, dict):
        return {
            _text(str(key), database): normalised(inner, database)
            for key, inner in value.items()
            if key not in VOLATILE_FIELDS
        }
    if isinstance(value, (list, tuple)):
        return [normalised(inner, database) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted(normalised(inner, database) for inner in value)
    if isinstance(value, PyMongoError):
        return described(value, database)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, bson.Int64):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        return _text(value, database)
    if isinstance(value, bson.ObjectId):
        return "<object id>"
    if isinstance(value, bson.Timestamp):
        return "<timestamp>"
    if isinstance(value, datetime.datetime):
        return "<date>"
    if isinstance(value, uuid.UUID):
        return "<uuid>"
    if isinstance(value, (bytes, bson.Binary)):
        return f"<{len(value)} bytes>"
    return _text(repr(value), database)


def described(error: PyMongoError, database: str) -> dict:
    """What an application can tell of an error: its class, code, name, labels, message and details."""
    told = {
        "type": type(error).__name__,
        "labels": sorted(error._error_labels),
        "timeout": error.timeout,
    }
    if isinstance(error, (OperationFailure, NotPrimaryError)):
        details = error.details or {}
        told["code"] = details.get("code", getattr(error, "code", None))
        told["codeName"] = details.get("codeName")
        # The class's own text repeats the whole reply, with times; the reply's message is what the server said.
        told["message"] = details.get("errmsg", str(error))
        if isinstance(error, (BulkWriteError, WTimeoutError)) or "errInfo" in details or "keyPattern" in details:
            told["details"] = details
    else:
        told["message"] = re.sub(r", Timeout: .*|\(configured timeouts.*", "", str(error))
    return normalised(told, database)


def _text(text: str, database: str) -> str:
    text = text.replace(database, "<database>")
    text = HOST_AND_PORT.sub("<host>", text)
    text = HEX_UUID.sub("<uuid>", text)
    text = HEX_OBJECT_ID.sub("<object id>", text)
    return TIMESTAMP.sub("<timestamp>", text)
