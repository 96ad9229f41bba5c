//! A TCP stream that is read and written in frames.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_util::codec::Decoder;

use super::buffers::{self, SCRATCH_LEN};
use crate::wire::{Frame, FrameDecoder, Header, MAX_MESSAGE_LEN, WireError};

/// A stream of frames. `buffer` holds what was read and not yet taken: nothing, while the peer is idle.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    buffer: BytesMut,
    ended: bool,
}

impl Socket {
    /// Wraps a connected stream.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// The header of the next frame, once its 16 bytes have arrived.
    ///
    /// # Errors
    /// When it is invalid; the stream is of no use any more.
    pub fn peek_header(&self) -> Result<Option<Header>, WireError> {
        Header::peek(&self.buffer, MAX_MESSAGE_LEN)
    }

    /// Takes the next frame if it has arrived whole.
    ///
    /// # Errors
    /// As [`Socket::peek_header`].
    pub fn take_frame(&mut self) -> Result<Option<Frame>, WireError> {
        FrameDecoder.decode(&mut self.buffer)
    }

    /// What has been read and not yet taken.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes everything that has been read, be it a part of a frame.
    #[must_use]
    pub fn take_buffered(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// Takes the first `count` bytes that have been read, or all if there are fewer.
    #[must_use]
    pub fn take_some(&mut self, count: usize) -> BytesMut {
        if count >= self.buffer.len() {
            self.take_buffered()
        } else {
            self.buffer.split_to(count)
        }
    }

    /// Takes the peer for gone, after an error.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the peer has closed its side.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads once, whatever has arrived, and returns how many bytes; 0 at the peer's end.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (stream, buffer) = (Pin::new(&mut self.stream), &mut self.buffer);
        let count = ready!(buffers::scratch(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(stream.poll_read(cx, &mut read))?;
            if buffer.capacity() == 0 && !read.filled().is_empty() {
                *buffer = buffers::take();
            }
            buffer.extend_from_slice(read.filled());
            Poll::Ready(io::Result::Ok(read.filled().len()))
        }))?;
        self.ended |= count == 0;
        Poll::Ready(Ok(count))
    }

    /// Reads once; cancel safe.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Reads until a frame of `length` bytes is whole. The buffer at most doubles with each read, so that it grows with the
    /// bytes that arrive and not with those that are announced. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket, and `UnexpectedEof` when the peer ends within the frame.
    pub async fn fill_to(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            let missing = length - self.buffer.len();
            let count = if missing < SCRATCH_LEN {
                self.fill().await?
            } else {
                self.buffer
                    .reserve(missing.min(self.buffer.len().max(SCRATCH_LEN)));
                self.stream.read_buf(&mut self.buffer).await?
            };
            if count == 0 {
                self.ended = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`. Not cancel safe: after a cancelled write the stream is of no use.
    ///
    /// # Errors
    /// Those of the socket; the peer cannot have received all of `bytes` then.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The stream itself, for its options and addresses.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the peer has closed, or has sent something unasked: an idle connection for which this holds must not be used.
    /// Costs no system call unless the runtime has seen an event.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.buffer.is_empty()
            || self.ended
            || !matches!(
                self.stream.try_read(&mut [0; 1]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock
            )
    }
}
