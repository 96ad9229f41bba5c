//! OP_INSERT, OP_UPDATE and OP_DELETE as write commands.

use bson::{RawDocumentBuf, oid::ObjectId, raw::cstr, rawdoc};
use bytes::BytesMut;

use super::{Concern, javascript, message, raw, with_db};
use crate::wire::{
    Frame, MAX_MESSAGE_LEN, RawDoc, WireError,
    legacy::{Delete, Insert, Namespace, Update},
    op_msg::{self, Sequence},
};

/// Most documents in one `insert` command (`maxWriteBatchSize` of every server since 3.6).
const MOST_DOCUMENTS: usize = 100_000;
/// What a message has besides its documents: its body, and what is spliced into it on its way.
const OVERHEAD: usize = 16 << 10;

/// The `insert` commands that mean the same as an OP_INSERT: one, unless it has more documents than a command takes.
pub fn insert<'a>(
    insert: Insert<'a>,
    concern: &'a Concern,
) -> impl Iterator<Item = Result<Frame, WireError>> + use<'a> {
    let parts = insert.parts(MOST_DOCUMENTS, MAX_MESSAGE_LEN - OVERHEAD);
    parts.map(move |documents| {
        let mut body = rawdoc! { "insert": insert.namespace.collection };
        body.append(cstr!("ordered"), !insert.continue_on_error);
        with_sequence(
            body,
            insert.namespace.database,
            concern,
            Sequence {
                name: b"documents",
                documents,
            },
        )
    })
}

/// The `update` command that means the same as an OP_UPDATE.
///
/// # Errors
/// When its documents cannot be read, or it is larger than any message may be.
pub fn update(update: &Update<'_>, concern: &Concern) -> Result<Frame, WireError> {
    let mut statement = RawDocumentBuf::new();
    append_selector(&mut statement, update.selector)?;
    statement.append(cstr!("u"), raw(update.update)?);
    statement.append(cstr!("multi"), update.multi);
    statement.append(cstr!("upsert"), update.upsert);
    let sequence = Sequence {
        name: b"updates",
        documents: statement.as_bytes(),
    };
    let body = rawdoc! { "update": update.namespace.collection };
    with_sequence(body, update.namespace.database, concern, sequence)
}

/// The `delete` command that means the same as an OP_DELETE.
///
/// # Errors
/// When its document cannot be read, or it is larger than any message may be.
pub fn delete(delete: &Delete<'_>, concern: &Concern) -> Result<Frame, WireError> {
    let mut statement = RawDocumentBuf::new();
    append_selector(&mut statement, delete.selector)?;
    statement.append(cstr!("limit"), i32::from(delete.single));
    let sequence = Sequence {
        name: b"deletes",
        documents: statement.as_bytes(),
    };
    let body = rawdoc! { "delete": delete.namespace.collection };
    with_sequence(body, delete.namespace.database, concern, sequence)
}

fn append_selector(statement: &mut RawDocumentBuf, selector: RawDoc<'_>) -> Result<(), WireError> {
    let plain = javascript::without_scopes(selector);
    let selector = plain
        .as_deref()
        .map(RawDoc::prefix)
        .transpose()?
        .unwrap_or(selector);
    statement.append(cstr!("q"), raw(selector)?);
    Ok(())
}

/// A write that changes nothing, in order to wait until `concern` holds for what was written before: a node waits for its newest
/// operation then.
///
/// # Errors
/// When it is larger than any message may be.
pub fn nothing(namespace: Namespace<'_>, concern: &Concern) -> Result<Frame, WireError> {
    let nobody = rawdoc! { "_id": ObjectId::new(), "tidegate": "waits for a write concern" };
    let change = rawdoc! { "$set": { "tidegate": 1 } };
    let statement = rawdoc! { "q": nobody, "u": change };
    let mut body = rawdoc! { "update": namespace.collection, "updates": [statement] };
    concern.append_to(&mut body);
    message(&with_db(body, namespace.database))
}

