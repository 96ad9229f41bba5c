//! The replies of `find` and `getMore` as OP_REPLY, and what asks for them.

use bson::{RawArrayBuf, RawDocumentBuf, raw::cstr, rawdoc};
use bytes::BytesMut;

use super::{message, with_db};
use crate::{
    command::old::cursor_collection,
    wire::{
        Frame, RawDoc, WireError,
        legacy::{
            self, GetMore, KillCursors, QUERY_FAILURE, ReplyHead, encode_cursor_not_found, encode_documents,
        },
    },
};

/// CursorNotFound.
const NOT_FOUND: i64 = 43;

/// What an OP_REPLY tells of its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// The cursor that has more; 0 if there is none.
    pub cursor_id: i64,
    /// How many documents came.
    pub count: i32,
}

/// The `getMore` command that means the same as an OP_GET_MORE.
///
/// # Errors
/// When it is larger than any message may be.
pub fn get_more(more: &GetMore<'_>) -> Result<Frame, WireError> {
    let namespace = more.namespace;
    next_batch(
        namespace.database,
        cursor_collection(namespace.collection),
        more.cursor_id,
        more.number_to_return,
    )
}

/// A `getMore` command; `wanted` of 0 leaves the number to the server.
///
/// # Errors
/// When it is larger than any message may be.
pub fn next_batch(database: &str, collection: &str, cursor_id: i64, wanted: i32) -> Result<Frame, WireError> {
    let mut body = rawdoc! { "getMore": cursor_id, "collection": collection };
    if wanted != 0 {
        body.append(cstr!("batchSize"), wanted);
    }
    message(&with_db(body, database))
}

/// The `killCursors` command that means the same as an OP_KILL_CURSORS. That one does not say where its cursors were opened, and
/// servers do not ask.
///
/// # Errors
/// When it is larger than any message may be.
pub fn kill(cursors: &KillCursors<'_>) -> Result<Frame, WireError> {
    kill_all(cursors.ids())
}

/// The `killCursors` command for one cursor.
///
/// # Errors
/// Never: it is small.
pub fn kill_one(cursor_id: i64) -> Result<Frame, WireError> {
    kill_all([cursor_id])
}

fn kill_all(cursors: impl IntoIterator<Item = i64>) -> Result<Frame, WireError> {
    let ids: RawArrayBuf = cursors.into_iter().collect();
    let body = rawdoc! { "killCursors": "$cmd.legacy", "cursors": ids };
    message(&with_db(body, "admin"))
}

/// Appends the OP_REPLY that means the same as `reply`, which answers a `find` or a `getMore`. `head` has the number of the request,
/// and how many documents came before.
///
/// # Errors
/// When the reply is not valid.
pub fn to_op_reply(reply: RawDoc<'_>, head: ReplyHead, out: &mut BytesMut) -> Result<Batch, WireError> {
    let (mut cursor_id, mut documents, mut is_cursor) = (0, None, false);
    if let Some(cursor) = reply.get("cursor")?.and_then(|cursor| cursor.as_doc()) {
        is_cursor = true;
        for field in cursor {
            let field = field?;
            match field.key {
                b"id" => cursor_id = field.as_i64().unwrap_or_default(),
                b"firstBatch" | b"nextBatch" => documents = field.as_array(),
                _ => {}
            }
        }
    }
    if !is_cursor {
        return failure(reply, head, out);
    }
    let head = ReplyHead { cursor_id, ..head };
    let count = encode_documents(head, documents, out)?;
    Ok(Batch { cursor_id, count })
}

/// The reply to a query that failed.
fn failure(reply: RawDoc<'_>, head: ReplyHead, out: &mut BytesMut) -> Result<Batch, WireError> {
    let code = reply.get("code")?.and_then(|code| code.as_i64());
    let message = reply.get("errmsg")?.and_then(|message| message.as_str());
    if code == Some(NOT_FOUND) {
        encode_cursor_not_found(head.request_id, head.response_to, out);
        return Ok(Batch::default());
    }
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    append_failure(code, message.unwrap_or("the query failed"), head, out)?;
    Ok(Batch::default())
}

/// Appends an OP_REPLY that says why a query failed, where drivers of old look for it.
///
/// # Errors
/// Never: `bson` makes the document.
pub fn append_failure(
    code: i32,
    message: &str,
    head: ReplyHead,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let document = rawdoc! { "$err": message, "code": code, "ok": 0.0 };
    append_one(document, QUERY_FAILURE, head, out)
}

