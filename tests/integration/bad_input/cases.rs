//! The messages that `messages` sends.

use bson::{Document, doc};

use super::ping;
use crate::support::raw::{
    CHECKSUM_PRESENT, MORE_TO_COME, OP_MSG, OP_QUERY, OP_REPLY, body_section, frame, msg, query,
    sequence_section,
};

/// A message whose header claims another length or opcode than it has.
fn lying(message: &[u8], length: i32, op_code: i32) -> Vec<u8> {
    let mut lying = message.to_vec();
    lying[..4].copy_from_slice(&length.to_le_bytes());
    lying[12..16].copy_from_slice(&op_code.to_le_bytes());
    lying
}

pub(super) fn find(filter: Document) -> Document {
    doc! {"find": "c", "filter": filter, "$db": "bad"}
}

/// A body section with the document in which the bytes `find` are overwritten by `with`.
fn patched(document: &Document, find: &[u8], with: &[u8]) -> Vec<u8> {
    let mut bytes = document.to_vec().unwrap();
    let at = bytes.windows(find.len()).position(|w| w == find).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    [vec![0], bytes].concat()
}

/// What has no answer, and what the log says of it.
pub(super) fn closing() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = msg(7, 0, &[body_section(&ping())]);
    let length = good.len() as i32;
    let mut wrong_sum = msg(7, CHECKSUM_PRESENT, &[body_section(&ping())]);
    *wrong_sum.last_mut().unwrap() ^= 1;
    let insert = [&[0; 4][..], b"bad.c\0", &doc! {"_id": 1}.to_vec().unwrap()].concat();
    let sequences = ["a", "b", "c"].map(|name| sequence_section(name, &[doc! {}]));
    let [a, b, c] = sequences;
    vec![
        ("above the limit", lying(&good, 48_000_001, OP_MSG), "48000001"),
        ("largest length", lying(&good, i32::MAX, OP_MSG), "2147483647"),
        ("negative length", lying(&good, -1, OP_MSG), "length -1"),
        ("smallest length", lying(&good, i32::MIN, OP_MSG), "-2147483648"),
        ("length 0", lying(&good, 0, OP_MSG), "length 0"),
        ("length below a header's", lying(&good, 15, OP_MSG), "length 15"),
        ("opcode 0", lying(&good, length, 0), "unknown opcode 0"),
        ("opcode 2010", lying(&good, length, 2010), "unknown opcode 2010"),
        ("opcode 2014", lying(&good, length, 2014), "unknown opcode 2014"),
        ("opcode -1", lying(&good, length, -1), "unknown opcode -1"),
        ("OP_REPLY", lying(&good, length, OP_REPLY), "Reply is not served"),
        (
            "OP_INSERT of nothing",
            frame(7, 2002, &insert[..10]),
            "cut off in its length",
        ),
        (
            "OP_UPDATE with reserved bits",
            frame(7, 2001, &insert),
            "OP_UPDATE flags: the reserved bits",
        ),
        (
            "OP_DELETE with reserved bits",
            frame(7, 2006, &insert),
            "OP_DELETE flags: the reserved bits",
        ),
        (
            "OP_COMPRESSED of no opcode",
            frame(7, 2012, &[&[0; 9][..], &good[16..]].concat()),
            "unknown opcode 0",
        ),
        (
            "OP_COMPRESSED cut off in its envelope",
            frame(7, 2012, &[0; 8]),
            "truncated in OP_COMPRESSED",
        ),
        ("wrong checksum", wrong_sum, "checksum"),
        (
            "required flag bit 2",
            msg(7, 1 << 2, &[body_section(&ping())]),
            "flag bits 0x0004",
        ),
        (
            "required flag bit 15",
            msg(7, 1 << 15, &[body_section(&ping())]),
            "flag bits 0x8000",
        ),
        (
            "three sequences",
            msg(7, 0, &[body_section(&ping()), a, b, c]),
            "document sequences",
        ),
        (
            "OP_QUERY without a namespace",
            frame(7, OP_QUERY, &[0; 4]),
            "truncated in a namespace",
        ),
    ]
}

/// What has the same answer at a `mongod`.
pub(super) fn answered_as_by_mongod() -> Vec<(String, Vec<u8>)> {
    let mut cases = broken_sections();
    cases.extend(broken_sequences());
    cases.extend(broken_values());
    let bodies = [
        doc! {"ping": 1},
        doc! {"ping": 1, "$db": 1},
        doc! {"find": "c", "$db": ""},
        doc! {},
        doc! {"nonsense": 1, "$db": "bad"},
        doc! {"": 1, "$db": "bad"},
        doc! {"find": "c", "$db": "bad", "$readPreference": 1},
        doc! {"find": "c", "$db": "bad", "$readPreference": {"mode": "x"}},
        doc! {"getMore": "x", "collection": "c", "$db": "bad"},
        doc! {"getMore": 9i64, "collection": "c", "$db": "bad"},
        doc! {"killCursors": 1, "cursors": "x", "$db": "bad"},
        doc! {"killCursors": "c", "$db": "bad"},
        doc! {"find": "c", "maxTimeMS": -5, "$db": "bad"},
        doc! {"find": "c", "maxTimeMS": "x", "$db": "bad"},
        doc! {"find": "c", "lsid": 5, "$db": "bad"},
    ];
    for body in bodies {
        let section = body_section(&body);
        cases.push((
            format!("no reply to {body}"),
            msg(7, MORE_TO_COME, std::slice::from_ref(&section)),
        ));
        cases.push((body.to_string(), msg(7, 0, &[section])));
    }
    let unknown_flags = msg(7, 0xfffe_0000, &[body_section(&ping())]);
    cases.push(("optional flag bits".to_owned(), unknown_flags));
    let cut_off = &query(7, "admin.$cmd", &ping())[16..40];
    cases.push(("OP_QUERY cut off".to_owned(), frame(7, OP_QUERY, cut_off)));
    cases
}

