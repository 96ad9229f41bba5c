//! The few messages of the benchmark, encoded without the crate under test.
//!
//! The backend and the load check the proxy, so they share none of its code: a mistake in `tidegate::wire`
//! must not cancel itself out. Layouts follow the MongoDB wire protocol (`MsgHeader`, `OP_MSG`, `OP_QUERY`,
//! `OP_REPLY`); every reply here is one body section without checksum.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Document, Timestamp, doc};

use crate::{Outcome, target::DOCUMENTS};

/// Bytes of a message header: `messageLength`, `requestID`, `responseTo`, `opCode`.
pub(crate) const HEADER: usize = 16;
/// Where the body document of an `OP_MSG` starts when its first section is of kind 0.
pub(crate) const OP_MSG_BODY: usize = HEADER + 4 + 1;
/// `opCode` of `OP_REPLY`.
const OP_REPLY: i32 = 1;
/// `opCode` of `OP_QUERY`.
pub(crate) const OP_QUERY: i32 = 2004;
/// `opCode` of `OP_MSG`.
pub(crate) const OP_MSG: i32 = 2013;
/// `OP_MSG` flag: no reply is wanted (request), or another reply follows (reply).
pub(crate) const MORE_TO_COME: u32 = 1 << 1;
/// `OP_MSG` flag: the sender takes several replies to this request.
pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;
/// The largest message that is taken, as real servers advertise it.
pub(crate) const MAX_MESSAGE: usize = 48_000_000;
/// The name of the replica set that the backend plays.
pub(crate) const SET_NAME: &str = "bench";
/// The database that the load reads.
pub(crate) const DATABASE: &str = "bench";
/// The collection of small documents.
pub(crate) const COLLECTION: &str = "documents";
/// The collection of one document of 4 KiB.
pub(crate) const TEXTS: &str = "texts";
/// The collection of one document of some 16 MB, which only the fixed-answer backend has.
pub(crate) const LARGE: &str = "large";
/// Bytes of the large document's text: just below what a server takes.
const LARGE_LEN: usize = 16_000_000;

/// Reads a little-endian `int32`; `None` past the end.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_le_bytes(field.try_into().ok()?))
}

/// The length of the message that `bytes` starts with: `None` while it is not whole, an error when the
/// length cannot be true.
pub(crate) fn frame_length(bytes: &[u8]) -> Outcome<Option<usize>> {
    let Some(length) = i32_at(bytes, 0) else {
        return Ok(None);
    };
    match usize::try_from(length) {
        Ok(length) if (HEADER..=MAX_MESSAGE).contains(&length) => {
            Ok((bytes.len() >= length).then_some(length))
        }
        _ => Err(format!("message length {length} is out of range").into()),
    }
}

/// Encodes `body` as an `OP_MSG` whose header's ids are left 0, for the sender to fill in.
pub(crate) fn op_msg(flags: u32, body: &Document) -> Outcome<Vec<u8>> {
    let body = body.to_vec()?;
    let mut out = header(OP_MSG_BODY + body.len(), OP_MSG);
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&body);
    Ok(out)
}

/// Encodes `body` as an `OP_REPLY` of one document (`responseFlags` 8, AwaitCapable, as servers send it).
pub(crate) fn op_reply(body: &Document) -> Outcome<Vec<u8>> {
    let body = body.to_vec()?;
    let mut out = header(HEADER + 20 + body.len(), OP_REPLY);
    out.extend_from_slice(&8i32.to_le_bytes());
    out.extend_from_slice(&0i64.to_le_bytes());
    out.extend_from_slice(&0i32.to_le_bytes());
    out.extend_from_slice(&1i32.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

/// A message header, whose ids are left 0.
pub(crate) fn header(length: usize, op_code: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as i32).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&op_code.to_le_bytes());
    out
}

/// Writes `requestID`.
pub(crate) fn set_request_id(message: &mut [u8], id: i32) {
    message[4..8].copy_from_slice(&id.to_le_bytes());
}

