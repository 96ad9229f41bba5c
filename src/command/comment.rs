//! `comment` on a command that has none: whose it is, for the node's profiler, its log and `currentOp`, which else see the proxy alone.
//!
//! Servers take a `comment` of any type on each of these commands since 4.4. A `getMore` inherits that of the command that opened
//! its cursor, and gets none here.

use bson::{Document, doc};

use super::{Request, rewrite};
use crate::wire::Frame;

/// That of 4.4.
pub const SINCE: i32 = 9;

/// Commands in which `comment` is documented.
const TAKES: [&str; 22] = [
    "aggregate",
    "bulkWrite",
    "collMod",
    "count",
    "create",
    "createIndexes",
    "delete",
    "distinct",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "find",
    "findAndModify",
    "findandmodify",
    "insert",
    "listCollections",
    "listDatabases",
    "listIndexes",
    "mapReduce",
    "mapreduce",
    "renameCollection",
    "update",
];

/// A body beyond this is left as it is: servers bound a command to 16 MiB and some kilobytes.
const LARGEST_BODY: usize = 16 << 20;

/// The field that names a client, as a whole BSON element.
#[must_use]
pub fn element(application: Option<&str>, client: &str, connection: i32) -> Box<[u8]> {
    let mut who = Document::new();
    if let Some(application) = application {
        who.insert("application", application);
    }
    who.insert("client", client);
    who.insert("connection", connection);
    let bytes = doc! { "comment": who }.to_vec().unwrap_or_default();
    // Without the length in front, and the terminator.
    let element = bytes.get(4..bytes.len().saturating_sub(1)).unwrap_or_default();
    element.into()
}

/// Adds this element to a command that takes a comment and has none. One that has grown so far that it could be refused stays as it is, and so
/// does one to which it was added before.
pub fn put(frame: &mut Frame, request: &mut Request, element: &[u8]) {
    let takes = request.row.is_some_and(|row| TAKES.contains(&row.name));
    if !takes || request.layout.body_len + element.len() > LARGEST_BODY {
        return;
    }
    let body = request.layout.body(frame.bytes());
    let has_none = body.is_ok_and(|body| matches!(body.get("comment"), Ok(None)));
    if has_none {
        // What would not fit into a message goes without.
        let _ = rewrite::append_field(frame, request, element);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{
        command::table,
        wire::{RawDoc, op_msg},
    };

    fn with_comment(body: &Document) -> Document {
        let mut message = BytesMut::new();
        let bytes = body.to_vec().unwrap();
        op_msg::encode(RawDoc::prefix(&bytes).unwrap(), 1, 0, 0, &mut message);
        let layout = op_msg::Layout::parse(&message).unwrap();
        let mut request = Request::peek(&message, layout).unwrap();
        let mut frame = Frame::new(message).unwrap();
        let element = element(Some("shop"), "10.0.0.7:5000", 17);
        for _ in 0..2 {
            put(&mut frame, &mut request, &element);
        }
        let layout = op_msg::Layout::parse(frame.bytes()).unwrap();
        Document::from_reader(layout.body(frame.bytes()).unwrap().bytes()).unwrap()
    }

    #[test]
    fn a_command_without_a_comment_gets_one_once() {
        let comment = doc! { "application": "shop", "client": "10.0.0.7:5000", "connection": 17 };
        let body = doc! { "find": "c", "$db": "d" };
        assert_eq!(
            with_comment(&body),
            doc! { "find": "c", "$db": "d", "comment": comment }
        );
    }

    #[test]
    fn what_has_one_or_takes_none_stays_as_it_is() {
        for body in [
            doc! { "find": "c", "comment": "mine", "$db": "d" },
            doc! { "getMore": 5_i64, "collection": "c", "$db": "d" },
            doc! { "ping": 1, "$db": "d" },
            doc! { "noSuchCommand": 1, "$db": "d" },
        ] {
            assert_eq!(with_comment(&body), body);
        }
        let large = doc! { "insert": "c", "x": "y".repeat(LARGEST_BODY - 100), "$db": "d" };
        assert_eq!(with_comment(&large), large);
    }

    #[test]
    fn the_commands_that_take_one_are_known() {
        for name in TAKES {
            assert!(table::find(name.as_bytes()).is_some(), "{name}");
        }
    }
}
