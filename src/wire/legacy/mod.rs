//! The legacy opcodes (MongoDB Wire Protocol, removed from servers in 5.1): what clients send by them, and OP_REPLY, which
//! answers OP_QUERY and OP_GET_MORE.
//!
//! Parsers check the frame of every field and that nothing is left over; documents are checked when they are walked, or by the
//! server. Bits that the protocol reserves must be zero.

mod cursors;
mod fields;
mod query;
mod reply;
mod writes;

pub use cursors::{GetMore, KillCursors};
pub use fields::Namespace;
pub use query::Query;
pub use reply::{ReplyHead, encode_cursor_not_found, encode_documents, encode_reply, reply_document};
pub use writes::{Delete, Insert, Update};

/// OP_QUERY flag: the cursor stays open at the end of a capped collection.
pub const TAILABLE: u32 = 1 << 1;
/// OP_QUERY flag: the client accepts an answer of a secondary (`slaveOk`).
pub const SECONDARY_OK: u32 = 1 << 2;
/// OP_QUERY flag: a query of the oplog by time; servers find the place by themselves since 4.4.
pub const OPLOG_REPLAY: u32 = 1 << 3;
/// OP_QUERY flag: the server does not drop the cursor when it is idle.
pub const NO_CURSOR_TIMEOUT: u32 = 1 << 4;
/// OP_QUERY flag: a tailable cursor waits for new documents.
pub const AWAIT_DATA: u32 = 1 << 5;
/// OP_QUERY flag: the server sends all replies unasked.
pub const EXHAUST: u32 = 1 << 6;
/// OP_QUERY flag: shards that are down may be left out.
pub const PARTIAL: u32 = 1 << 7;

/// OP_REPLY flag: OP_GET_MORE named a cursor that the server does not know.
pub const CURSOR_NOT_FOUND: u32 = 1;
/// OP_REPLY flag: the query failed, the one document says why in `$err`.
pub const QUERY_FAILURE: u32 = 1 << 1;
/// OP_REPLY flag: the server can wait on tailable cursors. Every server since 1.6 sets it.
pub const AWAIT_CAPABLE: u32 = 1 << 3;
