//! Commands by OP_QUERY become OP_MSG, and the reply becomes an OP_REPLY.

use bytes::{BufMut, BytesMut};

use super::{
    Frame, RawDoc, WireError,
    legacy::{AWAIT_CAPABLE, Query, SECONDARY_OK, encode_reply},
    op_msg,
};

/// The OP_MSG that means the same as a command sent by OP_QUERY.
///
/// `{$query: <command>, $readPreference: ...}` is unwrapped, `$db` comes from the namespace, and the `slaveOk` bit
/// becomes the read preference `secondaryPreferred` where the client sent none (as `mongos` reads it).
///
/// # Errors
/// When the command, or what wraps it, is not valid BSON at its top level.
pub fn command_to_op_msg(query: &Query<'_>, request_id: i32) -> Result<Frame, WireError> {
    let (command, wrapped_preference) = unwrap_query(query.document)?;
    let mut body = BytesMut::with_capacity(command.bytes().len() + query.database.len() + 96);
    body.put_i32_le(0);
    let mut has_preference = false;
    for element in command {
        let element = element?;
        // The namespace is the one truth about the database in an OP_QUERY.
        if element.key != b"$db" {
            has_preference |= element.key == b"$readPreference";
            body.put_slice(&command.bytes()[element.start..element.end()]);
        }
    }
    put_string(&mut body, "$db", query.database);
    match wrapped_preference {
        _ if has_preference => {}
        Some(preference) => put_document(&mut body, "$readPreference", preference.bytes()),
        None if query.flags & SECONDARY_OK != 0 => {
            let mut preference = BytesMut::new();
            preference.put_i32_le(0);
            put_string(&mut preference, "mode", "secondaryPreferred");
            put_document(&mut body, "$readPreference", &finish(preference));
        }
        None => {}
    }
    let body = finish(body);
    let mut out = BytesMut::new();
    op_msg::encode(RawDoc::prefix(&body)?, request_id, 0, 0, &mut out);
    Frame::new(out)
}

/// The command in the document of an OP_QUERY, which may be wrapped.
///
/// # Errors
/// When it is not valid BSON at its top level.
pub fn command_in(document: RawDoc<'_>) -> Result<RawDoc<'_>, WireError> {
    unwrap_query(document).map(|(command, _)| command)
}

/// The command within `{$query: ...}` or `{query: ...}`, and the `$readPreference` beside it.
fn unwrap_query(document: RawDoc<'_>) -> Result<(RawDoc<'_>, Option<RawDoc<'_>>), WireError> {
    let Some(first) = document.iter().next().transpose()? else {
        return Ok((document, None));
    };
    // `query` alone also wraps, as servers before 5.1 took it; no command has that name.
    match (first.key, first.as_doc()) {
        (b"$query" | b"query", Some(command)) => Ok((
            command,
            document
                .get("$readPreference")?
                .and_then(|element| element.as_doc()),
        )),
        _ => Ok((document, None)),
    }
}

/// Appends the OP_REPLY that means the same as the OP_MSG reply `frame`.
///
/// # Errors
/// When `frame` is not a valid OP_MSG.
pub fn op_msg_to_reply(frame: &Frame, response_to: i32, out: &mut BytesMut) -> Result<(), WireError> {
    let body = op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())?;
    encode_reply(body, AWAIT_CAPABLE, frame.header().request_id, response_to, out);
    Ok(())
}

fn put_string(out: &mut BytesMut, key: &str, value: &str) {
    out.put_u8(0x02);
    out.put_slice(key.as_bytes());
    out.put_u8(0);
    out.put_i32_le(value.len() as i32 + 1);
    out.put_slice(value.as_bytes());
    out.put_u8(0);
}

fn put_document(out: &mut BytesMut, key: &str, value: &[u8]) {
    out.put_u8(0x03);
    out.put_slice(key.as_bytes());
    out.put_u8(0);
    out.put_slice(value);
}

/// Ends a document whose length field was left open.
fn finish(mut document: BytesMut) -> BytesMut {
    document.put_u8(0);
    let length = document.len() as i32;
    document[0..4].copy_from_slice(&length.to_le_bytes());
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER_LEN;
    use bson::{Document, doc};
    use proptest::prelude::*;

    fn translated(flags: u32, document: &Document) -> Document {
        let document = document.to_vec().unwrap();
        let query = Query {
            flags,
            database: "shop",
            collection: "$cmd",
            number_to_skip: 0,
            number_to_return: -1,
            selector: None,
            document: RawDoc::prefix(&document).unwrap(),
        };
        let frame = command_to_op_msg(&query, 5).unwrap();
        assert_eq!(frame.header().request_id, 5);
        let body = op_msg::Layout::parse(frame.bytes())
            .unwrap()
            .body(frame.bytes())
            .unwrap();
        Document::from_reader(body.bytes()).unwrap()
    }

    #[test]
    fn commands_are_translated_with_database_and_read_preference() {
        let nearest = doc! {"mode": "nearest"};
        let count = doc! {"count": "c"};
        let table = [
            (0, count.clone(), doc! {"count": "c", "$db": "shop"}),
            (
                0,
                doc! {"count": "c", "$db": "evil"},
                doc! {"count": "c", "$db": "shop"},
            ),
            (
                SECONDARY_OK,
                count.clone(),
                doc! {"count": "c", "$db": "shop", "$readPreference": {"mode": "secondaryPreferred"}},
            ),
            (
                SECONDARY_OK,
                doc! {"$query": count.clone(), "$readPreference": nearest.clone()},
                doc! {"count": "c", "$db": "shop", "$readPreference": nearest.clone()},
            ),
            (
                SECONDARY_OK,
                doc! {"count": "c", "$readPreference": nearest.clone()},
                doc! {"count": "c", "$readPreference": nearest.clone(), "$db": "shop"},
            ),
            (0, doc! {"query": count}, doc! {"count": "c", "$db": "shop"}),
        ];
        for (flags, from, to) in table {
            assert_eq!(translated(flags, &from), to, "{from}");
        }
    }

    #[test]
    fn a_reply_keeps_its_document() {
        let document = doc! {"n": 3, "ok": 1.0}.to_vec().unwrap();
        let mut reply = BytesMut::new();
        op_msg::encode(RawDoc::prefix(&document).unwrap(), 8, 4, 0, &mut reply);
        let mut out = BytesMut::new();
        op_msg_to_reply(&Frame::new(reply).unwrap(), 21, &mut out).unwrap();
        let frame = Frame::new(out).unwrap();
        assert_eq!(frame.header().response_to, 21);
        assert_eq!(&frame.bytes()[HEADER_LEN + 20..], &document[..]);
    }

    proptest! {
        #[test]
        fn damaged_commands_never_panic(at in 4usize..60, with in any::<u8>()) {
            let mut document = doc! {"$query": {"count": "c"}, "$readPreference": {"mode": "nearest"}}.to_vec().unwrap();
            let at = at % (document.len() - 1);
            document[at.max(4)] = with;
            if let Ok(raw) = RawDoc::prefix(&document) {
                let query = Query { flags: 4, database: "d", collection: "$cmd", number_to_skip: 0, number_to_return: 1, document: raw, selector: None };
                let _ = command_to_op_msg(&query, 1);
            }
        }
    }
}
