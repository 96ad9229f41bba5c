//! Gives a write a session and number that its client did not send, and takes from replies what tells of them.
//!
//! As in [`super::rewrite`], document lengths stay right, and the caller refreshes the checksum.

use bson::{RawArrayBuf, RawDocumentBuf, raw::cstr};

use super::{
    error_reply::RETRYABLE_WRITE,
    request::Request,
    retryable::lsid_at,
    rewrite::{append_field, append_to_reply},
};
use crate::wire::{Frame, WireError, op_msg::Layout};

/// `lsid: {id: <UUID>}`, where the UUID is left out.
const LSID: [u8; 36] = *b"\x03lsid\0\x1e\0\0\0\x05id\0\x10\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Where the UUID lies in it.
const UUID_AT: usize = 19;
/// `txnNumber: <64-bit integer>`, where the number is left out.
const TXN_NUMBER: [u8; 19] = *b"\x12txnNumber\0\0\0\0\0\0\0\0\0";
/// Where the number lies in it.
const NUMBER_AT: usize = 11;
/// Most bytes of a command's document: 16 KiB above the largest document, as servers have it.
const MOST_BODY: usize = (16 << 20) + (16 << 10);

/// Sends a write under session `id` and `number`. Its own `lsid` is replaced in place; [`super::retryable::takes_number`] has said
/// that this is possible. Returns whether it was done: a message that would grow too large is left as it is.
#[must_use]
pub fn put(frame: &mut Frame, request: &mut Request, id: &[u8; 16], number: i64) -> bool {
    let mut fields = [0; LSID.len() + TXN_NUMBER.len()];
    fields[..LSID.len()].copy_from_slice(&LSID);
    fields[UUID_AT..UUID_AT + id.len()].copy_from_slice(id);
    fields[LSID.len()..].copy_from_slice(&TXN_NUMBER);
    let at = LSID.len() + NUMBER_AT;
    fields[at..at + 8].copy_from_slice(&number.to_le_bytes());
    let own = lsid_at(frame.bytes(), request);
    let field = if own.is_some() {
        &fields[LSID.len()..]
    } else {
        &fields[..]
    };
    if request.layout.body_len + field.len() > MOST_BODY || append_field(frame, request, field).is_err() {
        return false;
    }
    if let Some(at) = own {
        frame.patch(at, id);
    }
    true
}

/// Turns `w: 0` into `w: 1`: a node tells nothing of what became of an unacknowledged write. Does nothing to any other concern.
pub fn acknowledge(frame: &mut Frame, request: &Request) {
    let Some((at, kind)) = unacknowledged_at(frame.bytes(), request) else {
        return;
    };
    match kind {
        0x01 => frame.patch(at, &1_f64.to_le_bytes()),
        0x10 => frame.patch(at, &1_i32.to_le_bytes()),
        _ => frame.patch(at, &1_i64.to_le_bytes()),
    }
}

/// Where the 0 of `writeConcern: {w: 0}` lies, and its BSON type.
fn unacknowledged_at(message: &[u8], request: &Request) -> Option<(usize, u8)> {
    let body = request.layout.body(message).ok()?;
    let concern = body.get("writeConcern").ok()??;
    let w = concern.as_doc()?.get("w").ok()??;
    let at = request.layout.body_at + concern.value_start + w.value_start;
    (w.as_i64() == Some(0)).then_some((at, w.kind))
}

/// Whether a reply's field of this name says which statements a node had executed at an earlier attempt: `retriedStmtIds` of most
/// writes, `retriedStmtId` of `findAndModify`.
#[must_use]
pub fn tells_of_retry(key: &[u8]) -> bool {
    matches!(key, b"retriedStmtIds" | b"retriedStmtId")
}

/// Takes the fields out of a reply that tell of an earlier attempt. Does nothing to what cannot be walked.
pub fn forget_retry(frame: &mut Frame) {
    let Ok(layout) = Layout::parse(frame.bytes()) else {
        return;
    };
    let Ok(fields) = retry_fields(frame.bytes(), &layout) else {
        return;
    };
    let mut body_len = layout.body_len;
    // From the last to the first, so that the places of those before stay right.
    for (at, length) in fields.into_iter().rev() {
        frame.cut(layout.body_at + at, length);
        body_len -= length;
    }
    frame.patch(layout.body_at, &(body_len as i32).to_le_bytes());
}

/// Takes the label out of a reply by which a driver that sent a number retries its write. A node adds it because there is a number; who
/// sent none could take it for a promise that the write was not executed. Does nothing to what cannot be walked.
pub fn forget_label(frame: &mut Frame) {
    let Ok(Some((at, length, others))) = labels(frame.bytes()) else {
        return;
    };
    let Ok(layout) = Layout::parse(frame.bytes()) else {
        return;
    };
    frame.cut(layout.body_at + at, length);
    frame.patch(layout.body_at, &((layout.body_len - length) as i32).to_le_bytes());
    if !others.is_empty() {
        let mut field = RawDocumentBuf::new();
        field.append(cstr!("errorLabels"), others);
        let bytes = field.as_bytes();
        append_to_reply(frame, &bytes[4..bytes.len() - 1]);
    }
}

