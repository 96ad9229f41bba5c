//! OP_MSG (MongoDB 3.6 and later): flag bits, one body, document sequences, an optional checksum.

use bytes::{BufMut, BytesMut};

use super::{Frame, HEADER_LEN, Header, OpCode, RawDoc, WireError};

/// A CRC-32C of all bytes before it ends the message.
pub const CHECKSUM_PRESENT: u32 = 1;
/// Another message follows without a request; on a request: no reply is wanted.
pub const MORE_TO_COME: u32 = 1 << 1;
/// The client takes several replies to this one request.
pub const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Where the flag bits lie in the message.
const FLAGS_AT: usize = HEADER_LEN;
/// Where the first section lies in the message.
const SECTIONS_AT: usize = FLAGS_AT + 4;
/// The required bits (0 to 15) that are known; unknown ones must be refused, unknown optional ones ignored.
const KNOWN_REQUIRED: u32 = CHECKSUM_PRESENT | MORE_TO_COME;
/// The most document sequences in a message: `bulkWrite` has two (`ops` and `nsInfo`), all others at most one.
const MAX_SEQUENCES: usize = 2;

/// The places in a checked OP_MSG.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// The flag bits.
    pub flags: u32,
    /// Where the body document begins.
    pub body_at: usize,
    /// Bytes of the body document.
    pub body_len: usize,
}

impl Layout {
    /// Checks the sections and finds the body. With a checksum, verifies it.
    ///
    /// # Errors
    /// Everything that the OP_MSG specification forbids: unknown required flags, unknown section kinds, no body or two,
    /// sections that do not fill the message exactly, a wrong checksum.
    pub fn parse(frame: &[u8]) -> Result<Self, WireError> {
        let flags = peek_flags(frame)?;
        // Nearly every message is one body and nothing else.
        if flags & 0xffff & !MORE_TO_COME == 0
            && let Some((0, body)) = frame[SECTIONS_AT..].split_first()
            && RawDoc::prefix(body).is_ok_and(|doc| doc.bytes().len() == body.len())
        {
            return Ok(Self {
                flags,
                body_at: SECTIONS_AT + 1,
                body_len: body.len(),
            });
        }
        Self::parse_sections(frame, flags)
    }

    fn parse_sections(frame: &[u8], flags: u32) -> Result<Self, WireError> {
        if flags & 0xffff & !KNOWN_REQUIRED != 0 {
            return Err(WireError::Flags(flags & 0xffff & !KNOWN_REQUIRED));
        }
        let end = if flags & CHECKSUM_PRESENT == 0 {
            frame.len()
        } else {
            verify_checksum(frame)?
        };
        let (mut at, mut body, mut sequences) = (SECTIONS_AT, None, 0);
        while at < end {
            let rest = &frame[at + 1..end];
            match frame[at] {
                0 => {
                    let len = RawDoc::prefix(rest)?.bytes().len();
                    if body.replace((at + 1, len)).is_some() {
                        return Err(WireError::TwoBodies);
                    }
                    at += 1 + len;
                }
                1 => {
                    sequences += 1;
                    at += 1 + sequence_len(rest)?;
                }
                kind => return Err(WireError::SectionKind(kind)),
            }
        }
        if sequences > MAX_SEQUENCES {
            return Err(WireError::TooManySequences(MAX_SEQUENCES));
        }
        let (body_at, body_len) = body.ok_or(WireError::NoBody)?;
        Ok(Self {
            flags,
            body_at,
            body_len,
        })
    }

    /// Whether the sender waits for no reply.
    #[must_use]
    pub fn more_to_come(&self) -> bool {
        self.flags & MORE_TO_COME != 0
    }

    /// The body document within the message that this layout was made from.
    ///
    /// # Errors
    /// When the message is another one, and does not hold a document there.
    pub fn body<'a>(&self, frame: &'a [u8]) -> Result<RawDoc<'a>, WireError> {
        RawDoc::prefix(frame.get(self.body_at..).ok_or(WireError::Truncated("body"))?)
    }
}

