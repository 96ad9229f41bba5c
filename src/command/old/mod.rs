//! Commands of old servers: what becomes of each on nodes that do not have it any more.
//!
//! A command that servers dropped is answered through its successor, or refused with the way out (`docs/old-commands.md` has the
//! table). All of this is pure: from a command to the commands that nodes know, and from their replies to the old one. What the
//! nodes still know themselves is forwarded: [`Old::until`] says up to which wire version that is so.
//!
//! Old clients also send fields that servers once ignored and now refuse, and read collections of the catalog that are no
//! collections any more: [`fields`], [`indexes`] and [`catalog`].

pub mod catalog;
pub mod fields;
pub mod geo_near;
pub mod group;
pub mod indexes;
mod map_reduce;
mod removed;
pub mod select;
pub mod system_commands;
pub mod whole;

use bson::{Bson, Document};

use super::ErrorReply;
use crate::wire::{self, Frame, RawDoc, WireError, op_msg};

pub use removed::Removed;

/// An old command that is not simply forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// `aggregate` that asks for its result in one document, as servers before 3.6 gave it.
    Aggregate,
    /// `count` of documents in a collection of the catalog.
    CountCatalog,
    /// `insert` into `system.indexes`, which created indexes until 4.0.
    InsertIndexes,
    /// `listIndexes`, whose documents named the collection until 4.2.
    ListIndexes,
    /// `group`, until 4.0: as `$group` with a JavaScript `$accumulator`, since 4.4.
    Group,
    /// `geoNear`, until 4.0: as a `$geoNear` stage.
    GeoNear,
    /// `reIndex`: replica sets took it until 4.4.
    ReIndex,
    /// Gone without a successor.
    Removed(&'static Removed),
}

impl Old {
    /// The last wire version whose nodes know the command, so that it is forwarded to them.
    #[must_use]
    pub fn until(self) -> i32 {
        match self {
            Self::Aggregate | Self::CountCatalog | Self::InsertIndexes | Self::ListIndexes => 0,
            Self::Group | Self::GeoNear => 7,
            Self::ReIndex => 9,
            Self::Removed(removed) => removed.until,
        }
    }

    /// What a command that came by OP_QUERY asks for beyond what its row in the table says.
    #[must_use]
    pub fn of_op_query(command: RawDoc<'_>) -> Option<Self> {
        let first = command.iter().next()?.ok()?;
        match first.key {
            b"aggregate" if whole::lacks_cursor(command) => Some(Self::Aggregate),
            b"count" => catalog::Catalog::of(first.as_str()?).map(|_| Self::CountCatalog),
            b"insert" => match catalog::Catalog::of(first.as_str()?)? {
                catalog::Catalog::Indexes => Some(Self::InsertIndexes),
                catalog::Catalog::Namespaces => None,
            },
            b"listIndexes" => Some(Self::ListIndexes),
            _ => None,
        }
    }
}

/// Fields that mean the same in the commands that an old one becomes.
const COMMON: [&str; 7] = [
    "$db",
    "$readPreference",
    "lsid",
    "readConcern",
    "maxTimeMS",
    "comment",
    "collation",
];

/// Copies what belongs to no command in particular, such as the database and the read preference.
pub fn carry(from: &Document, to: &mut Document) {
    for key in COMMON {
        if let Some(value) = from.get(key) {
            to.insert(key, value.clone());
        }
    }
}

/// A command as a message.
///
/// # Errors
/// When the document cannot be encoded, which one that was decoded can.
pub fn message(command: &Document, request_id: i32) -> Result<Frame, WireError> {
    let bytes = command
        .to_vec()
        .map_err(|_| WireError::Bson("a command cannot be encoded"))?;
    let mut out = bytes::BytesMut::with_capacity(bytes.len() + 32);
    op_msg::encode(RawDoc::prefix(&bytes)?, request_id, 0, 0, &mut out);
    Frame::new(out)
}

/// The collection by whose name a cursor over documents of the catalog goes on: that of an aggregation of no collection.
#[must_use]
pub fn cursor_collection(collection: &str) -> &str {
    catalog::Catalog::of(collection).map_or(collection, |_| "$cmd.aggregate")
}

/// The largest command of old that is taken apart: decoded, a document takes many times its bytes.
const MOST_DECODED: usize = 1 << 20;

/// A reply of a node, or a document in one, decoded; these are as large as nodes make them.
///
/// # Errors
/// What a server answers to BSON that it cannot read.
pub fn decode_reply(raw: RawDoc<'_>) -> Result<Document, ErrorReply> {
    wire::decode(raw).map_err(|error| ErrorReply::invalid_message(&error))
}

/// What a client sent, decoded.
///
/// # Errors
/// What a server answers to BSON that it cannot read.
pub fn decode(raw: RawDoc<'_>) -> Result<Document, ErrorReply> {
    let length = raw.bytes().len();
    if length > MOST_DECODED {
        return Err(ErrorReply::too_large(length, MOST_DECODED));
    }
    decode_reply(raw)
}

/// A number of any type as an integer.
fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}

/// JavaScript in any of the forms in which drivers send it, with the variables that it brings along.
fn javascript(value: &Bson) -> Option<(&str, Option<&Document>)> {
    match value {
        Bson::JavaScriptCode(code) | Bson::String(code) => Some((code, None)),
        Bson::JavaScriptCodeWithScope(with) => Some((&with.code, Some(&with.scope))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn only_some_commands_by_op_query_ask_for_more() {
        let table = [
            (
                doc! {"aggregate": "c", "pipeline": [], "$db": "d"},
                Some(Old::Aggregate),
            ),
            (
                doc! {"aggregate": "c", "pipeline": [], "cursor": {}, "$db": "d"},
                None,
            ),
            (
                doc! {"aggregate": "c", "pipeline": [], "explain": true, "$db": "d"},
                None,
            ),
            (
                doc! {"count": "system.indexes", "$db": "d"},
                Some(Old::CountCatalog),
            ),
            (doc! {"count": "system.users", "$db": "admin"}, None),
            (doc! {"count": 1, "$db": "admin"}, None),
            (doc! {"find": "system.indexes", "$db": "d"}, None),
            (
                doc! {"insert": "system.indexes", "documents": [], "$db": "d"},
                Some(Old::InsertIndexes),
            ),
            (
                doc! {"insert": "system.namespaces", "documents": [], "$db": "d"},
                None,
            ),
            (doc! {"insert": "c", "documents": [], "$db": "d"}, None),
            (doc! {"listIndexes": "c", "$db": "d"}, Some(Old::ListIndexes)),
        ];
        for (command, expected) in table {
            let bytes = command.to_vec().unwrap();
            let raw = RawDoc::prefix(&bytes).unwrap();
            assert_eq!(Old::of_op_query(raw), expected, "{command}");
        }
    }

    #[test]
    fn what_belongs_to_every_command_is_carried_over() {
        let from =
            doc! {"group": {}, "$readPreference": {"mode": "nearest"}, "maxTimeMS": 5, "x": 1, "$db": "d"};
        let mut to = doc! {"aggregate": "c"};
        carry(&from, &mut to);
        assert_eq!(
            to,
            doc! {"aggregate": "c", "$db": "d", "$readPreference": {"mode": "nearest"}, "maxTimeMS": 5}
        );
    }
}