/// Appends an OP_REPLY whose one document is the `explain` in `reply`.
///
/// # Errors
/// When the reply is not valid.
pub fn append_explain(reply: RawDoc<'_>, head: ReplyHead, out: &mut BytesMut) -> Result<(), WireError> {
    if reply.get("ok")?.and_then(|ok| ok.as_bool()) != Some(true) {
        return failure(reply, head, out).map(drop);
    }
    let mut document = RawDocumentBuf::new();
    for field in super::raw(reply)?.iter() {
        let (name, value) = field.map_err(|_| WireError::Bson("an explain cannot be read"))?;
        // What a server adds to every reply of a command.
        if !matches!(
            name.as_str(),
            "ok" | "$clusterTime" | "operationTime" | "explainVersion" | "command"
        ) {
            document.append(name, value);
        }
    }
    append_one(document, legacy::AWAIT_CAPABLE, head, out)
}

fn append_one(
    document: RawDocumentBuf,
    flags: u32,
    head: ReplyHead,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let document = RawDoc::prefix(document.as_bytes())?;
    legacy::encode_reply(document, flags, head.request_id, head.response_to, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HEADER_LEN, legacy::AWAIT_CAPABLE, op_msg};
    use bson::{Document, doc};

    fn replied(reply: &Document) -> (Batch, u32, i32, Vec<Document>) {
        let reply = reply.to_vec().unwrap();
        let mut out = BytesMut::new();
        let head = ReplyHead {
            starting_from: 3,
            ..ReplyHead::new(0, 9)
        };
        let batch = to_op_reply(RawDoc::prefix(&reply).unwrap(), head, &mut out).unwrap();
        let (flags, payload) = out[HEADER_LEN..].split_first_chunk::<4>().unwrap();
        let starting_from = i32::from_le_bytes(payload[8..12].try_into().unwrap());
        let mut documents = Vec::new();
        let mut rest = &payload[16..];
        while !rest.is_empty() {
            let document = RawDoc::prefix(rest).unwrap();
            documents.push(Document::from_reader(document.bytes()).unwrap());
            rest = &rest[document.bytes().len()..];
        }
        (batch, u32::from_le_bytes(*flags), starting_from, documents)
    }

    #[test]
    fn batches_failures_and_lost_cursors_have_their_old_form() {
        let cursor = doc! {"firstBatch": [{"a": 1}, {"a": 2}], "id": 77i64, "ns": "d.c"};
        let batch = Batch {
            cursor_id: 77,
            count: 2,
        };
        assert_eq!(
            replied(&doc! {"cursor": cursor, "ok": 1.0}),
            (batch, AWAIT_CAPABLE, 3, vec![doc! {"a": 1}, doc! {"a": 2}])
        );
        let error = doc! {"ok": 0.0, "errmsg": "no", "code": 2, "codeName": "BadValue"};
        let failure = doc! {"$err": "no", "code": 2, "ok": 0.0};
        assert_eq!(
            replied(&error),
            (Batch::default(), QUERY_FAILURE, 0, vec![failure])
        );
        let lost = doc! {"ok": 0.0, "errmsg": "cursor id 5 not found", "code": 43};
        let (batch, flags, _, documents) = replied(&lost);
        assert_eq!(
            (batch, flags & legacy::CURSOR_NOT_FOUND, documents),
            (Batch::default(), legacy::CURSOR_NOT_FOUND, vec![])
        );
    }

    #[test]
    fn an_explain_is_the_one_document() {
        let reply = doc! {
            "queryPlanner": {"a": 1}, "serverInfo": {}, "ok": 1.0, "operationTime": 1, "explainVersion": "1",
        };
        let mut out = BytesMut::new();
        let bytes = reply.to_vec().unwrap();
        append_explain(RawDoc::prefix(&bytes).unwrap(), ReplyHead::new(0, 1), &mut out).unwrap();
        let document = legacy::reply_document(&out[HEADER_LEN..]).unwrap();
        assert_eq!(
            Document::from_reader(document.bytes()).unwrap(),
            doc! {"queryPlanner": {"a": 1}, "serverInfo": {}}
        );
    }

    #[test]
    fn cursors_are_asked_for_and_killed_by_commands() {
        let body = |frame: &Frame| {
            let body = op_msg::Layout::parse(frame.bytes())
                .unwrap()
                .body(frame.bytes())
                .unwrap();
            Document::from_reader(body.bytes()).unwrap()
        };
        let more = next_batch("d", "c", 5, 0).unwrap();
        assert_eq!(body(&more), doc! {"getMore": 5i64, "collection": "c", "$db": "d"});
        let more = next_batch("d", "c", 5, 7).unwrap();
        assert_eq!(body(&more).get_i32("batchSize").ok(), Some(7));
        let payload = [&[0; 4][..], &1i32.to_le_bytes(), &9i64.to_le_bytes()].concat();
        let kill = kill(&KillCursors::parse(&payload).unwrap()).unwrap();
        assert_eq!(body(&kill).get_array("cursors").unwrap(), &[9i64.into()]);
    }
}