fn with_sequence(
    mut body: RawDocumentBuf,
    database: &str,
    concern: &Concern,
    sequence: Sequence<'_>,
) -> Result<Frame, WireError> {
    concern.append_to(&mut body);
    let body = with_db(body, database);
    let mut out = BytesMut::new();
    op_msg::encode_with_sequence(RawDoc::prefix(body.as_bytes())?, sequence, &mut out);
    Frame::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    fn legacy(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn document(document: &Document) -> Vec<u8> {
        document.to_vec().unwrap()
    }

    /// The body, and the documents of the sequence.
    fn read(frame: &Frame) -> (Document, Vec<Document>) {
        let bytes = frame.bytes();
        let body = op_msg::Layout::parse(bytes).unwrap().body(bytes).unwrap();
        let sequence = op_msg::sequences(bytes).next();
        let mut rest = sequence.map(|sequence| sequence.documents).unwrap_or_default();
        let mut documents = Vec::new();
        while !rest.is_empty() {
            let document = RawDoc::prefix(rest).unwrap();
            documents.push(Document::from_reader(document.bytes()).unwrap());
            rest = &rest[document.bytes().len()..];
        }
        (Document::from_reader(body.bytes()).unwrap(), documents)
    }

    #[test]
    fn writes_become_commands_with_their_documents_behind_the_body() {
        let concern = Concern::one();
        let one = document(&doc! {"a": 1});
        let two = document(&doc! {"$set": {"a": 2}});
        let payload = legacy(&[&[1, 0, 0, 0], b"d.c\0", &one, &one]);
        let frames: Vec<Frame> = insert(Insert::parse(&payload).unwrap(), &concern)
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(frames.len(), 1);
        let written = doc! {"w": 1};
        assert_eq!(
            read(&frames[0]),
            (
                doc! {"insert": "c", "ordered": false, "writeConcern": &written, "$db": "d"},
                vec![doc! {"a": 1}, doc! {"a": 1}]
            )
        );
        let payload = legacy(&[&[0; 4], b"d.c\0", &[3, 0, 0, 0], &one, &two]);
        let frame = update(&Update::parse(&payload).unwrap(), &Concern::default()).unwrap();
        let statement = doc! {"q": {"a": 1}, "u": {"$set": {"a": 2}}, "multi": true, "upsert": true};
        assert_eq!(read(&frame), (doc! {"update": "c", "$db": "d"}, vec![statement]));
        for (flags, limit) in [(0, 0), (1, 1)] {
            let payload = legacy(&[&[0; 4], b"d.c\0", &[flags, 0, 0, 0], &one]);
            let frame = delete(&Delete::parse(&payload).unwrap(), &Concern::default()).unwrap();
            assert_eq!(read(&frame).1, [doc! {"q": {"a": 1}, "limit": limit}]);
        }
    }

    #[test]
    fn more_documents_than_a_command_takes_become_several() {
        let one = document(&doc! {});
        let mut payload = legacy(&[&[0; 4], b"d.c\0"]);
        for _ in 0..MOST_DOCUMENTS + 1 {
            payload.extend(&one);
        }
        let concern = Concern::one();
        let counts: Vec<usize> = insert(Insert::parse(&payload).unwrap(), &concern)
            .map(|frame| read(&frame.unwrap()).1.len())
            .collect();
        assert_eq!(counts, [MOST_DOCUMENTS, 1]);
    }

    #[test]
    fn a_write_of_nothing_has_the_concern_that_is_waited_for() {
        let namespace = Namespace {
            database: "d",
            collection: "c",
        };
        let (body, _) = read(&nothing(namespace, &Concern::one()).unwrap());
        assert_eq!(body.get_document("writeConcern").ok(), Some(&doc! {"w": 1}));
        assert_eq!(body.get_str("update").ok(), Some("c"));
    }
}
