//! Cursors that are read to their end here, for replies that are to hold everything in one document.

use bson::{Bson, Document, doc};

use super::carry;
use crate::{
    command::ErrorReply,
    wire::{Element, RawDoc, WireError},
};

/// The largest document that servers store and old drivers take, in bytes.
pub const MAX_DOCUMENT: usize = 16 << 20;

/// `cursor: {}` as a BSON element.
pub const EMPTY_CURSOR: &[u8] = b"\x03cursor\0\x05\0\0\0\0";

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
pub struct Page<'a> {
    /// The cursor's id; 0 if it is exhausted.
    pub id: i64,
    /// The collection part of its namespace.
    pub collection: &'a str,
    batch: Option<RawDoc<'a>>,
}

impl<'a> Page<'a> {
    /// Reads the `cursor` of a reply; `None` if there is none.
    ///
    /// # Errors
    /// When the reply cannot be walked.
    pub fn of(reply: RawDoc<'a>) -> Result<Option<Self>, WireError> {
        let Some(cursor) = reply.get("cursor")?.and_then(|element| element.as_doc()) else {
            return Ok(None);
        };
        let mut page = Self {
            id: 0,
            collection: "",
            batch: None,
        };
        for element in cursor {
            let element = element?;
            match element.key {
                b"id" => page.id = element.as_i64().unwrap_or_default(),
                b"ns" => {
                    let ns = element.as_str().unwrap_or_default();
                    page.collection = ns.split_once('.').map_or("", |(_, collection)| collection);
                }
                b"firstBatch" | b"nextBatch" => page.batch = element.as_array(),
                _ => {}
            }
        }
        Ok(Some(page))
    }

    /// The command for what comes next, with what belongs to no command in particular taken from the one that opened the cursor.
    #[must_use]
    pub fn next(&self, opened_by: &Document) -> Document {
        let mut command = doc! { "getMore": self.id, "collection": self.collection };
        carry(opened_by, &mut command);
        // These are of the command that opened it.
        for key in ["readConcern", "maxTimeMS", "collation"] {
            command.remove(key);
        }
        command
    }

    /// The `killCursors` for a cursor that is not read to its end.
    #[must_use]
    pub fn kill(&self, opened_by: &Document) -> Document {
        let mut command = doc! { "killCursors": self.collection, "cursors": [self.id] };
        for key in ["$db", "lsid"] {
            if let Some(value) = opened_by.get(key) {
                command.insert(key, value.clone());
            }
        }
        command
    }
}

/// The documents of a cursor, batch by batch, as raw bytes.
#[derive(Debug, Default)]
pub struct Batches {
    /// The elements of an array.
    elements: Vec<u8>,
    count: usize,
}

impl Batches {
    /// Adds a batch.
    ///
    /// # Errors
    /// When all of it together does not fit into one document.
    pub fn take_in(&mut self, page: &Page<'_>) -> Result<(), ErrorReply> {
        for element in page.batch.into_iter().flatten() {
            let element = element.map_err(|error| ErrorReply::invalid_message(&error))?;
            let Some(document) = element.as_doc() else {
                continue;
            };
            self.elements.push(0x03);
            self.elements.extend_from_slice(self.count.to_string().as_bytes());
            self.elements.push(0);
            self.elements.extend_from_slice(document.bytes());
            self.count += 1;
            if self.elements.len() > MAX_DOCUMENT {
                return Err(ErrorReply::aggregation_too_large());
            }
        }
        Ok(())
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The documents, decoded; what cannot be decoded is left out.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        let array = self.array();
        let elements = RawDoc::prefix(&array).into_iter().flatten().flatten();
        elements
            .filter_map(|element| Document::from_reader(element.as_doc()?.bytes()).ok())
            .collect()
    }

    /// `{result: [...], ok: 1}`, in raw BSON.
    #[must_use]
    pub fn into_result(self) -> Vec<u8> {
        let array = self.array();
        let mut reply = Vec::with_capacity(array.len() + 32);
        reply.extend_from_slice(&[0; 4]);
        reply.extend_from_slice(b"\x04result\0");
        reply.extend_from_slice(&array);
        reply.extend_from_slice(b"\x01ok\0");
        reply.extend_from_slice(&1.0f64.to_le_bytes());
        finish(&mut reply);
        reply
    }

