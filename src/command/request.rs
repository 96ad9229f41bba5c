//! What routing needs from a request, peeked from its raw bytes in one walk over the body's top level.

use std::hint::cold_path;

use super::{
    error_reply::ErrorReply,
    table::{self, Class, Row},
};
use crate::wire::{
    Element, RawDoc,
    op_msg::{EXHAUST_ALLOWED, Layout, MORE_TO_COME},
};

/// A place in the message, by offset and length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    at: u32,
    len: u32,
}

impl Span {
    fn of_value(body_at: usize, element: &Element<'_>) -> Self {
        Self {
            at: (body_at + element.value_start) as u32,
            len: element.value.len() as u32,
        }
    }

    /// Behind the length field of a string.
    fn of_text(body_at: usize, element: &Element<'_>, text: &[u8]) -> Self {
        Self {
            at: (body_at + element.value_start + 4) as u32,
            len: text.len() as u32,
        }
    }

    /// The bytes there; empty if the message is shorter than the one that was peeked.
    #[must_use]
    pub fn of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message
            .get(self.at as usize..(self.at + self.len) as usize)
            .unwrap_or_default()
    }

    /// The offset of the first byte.
    #[must_use]
    pub fn start(&self) -> usize {
        self.at as usize
    }
}

/// `maxTimeMS`, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxTime {
    /// Its BSON type byte.
    pub kind: u8,
    /// Where its value lies.
    pub span: Span,
    /// Milliseconds; never below 1 here (0 means no limit and is left out).
    pub millis: u64,
}

/// A peeked request. Offsets are into the message that it was peeked from, and stay right until something is spliced in. Of a default
/// one nothing is known: it goes nowhere before it was read.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Flag bits and body of the message.
    pub layout: Layout,
    /// The command's row, if the table has one.
    pub row: Option<&'static Row>,
    /// Where the command's name lies.
    name: Span,
    /// `$db`, without length field and terminator.
    db: Span,
    /// The name of the collection, without length field and terminator, where the command has one; what else stands there elsewhere.
    collection: Span,
    /// `$readPreference`, a document.
    pub read_preference: Option<Span>,
    /// A read preference of Tidegate's own was added on the way.
    pub read_preference_added: bool,
    /// `lsid`, a document if it is valid.
    pub lsid: Option<Span>,
    /// `txnNumber` is present.
    pub has_txn_number: bool,
    /// `autocommit: false`: a statement of a transaction.
    pub in_transaction: bool,
    /// `startTransaction: true`.
    pub starts_transaction: bool,
    /// The cursor of a `getMore`.
    pub cursor_id: Option<i64>,
    /// `maxTimeMS`.
    pub max_time: Option<MaxTime>,
    /// A command of a reading class that writes all the same: `$out`, `$merge`, `mapReduce` with an output collection.
    pub writes: bool,
    /// `apiVersion` or one of its companions is present: a server must judge it (Versioned API specification).
    pub has_api_version: bool,
    /// `readConcern.level` is `linearizable`, which only a primary can serve.
    pub linearizable: bool,
    /// The cursor that it opens or goes on with waits for new documents: a tailable one with `awaitData`, or a change stream.
    /// Of a `getMore` that says nothing itself (no `maxTimeMS`) the cursor's pin may know.
    pub awaits: bool,
}

impl Request {
    /// Peeks into a checked OP_MSG.
    ///
    /// # Errors
    /// What a `mongod` would answer to a body that cannot be walked, or that has no valid `$db`.
    pub fn peek(message: &[u8], layout: Layout) -> Result<Self, ErrorReply> {
        let mut request = Self::default();
        request.read(message, layout)?;
        Ok(request)
    }