/// What is answered differently than by a `mongod`, and with which code.
pub(super) fn answered_otherwise() -> Vec<(&'static str, Vec<u8>, i64)> {
    let body = body_section(&find(doc! {}));
    vec![
        // A mongod closes the connection.
        ("no flag bits", frame(7, OP_MSG, &[]), 15),
        // A mongod 6.0 takes it for a security token.
        (
            "section kind 2",
            msg(7, 0, &[body, vec![2, 5, 0, 0, 0, 0]]),
            40432,
        ),
        // A mongod has a code for this alone.
        ("no room for the checksum", frame(7, OP_MSG, &[1, 0, 0, 0]), 15),
        // A mongod sees that it is no command before it looks for the dot.
        ("OP_QUERY without a dot", query(7, "admin", &ping()), 22),
        // A mongod takes `$db` for the command's name.
        (
            "only $db",
            msg(7, 0, &[body_section(&doc! {"$db": "bad"})]),
            40571,
        ),
    ]
}

fn broken_sections() -> Vec<(String, Vec<u8>)> {
    let body = body_section(&find(doc! {}));
    let table = [
        ("no sections", vec![]),
        ("no body", vec![sequence_section("documents", &[doc! {}])]),
        ("two bodies", vec![body.clone(), body.clone()]),
        ("two broken bodies", vec![vec![0, 9, 9], vec![0, 1, 1]]),
        ("unknown kind first", vec![vec![255, 5, 0, 0, 0, 0], body.clone()]),
        ("unknown kind last", vec![body, vec![3]]),
        ("body cut off in its length", vec![vec![0, 9, 0]]),
        ("body length 0", vec![vec![0, 0, 0, 0, 0]]),
        ("body length beyond the message", vec![vec![0, 255, 0, 0, 0, 0]]),
        ("negative body length", vec![vec![0, 255, 255, 255, 255, 0]]),
        ("no terminator", vec![vec![0, 5, 0, 0, 0, 1]]),
    ];
    table
        .map(|(name, sections)| (name.to_owned(), msg(7, 0, &sections)))
        .into()
}

fn broken_sequences() -> Vec<(String, Vec<u8>)> {
    let sequence = |size: i32, rest: &[u8]| [&[1], &size.to_le_bytes()[..], rest].concat();
    let documents = |bytes: &[u8]| sequence(14 + bytes.len() as i32, &[b"documents\0", bytes].concat());
    let good = sequence_section("documents", &[doc! {}]);
    let table = [
        ("size 0", vec![sequence(0, b"a\0")]),
        ("negative size", vec![sequence(-1, b"a\0")]),
        ("size beyond the message", vec![sequence(1000, b"a\0")]),
        ("name without an end", vec![sequence(7, b"abc")]),
        (
            "invalid document",
            vec![documents(&[9, 0, 0, 0, 0xee, b'a', 0, 1, 0])],
        ),
        ("document cut off", vec![documents(&[9, 0, 0, 0, 0])]),
        ("the same twice", vec![good.clone(), good.clone()]),
        ("two", vec![good, sequence_section("others", &[doc! {}])]),
    ];
    let mut cases: Vec<_> = table
        .map(|(name, mut sections)| {
            sections.insert(0, body_section(&doc! {"insert": "c", "$db": "bad"}));
            (format!("sequences: {name}"), msg(7, 0, &sections))
        })
        .into();
    let twice = doc! {"insert": "c", "documents": [{"a": 1}], "$db": "bad"};
    let sections = [body_section(&twice), sequence_section("documents", &[doc! {}])];
    cases.push(("a field as sequence too".to_owned(), msg(7, 0, &sections)));
    cases
}

fn broken_values() -> Vec<(String, Vec<u8>)> {
    let nested = find(doc! {"a": {"bcd": "value"}});
    let table: [(&str, &[u8], &[u8]); 8] = [
        ("unknown type", b"\x03filter", b"\x77"),
        ("unknown nested type", b"\x02bcd", b"\x77"),
        ("nested length below 5", b"a\0\x14", b"a\0\x02"),
        ("nested length beyond its document", b"a\0\x14", b"a\0\x7f"),
        ("string's length beyond its document", b"bcd\0\x06", b"bcd\0\x46"),
        (
            "negative length of a string",
            b"bcd\0\x06\0\0\0",
            b"bcd\0\x06\0\0\x80",
        ),
        ("invalid UTF-8 in a string", b"value", b"\xff\xfe"),
        ("invalid UTF-8 in the database's name", b"bad", b"\xff\xfe"),
    ];
    table
        .map(|(name, find, with)| (name.to_owned(), msg(7, 0, &[patched(&nested, find, with)])))
        .into()
}
