//! One connection to a node: one exchange at a time.
//!
//! Invariant: between [`Connection::send`] and the moment its last reply was taken, the connection is not clean; if it
//! is dropped or abandoned in between, it must not go back to a pool. A cancelled `send` or `reply` leaves it unclean,
//! so cancelling is always safe for correctness and costs the connection.

use std::{hint::cold_path, io, time::Instant};

use bson::{RawDocument, RawDocumentBuf};
use bytes::BytesMut;

use super::{
    failure::{Failure, Reason, read_reason},
    interrupt::{Interrupter, Interruptible},
};
use crate::{
    command::may_be_compressed,
    net::{Socket, Stream, compression},
    wire::{
        Compressor, Frame, Header, OpCode, RawDoc, legacy,
        op_compressed::{ENVELOPE_LEN, Envelope},
        op_msg,
    },
};

/// A connection that has been opened; see [`super::connect()`] for the handshake.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    interruptible: Interruptible,
    opened: Instant,
    last_request_id: i32,
    /// The id that the next reply must name; `None` between exchanges.
    awaiting: Option<i32>,
    /// How requests are compressed, and the level for zlib.
    compression: Option<(Compressor, i8)>,
}

/// What has arrived of a reply.
#[derive(Debug)]
pub enum Incoming {
    /// All of it.
    Whole(Frame),
    /// Its header and some of it: it is larger than the caller wanted to hold without asking.
    Large(Header),
}

impl Connection {
    /// Takes a connected stream.
    ///
    /// # Errors
    /// When no second descriptor can be had.
    pub(super) fn new(stream: impl Into<Stream>) -> io::Result<Self> {
        let stream = stream.into();
        Ok(Self {
            interruptible: Interruptible::new(&stream)?,
            socket: Socket::new(stream),
            opened: Instant::now(),
            last_request_id: 0,
            awaiting: None,
            compression: None,
        })
    }

    /// Compresses the requests that follow, as the handshake agreed on.
    pub(super) fn compress(&mut self, compressor: Compressor, zlib_level: i8) {
        self.compression = Some((compressor, zlib_level));
    }

