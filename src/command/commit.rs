//! What changes about a `commitTransaction` that is sent again.
//!
//! Source: the Transactions specification, "When commitTransaction is retried": the first attempt may have been committed and then
//! rolled back unless a majority has it, so that only a majority's word counts for the second.

use super::{request::Request, rewrite::append_field};
use crate::wire::{Frame, WireError, op_msg::Layout};

const WRITE_CONCERN: &str = "writeConcern";
/// `w: "majority"`, as a BSON element.
const MAJORITY: &[u8] = b"\x02w\0\x09\0\0\0majority\0";
/// `wtimeout: 10000`, which the specification prescribes where the client names none.
const TEN_SECONDS: &[u8] = b"\x10wtimeout\0\x10\x27\0\0";

/// Gives a commit whose outcome is unknown the write concern with which it may go again: `w: "majority"`, and the client's
/// `wtimeout` and journaling; 10 s where it has no `wtimeout`. Done twice, it changes nothing more. Returns whether it was done: a
/// message that cannot be walked or would grow too large is left as it is. The caller refreshes the checksum.
#[must_use]
pub fn set_majority_for_retry(frame: &mut Frame, request: &mut Request) -> bool {
    let Ok((field, old)) = retry_concern(frame.bytes(), request) else {
        return false;
    };
    // Behind the others, and only then in place of the old one: so nothing is lost if it does not fit.
    if append_field(frame, request, &field).is_err() {
        return false;
    }
    if let Some((at, length)) = old {
        frame.cut(request.layout.body_at + at, length);
        let body_len = (request.layout.body_len - length) as i32;
        frame.patch(request.layout.body_at, &body_len.to_le_bytes());
    }
    // What lay behind the old one lies elsewhere now.
    let peeked = Layout::parse(frame.bytes()).map(|layout| Request::peek(frame.bytes(), layout));
    if let Ok(Ok(peeked)) = peeked {
        let read_preference_added = request.read_preference_added;
        *request = peeked;
        request.read_preference_added = read_preference_added;
    }
    true
}

/// Where a field lies in the body, and its length.
type Place = (usize, usize);

/// The new write concern as a BSON element, and the place of the old one.
fn retry_concern(message: &[u8], request: &Request) -> Result<(Vec<u8>, Option<Place>), WireError> {
    let old = request.layout.body(message)?.get(WRITE_CONCERN)?;
    let mut fields = MAJORITY.to_vec();
    let mut has_timeout = false;
    if let Some(concern) = old.as_ref().and_then(|old| old.as_doc()) {
        for element in concern {
            let element = element?;
            if element.key != b"w" {
                has_timeout |= element.key == b"wtimeout";
                fields.extend(
                    concern
                        .bytes()
                        .get(element.start..element.end())
                        .unwrap_or_default(),
                );
            }
        }
    }
    if !has_timeout {
        fields.extend(TEN_SECONDS);
    }
    let length = 4 + fields.len() + 1;
    let name = [&[3], WRITE_CONCERN.as_bytes(), &[0]].concat();
    let field = [&name[..], &(length as i32).to_le_bytes(), &fields, &[0]].concat();
    Ok((field, old.map(|old| (old.start, old.end() - old.start))))
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};
    use bytes::BytesMut;

    use super::*;
    use crate::wire::{RawDoc, op_msg};

    fn commit(concern: Option<Document>, last: Document) -> (Frame, Request) {
        let mut body = doc! { "commitTransaction": 1, "txnNumber": 3_i64, "autocommit": false };
        if let Some(concern) = concern {
            body.insert(WRITE_CONCERN, concern);
        }
        body.extend(last);
        let mut out = BytesMut::new();
        let body = body.to_vec().unwrap();
        op_msg::encode(RawDoc::prefix(&body).unwrap(), 1, 0, 0, &mut out);
        let request = Request::peek(&out, Layout::parse(&out).unwrap()).unwrap();
        (Frame::new(out).unwrap(), request)
    }

    fn body_of(frame: &Frame) -> Document {
        let layout = Layout::parse(frame.bytes()).unwrap();
        Document::from_reader(layout.body(frame.bytes()).unwrap().bytes()).unwrap()
    }

    #[test]
    fn a_commit_goes_again_for_a_majority_with_the_clients_own_limits() {
        let majority = doc! { "w": "majority", "wtimeout": 10_000 };
        for (concern, expected) in [
            (None, majority.clone()),
            (Some(doc! {}), majority.clone()),
            (Some(doc! { "w": 1 }), majority.clone()),
            (Some(majority.clone()), majority.clone()),
            (Some(doc! { "w": "majority" }), majority.clone()),
            (
                Some(doc! { "wtimeout": 0, "w": 3 }),
                doc! { "w": "majority", "wtimeout": 0 },
            ),
            (
                Some(doc! { "w": "tagged", "j": true, "wtimeout": 500_i64 }),
                doc! { "w": "majority", "j": true, "wtimeout": 500_i64 },
            ),
        ] {
            let shown = format!("{concern:?}");
            let last = doc! { "lsid": { "id": "x" }, "maxTimeMS": 9_000, "$db": "admin" };
            let (mut frame, mut request) = commit(concern, last.clone());
            // Done twice, as by a second attempt after the first.
            for _ in 0..2 {
                assert!(set_majority_for_retry(&mut frame, &mut request), "{shown}");
                let mut wanted = doc! { "commitTransaction": 1, "txnNumber": 3_i64, "autocommit": false };
                wanted.extend(last.clone());
                wanted.insert(WRITE_CONCERN, expected.clone());
                assert_eq!(body_of(&frame), wanted, "{shown}");
                assert_eq!(frame.bytes().len(), frame.header().length);
            }
            assert_eq!(Layout::parse(frame.bytes()).unwrap(), request.layout);
            assert_eq!(request.db(frame.bytes()), b"admin", "offsets follow");
            let lsid = RawDoc::prefix(request.lsid.unwrap().of(frame.bytes())).unwrap();
            assert_eq!(lsid.get("id").unwrap().unwrap().as_str(), Some("x"));
            assert_eq!(request.max_time.unwrap().millis, 9_000);
            assert!(request.ends_transaction() && request.in_transaction && request.has_txn_number);
        }
    }

    #[test]
    fn a_concern_that_is_no_document_is_replaced() {
        let (mut frame, mut request) = commit(None, doc! { "writeConcern": 5, "$db": "admin" });
        assert!(set_majority_for_retry(&mut frame, &mut request));
        let expected = doc! { "w": "majority", "wtimeout": 10_000 };
        assert_eq!(body_of(&frame).get_document(WRITE_CONCERN).unwrap(), &expected);
    }
}
