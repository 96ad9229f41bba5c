//! The 16-byte header that every message begins with.

use super::WireError;

/// Bytes in a message header.
pub const HEADER_LEN: usize = 16;

/// Most bytes in a message (`maxMessageSizeBytes`); a `mongod` closes the connection at one more.
pub const MAX_MESSAGE_LEN: usize = 48_000_000;

/// What follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum OpCode {
    /// OP_REPLY, removed in MongoDB 5.1 except as the answer to a legacy `hello`.
    Reply = 1,
    /// OP_UPDATE (legacy).
    Update = 2001,
    /// OP_INSERT (legacy).
    Insert = 2002,
    /// OP_QUERY (legacy), still the first message of many drivers.
    Query = 2004,
    /// OP_GET_MORE (legacy).
    GetMore = 2005,
    /// OP_DELETE (legacy).
    Delete = 2006,
    /// OP_KILL_CURSORS (legacy).
    KillCursors = 2007,
    /// OP_COMPRESSED: any other message, compressed.
    Compressed = 2012,
    /// OP_MSG, since MongoDB 3.6.
    Msg = 2013,
}

impl TryFrom<i32> for OpCode {
    type Error = WireError;

    fn try_from(code: i32) -> Result<Self, WireError> {
        Ok(match code {
            1 => Self::Reply,
            2001 => Self::Update,
            2002 => Self::Insert,
            2004 => Self::Query,
            2005 => Self::GetMore,
            2006 => Self::Delete,
            2007 => Self::KillCursors,
            2012 => Self::Compressed,
            2013 => Self::Msg,
            other => return Err(WireError::OpCode(other)),
        })
    }
}

/// A checked message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole message, header included; within 16 and the limit.
    pub length: usize,
    /// The sender's number for this message.
    pub request_id: i32,
    /// The `request_id` that this message answers, 0 in requests.
    pub response_to: i32,
    /// What follows.
    pub op_code: OpCode,
}

impl Header {
    /// Reads the header at the start of `bytes`, or `None` while fewer than 16 have arrived.
    ///
    /// # Errors
    /// A length outside 16..=`max`, or an unknown opcode.
    pub fn peek(bytes: &[u8], max: usize) -> Result<Option<Self>, WireError> {
        let Some(raw) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        if let Some(protocol) = foreign(raw) {
            return Err(WireError::Foreign(protocol));
        }
        let length = read_i32(raw, 0);
        let checked = usize::try_from(length)
            .ok()
            .filter(|n| (HEADER_LEN..=max).contains(n));
        Ok(Some(Self {
            length: checked.ok_or(WireError::Length { length, max })?,
            request_id: read_i32(raw, 4),
            response_to: read_i32(raw, 8),
            op_code: OpCode::try_from(read_i32(raw, 12))?,
        }))
    }

    /// The 16 bytes of this header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&(self.length as i32).to_le_bytes());
        out[4..8].copy_from_slice(&self.request_id.to_le_bytes());
        out[8..12].copy_from_slice(&self.response_to.to_le_bytes());
        out[12..16].copy_from_slice(&(self.op_code as i32).to_le_bytes());
        out
    }
}

/// Recognises what is most often sent to a wrong port. None of these beginnings is a message: the opcode that follows is unknown,
/// or the length beyond any limit.
fn foreign(raw: &[u8; HEADER_LEN]) -> Option<&'static str> {
    let is_known = OpCode::try_from(read_i32(raw, 12)).is_ok();
    match raw {
        [0x16, 0x03, ..] if !is_known => Some("TLS, which is not served here yet"),
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'O', b'S', b'T', ..] | [b'H', b'E', b'A', b'D', ..] => {
            Some("HTTP")
        }
        _ => None,
    }
}

fn read_i32(raw: &[u8; HEADER_LEN], at: usize) -> i32 {
    i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: i32, op: i32) -> [u8; 16] {
        let mut raw = [0; 16];
        raw[0..4].copy_from_slice(&length.to_le_bytes());
        raw[12..16].copy_from_slice(&op.to_le_bytes());
        raw
    }

    #[test]
    fn fewer_than_sixteen_bytes_are_not_yet_a_header() {
        assert_eq!(Header::peek(&header(16, 2013)[..15], 100).unwrap(), None);
    }

    #[test]
    fn lying_lengths_are_refused() {
        for length in [i32::MIN, -1, 0, 15, 101, i32::MAX] {
            let error = Header::peek(&header(length, 2013), 100).unwrap_err();
            assert!(
                matches!(error, WireError::Length { length: l, max: 100 } if l == length),
                "{length}: {error}"
            );
        }
        assert_eq!(
            Header::peek(&header(100, 2013), 100).unwrap().unwrap().length,
            100
        );
    }

    #[test]
    fn other_protocols_are_named() {
        let table = [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcde"[..], "TLS"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
        ];
        for (bytes, expected) in table {
            let error = Header::peek(bytes, 48_000_000).unwrap_err();
            assert!(
                matches!(error, WireError::Foreign(name) if name.starts_with(expected)),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_opcodes_are_refused_and_known_ones_survive_the_round_trip() {
        for op in [0, 2, 1000, 2003, 2010, 2011, 2014, -2013] {
            assert!(matches!(Header::peek(&header(16, op), 100), Err(WireError::OpCode(o)) if o == op));
        }
        for op in [1, 2001, 2002, 2004, 2005, 2006, 2007, 2012, 2013] {
            let raw = header(16, op);
            assert_eq!(Header::peek(&raw, 100).unwrap().unwrap().to_bytes(), raw);
        }
    }
}
