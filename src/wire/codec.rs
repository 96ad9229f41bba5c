//! Frames: whole messages cut out of a byte stream.
//!
//! [`FrameDecoder`] is used as a pure function over the bytes that a connection has read so far;
//! `tokio_util::codec::Framed` would keep a buffer for every idle connection.

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::Decoder;

use super::{Compressor, HEADER_LEN, Header, MAX_MESSAGE_LEN, OpCode, WireError};

/// One whole message with its checked header. Invariant: `bytes.len() == header.length`, and the first
/// 16 bytes are that header, but that a message whose buffer was surrendered has none.
#[derive(Debug)]
pub struct Frame {
    bytes: BytesMut,
    request_id: i32,
    response_to: i32,
    op_code: OpCode,
    /// The message as it came, if that was compressed: it says the same but for the numbers in its header, or is not there any more.
    packed: Option<Box<Packed>>,
}

/// A whole OP_COMPRESSED.
#[derive(Debug)]
struct Packed {
    by: Compressor,
    bytes: BytesMut,
}

impl Frame {
    /// Takes `bytes` for a message whose header is already known.
    ///
    /// # Errors
    /// When the header in `bytes` is invalid, or does not say the number of bytes that there are.
    pub fn new(bytes: BytesMut) -> Result<Self, WireError> {
        let header = Header::peek(&bytes, MAX_MESSAGE_LEN)?.ok_or(WireError::Truncated("header"))?;
        if header.length != bytes.len() {
            return Err(WireError::Truncated("frame"));
        }
        Ok(Self::of(&header, bytes))
    }

    fn of(header: &Header, bytes: BytesMut) -> Self {
        Self {
            bytes,
            request_id: header.request_id,
            response_to: header.response_to,
            op_code: header.op_code,
            packed: None,
        }
    }

    /// Keeps the OP_COMPRESSED along that this message came in, so that it can go on as it is. It is dropped with the first change to more
    /// than the message's numbers.
    #[must_use]
    pub fn with_packed(mut self, by: Compressor, bytes: BytesMut) -> Self {
        debug_assert!(bytes.len() >= HEADER_LEN);
        self.packed = Some(Box::new(Packed { by, bytes }));
        self
    }

    /// The message as it came by this compressor, under the numbers that it has now.
    pub fn packed(&mut self, by: Compressor) -> Option<&[u8]> {
        let numbers = (self.request_id, self.response_to);
        let packed = self.packed.as_mut().filter(|packed| packed.by == by)?;
        packed.number(numbers);
        Some(&packed.bytes)
    }

    /// Takes what [`Frame::packed`] shows out of a message that is done with.
    pub fn take_packed(&mut self, by: Compressor) -> Option<BytesMut> {
        let mut packed = self.packed.take_if(|packed| packed.by == by)?;
        packed.number((self.request_id, self.response_to));
        Some(packed.bytes)
    }

    /// The message's header.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            length: self.bytes.len(),
            request_id: self.request_id,
            response_to: self.response_to,
            op_code: self.op_code,
        }
    }

    /// What follows the header.
    #[must_use]
    pub fn op_code(&self) -> OpCode {
        self.op_code
    }

    /// The sender's number for the message.
    #[must_use]
    pub fn request_id(&self) -> i32 {
        self.request_id
    }

    /// The whole message, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes behind the header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Gives the buffer back.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// Takes the buffer out, and leaves an empty message of the same opcode and numbers behind.
    #[must_use]
    pub fn take(&mut self) -> BytesMut {
        self.packed = None;
        let header = Header {
            length: HEADER_LEN,
            ..self.header()
        };
        let empty = BytesMut::from(&header.to_bytes()[..]);
        std::mem::replace(&mut self.bytes, empty)
    }

    /// Takes the buffer out, for a message that is done with: nothing is left of it but its header.
    #[must_use]
    pub fn surrender(&mut self) -> BytesMut {
        self.packed = None;
        std::mem::take(&mut self.bytes)
    }

    /// Renumbers the message.
    pub fn set_request_id(&mut self, id: i32) {
        self.request_id = id;
        self.bytes[4..8].copy_from_slice(&id.to_le_bytes());
    }

    /// Says which request this message answers.
    pub fn set_response_to(&mut self, id: i32) {
        self.response_to = id;
        self.bytes[8..12].copy_from_slice(&id.to_le_bytes());
    }

    /// Patches bytes behind the header in place.
    ///
    /// # Panics
    /// Never for offsets that were found in this very message: `at + patch.len()` must be within it.
    pub fn patch(&mut self, at: usize, patch: &[u8]) {
        debug_assert!(at >= HEADER_LEN);
        self.packed = None;
        self.bytes[at..at + patch.len()].copy_from_slice(patch);
    }

    /// Inserts `insert` before offset `at` and corrects the header's length. The caller corrects the lengths of the
    /// documents around it, and the checksum.
    pub fn splice(&mut self, at: usize, insert: &[u8]) {
        let end = self.bytes.len();
        self.bytes.put_bytes(0, insert.len());
        self.bytes.copy_within(at..end, at + insert.len());
        self.bytes[at..at + insert.len()].copy_from_slice(insert);
        self.correct_length();
    }

    /// Takes `length` bytes out at offset `at`, and corrects the header's length. The caller corrects the rest, as for
    /// [`Frame::splice`].
    ///
    /// # Panics
    /// Never for a part behind the header that was found in this very message.
    pub fn cut(&mut self, at: usize, length: usize) {
        debug_assert!(at >= HEADER_LEN);
        self.bytes.copy_within(at + length.., at);
        self.bytes.truncate(self.bytes.len() - length);
        self.correct_length();
    }

    fn correct_length(&mut self) {
        self.packed = None;
        let length = self.bytes.len() as i32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
    }
}

