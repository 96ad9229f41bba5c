//! Fields of commands that came by OP_QUERY and that servers once ignored, but refuse now.
//!
//! Commands by OP_MSG are not touched: what sends them knows the servers of its time.

use bson::{Bson, Document};

use super::{indexes, map_reduce, message};
use crate::wire::{Element, Frame, RawDoc, WireError, decode, op_msg};

/// Options of drivers that some put into commands beside the command's own. Servers before 3.6 ignored them, so they took no effect.
const OF_DRIVERS: [&[u8]; 14] = [
    b"w",
    b"j",
    b"wtimeout",
    b"fsync",
    b"safe",
    b"journal",
    b"strict",
    b"raw",
    b"slaveOk",
    b"readPreference",
    b"read_preference",
    b"serializeFunctions",
    b"forceServerObjectId",
    b"pkFactory",
];

/// The command without what current servers refuse and old ones ignored.
///
/// # Errors
/// When the message cannot be walked.
pub fn repair(frame: Frame) -> Result<Frame, WireError> {
    let body = op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())?;
    let Some(first) = body.iter().next().transpose()? else {
        return Ok(frame);
    };
    let request_id = frame.header().request_id;
    match first.key {
        b"createIndexes" | b"mapReduce" | b"mapreduce" => {
            let (true, Ok(old)) = (body.bytes().len() < MAX_DECODED, decode(body)) else {
                return Ok(frame);
            };
            let mut new = old.clone();
            let is_over = |(name, value): &(String, Bson)| {
                is_of_drivers(name.as_bytes()) || is_empty_concern(name, value)
            };
            new = new.into_iter().filter(|field| !is_over(field)).collect();
            if first.key == b"createIndexes" {
                repair_indexes(&mut new);
            } else {
                map_reduce::repair(&mut new);
            }
            if new == old {
                return Ok(frame);
            }
            message(&new, request_id)
        }
        name => {
            let known = takes_options_of_drivers(name);
            let is_over = |element: &Element<'_>| {
                let foreign = known && element.start > first.start && is_of_drivers(element.key);
                foreign || is_void(name, element)
            };
            match without(body, is_over)? {
                None => Ok(frame),
                Some(body) => {
                    let mut out = bytes::BytesMut::new();
                    op_msg::encode(RawDoc::prefix(&body)?, request_id, 0, 0, &mut out);
                    Frame::new(out)
                }
            }
        }
    }
}

/// Larger commands are no index specifications and no functions.
const MAX_DECODED: usize = 4 << 20;

fn is_of_drivers(key: &[u8]) -> bool {
    OF_DRIVERS.contains(&key)
}

/// Commands with which drivers have sent options of their own.
fn takes_options_of_drivers(command: &[u8]) -> bool {
    matches!(
        command,
        b"create"
            | b"count"
            | b"distinct"
            | b"aggregate"
            | b"findAndModify"
            | b"findandmodify"
            | b"drop"
            | b"dropIndexes"
            | b"deleteIndexes"
            | b"dropDatabase"
            | b"renameCollection"
    )
}

/// Fields that say nothing, and that some servers refuse all the same.
fn is_void(command: &[u8], element: &Element<'_>) -> bool {
    const NULL: u8 = 0x0A;
    let is_empty = |nested: Option<RawDoc<'_>>| nested.is_some_and(|nested| nested.bytes().len() == 5);
    match (command, element.key) {
        // Servers from 2.6 to 4.2 refuse it in findAndModify.
        (_, b"writeConcern") => is_empty(element.as_doc()),
        (b"findAndModify" | b"findandmodify", b"sort" | b"fields") => {
            element.kind == NULL || is_empty(element.as_array())
        }
        (b"count", b"hint" | b"limit" | b"skip") => element.kind == NULL,
        // PyMongo 2 gives it the modifiers of a find.
        (b"count", b"$comment") => true,
        (_, b"maxTimeMS") => element.kind == NULL,
        _ => false,
    }
}

