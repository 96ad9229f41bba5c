//! What legacy opcodes mean as commands of today, and what their replies mean in the old form.
//!
//! Sources: the MongoDB Wire Protocol ("Legacy opcodes"), the specification "Find, getMore and killCursors commands", and what
//! mongod 4.2 answers, the last series but two that took these opcodes.

pub mod concern;
pub mod cursor;
pub mod find;
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

/// A document of a checked message as `bson` knows it.
fn raw(document: RawDoc<'_>) -> Result<&RawDocument, WireError> {
    RawDocument::from_bytes(document.bytes()).map_err(|_| WireError::Bson("a document cannot be read"))
}

/// Ends a command's body with the database that it is for.
fn with_db(mut body: RawDocumentBuf, database: &str) -> RawDocumentBuf {
    body.append(cstr!("$db"), database);
    body
}