impl Packed {
    fn number(&mut self, (request_id, response_to): (i32, i32)) {
        self.bytes[4..8].copy_from_slice(&request_id.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&response_to.to_le_bytes());
    }
}

/// Frames up to this length are copied out of a buffer that holds more, so that they keep nothing of it alive.
const COPY_UP_TO: usize = 16 << 10;

/// Cuts frames of at most [`MAX_MESSAGE_LEN`] bytes out of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameDecoder;

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = WireError;

    /// Takes the first frame off `src` once it is whole. A frame that fills `src` exactly takes its buffer along, so that
    /// the usual case copies and allocates nothing.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        let Some(header) = Header::peek(src, MAX_MESSAGE_LEN)? else {
            return Ok(None);
        };
        Ok(Self::take(&header, src))
    }
}

impl FrameDecoder {
    /// Takes the frame of this header, with which `src` begins, off it once it is whole.
    pub fn take(header: &Header, src: &mut BytesMut) -> Option<Frame> {
        let bytes = if src.len() == header.length {
            std::mem::take(src)
        } else if src.len() < header.length {
            return None;
        } else if header.length <= COPY_UP_TO {
            let bytes = BytesMut::from(&src[..header.length]);
            src.advance(header.length);
            bytes
        } else {
            src.split_to(header.length)
        };
        Some(Frame::of(header, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::OpCode;
    use proptest::prelude::*;

    fn message(payload: &[u8], id: i32) -> Vec<u8> {
        let header = Header {
            length: HEADER_LEN + payload.len(),
            request_id: id,
            response_to: 0,
            op_code: OpCode::Msg,
        };
        [&header.to_bytes()[..], payload].concat()
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_yields_the_same_frames(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
            cuts in prop::collection::vec(1usize..97, 1..20),
        ) {
            let stream: Vec<u8> = payloads.iter().zip(0..).flat_map(|(p, id)| message(p, id)).collect();
            let (mut buffer, mut at, mut seen) = (BytesMut::new(), 0, Vec::new());
            for cut in cuts.iter().cycle() {
                if at == stream.len() { break }
                let end = (at + cut).min(stream.len());
                buffer.extend_from_slice(&stream[at..end]);
                at = end;
                while let Some(frame) = FrameDecoder.decode(&mut buffer).unwrap() {
                    seen.push((frame.header().request_id, frame.payload().to_vec()));
                }
            }
            let sent: Vec<_> = (0..).zip(payloads).collect();
            prop_assert_eq!(seen, sent);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn random_bytes_never_panic_and_never_yield_more_than_arrived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            if let Ok(Some(frame)) = FrameDecoder.decode(&mut buffer) {
                prop_assert_eq!(frame.bytes().len() + buffer.len(), bytes.len());
            }
        }
    }

    #[test]
    fn what_came_compressed_goes_on_so_under_its_new_numbers_until_it_is_changed() {
        let frame = || {
            let frame = Frame::new(BytesMut::from(&message(b"tide", 1)[..])).unwrap();
            frame.with_packed(Compressor::Zlib, BytesMut::from(&message(b"packed", 1)[..]))
        };
        let mut renumbered = frame();
        renumbered.set_request_id(7);
        renumbered.set_response_to(8);
        assert_eq!(renumbered.packed(Compressor::Snappy), None);
        let shown = renumbered.packed(Compressor::Zlib).unwrap().to_vec();
        assert_eq!(
            (&shown[4..12], &shown[16..]),
            (&[7, 0, 0, 0, 8, 0, 0, 0][..], &b"packed"[..])
        );
        assert_eq!(renumbered.take_packed(Compressor::Zstd), None);
        assert_eq!(renumbered.take_packed(Compressor::Zlib).unwrap(), shown);
        assert_eq!(renumbered.packed(Compressor::Zlib), None, "it was taken");
        let changes: [fn(&mut Frame); 5] = [
            |frame| frame.patch(16, b"T"),
            |frame| frame.splice(16, b"the "),
            |frame| frame.cut(16, 1),
            |frame| drop(frame.take()),
            |frame| drop(frame.surrender()),
        ];
        for change in changes {
            let mut changed = frame();
            change(&mut changed);
            assert_eq!(changed.packed(Compressor::Zlib), None);
        }
    }

    #[test]
    fn what_a_taken_frame_leaves_is_a_frame() {
        let mut frame = Frame::new(BytesMut::from(&message(b"abcd", 7)[..])).unwrap();
        assert_eq!(frame.take(), message(b"abcd", 7));
        frame.set_request_id(8);
        assert_eq!(frame.payload(), b"");
        assert_eq!(Frame::new(frame.into_bytes()).unwrap().header().request_id, 8);
    }

    #[test]
    fn a_splice_moves_the_rest_and_corrects_the_length() {
        let mut frame = Frame::new(BytesMut::from(&message(b"abcd", 7)[..])).unwrap();
        frame.splice(HEADER_LEN + 2, b"XYZ");
        assert_eq!(frame.payload(), b"abXYZcd");
        assert_eq!(
            Header::peek(frame.bytes(), 1000).unwrap().unwrap().length,
            HEADER_LEN + 7
        );
    }
}