    /// Whether nobody on the way can read what is sent.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.socket.tls().is_some()
    }

    /// A way to end this connection from outside.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.interruptible.interrupter()
    }

    /// Says whether the exchange that follows is for a primary alone to serve, so that it must not outlast its node's time as primary.
    pub fn set_write(&self, is_write: bool) {
        self.interruptible.set_write(is_write);
    }

    /// Whether the connection was ended from outside; a reply that had come is good nevertheless.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interruptible.interrupted().is_some()
    }

    /// The reason of a failure: that of the interruption, if the connection was ended from outside.
    #[must_use]
    pub fn because(&self, reason: Reason) -> Reason {
        self.interruptible
            .interrupted()
            .map_or(reason, Reason::Interrupted)
    }

    /// When the connection was opened.
    #[must_use]
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether no exchange is under way or was broken off.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.awaiting.is_none()
    }

    /// Whether the node has closed the idle connection, or sent something unasked.
    #[must_use]
    pub fn is_stale(&mut self) -> bool {
        self.awaiting.is_some() || self.socket.is_stale()
    }

    /// Sends `request` under a number of this connection's own, so that a reply to anything else is recognised; compressed, if that
    /// was agreed on. `request` stays as it is, to be sent again; a cancelled call may leave it empty.
    ///
    /// # Errors
    /// Always [`crate::failover::Sent::NotSent`]: a node runs nothing before it has the whole message.
    pub async fn send(&mut self, request: &mut Frame) -> Result<(), Failure> {
        self.last_request_id = self.last_request_id.checked_add(1).unwrap_or(1);
        self.awaiting = Some(self.last_request_id);
        request.set_request_id(self.last_request_id);
        op_msg::refresh_checksum(request);
        let written = match self.compression {
            None => self.socket.write_all(request.bytes()).await,
            Some(by) => Box::pin(self.write_compressed(request, by)).await,
        };
        written.map_err(|error| Failure::not_sent(self.because(Reason::Io(error))))
    }

    async fn write_compressed(
        &mut self,
        request: &mut Frame,
        (compressor, zlib_level): (Compressor, i8),
    ) -> io::Result<()> {
        if !command_name(request).is_some_and(may_be_compressed) {
            return self.socket.write_all(request.bytes()).await;
        }
        if let Some(packed) = request.packed(compressor) {
            return self.socket.write_all(packed).await;
        }
        let (message, deflated) = compression::deflate(request.take(), compressor, zlib_level).await?;
        // It is the message that was taken, so it is a frame still.
        *request = Frame::new(message).map_err(io::Error::other)?;
        let bytes = deflated.as_deref().unwrap_or(request.bytes());
        self.socket.write_all(bytes).await
    }

    /// Waits for the reply, and for all of it if it has at most `hold` bytes.
    ///
    /// # Errors
    /// When the connection breaks, or the reply is not one to what was sent.
    pub async fn reply(&mut self, hold: usize) -> Result<Incoming, Failure> {
        let header = loop {
            match self.socket.peek_header() {
                Ok(Some(header)) => break header,
                Ok(None) => {}
                Err(error) => {
                    cold_path();
                    return Err(Failure::replied(Reason::Wire(error)));
                }
            }
            match self.socket.fill().await {
                Ok(0) => {
                    cold_path();
                    return Err(Failure::maybe_sent(self.because(Reason::Closed)));
                }
                Ok(_) => {}
                Err(error) => {
                    cold_path();
                    return Err(self.broken(error));
                }
            }
        };
        self.check(&header)?;
        let room = match header.op_code {
            OpCode::Compressed => Box::pin(self.envelope(&header)).await?,
            _ if header.length <= hold
                && let Some(frame) = self.socket.take_whole(&header) =>
            {
                self.taken(&frame);
                return Ok(Incoming::Whole(frame));
            }
            _ => header.length,
        };
        if room > hold {
            Ok(Incoming::Large(header))
        } else {
            Box::pin(self.rest(&header)).await.map(Incoming::Whole)
        }
    }

    /// Waits for the rest of the reply whose header is known.
    ///
    /// # Errors
    /// When the connection breaks within it.
    pub async fn rest(&mut self, header: &Header) -> Result<Frame, Failure> {
        self.fill_to(header.length).await?;
        let Some(mut frame) = self.socket.take_whole(header) else {
            return Err(Failure::replied(Reason::Closed));
        };
        if header.op_code == OpCode::Compressed {
            frame = Box::pin(inflate(frame)).await?;
        }
        self.taken(&frame);
        Ok(frame)
    }

    /// The bytes that a reply takes whose header is known, in all its forms.
    #[must_use]
    pub fn room_for(&self, header: &Header) -> usize {
        let inside = match header.op_code {
            OpCode::Compressed => Envelope::peek(self.socket.buffered(), header).ok(),
            _ => None,
        };
        header.length + inside.map_or(0, |envelope| envelope.inside.length)
    }

    /// Waits until the beginning of a compressed reply says how much room it takes.
    async fn envelope(&mut self, header: &Header) -> Result<usize, Failure> {
        let length = ENVELOPE_LEN.min(header.length);
        self.fill_to(length).await?;
        Envelope::peek(self.socket.buffered(), header)
            .map_err(|error| Failure::replied(Reason::Wire(error)))?;
        Ok(self.room_for(header))
    }

    async fn fill_to(&mut self, length: usize) -> Result<(), Failure> {
        let filled = self.socket.fill_to(length).await;
        filled.map_err(|error| self.broken(error))
    }

    /// The failure of a read, which happens after the request was sent.
    fn broken(&self, error: io::Error) -> Failure {
        Failure::maybe_sent(self.because(read_reason(error)))
    }

    /// The socket, to read a reply in parts. The reader calls [`Connection::finish`] behind its last byte.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Ends an exchange whose reply was read in parts, or goes on to the reply that follows the one of this number.
    pub fn finish(&mut self, followed: Option<i32>) {
        self.awaiting = followed;
    }

    /// With `moreToCome` another reply follows, which names this one (OP_MSG specification, exhaust).
    fn taken(&mut self, frame: &Frame) {
        let more = frame.header().op_code == OpCode::Msg
            && op_msg::peek_flags(frame.bytes()).is_ok_and(|flags| flags & op_msg::MORE_TO_COME != 0);
        self.awaiting = more.then_some(frame.header().request_id);
    }

    fn check(&self, header: &Header) -> Result<(), Failure> {
        let expected = self.awaiting.unwrap_or_default();
        if header.response_to != expected || self.awaiting.is_none() {
            cold_path();
            let reason = Reason::WrongReply {
                expected,
                found: header.response_to,
            };
            return Err(Failure::replied(reason));
        }
        Ok(())
    }

    /// Runs a command of Tidegate's own and returns the reply, whether it succeeded or not.
    ///
    /// # Errors
    /// Only when the exchange fails.
    pub async fn run(&mut self, command: &RawDocument) -> Result<RawDocumentBuf, Failure> {
        self.start(command, 0).await?;
        self.next().await
    }

    /// Sends a command of Tidegate's own with these OP_MSG flag bits.
    ///
    /// # Errors
    /// When the exchange fails.
    pub async fn start(&mut self, command: &RawDocument, flags: u32) -> Result<(), Failure> {
        let wire = |error| Failure::not_sent(Reason::Wire(error));
        let mut message = BytesMut::new();
        op_msg::encode(
            RawDoc::prefix(command.as_bytes()).map_err(wire)?,
            0,
            0,
            flags,
            &mut message,
        );
        self.send(&mut Frame::new(message).map_err(wire)?).await
    }

    /// Waits for the next reply to [`Connection::start`].
    ///
    /// # Errors
    /// When the exchange fails.
    pub async fn next(&mut self) -> Result<RawDocumentBuf, Failure> {
        let Incoming::Whole(frame) = self.reply(usize::MAX).await? else {
            return Err(Failure::replied(Reason::Closed));
        };
        reply_body(&frame).map_err(|error| Failure::replied(Reason::Wire(error)))
    }
}

async fn inflate(frame: Frame) -> Result<Frame, Failure> {
    let inflated = compression::inflate(frame).await;
    inflated
        .map(|(frame, _)| frame)
        .map_err(|error| Failure::replied(Reason::Wire(error)))
}

/// The first name in the body of an OP_MSG.
fn command_name(request: &Frame) -> Option<&[u8]> {
    let layout = op_msg::Layout::parse(request.bytes()).ok()?;
    let first = layout.body(request.bytes()).ok()?.iter().next()?.ok()?;
    Some(first.key)
}

/// The document of a whole reply, of either opcode.
fn reply_body(frame: &Frame) -> Result<RawDocumentBuf, crate::wire::WireError> {
    let body = match frame.header().op_code {
        OpCode::Msg => op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())?,
        OpCode::Reply => legacy::reply_document(frame.payload())?,
        other => return Err(crate::wire::WireError::Unsupported(other)),
    };
    RawDocumentBuf::from_bytes(body.bytes().to_vec())
        .map_err(|_| crate::wire::WireError::Bson("a reply's document is invalid"))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
