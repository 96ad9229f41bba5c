//! What a generated client does: messages in an order, on one connection.

use std::fmt;

use bson::Document;

/// The collections that a case begins with, and one that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// Nine documents, and an index on `x`.
    Plain,
    /// One document.
    Small,
    /// Capped; three documents.
    Capped,
    /// Capped, without a document.
    EmptyCapped,
    Missing,
    /// A name that no collection can have.
    Bad,
}

impl Collection {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Small => "small",
            Self::Capped => "capped",
            Self::EmptyCapped => "empty",
            Self::Missing => "missing",
            Self::Bad => "b$ad",
        }
    }
}

/// A cursor to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// That of the n-th last query, if there was one; it may be exhausted or killed.
    Opened(usize),
    /// One that nobody has.
    Unknown,
}

/// One message, and what is waited for after it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Insert {
        collection: Collection,
        flags: i32,
        documents: Vec<Document>,
    },
    Update {
        collection: Collection,
        flags: i32,
        selector: Document,
        update: Document,
    },
    Delete {
        collection: Collection,
        flags: i32,
        selector: Document,
    },
    Query {
        collection: Collection,
        flags: i32,
        skip: i32,
        to_return: i32,
        query: Document,
        fields: Option<Document>,
    },
    GetMore {
        collection: Collection,
        which: Which,
        to_return: i32,
    },
    KillCursors {
        which: Vec<Which>,
    },
    /// By OP_QUERY.
    Command(Document),
}

impl Step {
    /// The collection that it names.
    pub(crate) fn collection(&self) -> Option<Collection> {
        match self {
            Self::Insert { collection, .. }
            | Self::Update { collection, .. }
            | Self::Delete { collection, .. }
            | Self::Query { collection, .. }
            | Self::GetMore { collection, .. } => Some(*collection),
            Self::KillCursors { .. } | Self::Command(_) => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert {
                collection,
                flags,
                documents,
            } => {
                write!(f, "OP_INSERT {} flags {flags}", collection.name())?;
                documents.iter().try_for_each(|document| write!(f, " {document}"))
            }
            Self::Update {
                collection,
                flags,
                selector,
                update,
            } => write!(
                f,
                "OP_UPDATE {} flags {flags} {selector} {update}",
                collection.name()
            ),
            Self::Delete {
                collection,
                flags,
                selector,
            } => write!(f, "OP_DELETE {} flags {flags} {selector}", collection.name()),
            Self::Query {
                collection,
                flags,
                skip,
                to_return,
                query,
                fields,
            } => {
                let name = collection.name();
                write!(
                    f,
                    "OP_QUERY {name} flags {flags} skip {skip} return {to_return} {query}"
                )?;
                fields.iter().try_for_each(|fields| write!(f, " fields {fields}"))
            }
            Self::GetMore {
                collection,
                which,
                to_return,
            } => {
                write!(
                    f,
                    "OP_GET_MORE {} return {to_return} of {which:?}",
                    collection.name()
                )
            }
            Self::KillCursors { which } => write!(f, "OP_KILL_CURSORS {which:?}"),
            Self::Command(command) => write!(f, "OP_QUERY $cmd {command}"),
        }
    }
}
