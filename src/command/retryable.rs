//! Which write commands a server can recognise a second attempt of, once they have a `txnNumber`.
//!
//! Raw bytes are walked, never decoded. Whatever cannot be walked counts as not recognisable and is left to the server to judge.
//! Sources: the Retryable Writes specification, and what `mongod` refuses (72 for statements that concern many documents, 20
//! for `local`, 40528 for `config.transactions`).

use super::{request::Request, table::Write};
use crate::wire::{RawDoc, op_msg};

/// Most statements of a `bulkWrite` that goes out under another session than the client's: the cursor of its results belongs to
/// that session, so all of them must fit into the first batch.
const MOST_BULK: usize = 1_000;
/// A document that holds nothing but a UUID `id`, up to the UUID's own 16 bytes.
const LSID_HEAD: [u8; 13] = *b"\x1e\0\0\0\x05id\0\x10\0\0\0\x04";
/// Bytes of such a document.
const LSID_LEN: usize = LSID_HEAD.len() + 16 + 1;

/// What the statements of a write command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteShape {
    /// No statement concerns many documents, so that a server can tell a second attempt from the first.
    pub is_recognisable: bool,
    /// There is exactly one statement.
    pub is_one: bool,
}

impl WriteShape {
    /// One statement that concerns at most one document: an error that names a node unfit to write proves that nothing was written.
    #[must_use]
    pub fn is_single(self) -> bool {
        self.is_recognisable && self.is_one
    }
}

/// The shape of a request; `None` if it is no such write, has no statement, or cannot be walked. Costs a walk over its statements,
/// but of an `insert` over two at most.
#[must_use]
pub fn shape(message: &[u8], request: &Request) -> Option<WriteShape> {
    Parts::find(message, request)?.shape()
}

/// Whether the request is a write without a number of its own that may go out under another session and number. Whether the node
/// takes them is another matter.
#[must_use]
pub fn takes_number(message: &[u8], request: &Request) -> bool {
    let is_plain = !request.has_txn_number && !request.in_transaction && !request.starts_transaction;
    is_plain
        && request.db(message) != b"local"
        && (request.lsid.is_none() || lsid_at(message, request).is_some())
        && Parts::find(message, request).is_some_and(|parts| parts.take_number(message, request))
}

/// Where the UUID of the request's `lsid` lies, if there is nothing else in it.
#[must_use]
pub fn lsid_at(message: &[u8], request: &Request) -> Option<usize> {
    let span = request.lsid?;
    let lsid = span.of(message);
    let kind = message.get(span.start().checked_sub(b"\x03lsid\0".len())?)?;
    (*kind == 0x03 && lsid.len() == LSID_LEN && lsid.starts_with(&LSID_HEAD))
        .then(|| span.start() + LSID_HEAD.len())
}

/// What of a write command its shape depends on.
struct Parts<'a> {
    kind: Write,
    statements: Statements<'a>,
    namespaces: Statements<'a>,
    /// It numbers its statements itself, as only servers and restored logs do.
    numbers_statements: bool,
    /// The value of `cursor`, if it has one.
    cursor: Option<RawDoc<'a>>,
}

impl<'a> Parts<'a> {
    fn find(message: &'a [u8], request: &Request) -> Option<Self> {
        let kind = request.row?.write?;
        let (array, namespaces) = match kind {
            Write::Insert => ("documents", None),
            Write::Update => ("updates", None),
            Write::Delete => ("deletes", None),
            Write::FindAndModify => ("", None),
            Write::Bulk => ("ops", Some("nsInfo")),
        };
        let mut parts = Self {
            kind,
            statements: Statements::None,
            namespaces: Statements::None,
            numbers_statements: false,
            cursor: None,
        };
        for element in request.layout.body(message).ok()? {
            let element = element.ok()?;
            match element.key {
                key if key == array.as_bytes() => {
                    parts.statements.set(Statements::Array(element.as_array()?))?
                }
                key if Some(key) == namespaces.map(str::as_bytes) => {
                    parts.namespaces.set(Statements::Array(element.as_array()?))?;
                }
                b"stmtId" | b"stmtIds" => parts.numbers_statements = true,
                b"cursor" => parts.cursor = Some(element.as_doc()?),
                _ => {}
            }
        }
        for sequence in op_msg::sequences(message) {
            let documents = Statements::Sequence(sequence.documents);
            if sequence.name == array.as_bytes() {
                parts.statements.set(documents)?;
            } else if Some(sequence.name) == namespaces.map(str::as_bytes) {
                parts.namespaces.set(documents)?;
            }
        }
        Some(parts)
    }