    fn array(&self) -> Vec<u8> {
        let mut array = Vec::with_capacity(self.elements.len() + 5);
        array.extend_from_slice(&[0; 4]);
        array.extend_from_slice(&self.elements);
        finish(&mut array);
        array
    }
}

/// Ends a document whose length field was left open.
fn finish(document: &mut Vec<u8>) {
    document.push(0);
    let length = document.len() as i32;
    document[..4].copy_from_slice(&length.to_le_bytes());
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

    fn page(batch: &str, documents: Vec<Document>, id: i64) -> Vec<u8> {
        raw(&doc! {"cursor": {batch: documents, "id": id, "ns": "d.c.x"}, "ok": 1.0})
    }

    #[test]
    fn batches_become_one_result() {
        let mut all = Batches::default();
        assert!(all.is_empty());
        let first = page("firstBatch", vec![doc! {"a": 1}, doc! {"a": 2}], 7);
        let first = Page::of(RawDoc::prefix(&first).unwrap()).unwrap().unwrap();
        assert_eq!((first.id, first.collection), (7, "c.x"));
        let by = doc! {"aggregate": "c", "$db": "d", "maxTimeMS": 4, "lsid": {"id": 1}};
        assert_eq!(
            first.next(&by),
            doc! {"getMore": 7_i64, "collection": "c.x", "$db": "d", "lsid": {"id": 1}}
        );
        assert_eq!(
            first.kill(&by),
            doc! {"killCursors": "c.x", "cursors": [7_i64], "$db": "d", "lsid": {"id": 1}}
        );
        all.take_in(&first).unwrap();
        let next = page("nextBatch", vec![doc! {"a": 3}], 0);
        all.take_in(&Page::of(RawDoc::prefix(&next).unwrap()).unwrap().unwrap())
            .unwrap();
        assert_eq!(
            (all.len(), all.documents()),
            (3, vec![doc! {"a": 1}, doc! {"a": 2}, doc! {"a": 3}])
        );
        let result = Document::from_reader(&all.into_result()[..]).unwrap();
        assert_eq!(result, doc! {"result": [{"a": 1}, {"a": 2}, {"a": 3}], "ok": 1.0});
        let empty = Document::from_reader(&Batches::default().into_result()[..]).unwrap();
        assert_eq!(empty, doc! {"result": [], "ok": 1.0});
    }

    #[test]
    fn a_result_that_no_document_can_hold_is_refused_with_the_code_of_old_servers() {
        let large = page("firstBatch", vec![doc! {"a": "x".repeat(6 << 20)}; 2], 1);
        let page = Page::of(RawDoc::prefix(&large).unwrap()).unwrap().unwrap();
        let mut all = Batches::default();
        all.take_in(&page).unwrap();
        assert_eq!(all.take_in(&page).unwrap_err().code(), 16389);
    }

    #[test]
    fn replies_without_a_cursor_have_no_page() {
        for reply in [doc! {"ok": 1.0}, doc! {"cursor": 5}] {
            assert!(Page::of(RawDoc::prefix(&raw(&reply)).unwrap()).unwrap().is_none());
        }
        assert!(is_ok(&doc! {"ok": 1}) && is_ok(&doc! {"ok": true}));
        assert!(!is_ok(&doc! {"ok": 0.0}) && !is_ok(&doc! {}));
    }

    #[test]
    fn a_spliced_cursor_is_a_valid_element() {
        let mut body = vec![0; 4];
        body.extend_from_slice(EMPTY_CURSOR);
        finish(&mut body);
        assert_eq!(Document::from_reader(&body[..]).unwrap(), doc! {"cursor": {}});
    }

    proptest! {
        #[test]
        fn damaged_replies_never_panic(at in 0usize..200, with in any::<u8>()) {
            let mut reply = page("firstBatch", vec![doc! {"a": 1}, doc! {"b": "x"}], 9);
            let at = at % reply.len();
            reply[at] = with;
            if let Ok(raw) = RawDoc::prefix(&reply) {
                let _ = lacks_cursor(raw);
                if let Ok(Some(page)) = Page::of(raw) {
                    let mut all = Batches::default();
                    let _ = all.take_in(&page);
                    let _ = all.documents();
                }
            }
        }
    }
}