/// Where the labels lie in a reply's body if that one is among them, how long they are, and the others.
fn labels(message: &[u8]) -> Result<Option<(usize, usize, RawArrayBuf)>, WireError> {
    let body = Layout::parse(message)?.body(message)?;
    let Some(field) = body.get("errorLabels")? else {
        return Ok(None);
    };
    let (mut others, mut found) = (RawArrayBuf::new(), false);
    for label in field.as_array().into_iter().flatten() {
        match label?.as_str() {
            Some(RETRYABLE_WRITE) => found = true,
            Some(other) => others.push(other),
            None => {}
        }
    }
    Ok(found.then(|| (field.start, field.end() - field.start, others)))
}

/// Where such fields lie in the body, and how long they are.
fn retry_fields(message: &[u8], layout: &Layout) -> Result<Vec<(usize, usize)>, WireError> {
    let mut fields = Vec::new();
    for element in layout.body(message)? {
        let element = element?;
        if tells_of_retry(element.key) {
            fields.push((element.start, element.end() - element.start));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, doc, uuid::Uuid};
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        command::retryable::{shape, takes_number},
        wire::{
            MAX_MESSAGE_LEN, RawDoc,
            op_msg::{self, CHECKSUM_PRESENT, refresh_checksum},
        },
    };

    const ID: [u8; 16] = [0xab; 16];

    fn frame(body: &Document, tail: &[u8]) -> Frame {
        let mut out = BytesMut::new();
        let body = body.to_vec().unwrap();
        op_msg::encode(RawDoc::prefix(&body).unwrap(), 1, 0, 0, &mut out);
        out.extend_from_slice(tail);
        let length = out.len() as i32;
        out[0..4].copy_from_slice(&length.to_le_bytes());
        Frame::new(out).unwrap()
    }

    fn request(frame: &Frame) -> Request {
        Request::peek(frame.bytes(), Layout::parse(frame.bytes()).unwrap()).unwrap()
    }

    fn body_of(frame: &Frame) -> Document {
        let layout = Layout::parse(frame.bytes()).unwrap();
        Document::from_reader(layout.body(frame.bytes()).unwrap().bytes()).unwrap()
    }

    #[test]
    fn the_label_of_a_number_is_forgotten_and_the_others_are_not() {
        let table = [
            (
                doc! {"ok": 0.0, "errorLabels": ["RetryableWriteError"], "code": 91},
                doc! {"ok": 0.0, "code": 91},
            ),
            (
                doc! {"errorLabels": ["Other", "RetryableWriteError"], "ok": 0.0},
                doc! {"ok": 0.0, "errorLabels": ["Other"]},
            ),
            (
                doc! {"errorLabels": ["Other"], "ok": 0.0},
                doc! {"errorLabels": ["Other"], "ok": 0.0},
            ),
            (
                doc! {"errorLabels": 5, "ok": 0.0},
                doc! {"errorLabels": 5, "ok": 0.0},
            ),
        ];
        for (reply, expected) in table {
            let mut frame = frame(&reply, &[]);
            forget_label(&mut frame);
            assert_eq!(body_of(&frame), expected, "{reply}");
            assert_eq!(frame.bytes().len(), frame.header().length);
        }
    }

    fn own_id() -> Bson {
        Bson::Binary(Uuid::from_bytes(ID).into())
    }

    fn documents(count: usize) -> Vec<u8> {
        let documents: Vec<u8> = (0..count as i32)
            .flat_map(|id| doc! {"_id": id}.to_vec().unwrap())
            .collect();
        let size = 4 + b"documents\0".len() + documents.len();
        [&[1][..], &(size as i32).to_le_bytes(), b"documents\0", &documents].concat()
    }

    #[test]
    fn a_write_without_a_session_gets_one_and_a_number() {
        let body = doc! {"insert": "c", "documents": [{}], "$db": "d"};
        let mut frame = frame(&body, &[]);
        let mut peeked = request(&frame);
        assert!(put(&mut frame, &mut peeked, &ID, 1 << 40));
        let mut expected = body;
        expected.extend(doc! {"lsid": {"id": own_id()}, "txnNumber": 1_i64 << 40});
        assert_eq!(body_of(&frame), expected);
        assert_eq!(Layout::parse(frame.bytes()).unwrap(), peeked.layout);
        assert!(!peeked.has_txn_number, "it is not the client's");
    }

    #[test]
    fn a_clients_bare_session_is_replaced_in_its_place() {
        let body =
            doc! {"update": "c", "lsid": {"id": Uuid::new()}, "updates": [{"q": {}, "u": {}}], "$db": "d"};
        let mut frame = frame(&body, &[]);
        let mut peeked = request(&frame);
        assert!(put(&mut frame, &mut peeked, &ID, 7));
        let mut expected = body;
        expected.extend(doc! {"lsid": {"id": own_id()}, "txnNumber": 7_i64});
        assert_eq!(body_of(&frame), expected);
        assert_eq!(request(&frame).db(frame.bytes()), peeked.db(frame.bytes()));
    }

    #[test]
    fn statements_behind_the_body_and_the_checksum_stay_right() {
        for sums in [false, true] {
            let (body, tail) = (doc! {"insert": "c", "$db": "d"}, documents(1000));
            let mut whole = frame(&body, &tail).into_bytes();
            if sums {
                op_msg::append_checksum(&mut whole);
            }
            let mut frame = Frame::new(whole).unwrap();
            let mut peeked = request(&frame);
            assert!(takes_number(frame.bytes(), &peeked));
            assert!(put(&mut frame, &mut peeked, &ID, 1));
            refresh_checksum(&mut frame);
            let layout = Layout::parse(frame.bytes()).unwrap();
            assert_eq!(layout.flags & CHECKSUM_PRESENT != 0, sums);
            assert_eq!(body_of(&frame).get_i64("txnNumber").unwrap(), 1);
            let sequence = op_msg::sequences(frame.bytes()).next().unwrap();
            assert!(tail.ends_with(sequence.documents));
            assert!(!shape(frame.bytes(), &peeked).unwrap().is_one);
        }
    }

    #[test]
    fn what_would_grow_too_large_is_left_alone() {
        let body = doc! {"insert": "c", "$db": "d"};
        let padding =
            |length: usize| doc! {"insert": "c", "documents": [{"x": "x".repeat(length)}], "$db": "d"};
        let most = MOST_BODY - padding(0).to_vec().unwrap().len();
        let length = frame(&body, &documents(0)).bytes().len();
        let table = [
            (frame(&body, &documents(0)), true),
            (frame(&padding(most - 55), &[]), true),
            (frame(&padding(most - 54), &[]), false),
        ];
        for (mut frame, expected) in table {
            let mut peeked = request(&frame);
            let before = frame.bytes().len();
            assert_eq!(put(&mut frame, &mut peeked, &ID, 1), expected);
            assert_eq!(frame.bytes().len() - before, if expected { 55 } else { 0 });
        }
        for (room, expected) in [(55, true), (54, false)] {
            let mut section = documents(0);
            section.resize(section.len() + MAX_MESSAGE_LEN - length - room, 0);
            let size = section.len() as i32 - 1;
            section[1..5].copy_from_slice(&size.to_le_bytes());
            let mut frame = frame(&body, &section);
            let mut peeked = request(&frame);
            assert_eq!(put(&mut frame, &mut peeked, &ID, 1), expected);
            assert!(Layout::parse(frame.bytes()).is_ok());
        }
    }

    #[test]
    fn only_a_write_concern_of_zero_is_changed_and_keeps_its_type() {
        let table = [
            (doc! {"w": 0}, doc! {"w": 1}),
            (doc! {"w": 0_i64, "j": false}, doc! {"w": 1_i64, "j": false}),
            (doc! {"wtimeout": 5, "w": 0.0}, doc! {"wtimeout": 5, "w": 1.0}),
            (doc! {"w": 2}, doc! {"w": 2}),
            (doc! {"w": "0"}, doc! {"w": "0"}),
            (doc! {"w": "majority"}, doc! {"w": "majority"}),
            (doc! {"j": false}, doc! {"j": false}),
        ];
        for (concern, expected) in table {
            let body = doc! {"insert": "c", "writeConcern": concern, "$db": "d"};
            let mut frame = frame(&body, &documents(1));
            let peeked = request(&frame);
            acknowledge(&mut frame, &peeked);
            assert_eq!(body_of(&frame).get_document("writeConcern").unwrap(), &expected);
        }
        let mut none = frame(&doc! {"insert": "c", "$db": "d"}, &[]);
        let peeked = request(&none);
        acknowledge(&mut none, &peeked);
        assert_eq!(body_of(&none), doc! {"insert": "c", "$db": "d"});
    }

    #[test]
    fn what_tells_of_an_earlier_attempt_is_taken_out() {
        let table = [
            (
                doc! {"n": 2, "retriedStmtIds": [0, 1], "ok": 1.0},
                doc! {"n": 2, "ok": 1.0},
            ),
            (
                doc! {"retriedStmtId": 0, "n": 1, "retriedStmtIds": [0]},
                doc! {"n": 1},
            ),
            (
                doc! {"value": {"retriedStmtId": 0}, "ok": 1.0},
                doc! {"value": {"retriedStmtId": 0}, "ok": 1.0},
            ),
        ];
        for (mut reply, mut expected) in table {
            // Only for the helper's sake.
            reply.insert("$db", "d");
            expected.insert("$db", "d");
            let mut frame = frame(&reply, &[]);
            forget_retry(&mut frame);
            assert_eq!(body_of(&frame), expected);
            assert_eq!(frame.header().length, frame.bytes().len());
        }
    }

    proptest! {
        #[test]
        fn damaged_replies_never_panic(at in 16usize..200, with in any::<u8>()) {
            let reply = doc! {"n": 2, "retriedStmtIds": [0, 1], "ok": 1.0, "retriedStmtId": 4, "x": "y"};
            let mut bytes = frame(&reply, &[]).into_bytes();
            let at = 16 + at % (bytes.len() - 16);
            bytes[at] = with;
            forget_retry(&mut Frame::new(bytes).unwrap());
        }
    }
}