    fn shape(&self) -> Option<WriteShape> {
        let is_recognisable = match self.kind {
            Write::FindAndModify => {
                return Some(WriteShape {
                    is_recognisable: true,
                    is_one: true,
                });
            }
            Write::Insert => true,
            Write::Update | Write::Bulk => self.statements.all(is_not_multi)?,
            Write::Delete => self.statements.all(has_limit_one)?,
        };
        match self.statements.count_up_to(2)? {
            0 => None,
            count => Some(WriteShape {
                is_recognisable,
                is_one: count == 1,
            }),
        }
    }

    fn take_number(&self, message: &[u8], request: &Request) -> bool {
        if self.numbers_statements || !self.shape().is_some_and(|shape| shape.is_recognisable) {
            return false;
        }
        match self.kind {
            Write::Bulk => self.bulk_takes_number() == Some(true),
            _ => request.db(message) != b"config" || !is_on_transactions(message, request),
        }
    }

    fn bulk_takes_number(&self) -> Option<bool> {
        let is_whole = self.cursor.is_none_or(|cursor| cursor.iter().next().is_none())
            && self.statements.count_up_to(MOST_BULK + 1)? <= MOST_BULK;
        Some(is_whole && self.namespaces.all(is_numbered_namespace)?)
    }
}

/// Where statements stand.
#[derive(Clone, Copy)]
enum Statements<'a> {
    None,
    /// In an array of the body.
    Array(RawDoc<'a>),
    /// In a section of their own, one behind the other.
    Sequence(&'a [u8]),
}

impl<'a> Statements<'a> {
    /// Takes note of where they stand; `None` if they stand somewhere already, which servers refuse.
    fn set(&mut self, found: Self) -> Option<()> {
        matches!(self, Self::None).then(|| *self = found)
    }

    /// Whether `holds` says so of each; `None` if they cannot be walked.
    fn all(&self, holds: impl Fn(RawDoc<'a>) -> Option<bool>) -> Option<bool> {
        let mut all = true;
        self.walk(|statement| {
            all = holds(statement)?;
            Some(all)
        })?;
        Some(all)
    }

    /// How many there are, up to `most`; `None` if they cannot be walked.
    fn count_up_to(&self, most: usize) -> Option<usize> {
        let mut count = 0;
        self.walk(|_| {
            count += 1;
            Some(count < most)
        })?;
        Some(count)
    }

    /// Walks them while `visit` says so; `None` if that fails, or `visit` does.
    fn walk(&self, mut visit: impl FnMut(RawDoc<'a>) -> Option<bool>) -> Option<()> {
        match *self {
            Self::None => {}
            Self::Array(array) => {
                for element in array {
                    if !visit(element.ok()?.as_doc()?)? {
                        break;
                    }
                }
            }
            Self::Sequence(mut rest) => {
                while !rest.is_empty() {
                    let document = RawDoc::prefix(rest).ok()?;
                    if !visit(document)? {
                        break;
                    }
                    rest = &rest[document.bytes().len()..];
                }
            }
        }
        Some(())
    }
}

/// Whether `multi` is absent or false. Any other type than a boolean is left to the server to refuse.
fn is_not_multi(statement: RawDoc<'_>) -> Option<bool> {
    for element in statement {
        let element = element.ok()?;
        if element.key == b"multi" && (element.kind, element.value) != (0x08, &[0]) {
            return Some(false);
        }
    }
    Some(true)
}

/// Whether `limit` is 1.
fn has_limit_one(statement: RawDoc<'_>) -> Option<bool> {
    let mut has = false;
    for element in statement {
        let element = element.ok()?;
        if element.key == b"limit" {
            has = element.as_i64() == Some(1);
            if !has {
                break;
            }
        }
    }
    Some(has)
}

/// Whether a namespace of a `bulkWrite` takes numbered writes.
fn is_numbered_namespace(info: RawDoc<'_>) -> Option<bool> {
    let namespace = info.get("ns").ok()??.as_str_bytes()?;
    Some(!namespace.starts_with(b"local.") && namespace != b"config.transactions")
}

/// Whether the command names the collection in which a server keeps the numbers themselves.
fn is_on_transactions(message: &[u8], request: &Request) -> bool {
    let body = request.layout.body(message).ok();
    let first = body.and_then(|body| body.iter().next()?.ok());
    first.is_none_or(|first| first.as_str_bytes() == Some(b"transactions"))
}

#[cfg(test)]
#[path = "retryable_tests.rs"]
mod tests;
