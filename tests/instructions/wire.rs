//! The messages of this check, laid out without the crate under test.

use std::io::{self, Read, Write};

use bson::{Binary, DateTime, Document, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};

const HEADER: usize = 16;
const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
/// Flag bits and the kind of the only section.
const MSG_HEAD: [u8; 5] = [0; 5];
/// Response flags, cursor id, starting from, and the number of documents.
const REPLY_HEAD: [u8; 20] = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
/// Far above what is sent here.
const LARGEST: usize = 1 << 20;

/// A whole message.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Reads one; `None` if the peer ended between two.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; HEADER];
        match stream.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let length = usize::try_from(field(&bytes, 0)).unwrap_or_default();
        if !(HEADER..=LARGEST).contains(&length) {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        bytes.resize(length, 0);
        stream.read_exact(&mut bytes[HEADER..])?;
        Ok(Some(Self(bytes)))
    }

    pub(super) fn request_id(&self) -> i32 {
        field(&self.0, 4)
    }

    pub(super) fn response_to(&self) -> i32 {
        field(&self.0, 8)
    }

    /// The command's name.
    pub(super) fn command(&self) -> &str {
        let body = match field(&self.0, 12) {
            // Flags, a namespace, two numbers.
            OP_QUERY => self.0[HEADER + 4..]
                .iter()
                .position(|byte| *byte == 0)
                .map(|end| HEADER + 4 + end + 1 + 8),
            _ => Some(HEADER + MSG_HEAD.len()),
        };
        let name = body.and_then(|at| self.0.get(at + 5..)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// The document of an OP_MSG.
    pub(super) fn document(&self) -> Document {
        Document::from_reader(&self.0[HEADER + MSG_HEAD.len()..]).unwrap()
    }

    /// Sends `document` as the reply to this request.
    pub(super) fn answer(&self, stream: &mut impl Write, document: &Document) -> io::Result<()> {
        let (op_code, head) = match field(&self.0, 12) {
            OP_QUERY => (OP_REPLY, &REPLY_HEAD[..]),
            _ => (OP_MSG, &MSG_HEAD[..]),
        };
        stream.write_all(&encode([1, self.request_id(), op_code], head, document))
    }
}

/// Sends `command` as an OP_MSG and takes its reply.
pub(super) fn ask(stream: &mut (impl Read + Write), id: i32, command: &Document) -> io::Result<Document> {
    stream.write_all(&encode([id, 0, OP_MSG], &MSG_HEAD, command))?;
    let reply = Message::read(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    assert_eq!(reply.response_to(), id);
    Ok(reply.document())
}

fn encode([id, response_to, op_code]: [i32; 3], head: &[u8], document: &Document) -> Vec<u8> {
    let document = document.to_vec().unwrap();
    let length = (HEADER + head.len() + document.len()) as i32;
    let fields = [length, id, response_to, op_code].map(i32::to_le_bytes);
    [&fields.concat()[..], head, &document].concat()
}

fn field(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What drivers say of themselves.
pub(super) fn hello() -> Document {
    doc! { "hello": 1, "helloOk": true, "client": { "driver": { "name": "x", "version": "1" }, "os": { "type": "Linux" } }, "$db": "admin" }
}

/// A find by `_id` as a current driver sends it.
pub(super) fn find() -> Document {
    with_session(doc! { "find": "documents", "filter": { "_id": id() }, "limit": 1, "singleBatch": true })
}

/// An update by `_id` as a driver without retryable writes sends it.
pub(super) fn update() -> Document {
    let statement = doc! { "q": { "_id": id() }, "u": { "$inc": { "count": 1 } } };
    with_session(doc! { "update": "documents", "ordered": true, "updates": [statement] })
}

fn with_session(mut command: Document) -> Document {
    command.insert("lsid", doc! { "id": binary(BinarySubtype::Uuid, 16) });
    command.insert("$clusterTime", cluster_time());
    command.insert("$db", "bench");
    command
}

/// The only node of a replica set, which does not stream news of itself.
pub(super) fn hello_reply(address: &str) -> Document {
    doc! {
        "helloOk": true, "isWritablePrimary": true, "setName": "rs", "setVersion": 1, "electionId": id(),
        "hosts": [address], "me": address, "primary": address, "secondary": false,
        "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(), "logicalSessionTimeoutMinutes": 30, "connectionId": 1,
        "minWireVersion": 0, "maxWireVersion": 17, "readOnly": false, "ok": 1.0,
    }
}

/// What a primary answers to [`find`]: a document of some 120 bytes.
pub(super) fn find_reply() -> Document {
    with_time(doc! {
        "cursor": { "firstBatch": [{ "_id": id(), "text": "x".repeat(90) }], "id": 0i64, "ns": "bench.documents" },
        "ok": 1.0,
    })
}

/// What a primary answers to [`update`].
pub(super) fn update_reply() -> Document {
    with_time(doc! { "n": 1, "nModified": 1, "ok": 1.0 })
}

fn with_time(mut reply: Document) -> Document {
    reply.insert("$clusterTime", cluster_time());
    reply.insert(
        "operationTime",
        Timestamp {
            time: 1_700_000_000,
            increment: 1,
        },
    );
    reply
}

fn cluster_time() -> Document {
    let signature = doc! { "hash": binary(BinarySubtype::Generic, 20), "keyId": 0i64 };
    doc! { "clusterTime": Timestamp { time: 1_700_000_000, increment: 1 }, "signature": signature }
}

fn binary(subtype: BinarySubtype, length: usize) -> Binary {
    Binary {
        subtype,
        bytes: vec![7; length],
    }
}

fn id() -> ObjectId {
    ObjectId::from_bytes([1; 12])
}
