//! Results of cursors in one document, as commands gave them before there were cursors.
//!
//! The one batch is asked to hold all there is. A node ends it at 16 MiB, which is what a document can hold, so what is left then is
//! too much.

use bson::{Bson, Document, doc};

use crate::{
    command::ErrorReply,
    wire::{Element, RawDoc, WireError},
};

/// `cursor: {batchSize: 2147483647}` as a BSON element.
pub const CURSOR: &[u8] = b"\x03cursor\0\x14\0\0\0\x10batchSize\0\xff\xff\xff\x7f\0";

/// The same as a document.
#[must_use]
pub fn cursor() -> Document {
    doc! { "batchSize": i32::MAX }
}

/// Whether an `aggregate` wants its result in one document: servers since 3.6 refuse one that has neither `cursor` nor
/// `explain: true`.
#[must_use]
pub fn lacks_cursor(body: RawDoc<'_>) -> bool {
    let wants = |element: Element<'_>| match element.key {
        b"cursor" => true,
        b"explain" => element.as_bool() == Some(true),
        _ => false,
    };
    !body.iter().flatten().any(wants)
}

/// What a reply with a cursor says.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// The cursor's id; 0 if it is exhausted.
    pub id: i64,
    batch: Option<RawDoc<'a>>,
}

impl<'a> Whole<'a> {
    /// Reads the `cursor` of a reply; `None` if there is none.
    ///
    /// # Errors
    /// When the reply cannot be walked.
    pub fn of(reply: RawDoc<'a>) -> Result<Option<Self>, WireError> {
        let Some(cursor) = reply.get("cursor")?.and_then(|element| element.as_doc()) else {
            return Ok(None);
        };
        let mut whole = Self { id: 0, batch: None };
        for element in cursor {
            let element = element?;
            match element.key {
                b"id" => whole.id = element.as_i64().unwrap_or_default(),
                b"firstBatch" => whole.batch = element.as_array(),
                _ => {}
            }
        }
        Ok(Some(whole))
    }

    /// The documents, decoded.
    ///
    /// # Errors
    /// When one of them is not valid.
    pub fn documents(&self) -> Result<Vec<Document>, ErrorReply> {
        let elements = self.batch.into_iter().flatten();
        elements
            .map(|element| {
                let element = element.map_err(|error| ErrorReply::invalid_message(&error))?;
                element
                    .as_doc()
                    .map_or_else(|| Ok(Document::new()), super::decode_reply)
            })
            .collect()
    }

    /// `{result: [...], ok: 1}`, in raw BSON.
    #[must_use]
    pub fn to_result(&self) -> Vec<u8> {
        const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
        let array = self.batch.map_or(EMPTY, RawDoc::bytes);
        let mut reply = Vec::with_capacity(array.len() + 32);
        reply.extend_from_slice(&[0; 4]);
        reply.extend_from_slice(b"\x04result\0");
        reply.extend_from_slice(array);
        reply.extend_from_slice(b"\x01ok\0");
        reply.extend_from_slice(&1.0f64.to_le_bytes());
        reply.push(0);
        let length = reply.len() as i32;
        reply[..4].copy_from_slice(&length.to_le_bytes());
        reply
    }
}

/// Whether a decoded reply says that all went well.
#[must_use]
pub fn is_ok(reply: &Document) -> bool {
    match reply.get("ok") {
        Some(Bson::Boolean(ok)) => *ok,
        Some(number) => super::integer(number) == Some(1),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(document: &Document) -> Vec<u8> {
        document.to_vec().unwrap()
    }

    fn reply() -> Document {
        doc! {"cursor": {"firstBatch": [{"a": 1}, {"a": 2}], "id": 7_i64, "ns": "d.c"}, "ok": 1.0}
    }

    #[test]
    fn a_batch_becomes_a_result() {
        let bytes = raw(&reply());
        let whole = Whole::of(RawDoc::prefix(&bytes).unwrap()).unwrap().unwrap();
        assert_eq!(whole.id, 7);
        assert_eq!(whole.documents().unwrap(), [doc! {"a": 1}, doc! {"a": 2}]);
        let result = Document::from_reader(&whole.to_result()[..]).unwrap();
        assert_eq!(result, doc! {"result": [{"a": 1}, {"a": 2}], "ok": 1.0});
        let none = Whole { id: 0, batch: None }.to_result();
        assert_eq!(
            Document::from_reader(&none[..]).unwrap(),
            doc! {"result": [], "ok": 1.0}
        );
    }

    #[test]
    fn replies_without_a_cursor_are_told_apart() {
        for reply in [doc! {"ok": 1.0}, doc! {"cursor": 5}] {
            assert!(
                Whole::of(RawDoc::prefix(&raw(&reply)).unwrap())
                    .unwrap()
                    .is_none()
            );
        }
        assert!(is_ok(&doc! {"ok": 1}) && is_ok(&doc! {"ok": true}));
        assert!(!is_ok(&doc! {"ok": 0.0}) && !is_ok(&doc! {}));
    }

    #[test]
    fn the_spliced_cursor_is_a_valid_element() {
        let mut body = vec![0; 4];
        body.extend_from_slice(CURSOR);
        body.push(0);
        let length = body.len() as i32;
        body[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(
            Document::from_reader(&body[..]).unwrap(),
            doc! {"cursor": cursor()}
        );
    }

    proptest! {
        #[test]
        fn damaged_replies_never_panic(at in 0usize..200, with in any::<u8>()) {
            let mut reply = raw(&reply());
            let at = at % reply.len();
            reply[at] = with;
            if let Ok(raw) = RawDoc::prefix(&reply) {
                let _ = lacks_cursor(raw);
                if let Ok(Some(whole)) = Whole::of(raw) {
                    let _ = (whole.documents(), whole.to_result());
                }
            }
        }
    }
}