/// A section of kind 1: documents, one behind the other, that stand for an array of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// The name of the array; not checked to be UTF-8.
    pub name: &'a [u8],
    /// The documents, not checked.
    pub documents: &'a [u8],
}

/// The document sequences of a message; ends at the first section that breaks the specification, which [`Layout::parse`] finds.
pub fn sequences(frame: &[u8]) -> impl Iterator<Item = Sequence<'_>> {
    let has_sum = peek_flags(frame).is_ok_and(|flags| flags & CHECKSUM_PRESENT != 0);
    let end = frame.len().saturating_sub(if has_sum { 4 } else { 0 });
    let mut rest = frame.get(SECTIONS_AT..end).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (kind, section) = rest.split_first()?;
            if *kind == 0 {
                let length = RawDoc::prefix(section).ok()?.bytes().len();
                rest = &section[length..];
                continue;
            }
            let length = sequence_len(section).ok().filter(|_| *kind == 1)?;
            let (sequence, next) = section.split_at(length);
            rest = next;
            let name_len = sequence[4..].iter().position(|b| *b == 0)?;
            return Some(Sequence {
                name: &sequence[4..4 + name_len],
                documents: &sequence[4 + name_len + 1..],
            });
        }
    })
}

/// The flag bits of a message that may be incomplete or unchecked.
///
/// # Errors
/// When the message ends before them.
pub fn peek_flags(frame: &[u8]) -> Result<u32, WireError> {
    let raw = frame.get(FLAGS_AT..).and_then(|rest| rest.first_chunk::<4>());
    raw.map(|raw| u32::from_le_bytes(*raw))
        .ok_or(WireError::Truncated("flag bits"))
}

/// Bytes of a document sequence: its size field, its name, and documents to the end.
fn sequence_len(rest: &[u8]) -> Result<usize, WireError> {
    let size = rest.first_chunk::<4>().map(|raw| i32::from_le_bytes(*raw));
    let size = size
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(WireError::Truncated("section size"))?;
    let section = rest
        .get(4..size)
        .ok_or(WireError::Truncated("document sequence"))?;
    section
        .iter()
        .position(|b| *b == 0)
        .ok_or(WireError::Truncated("document sequence's name"))?;
    Ok(size)
}

/// Returns where the checksum begins, after checking it.
fn verify_checksum(frame: &[u8]) -> Result<usize, WireError> {
    let end = frame
        .len()
        .checked_sub(4)
        .filter(|end| *end >= SECTIONS_AT)
        .ok_or(WireError::Truncated("checksum"))?;
    let found = u32::from_le_bytes([frame[end], frame[end + 1], frame[end + 2], frame[end + 3]]);
    let computed = crc32c::crc32c(&frame[..end]);
    if found == computed {
        Ok(end)
    } else {
        Err(WireError::Checksum { found, computed })
    }
}

/// Makes the checksum right again after the message was changed; does nothing without one.
///
/// It covers the header too, so renumbering a message needs this as well.
pub fn refresh_checksum(frame: &mut Frame) {
    if peek_flags(frame.bytes()).is_ok_and(|flags| flags & CHECKSUM_PRESENT != 0)
        && let Some(end) = frame
            .bytes()
            .len()
            .checked_sub(4)
            .filter(|end| *end >= SECTIONS_AT)
    {
        let sum = crc32c::crc32c(&frame.bytes()[..end]);
        frame.patch(end, &sum.to_le_bytes());
    }
}

/// Gives the message that fills `message` the checksum that it does not have yet.
pub fn append_checksum(message: &mut BytesMut) {
    let Ok(flags) = peek_flags(message) else {
        return;
    };
    let length = message.len() as i32 + 4;
    message[0..4].copy_from_slice(&length.to_le_bytes());
    message[FLAGS_AT..SECTIONS_AT].copy_from_slice(&(flags | CHECKSUM_PRESENT).to_le_bytes());
    let sum = crc32c::crc32c(message);
    message.put_u32_le(sum);
}

