//! Where wire messages begin and end in a stream of bytes (MongoDB wire protocol, "Standard Message Header").
//!
//! It shares no code with the proxy's codec, so that a mistake there is not made twice. Bytes pass whether they make sense or
//! not: a stream that is no wire protocol is one endless message.

const HEADER: usize = 16;
/// How much of a message is kept: the header and the command's name.
const HEAD: usize = 96;
const LARGEST: usize = 48_000_000 + 16 * 1024;
const OP_MSG: i32 = 2013;
const MORE_TO_COME: i32 = 1 << 1;

/// Bytes of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Framer {
    head: Head,
    /// What is missing of the message once its header is complete.
    left: usize,
}

/// The beginning of a message.
#[derive(Debug, Default, Clone)]
pub(super) struct Head(Vec<u8>);

impl Framer {
    /// Takes the next bytes of a message off `bytes`; `None` if there are none.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        if bytes.is_empty() {
            return None;
        }
        let is_first = self.left == 0 && (self.head.0.is_empty() || self.head.0.len() >= HEADER);
        if is_first {
            self.head.0.clear();
        }
        let mut taken = 0;
        if self.head.0.len() < HEADER {
            taken = bytes.len().min(HEADER - self.head.0.len());
            self.head.0.extend_from_slice(&bytes[..taken]);
            if self.head.0.len() == HEADER {
                let length = usize::try_from(self.head.field(0)).ok();
                let length = length.filter(|length| (HEADER..=LARGEST).contains(length));
                self.left = length.map_or(usize::MAX, |length| length - HEADER);
            }
        }
        let rest = self.left.min(bytes.len() - taken);
        self.left -= rest;
        let kept = rest.min(HEAD.saturating_sub(self.head.0.len()));
        self.head.0.extend_from_slice(&bytes[taken..taken + kept]);
        let (piece, after) = bytes.split_at(taken + rest);
        *bytes = after;
        Some(Piece {
            bytes: piece,
            is_first,
            is_last: self.head.0.len() >= HEADER && self.left == 0,
        })
    }

    /// The beginning of the message that the last piece belongs to.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }
}

impl Head {
    /// The message's own number, by which its reply names it.
    pub(super) fn request_id(&self) -> i32 {
        self.field(4)
    }

    /// The number of the request that it answers.
    pub(super) fn response_to(&self) -> i32 {
        self.field(8)
    }

    /// Whether no reply comes.
    pub(super) fn has_more_to_come(&self) -> bool {
        self.field(12) == OP_MSG && self.field(16) & MORE_TO_COME != 0
    }

    /// The command's name; that of the opcode if it is no plain OP_MSG.
    pub(super) fn command(&self) -> String {
        if self.field(12) != OP_MSG {
            return format!("opcode {}", self.field(12));
        }
        // Flag bits, the section's kind, the document's length, the first element's type.
        let name = self.0.get(HEADER + 4 + 1 + 4 + 1..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    fn field(&self, at: usize) -> i32 {
        let field = self.0.get(at..).and_then(|rest| rest.first_chunk());
        field.map_or(0, |bytes| i32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::support::raw::{body_section, frame, msg};

    fn pieces(stream: &[u8], size: usize) -> Vec<(String, i32, usize)> {
        let mut framer = Framer::default();
        let (mut messages, mut length, mut seen) = (Vec::new(), 0, Vec::new());
        for mut chunk in stream.chunks(size) {
            while let Some(piece) = framer.next(&mut chunk) {
                assert_eq!(piece.is_first, length == 0);
                length += piece.bytes.len();
                seen.extend_from_slice(piece.bytes);
                if piece.is_last {
                    messages.push((framer.head().command(), framer.head().request_id(), length));
                    length = 0;
                }
            }
        }
        assert_eq!(seen, stream, "every byte once and in order");
        messages
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let text = "x".repeat(500);
        let long = msg(7, 0, &[body_section(&doc! { "findAndModify": text, "$db": "a" })]);
        let short = msg(8, 0, &[body_section(&doc! { "ping": 1 })]);
        let empty = frame(9, 2004, &[]);
        let stream = [&long[..], &short, &empty, &long].concat();
        let expected = [
            ("findAndModify", 7, long.len()),
            ("ping", 8, short.len()),
            ("opcode 2004", 9, 16),
            ("findAndModify", 7, long.len()),
        ]
        .map(|(name, id, length)| (name.to_owned(), id, length));
        for size in [1, 2, 15, 16, 17, 100, 10_000] {
            assert_eq!(pieces(&stream, size), expected, "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_wire_protocol_is_one_endless_message() {
        let stream = [0xff; 1000];
        assert_eq!(pieces(&stream, 10), []);
    }
}
