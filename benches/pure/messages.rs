//! The messages that the pure parts are measured with: what current drivers send for everyday commands, and what a node answers.

use bson::{Binary, Bson, Document, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};
use bytes::BytesMut;
use tidegate::wire::{Frame, RawDoc, op_msg};

/// A find by `_id`.
pub(crate) fn find() -> Frame {
    request(doc! { "find": "documents", "filter": { "_id": id() }, "limit": 1, "singleBatch": true })
}

/// The same with a read preference, as drivers send it to a `mongos`.
pub(crate) fn find_nearest() -> Frame {
    request(doc! {
        "find": "documents", "filter": { "_id": id() }, "limit": 1, "singleBatch": true,
        "$readPreference": { "mode": "nearest" },
    })
}

/// An update of one document as a driver without retryable writes sends it.
pub(crate) fn update() -> Frame {
    request(doc! {
        "update": "documents", "ordered": true,
        "updates": [{ "q": { "_id": id() }, "u": { "$inc": { "count": 1 } } }],
    })
}

/// An aggregation that only a look into its stages tells from one that writes.
pub(crate) fn aggregate() -> Frame {
    request(doc! {
        "aggregate": "documents",
        "pipeline": [{ "$match": { "a": 1 } }, { "$group": { "_id": "$b", "n": { "$sum": 1 } } }, { "$sort": { "n": -1 } }],
        "cursor": {},
    })
}

/// A find that uses no OP_MSG.
pub(crate) fn legacy_find() -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend_from_slice(b"bench.documents\0");
    payload.extend_from_slice(&[0; 4]);
    payload.extend_from_slice(&(-1i32).to_le_bytes());
    payload.extend_from_slice(&bytes(&doc! { "_id": id() }));
    payload
}

/// What a primary answers to a find of so many documents of some 120 bytes each.
pub(crate) fn reply(documents: usize) -> Frame {
    let found = Bson::Array(vec![
        Bson::Document(doc! { "_id": id(), "text": "x".repeat(90) });
        documents
    ]);
    let body = doc! {
        "cursor": { "firstBatch": found, "id": 0i64, "ns": "bench.documents" },
        "ok": 1.0,
        "$clusterTime": cluster_time(),
        "operationTime": Timestamp { time: 1_700_000_000, increment: 1 },
    };
    message(&body)
}

/// A command with what a current driver adds to each: a session, the gossiped cluster time and the database.
fn request(mut command: Document) -> Frame {
    let session = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: vec![7; 16],
    };
    command.insert("lsid", doc! { "id": session });
    command.insert("$clusterTime", cluster_time());
    command.insert("$db", "bench");
    message(&command)
}

fn message(body: &Document) -> Frame {
    let mut out = BytesMut::new();
    let body = bytes(body);
    op_msg::encode(RawDoc::prefix(&body).unwrap(), 1, 0, 0, &mut out);
    Frame::new(out).unwrap()
}

/// A second one with the same bytes.
pub(crate) fn copy(frame: &Frame) -> Frame {
    Frame::new(BytesMut::from(frame.bytes())).unwrap()
}

fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().unwrap()
}

fn cluster_time() -> Document {
    let hash = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 20],
    };
    doc! {
        "clusterTime": Timestamp { time: 1_700_000_000, increment: 1 },
        "signature": { "hash": hash, "keyId": 0i64 },
    }
}

fn id() -> ObjectId {
    ObjectId::from_bytes([0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}
