//! OP_REPLY.

use bytes::{BufMut, BytesMut};

use super::{AWAIT_CAPABLE, CURSOR_NOT_FOUND};
use crate::wire::{HEADER_LEN, Header, OpCode, RawDoc, WireError};

/// Bytes before the documents.
const HEAD_LEN: usize = HEADER_LEN + 20;

/// What an OP_REPLY says before its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHead {
    /// The sender's number for this reply.
    pub request_id: i32,
    /// The number of the request.
    pub response_to: i32,
    /// The flag bits.
    pub flags: u32,
    /// The cursor to ask for more; 0 if there is none.
    pub cursor_id: i64,
    /// How many documents of the cursor came before.
    pub starting_from: i32,
}

impl ReplyHead {
    /// The head of a reply that is not a cursor's.
    #[must_use]
    pub fn new(flags: u32, response_to: i32) -> Self {
        Self {
            request_id: 0,
            response_to,
            flags: flags | AWAIT_CAPABLE,
            cursor_id: 0,
            starting_from: 0,
        }
    }
}

/// Appends an OP_REPLY to `out`, whose documents are those of `documents`; returns how many these are.
///
/// # Errors
/// When a value is no document, or the array cannot be walked; `out` is as before then.
pub fn encode_documents(
    head: ReplyHead,
    documents: Option<RawDoc<'_>>,
    out: &mut BytesMut,
) -> Result<i32, WireError> {
    let at = out.len();
    out.reserve(HEAD_LEN + documents.map_or(0, |array| array.bytes().len()));
    out.put_bytes(0, HEAD_LEN);
    let mut count = 0;
    for value in documents.into_iter().flatten() {
        match value.map(|value| value.as_doc()) {
            Ok(Some(document)) => out.put_slice(document.bytes()),
            failed => {
                out.truncate(at);
                return Err(failed
                    .err()
                    .unwrap_or(WireError::Bson("a batch holds what is no document")));
            }
        }
        count += 1;
    }
    write_head(head, count, &mut out[at..]);
    Ok(count)
}

/// Appends an OP_REPLY with one document to `out`.
pub fn encode_reply(document: RawDoc<'_>, flags: u32, request_id: i32, response_to: i32, out: &mut BytesMut) {
    let at = out.len();
    out.reserve(HEAD_LEN + document.bytes().len());
    out.put_bytes(0, HEAD_LEN);
    out.put_slice(document.bytes());
    let head = ReplyHead {
        request_id,
        flags,
        ..ReplyHead::new(flags, response_to)
    };
    write_head(head, 1, &mut out[at..]);
}

/// Appends an OP_REPLY without documents to `out`, as the answer to an OP_GET_MORE whose cursor is not known.
pub fn encode_cursor_not_found(request_id: i32, response_to: i32, out: &mut BytesMut) {
    let at = out.len();
    out.put_bytes(0, HEAD_LEN);
    let head = ReplyHead {
        request_id,
        flags: CURSOR_NOT_FOUND,
        ..ReplyHead::new(0, response_to)
    };
    write_head(head, 0, &mut out[at..]);
}

/// Fills in the first bytes of `message`, which is complete otherwise.
fn write_head(head: ReplyHead, count: i32, message: &mut [u8]) {
    let header = Header {
        length: message.len(),
        request_id: head.request_id,
        response_to: head.response_to,
        op_code: OpCode::Reply,
    };
    let mut fields = &mut message[..HEAD_LEN];
    fields.put_slice(&header.to_bytes());
    fields.put_u32_le(head.flags);
    fields.put_i64_le(head.cursor_id);
    fields.put_i32_le(head.starting_from);
    fields.put_i32_le(count);
}

/// The one document of an OP_REPLY (what follows the header), as a `hello` by OP_QUERY gets it.
///
/// # Errors
/// When there is not exactly one, or it is cut off.
pub fn reply_document(payload: &[u8]) -> Result<RawDoc<'_>, WireError> {
    if payload.get(16..20) != Some(&1i32.to_le_bytes()) {
        return Err(WireError::Truncated("OP_REPLY"));
    }
    RawDoc::prefix(&payload[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    #[test]
    fn a_reply_is_read_back() {
        let document = doc! {"ok": 1.0}.to_vec().unwrap();
        let mut out = BytesMut::new();
        encode_reply(RawDoc::prefix(&document).unwrap(), AWAIT_CAPABLE, 1, 2, &mut out);
        assert_eq!(reply_document(&out[HEADER_LEN..]).unwrap().bytes(), &document[..]);
        let mut out = BytesMut::new();
        encode_cursor_not_found(1, 2, &mut out);
        assert_eq!(out.len(), 36);
        assert!(reply_document(&out[HEADER_LEN..]).is_err());
    }

    #[test]
    fn a_batch_becomes_documents_one_behind_the_other() {
        let batch = doc! {"0": {"a": 1}, "1": {"b": 2}}.to_vec().unwrap();
        let head = ReplyHead {
            request_id: 3,
            cursor_id: -7,
            starting_from: 101,
            ..ReplyHead::new(0, 9)
        };
        let mut out = BytesMut::from(&b"before"[..]);
        let count = encode_documents(head, Some(RawDoc::prefix(&batch).unwrap()), &mut out).unwrap();
        assert_eq!(count, 2);
        let message = &out[6..];
        let header = Header::peek(message, 1000).unwrap().unwrap();
        assert_eq!(
            (header.length, header.request_id, header.response_to),
            (message.len(), 3, 9)
        );
        let documents = [doc! {"a": 1}.to_vec().unwrap(), doc! {"b": 2}.to_vec().unwrap()].concat();
        let fields = [
            &AWAIT_CAPABLE.to_le_bytes()[..],
            &(-7i64).to_le_bytes(),
            &101i32.to_le_bytes(),
            &2i32.to_le_bytes(),
            &documents,
        ];
        assert_eq!(&message[16..], fields.concat());
        let odd = doc! {"0": {"a": 1}, "1": 2}.to_vec().unwrap();
        assert!(encode_documents(head, Some(RawDoc::prefix(&odd).unwrap()), &mut out).is_err());
        assert_eq!(out.len(), 6 + message_len(&documents), "nothing is left of it");
    }

    fn message_len(documents: &[u8]) -> usize {
        HEAD_LEN + documents.len()
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = reply_document(&bytes);
            if let Ok(document) = RawDoc::prefix(&bytes) {
                let _ = encode_documents(ReplyHead::new(0, 1), Some(document), &mut BytesMut::new());
            }
        }
    }
}