/// Sets the flag bits of a complete message. The caller refreshes the checksum.
pub fn set_flags(frame: &mut Frame, flags: u32) {
    frame.patch(FLAGS_AT, &flags.to_le_bytes());
}

/// Appends an OP_MSG with `body` as its only section to `out`.
pub fn encode(body: RawDoc<'_>, request_id: i32, response_to: i32, flags: u32, out: &mut BytesMut) {
    let length = SECTIONS_AT + 1 + body.bytes().len();
    out.reserve(length);
    out.put_slice(
        &Header {
            length,
            request_id,
            response_to,
            op_code: OpCode::Msg,
        }
        .to_bytes(),
    );
    out.put_u32_le(flags & !CHECKSUM_PRESENT);
    out.put_u8(0);
    out.put_slice(body.bytes());
}

/// Appends an OP_MSG with `body` and, behind it, the documents of one sequence to `out`.
pub fn encode_with_sequence(body: RawDoc<'_>, sequence: Sequence<'_>, out: &mut BytesMut) {
    let at = out.len();
    let size = 4 + sequence.name.len() + 1 + sequence.documents.len();
    out.reserve(SECTIONS_AT + 1 + body.bytes().len() + 1 + size);
    encode(body, 0, 0, 0, out);
    out.put_u8(1);
    out.put_i32_le(size as i32);
    out.put_slice(sequence.name);
    out.put_u8(0);
    out.put_slice(sequence.documents);
    let length = (out.len() - at) as i32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn body() -> Vec<u8> {
        doc! {"find": "c", "$db": "d"}.to_vec().unwrap()
    }

    fn message(flags: u32, sections: &[&[u8]]) -> Vec<u8> {
        let payload = sections.concat();
        let sum = if flags & CHECKSUM_PRESENT == 0 { 0 } else { 4 };
        let length = SECTIONS_AT + payload.len() + sum;
        let header = Header {
            length,
            request_id: 9,
            response_to: 0,
            op_code: OpCode::Msg,
        };
        let mut out = [&header.to_bytes()[..], &flags.to_le_bytes(), &payload].concat();
        if sum > 0 {
            out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        }
        out
    }

    fn kind0() -> Vec<u8> {
        [&[0][..], &body()].concat()
    }

    fn kind1(name: &str, documents: &[u8]) -> Vec<u8> {
        let size = 4 + name.len() + 1 + documents.len();
        [
            &[1][..],
            &(size as i32).to_le_bytes(),
            name.as_bytes(),
            &[0],
            documents,
        ]
        .concat()
    }

    #[test]
    fn the_body_is_found_before_and_behind_a_sequence() {
        let sequence = kind1("documents", &body());
        for sections in [
            vec![kind0(), sequence.clone()],
            vec![sequence, kind0()],
            vec![kind0()],
        ] {
            let refs: Vec<_> = sections.iter().map(|s| &s[..]).collect();
            let frame = message(CHECKSUM_PRESENT, &refs);
            let layout = Layout::parse(&frame).unwrap();
            assert_eq!(layout.body(&frame).unwrap().bytes(), body());
            assert_eq!(layout.body_len, body().len());
        }
    }

    #[test]
    fn sequences_are_found_wherever_the_body_stands() {
        let (first, second) = (kind1("ops", &[body(), body()].concat()), kind1("nsInfo", &[]));
        for flags in [0, CHECKSUM_PRESENT] {
            for sections in [
                [kind0(), first.clone(), second.clone()],
                [first.clone(), kind0(), second.clone()],
                [first.clone(), second.clone(), kind0()],
            ] {
                let frame = message(flags, &sections.each_ref().map(Vec::as_slice));
                let found: Vec<_> = sequences(&frame).collect();
                assert_eq!((found[0].name, found[1].name), (&b"ops"[..], &b"nsInfo"[..]));
                assert_eq!(found[0].documents, [body(), body()].concat());
                assert!(found.len() == 2 && found[1].documents.is_empty());
            }
        }
        assert_eq!(sequences(&message(0, &[&kind0()])).count(), 0);
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        let sequence = kind1("documents", &body());
        type Case = (Vec<u8>, fn(&WireError) -> bool);
        let cases: Vec<Case> = vec![
            (message(1 << 2, &[&kind0()]), |e| matches!(e, WireError::Flags(4))),
            (message(1 << 15, &[&kind0()]), |e| {
                matches!(e, WireError::Flags(0x8000))
            }),
            (message(0, &[&kind0(), &kind0()]), |e| {
                matches!(e, WireError::TwoBodies)
            }),
            (message(0, &[&sequence]), |e| matches!(e, WireError::NoBody)),
            (message(0, &[]), |e| matches!(e, WireError::NoBody)),
            (message(0, &[&[2, 0, 0]]), |e| {
                matches!(e, WireError::SectionKind(2))
            }),
            (message(0, &[&kind0(), &[1, 0xff, 0xff, 0xff, 0xff]]), |e| {
                matches!(e, WireError::Truncated(_))
            }),
            (message(0, &[&kind0(), &[1, 3, 0, 0, 0]]), |e| {
                matches!(e, WireError::Truncated(_))
            }),
            (message(0, &[&kind0(), &[1, 200, 0, 0, 0, b'd', 0]]), |e| {
                matches!(e, WireError::Truncated(_))
            }),
            (message(0, &[&kind0(), &sequence, &sequence, &sequence]), |e| {
                matches!(e, WireError::TooManySequences(2))
            }),
            (message(0, &[&kind0()[..8]]), |e| matches!(e, WireError::Bson(_))),
            (message(0, &[])[..18].to_vec(), |e| {
                matches!(e, WireError::Truncated(_))
            }),
        ];
        for (frame, expected) in cases {
            let error = Layout::parse(&frame).unwrap_err();
            assert!(expected(&error), "{frame:?}: {error}");
        }
    }

    #[test]
    fn unknown_optional_flags_are_accepted() {
        assert!(Layout::parse(&message(1 << 31 | EXHAUST_ALLOWED, &[&kind0()])).is_ok());
    }

    #[test]
    fn a_wrong_checksum_is_refused_and_a_changed_message_gets_a_right_one() {
        let mut bytes = message(CHECKSUM_PRESENT, &[&kind0()]);
        bytes[4] ^= 1;
        assert!(matches!(Layout::parse(&bytes), Err(WireError::Checksum { .. })));
        let mut frame = Frame::new(BytesMut::from(&bytes[..])).unwrap();
        frame.set_request_id(77);
        refresh_checksum(&mut frame);
        assert!(Layout::parse(frame.bytes()).is_ok());
    }

    #[test]
    fn an_appended_checksum_is_right() {
        let mut out = BytesMut::new();
        encode(RawDoc::prefix(&body()).unwrap(), 1, 2, 0, &mut out);
        append_checksum(&mut out);
        let frame = Frame::new(out).unwrap();
        assert_eq!(Layout::parse(frame.bytes()).unwrap().flags, CHECKSUM_PRESENT);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(id in any::<i32>(), to in any::<i32>()) {
            let mut out = BytesMut::new();
            encode(RawDoc::prefix(&body()).unwrap(), id, to, MORE_TO_COME, &mut out);
            let frame = Frame::new(out).unwrap();
            prop_assert_eq!((frame.header().request_id, frame.header().response_to), (id, to));
            let layout = Layout::parse(frame.bytes()).unwrap();
            prop_assert!(layout.more_to_come());
            prop_assert_eq!(layout.body(frame.bytes()).unwrap().bytes(), &body()[..]);
        }

        #[test]
        fn damaged_messages_never_panic(at in 0usize..500, with in any::<u8>(), flags in 0u32..4) {
            let mut bytes = message(flags, &[&kind0(), &kind1("documents", &body())]);
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = sequences(&bytes).count();
            if let Ok(layout) = Layout::parse(&bytes) {
                prop_assert!(layout.body_at + layout.body_len <= bytes.len());
            }
        }
    }
}