    /// As [`Request::peek`], into a request that was not read yet.
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, message: &[u8], layout: Layout) -> Result<(), ErrorReply> {
        let body = layout
            .body(message)
            .map_err(|error| ErrorReply::invalid_message(&error))?;
        let at = layout.body_at;
        let mut elements = body.iter();
        let Some(first) = elements.next() else {
            cold_path();
            return Err(ErrorReply::missing_db());
        };
        let first = first.map_err(|error| ErrorReply::invalid_message(&error))?;
        self.layout = layout;
        self.row = table::find(first.key);
        self.name = Span {
            at: (at + first.start + 1) as u32,
            len: first.key.len() as u32,
        };
        if self.class() == Class::GetMore {
            self.cursor_id = first.as_i64();
        } else if let Some(name) = first.as_str_bytes() {
            self.collection = Span::of_text(at, &first, name);
        }
        let mut has_db = false;
        for element in elements {
            let element = element.map_err(|error| ErrorReply::invalid_message(&error))?;
            has_db |= self.note(at, &element)?;
        }
        if has_db {
            Ok(())
        } else {
            cold_path();
            Err(ErrorReply::missing_db())
        }
    }

    /// Takes up one field; says whether it was `$db`.
    #[inline]
    fn note(&mut self, at: usize, element: &Element<'_>) -> Result<bool, ErrorReply> {
        match element.key {
            b"$db" => {
                let name = element.as_str_bytes().ok_or_else(ErrorReply::db_not_a_string)?;
                self.db = Span::of_text(at, element, name);
                return Ok(true);
            }
            b"$readPreference" => self.read_preference = Some(Span::of_value(at, element)),
            b"lsid" => self.lsid = Some(Span::of_value(at, element)),
            b"apiVersion" | b"apiStrict" | b"apiDeprecationErrors" => self.has_api_version = true,
            b"txnNumber" => self.has_txn_number = true,
            b"autocommit" => self.in_transaction = element.as_bool() == Some(false),
            b"startTransaction" => self.starts_transaction = element.as_bool() == Some(true),
            b"maxTimeMS" => {
                self.max_time = element
                    .as_i64()
                    .and_then(|millis| u64::try_from(millis).ok())
                    .filter(|n| *n > 0)
                    .map(|millis| MaxTime {
                        kind: element.kind,
                        span: Span::of_value(at, element),
                        millis,
                    });
                // Servers take it from awaiting cursors only (`getMore`, "maxTimeMS").
                self.awaits |= self.cursor_id.is_some();
            }
            b"collection" if self.cursor_id.is_some() => {
                let name = element.as_str_bytes().unwrap_or_default();
                self.collection = Span::of_text(at, element, name);
            }
            b"awaitData" => self.awaits |= element.as_bool() == Some(true),
            b"readConcern" => self.linearizable = is_linearizable(element),
            b"pipeline" => {
                self.writes |= last_stage_writes(element);
                self.awaits |= opens_change_stream(element);
            }
            b"out" => self.writes |= self.is(b"mapReduce") && !is_inline(element),
            _ => {}
        }
        Ok(false)
    }

    fn is(&self, name: &[u8]) -> bool {
        self.row
            .is_some_and(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The command's name as sent.
    #[must_use]
    pub fn name<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        self.name.of(message)
    }

    /// The database that the command runs on.
    #[must_use]
    pub fn db<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        self.db.of(message)
    }

    /// The collection that the command names, if it is one of those that work on the documents of one; else empty.
    #[must_use]
    pub fn collection<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let has_one =
            |row: &Row| row.cursor || row.write.is_some() || matches!(row.class, Class::Read | Class::Old(_));
        if self.row.is_some_and(has_one) {
            self.collection.of(message)
        } else {
            // In others a user's name may stand in its place.
            &[]
        }
    }

    /// Writes the database, and the collection behind it if there is one.
    pub fn write_namespace(&self, message: &[u8], to: &mut String) {
        to.push_str(&String::from_utf8_lossy(self.db(message)));
        let collection = self.collection(message);
        if !collection.is_empty() {
            to.push('.');
            to.push_str(&String::from_utf8_lossy(collection));
        }
    }

    /// Where the command goes, by its row; commands without one follow an explicit read preference.
    #[must_use]
    pub fn class(&self) -> Class {
        self.row.map_or(Class::Explicit, |row| row.class)
    }

    /// Whether a reply may open a cursor or go on with one.
    #[must_use]
    pub fn may_have_cursor(&self) -> bool {
        // A command that the table does not know may be a newer server's way to open one.
        self.row.is_none_or(|row| row.cursor)
    }

    /// A statement of a transaction that does not end it.
    #[must_use]
    pub fn is_transaction_statement(&self) -> bool {
        self.in_transaction && !self.ends_transaction()
    }

    /// `commitTransaction` or `abortTransaction`.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        self.is(b"commitTransaction") || self.is(b"abortTransaction")
    }

    /// `commitTransaction`.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.is(b"commitTransaction")
    }

    /// Whether nothing is lost when the client goes away before the reply: the upstream connection may be closed.
    #[must_use]
    pub fn is_abandonable(&self) -> bool {
        !self.writes && !self.in_transaction && matches!(self.class(), Class::Read | Class::GetMore)
    }

    /// Whether it may be sent again though a node may have executed it: the read operations of the Retryable Reads
    /// specification, and `connectionStatus`, which changes nothing either. A `getMore` is none of them: its documents might be lost.
    #[must_use]
    pub fn is_retryable_read(&self) -> bool {
        let name = self.row.map_or("", |row| row.name);
        let is_read = matches!(
            name,
            "find"
                | "aggregate"
                | "distinct"
                | "count"
                | "listDatabases"
                | "listCollections"
                | "listIndexes"
                | "connectionStatus"
        );
        is_read && !self.writes && !self.in_transaction
    }

    /// Whether the client takes several replies to this one request, and servers may send them (OP_MSG specification,
    /// `exhaustAllowed`). They stream `getMore`s, and `hello`, which is answered by the proxy.
    #[must_use]
    pub fn takes_exhaust(&self) -> bool {
        self.layout.flags & (EXHAUST_ALLOWED | MORE_TO_COME) == EXHAUST_ALLOWED
            && self.class() == Class::GetMore
    }

    /// Whether `maxTimeMS` is a deadline; in a `getMore` it is how long to wait for new documents.
    #[must_use]
    pub fn deadline_millis(&self) -> Option<u64> {
        self.max_time
            .filter(|_| self.class() != Class::GetMore)
            .map(|max| max.millis)
    }
}

