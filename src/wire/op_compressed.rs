//! OP_COMPRESSED: any other message, compressed (OP_COMPRESSED specification).
//!
//! Behind the header stand the original opcode, the payload's original size, and the compressor's number; then the
//! payload. Invariants: what is announced is judged before anything is allocated for it, an inflated payload has exactly
//! the announced size, and a message is compressed once.

use bytes::BytesMut;

use super::{Compressor, Frame, HEADER_LEN, Header, MAX_MESSAGE_LEN, OpCode, WireError};

/// Bytes before the compressed payload.
pub const ENVELOPE_LEN: usize = HEADER_LEN + 4 + 4 + 1;

/// The zlib level that stands for the library's own choice.
pub const DEFAULT_LEVEL: i8 = -1;

/// What an OP_COMPRESSED says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The header of the message inside, as it is once inflated.
    pub inside: Header,
    /// How it is compressed.
    pub compressor: Compressor,
}

impl Envelope {
    /// Reads the beginning of an OP_COMPRESSED whose header is `header`; the rest of `message` may not have arrived yet.
    ///
    /// # Errors
    /// Anything but a message of another opcode, within the limit on messages, that the bytes announced by the header can
    /// stand for.
    pub fn peek(message: &[u8], header: &Header) -> Result<Self, WireError> {
        let fields = message
            .get(HEADER_LEN..ENVELOPE_LEN)
            .and_then(|fields| fields.first_chunk::<9>())
            .ok_or(WireError::Truncated("OP_COMPRESSED"))?;
        let [o0, o1, o2, o3, s0, s1, s2, s3, id] = *fields;
        let op_code = OpCode::try_from(i32::from_le_bytes([o0, o1, o2, o3]))?;
        if op_code == OpCode::Compressed {
            return Err(WireError::NestedCompression);
        }
        let compressor = Compressor::try_from(id)?;
        let announced = i32::from_le_bytes([s0, s1, s2, s3]);
        let room = compressor
            .most_inflated(header.length.saturating_sub(ENVELOPE_LEN))
            .min(MAX_MESSAGE_LEN - HEADER_LEN);
        let size = usize::try_from(announced).ok().filter(|size| *size <= room);
        let size = size.ok_or(WireError::Announced {
            size: announced,
            max: room,
        })?;
        let inside = Header {
            length: HEADER_LEN + size,
            op_code,
            ..*header
        };
        Ok(Self { inside, compressor })
    }
}

/// The message inside a whole OP_COMPRESSED, with the ids of the outer header, and the compressor that it came by.
///
/// # Errors
/// As [`Envelope::peek`], and when the payload does not inflate to exactly the announced size.
pub fn inflate(frame: &Frame) -> Result<(Frame, Compressor), WireError> {
    let Envelope { inside, compressor } = Envelope::peek(frame.bytes(), &frame.header())?;
    let mut message = BytesMut::zeroed(inside.length);
    message[..HEADER_LEN].copy_from_slice(&inside.to_bytes());
    compressor.inflate(&frame.bytes()[ENVELOPE_LEN..], &mut message[HEADER_LEN..])?;
    Ok((Frame::new(message)?, compressor))
}

/// The OP_COMPRESSED that holds `message`, a whole message of another opcode; `None` where that would be above the limit on
/// messages, and the message must go as it is (as a `mongod` does it). `zlib_level` is -1 for the default, or 0 to 9.
#[must_use]
pub fn deflate(message: &[u8], compressor: Compressor, zlib_level: i8) -> Option<BytesMut> {
    let header = Header::peek(message, MAX_MESSAGE_LEN).ok()??;
    let payload = message.get(HEADER_LEN..header.length)?;
    if header.op_code == OpCode::Compressed {
        return None;
    }
    let most = ENVELOPE_LEN + compressor.most_deflated(payload.len());
    let mut out = BytesMut::zeroed(most.min(MAX_MESSAGE_LEN));
    let length = ENVELOPE_LEN + compressor.deflate(payload, &mut out[ENVELOPE_LEN..], zlib_level)?;
    out.truncate(length);
    let outer = Header {
        length,
        op_code: OpCode::Compressed,
        ..header
    };
    out[..HEADER_LEN].copy_from_slice(&outer.to_bytes());
    let fields = &mut out[HEADER_LEN..ENVELOPE_LEN];
    fields[0..4].copy_from_slice(&(header.op_code as i32).to_le_bytes());
    fields[4..8].copy_from_slice(&(payload.len() as i32).to_le_bytes());
    fields[8] = compressor as u8;
    Some(out)
}

/// The length that the message inside has once inflated; `None` for a message of another opcode.
#[must_use]
pub fn inflated_len(message: &[u8]) -> Option<usize> {
    let field = |at: usize| Some(i32::from_le_bytes(*message.get(at..)?.first_chunk::<4>()?));
    let is_compressed = field(12)? == OpCode::Compressed as i32;
    let size = usize::try_from(field(HEADER_LEN + 4)?).ok();
    size.filter(|_| is_compressed).map(|size| HEADER_LEN + size)
}

/// The most bytes that a message of `length` bytes takes when it is compressed, whichever compressor it is.
#[must_use]
pub fn most_deflated(length: usize) -> usize {
    let of_each = Compressor::NEGOTIABLE.map(|compressor| compressor.most_deflated(length));
    (ENVELOPE_LEN + of_each.into_iter().max().unwrap_or(length)).min(MAX_MESSAGE_LEN)
}

#[cfg(test)]
#[path = "op_compressed_tests.rs"]
mod tests;