/// Writes `responseTo`.
pub(crate) fn set_response_to(message: &mut [u8], id: i32) {
    message[8..12].copy_from_slice(&id.to_le_bytes());
}

/// What a driver sends once per connection: who it is, and the compressor that it offers.
pub(crate) fn client_hello(compressor: Option<&str>) -> Outcome<Vec<u8>> {
    let mut hello = doc! {
        "hello": 1, "helloOk": true,
        "client": {
            "driver": { "name": "relay-bench", "version": "1" },
            "os": { "type": "Linux" },
        },
    };
    if let Some(compressor) = compressor {
        hello.insert("compression", [compressor]);
    }
    hello.insert("$db", "admin");
    op_msg(0, &hello)
}

/// A find of many documents, whose reply is of some 800 KB.
pub(crate) fn big_find_request(client: usize) -> Outcome<Vec<u8>> {
    op_msg(
        0,
        &doc! {
            "find": COLLECTION,
            "limit": 4_000,
            "singleBatch": true,
            "lsid": { "id": session_id(client) },
            "$clusterTime": cluster_time(),
            "$db": DATABASE,
        },
    )
}

/// A find by `_id` with what a current driver adds to it: a session and the gossiped cluster time.
pub(crate) fn find_request(client: usize) -> Outcome<Vec<u8>> {
    find_in(COLLECTION, document_id(client % DOCUMENTS), client)
}

/// The same of one of the documents that are alone in their collections.
pub(crate) fn find_in(collection: &str, id: ObjectId, client: usize) -> Outcome<Vec<u8>> {
    op_msg(
        0,
        &doc! {
            "find": collection,
            "filter": { "_id": id },
            "limit": 1,
            "singleBatch": true,
            "lsid": { "id": session_id(client) },
            "$clusterTime": cluster_time(),
            "$db": DATABASE,
        },
    )
}

/// An update as a driver without retryable writes sends it: with a session, but without a number.
pub(crate) fn update_request(client: usize) -> Outcome<Vec<u8>> {
    op_msg(
        0,
        &doc! {
            "update": COLLECTION,
            "ordered": true,
            "lsid": { "id": session_id(client) },
            "$clusterTime": cluster_time(),
            "$db": DATABASE,
            "updates": [{ "q": { "_id": document_id(client % DOCUMENTS) }, "u": { "$inc": { "count": 1 } } }],
        },
    )
}

/// What the backend answers to writes.
pub(crate) fn update_reply() -> Document {
    doc! {
        "n": 1,
        "nModified": 1,
        "ok": 1.0,
        "$clusterTime": cluster_time(),
        "operationTime": Timestamp { time: 1_700_000_000, increment: 1 },
    }
}

/// True for a reply to [`update_request`] that says that a document was found.
pub(crate) fn is_update_reply(reply: &[u8]) -> bool {
    reply
        .get(OP_MSG_BODY + 4..)
        .is_some_and(|body| body.starts_with(b"\x10n\0\x01\0\0\0"))
}

/// What the backend answers to everything but writes, `hello` and `ping`: one document of about 200 bytes.
pub(crate) fn find_reply() -> Document {
    batch(COLLECTION, document(1))
}

/// The same for a find in [`TEXTS`].
pub(crate) fn text_reply() -> Document {
    batch(TEXTS, text_document())
}

/// A cursor with one document, and the times that a replica set member adds to its replies.
fn batch(collection: &str, document: Document) -> Document {
    doc! {
        "cursor": {
            "firstBatch": [document],
            "id": 0i64,
            "ns": format!("{DATABASE}.{collection}"),
        },
        "ok": 1.0,
        "$clusterTime": cluster_time(),
        "operationTime": Timestamp { time: 1_700_000_000, increment: 1 },
    }
}

