//! A stream, of whatever kind, that is read and written in frames.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::Decoder;

use super::{
    buffers::{self, SCRATCH_LEN},
    stream::Stream,
};
use crate::{
    tls,
    wire::{Frame, FrameDecoder, Header, MAX_MESSAGE_LEN, WireError},
};

/// A stream of frames. `buffer` holds what was read and not yet taken: nothing, while the peer is idle.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    buffer: BytesMut,
    ended: bool,
}

impl Socket {
    /// Wraps a connected stream.
    #[must_use]
    pub fn new(stream: impl Into<Stream>) -> Self {
        Self {
            stream: stream.into(),
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// Promises that it is only used on the thread of the `current_thread` runtime that watches it, which makes its reads cheaper: the runtime is
    /// told of its reader once. Without this a connection may be used on any thread.
    #[must_use]
    pub fn staying(mut self) -> Self {
        if let Stream::Tcp(stream) = &mut self.stream {
            stream.stays();
        }
        self
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

    /// Takes the next frame, whose header is known, if it has arrived whole.
    pub fn take_whole(&mut self, header: &Header) -> Option<Frame> {
        FrameDecoder::take(header, &mut self.buffer)
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
        let buffer = &mut self.buffer;
        let count = ready!(self.stream.poll_take(cx, |bytes| {
            if buffer.capacity() == 0 && !bytes.is_empty() {
                *buffer = buffers::take();
            }
            buffer.extend_from_slice(bytes);
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

    /// Makes room for `length` bytes at once, where so much was granted. Grown towards by doubling, a buffer is copied again and again, may end
    /// up twice as large, and leaves holes of all sizes to the allocator.
    pub fn make_room(&mut self, length: usize) {
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
    }

    /// Reads until a frame of `length` bytes is whole. The buffer at most doubles with each read, so that it grows with the
    /// bytes that arrive and not with those that are announced. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket, and `UnexpectedEof` when the peer ends within the frame.
    pub async fn fill_to(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            self.fill_towards(length).await?;
        }
        Ok(())
    }

    /// Reads once on the way to a frame of `length` bytes.
    async fn fill_towards(&mut self, length: usize) -> io::Result<()> {
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
        Ok(())
    }

    /// Writes all of `bytes`. Not cancel safe: after a cancelled write the stream is of no use.
    ///
    /// # Errors
    /// Those of the socket; the peer cannot have received all of `bytes` then.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.write_now(bytes)? {
            written if written == bytes.len() => Ok(()),
            written => self.stream.write_all(&bytes[written..]).await,
        }
    }

    /// Writes as much of `bytes` as goes at once, and returns how much that is.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Waits until the peer takes some of `bytes`, and returns how much. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes).await? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// This side's address, as the peer dialled it; none on a Unix domain socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.inner().local_addr().ok(),
            Stream::Tls(stream) => stream.tcp().local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// What the peer and this side have agreed on by TLS, if they speak it.
    #[must_use]
    pub fn tls(&self) -> Option<&tls::Stream> {
        match &self.stream {
            Stream::Tls(stream) => Some(stream),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// The host name that the client dialled, if it told one (SNI).
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.tls()?.sni()
    }

    /// The subject of the peer's certificate, which was verified, in MongoDB's form: the user name of MONGODB-X509.
    #[must_use]
    pub fn peer_subject(&self) -> Option<&str> {
        self.tls()?.peer_subject()
    }

    /// Takes the stream out of a socket that has read nothing yet.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        debug_assert!(self.buffer.is_empty(), "what was read would be lost");
        self.stream
    }

    /// Whether the peer has closed, or has sent something unasked: an idle connection for which this holds must not be used.
    /// Costs no system call unless the runtime has seen an event.
    #[must_use]
    pub fn is_stale(&mut self) -> bool {
        !self.buffer.is_empty() || self.ended || self.stream.has_news()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn what_room_was_made_for_comes_without_growing() {
        const LENGTH: usize = 9 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        peer.write_all(b"first").await.unwrap();
        assert_eq!(socket.fill().await.unwrap(), 5);
        socket.make_room(LENGTH);
        let capacity = socket.buffer.capacity();
        let writing = tokio::spawn(async move { peer.write_all(&vec![7; LENGTH - 5]).await });
        socket.fill_to(LENGTH).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(socket.buffer.capacity(), capacity);
        assert!(capacity < LENGTH + LENGTH / 8, "{capacity}");
        assert_eq!(&socket.buffered()[..6], b"first\x07");
    }
}