fn is_linearizable(read_concern: &Element<'_>) -> bool {
    let level = read_concern
        .as_doc()
        .and_then(|doc| doc.get("level").ok().flatten());
    level.is_some_and(|level| level.as_str_bytes() == Some(b"linearizable"))
}

/// Whether a pipeline ends in `$out` or `$merge`, the only place where they may stand.
fn last_stage_writes(pipeline: &Element<'_>) -> bool {
    let last = pipeline.as_array().and_then(|stages| stages.iter().last()?.ok());
    let field = last.and_then(|last| last.as_doc()?.iter().next()?.ok());
    field.is_some_and(|field| matches!(field.key, b"$out" | b"$merge"))
}

/// Whether a pipeline begins with `$changeStream`, the only place where it may stand.
fn opens_change_stream(pipeline: &Element<'_>) -> bool {
    let first = pipeline.as_array().and_then(|stages| stages.iter().next()?.ok());
    let field = first.and_then(|first| first.as_doc()?.iter().next()?.ok());
    field.is_some_and(|field| field.key == b"$changeStream")
}

/// Whether the `out` of a `mapReduce` returns the result instead of writing it.
fn is_inline(out: &Element<'_>) -> bool {
    out.as_doc()
        .is_some_and(|doc| matches!(RawDoc::get(doc, "inline"), Ok(Some(_))))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
