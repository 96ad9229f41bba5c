//! A connected stream, over TCP, over TCP with TLS, or a Unix domain socket's, behind one type: each operation is that of the stream
//! itself, one branch away.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{buffers, tcp::Tcp};
use crate::tls;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(Tcp),
    /// Over TCP with TLS.
    Tls(Box<tls::Stream>),
    /// Over a Unix domain socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream.into())
    }
}

impl From<tls::Stream> for Stream {
    fn from(stream: tls::Stream) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl Stream {
    /// Writes what goes at once; costs no system call while the runtime knows that nothing does. When all bytes were accepted, the
    /// socket has them.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Reads once, shows `take` what has come, and returns how many bytes; 0 at the peer's end.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_take(cx, take),
            Self::Tls(stream) => poll_scratch(Pin::new(&mut **stream), cx, take),
            Self::Unix(stream) => poll_scratch(Pin::new(stream), cx, take),
        }
    }

    /// Whether the peer has sent something, or closed; costs no system call while the runtime knows that it has not.
    pub(super) fn has_news(&mut self) -> bool {
        let read = match self {
            Self::Tcp(stream) => return stream.has_news(),
            Self::Tls(stream) => return stream.has_news(),
            Self::Unix(stream) => stream.try_read(&mut [0; 1]),
        };
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn poll_scratch(
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    mut take: impl FnMut(&[u8]),
) -> Poll<io::Result<usize>> {
    buffers::scratch(|scratch| {
        let mut read = ReadBuf::new(scratch);
        ready!(stream.poll_read(cx, &mut read))?;
        take(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.inner().as_fd(),
            Self::Tls(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => stream.poll_read(cx, into),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream.inner_mut()).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream.inner_mut()).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream.inner_mut()).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
