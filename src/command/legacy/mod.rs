//! What legacy opcodes mean as commands of today, and what their replies mean in the old form.
//!
//! Sources: the MongoDB Wire Protocol ("Legacy opcodes"), the specification "Find, getMore and killCursors commands", and what
//! mongod 4.2 answers, the last series but two that took these opcodes.

pub mod concern;
pub mod cursor;
pub mod find;
pub mod javascript;
pub mod last_error;
pub mod write;

pub use concern::Concern;
pub use last_error::{Failure, LastError, Outcome};

use bson::{RawDocument, RawDocumentBuf, raw::cstr};
use bytes::BytesMut;

use crate::wire::{Frame, RawDoc, WireError, op_msg};

/// A message with `body` as its only section.
///
/// # Errors
/// When it is larger than any message may be.
pub fn message(body: &RawDocument) -> Result<Frame, WireError> {
    let mut out = BytesMut::new();
    op_msg::encode(RawDoc::prefix(body.as_bytes())?, 0, 0, 0, &mut out);
    Frame::new(out)
}

/// A refusal in the words that drivers of old look for, if a server has other words for it now: that a collection does not exist.
///
/// # Errors
/// When the reply cannot be walked.
pub fn in_old_words(reply: RawDoc<'_>) -> Result<Option<RawDocumentBuf>, WireError> {
    const NAMESPACE_NOT_FOUND: i64 = 26;
    const WORDS: &str = "ns not found";
    let code = reply.get("code")?.and_then(|code| code.as_i64());
    let says = reply.get("errmsg")?.and_then(|errmsg| errmsg.as_str());
    if code != Some(NAMESPACE_NOT_FOUND) || !says.is_some_and(|says| says.starts_with(WORDS) && says != WORDS)
    {
        return Ok(None);
    }
    let mut old = RawDocumentBuf::new();
    for field in raw(reply)?.iter() {
        let (name, value) = field.map_err(|_| WireError::Bson("a reply cannot be read"))?;
        if name.as_str() == "errmsg" {
            old.append(name, WORDS);
        } else {
            old.append(name, value);
        }
    }
    Ok(Some(old))
}

/// A document of a checked message as `bson` knows it.
fn raw(document: RawDoc<'_>) -> Result<&RawDocument, WireError> {
    RawDocument::from_bytes(document.bytes()).map_err(|_| WireError::Bson("a document cannot be read"))
}

/// Ends a command's body with the database that it is for.
fn with_db(mut body: RawDocumentBuf, database: &str) -> RawDocumentBuf {
    body.append(cstr!("$db"), database);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    #[test]
    fn a_missing_collection_is_told_in_the_words_of_old() {
        let told = |reply: Document| {
            let bytes = reply.to_vec().unwrap();
            let old = in_old_words(RawDoc::prefix(&bytes).unwrap()).unwrap();
            old.map(|old| Document::try_from(old).unwrap())
        };
        assert_eq!(
            told(doc! {"ok": 0.0, "errmsg": "ns not found d.c", "code": 26, "codeName": "NamespaceNotFound"}),
            Some(doc! {"ok": 0.0, "errmsg": "ns not found", "code": 26, "codeName": "NamespaceNotFound"})
        );
        assert_eq!(told(doc! {"ok": 0.0, "errmsg": "ns not found", "code": 26}), None);
        assert_eq!(
            told(doc! {"ok": 0.0, "errmsg": "ns not found d.c", "code": 27}),
            None
        );
        assert_eq!(told(doc! {"ok": 1.0}), None);
    }
}
