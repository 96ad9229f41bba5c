"""Messages by hand: what the protocol allows and current pymongo never sends."""

import struct

import bson

from . import expect
from .raw_wire import CHECKSUM_PRESENT, MORE_TO_COME, OP_QUERY, OP_REPLY, RawConnection
from .registry import scenario


def _connect(ctx) -> RawConnection:
    return RawConnection.to_primary_of(ctx.client)


@scenario
def pipelined_requests_are_answered_in_order(ctx):
    ctx.seed("things", [{"_id": n} for n in range(100)])
    with _connect(ctx) as connection:
        sent = [connection.send_msg({"find": "things", "filter": {"_id": n}, "$db": ctx.database}) for n in range(100)]
        answers = [connection.receive_msg() for _ in sent]
    expect.equal([response_to for response_to, _, _ in answers], sent)
    seen = [reply["cursor"]["firstBatch"][0]["_id"] for _, _, reply in answers]
    expect.equal(seen, list(range(100)))
    return seen


@scenario
def document_sequences_and_bodies_are_the_same(ctx):
    documents = [{"_id": n, "n": n} for n in range(5)]
    with _connect(ctx) as connection:
        replies = [
            connection.command({"insert": "bodies", "documents": documents, "$db": ctx.database}),
            connection.command({"insert": "sequences", "$db": ctx.database}, {"documents": documents}),
            connection.command(
                {"update": "sequences", "$db": ctx.database}, {"updates": [{"q": {"_id": 1}, "u": {"$set": {"n": 9}}}]}
            ),
            connection.command(
                {"delete": "sequences", "$db": ctx.database}, {"deletes": [{"q": {"_id": 2}, "limit": 1}]}
            ),
            connection.command(
                {"insert": "sequences", "ordered": False, "$db": ctx.database}, {"documents": documents}
            ),
        ]
    expect.equal([reply["n"] for reply in replies], [5, 5, 1, 1, 1])
    return [replies, list(ctx.db.sequences.find().sort("_id"))]


@scenario
def more_to_come_decides_whether_a_reply_comes(ctx):
    ctx.db.create_collection("things")
    with _connect(ctx) as connection:
        silent = {"insert": "things", "documents": [{"_id": 1}], "writeConcern": {"w": 1}, "$db": ctx.database}
        connection.send_msg(silent, MORE_TO_COME)
        asked = connection.command(
            {"insert": "things", "documents": [{"_id": 2}], "writeConcern": {"w": 0}, "$db": ctx.database}
        )
        connection.send_msg({**silent, "documents": [{"_id": 3}], "writeConcern": {"w": 0}}, MORE_TO_COME)
        seen = connection.command({"find": "things", "sort": {"_id": 1}, "$db": ctx.database})["cursor"]["firstBatch"]
    expect.equal(asked["ok"], 1.0)
    expect.equal(seen, [{"_id": 1}, {"_id": 2}, {"_id": 3}])
    return [asked, seen]


@scenario
def checksums_are_taken_and_answered(ctx):
    with _connect(ctx) as connection:
        sent = connection.send_msg(
            {"insert": "things", "documents": [{"_id": 1}], "$db": ctx.database}, CHECKSUM_PRESENT
        )
        response_to, _, reply = connection.receive_msg()
        expect.equal([response_to, reply["n"]], [sent, 1])
        connection.send_msg({"find": "things", "$db": ctx.database}, CHECKSUM_PRESENT)
        found = connection.receive_msg()[2]["cursor"]["firstBatch"]
    expect.equal(found, [{"_id": 1}])
    return found


@scenario
def hello_by_op_query_is_answered_by_op_reply(ctx):
    answers = []
    for name in ("isMaster", "ismaster", "hello"):
        with _connect(ctx) as connection:
            query = struct.pack("<I", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1)
            sent = connection.send(OP_QUERY, query + bson.encode({name: 1, "helloOk": True}))
            response_to, opcode, body = connection.receive()
            expect.equal([response_to, opcode], [sent, OP_REPLY])
            flags, cursor, start, count = struct.unpack_from("<iqii", body)
            reply = bson.decode(body[20:])
            expect.equal([cursor, start, count], [0, 0, 1])
            expect.true(reply.get("ismaster") or reply.get("isWritablePrimary"), "a writable answer")
            # AwaitCapable alone may be set, as mongod sets it.
            answers.append(
                [flags & ~8, reply["ok"], reply["helloOk"], reply["maxBsonObjectSize"], reply["maxWireVersion"]]
            )
            ping = connection.command({"ping": 1, "$db": "admin"})
            answers.append(ping["ok"])
    return answers


@scenario
def writes_without_a_session_work(ctx):
    with _connect(ctx) as connection:
        on = {"$db": ctx.database}
        replies = [
            connection.command({"insert": "things", "documents": [{"_id": n} for n in range(10)], **on}),
            connection.command(
                {"update": "things", "updates": [{"q": {}, "u": {"$set": {"n": 1}}, "multi": True}], **on}
            ),
            connection.command({"findAndModify": "things", "query": {"_id": 1}, "remove": True, **on}),
            connection.command({"count": "things", **on}),
            connection.command({"find": "things", "batchSize": 3, **on}),
        ]
        cursor = replies[-1]["cursor"]["id"]
        more = connection.command({"getMore": cursor, "collection": "things", **on})["cursor"]
        errors = [
            connection.command({"noSuchCommand": 1, **on}),
            connection.command({"find": "things", "lsid": {"id": 1}, **on}),
            connection.command({"find": "things", "txnNumber": bson.Int64(1), **on}),
            connection.command({"find": "things"}),
        ]
    expect.equal(len(more["nextBatch"]), 6)
    expect.equal([error["ok"] for error in errors], [0.0] * 4)
    told = [(error.get("code"), error.get("codeName"), error.get("errmsg")) for error in errors]
    replies[-1]["cursor"]["id"] = 0
    return [replies, more["id"], told]