/// The same for a find in [`LARGE`]: a document of almost as many bytes as a server takes.
pub(crate) fn large_reply() -> Document {
    doc! {
        "cursor": {
            "firstBatch": [{ "_id": document_id(0), "text": "x".repeat(LARGE_LEN) }],
            "id": 0i64,
            "ns": format!("{DATABASE}.{LARGE}"),
        },
        "ok": 1.0,
    }
}

/// True for a reply to a find that carries documents; neither errors, however fast, nor empty batches are it.
pub(crate) fn is_cursor_reply(reply: &[u8]) -> bool {
    const CURSOR: &[u8] = b"\x03cursor\0";
    const BATCH: &[u8] = b"\x04firstBatch\0";
    let body = reply.get(OP_MSG_BODY + 4..).unwrap_or_default();
    let batch = body
        .strip_prefix(CURSOR)
        .and_then(|cursor| cursor.get(4..)?.strip_prefix(BATCH));
    // An empty array has a length and an end.
    batch
        .and_then(|batch| i32_at(batch, 0))
        .is_some_and(|length| length > 5)
}

/// One of the small documents: about 200 bytes.
pub(crate) fn document(number: usize) -> Document {
    doc! {
        "_id": document_id(number),
        "name": "a document of about two hundred bytes",
        "count": 42i64,
        "padding": "x".repeat(110),
    }
}

/// A document of 4 KiB of text that compresses to about a third of it.
pub(crate) fn text_document() -> Document {
    let words = [
        "tide", "gate", "water", "harbour", "ebb", "flood", "sluice", "level",
    ];
    let (mut text, mut seed) = (String::new(), 1_u32);
    while text.len() < 4_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[(seed >> 29) as usize]);
        text.push_str(&format!(" {} ", seed >> 24));
    }
    doc! { "_id": document_id(0), "text": text }
}

/// The answer of the writable primary of a set of one node, which is `me`.
pub(crate) fn hello_reply(me: &str) -> Document {
    doc! {
        "helloOk": true,
        "topologyVersion": { "processId": fixed_id(2), "counter": 6i64 },
        "hosts": [me],
        "setName": SET_NAME,
        "setVersion": 1,
        "isWritablePrimary": true,
        "ismaster": true,
        "secondary": false,
        "primary": me,
        "me": me,
        "electionId": ObjectId::from_bytes([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]),
        "lastWrite": {
            "opTime": { "ts": Timestamp { time: 1_700_000_000, increment: 1 }, "t": 1i64 },
            "lastWriteDate": DateTime::now(),
            "majorityOpTime": { "ts": Timestamp { time: 1_700_000_000, increment: 1 }, "t": 1i64 },
            "majorityWriteDate": DateTime::now(),
        },
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxMessageSizeBytes": MAX_MESSAGE as i32,
        "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(),
        "logicalSessionTimeoutMinutes": 30,
        "connectionId": 1,
        "minWireVersion": 0,
        "maxWireVersion": 17,
        "readOnly": false,
        "ok": 1.0,
        "$clusterTime": cluster_time(),
        "operationTime": Timestamp { time: 1_700_000_000, increment: 1 },
    }
}

/// The `_id` of a document of the load.
pub(crate) fn document_id(number: usize) -> ObjectId {
    let mut id = fixed_id(0).bytes();
    id[8..].copy_from_slice(&(number as u32).to_be_bytes());
    ObjectId::from_bytes(id)
}

fn session_id(client: usize) -> Binary {
    let mut id = [0x5e; 16];
    id[..8].copy_from_slice(&(client as u64).to_le_bytes());
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.to_vec(),
    }
}

fn cluster_time() -> Document {
    doc! {
        "clusterTime": Timestamp { time: 1_700_000_000, increment: 1 },
        "signature": {
            "hash": Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] },
            "keyId": 0i64,
        },
    }
}

fn fixed_id(n: u8) -> ObjectId {
    ObjectId::from_bytes([0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, n])
}