fn is_empty_concern(name: &str, value: &Bson) -> bool {
    name == "writeConcern" && matches!(value, Bson::Document(concern) if concern.is_empty())
}

fn repair_indexes(command: &mut Document) {
    if let Some(Bson::Array(specifications)) = command.get_mut("indexes") {
        for specification in specifications {
            if let Bson::Document(old) = specification {
                *old = indexes::repair(old);
            }
        }
    }
}

/// The document without the elements that are over; `None` if there are none.
fn without(body: RawDoc<'_>, is_over: impl Fn(&Element<'_>) -> bool) -> Result<Option<Vec<u8>>, WireError> {
    let mut any = false;
    for element in body {
        any |= is_over(&element?);
    }
    if !any {
        return Ok(None);
    }
    let mut kept = vec![0; 4];
    for element in body {
        let element = element?;
        if !is_over(&element) {
            kept.extend_from_slice(&body.bytes()[element.start..element.end()]);
        }
    }
    kept.push(0);
    let length = kept.len() as i32;
    kept[..4].copy_from_slice(&length.to_le_bytes());
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn repaired(command: &Document) -> Document {
        let frame = repair(message(command, 9).unwrap()).unwrap();
        assert_eq!(frame.header().request_id, 9);
        let body = op_msg::Layout::parse(frame.bytes()).unwrap();
        Document::from_reader(body.body(frame.bytes()).unwrap().bytes()).unwrap()
    }

    #[test]
    fn what_servers_ignored_once_is_left_out() {
        let table = [
            (
                doc! {"findandmodify": "c", "query": {}, "sort": [], "fields": Bson::Null, "new": true, "writeConcern": {}, "w": 1},
                doc! {"findandmodify": "c", "query": {}, "new": true},
            ),
            (
                doc! {"create": "c", "capped": true, "size": 5, "w": 1, "strict": true},
                doc! {"create": "c", "capped": true, "size": 5},
            ),
            (
                doc! {"insert": "c", "documents": [{"w": 1}], "writeConcern": {}},
                doc! {"insert": "c", "documents": [{"w": 1}]},
            ),
            (
                doc! {"createIndexes": "c", "indexes": [{"ns": "d.c", "key": {"a": 1}, "name": "a_1", "w": 1}], "w": 1, "$db": "d"},
                doc! {"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "a_1"}], "$db": "d"},
            ),
            (
                doc! {"mapreduce": "c", "map": "m", "reduce": "r", "out": "o", "keeptemp": false, "writeConcern": {}},
                doc! {"mapreduce": "c", "map": "m", "reduce": "r", "out": "o"},
            ),
            (doc! {"count": "c", "limit": Bson::Null}, doc! {"count": "c"}),
        ];
        for (old, new) in table {
            assert_eq!(repaired(&old), new, "{old}");
        }
    }

    #[test]
    fn what_means_something_stays() {
        for command in [
            doc! {"getLastError": 1, "w": 2, "j": true, "wtimeout": 5, "fsync": false},
            doc! {"fsync": 1, "lock": true},
            doc! {"insert": "c", "documents": [{}], "writeConcern": {"w": 0}},
            doc! {"findAndModify": "c", "query": {"w": 1}, "sort": {}, "fields": {"a": 1}},
            doc! {"safe": 1, "w": 1},
            doc! {"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "a_1"}]},
        ] {
            assert_eq!(repaired(&command), command);
        }
    }

    proptest! {
        #[test]
        fn damaged_commands_never_panic(
            name in "createIndexes|mapReduce|findAndModify|count", at in 21usize..200, with in any::<u8>(),
        ) {
            let command = doc! {name: "c", "indexes": [{"key": {"a": 1}, "ns": "x"}], "map": "m", "sort": [], "w": 1};
            let mut bytes = message(&command, 1).unwrap().into_bytes();
            let at = 21 + at % (bytes.len() - 21);
            bytes[at] = with;
            if let Ok(frame) = Frame::new(bytes) {
                let _ = repair(frame);
            }
        }
    }
}
