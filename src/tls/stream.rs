//! A TCP stream with TLS in between.
//!
//! Invariants: **what is accepted has been sent.** When all bytes of a message have been accepted by writes, the socket has all of
//! their ciphertext; nothing waits here for another call. While the socket has no room for the ciphertext, the last byte of what was
//! encrypted is said not to be accepted yet, so that the caller comes again. **What has come is decoded at once**: what is left
//! here is at most what the reader had no room for. The end of TCP counts as the peer's end also without a `close_notify`, as
//! MongoDB's servers and drivers treat it: messages tell their length, so that a truncated one is recognised.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io::{self, IoSlice, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::Connection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{HandshakeError, subject};

/// Ciphertext that one read takes at most.
const SCRATCH_LEN: usize = 64 << 10;
/// Plaintext that is encrypted before the socket is asked again whether it takes more.
const WRITE_LEN: usize = 64 << 10;
/// Plaintext that one call writes at most, so that a core also serves others.
const WRITE_MOST: usize = 256 << 10;
/// Plaintext that is taken out at a time: that of a record.
const RECORD_LEN: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_LEN]);
}

/// A TCP stream with TLS, after the handshake.
pub struct Stream {
    tcp: TcpStream,
    tls: Connection,
    /// Ciphertext that has come and not been decoded, for want of room for its plaintext.
    undecoded: Vec<u8>,
    /// The next byte to be written has been encrypted by the write before.
    owes_byte: bool,
    /// The peer sends no more.
    ended: bool,
    peer_subject: Option<Box<str>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection has keys.
        f.debug_struct("Stream")
            .field("tcp", &self.tcp)
            .field("peer_subject", &self.peer_subject)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Runs the handshake to its end.
    pub(super) async fn shake_hands(tcp: TcpStream, tls: Connection) -> Result<Self, HandshakeError> {
        let mut stream = Self {
            tcp,
            tls,
            undecoded: Vec::new(),
            owes_byte: false,
            ended: false,
            peer_subject: None,
        };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        let certificate = stream.tls.peer_certificates().and_then(<[_]>::first);
        stream.peer_subject = certificate
            .and_then(|certificate| subject::of(certificate))
            .map(Into::into);
        Ok(stream)
    }

    /// The same session over another socket.
    #[cfg(test)]
    pub(super) fn onto(mut self, tcp: TcpStream) -> Self {
        self.tcp = tcp;
        self
    }

    /// Sends what only TLS takes notice of.
    #[cfg(test)]
    pub(super) fn refresh_keys(&mut self) {
        self.tls.refresh_traffic_keys().expect("TLS 1.3");
        assert!(self.flush_now().expect("there is room"));
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.flush_now()? {
                ready!(self.tcp.poll_write_ready(cx))?;
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx, None))?;
        }
    }

    /// The subject of the certificate that the peer has presented, and that was verified, as MongoDB writes it.
    #[must_use]
    pub fn peer_subject(&self) -> Option<&str> {
        self.peer_subject.as_deref()
    }

    /// The host name that the client dialled, if it told one (SNI, RFC 6066). Never on a connection to a node.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        match &self.tls {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The TCP stream, for its addresses and options. Whoever reads or writes it breaks the connection.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Writes what goes at once, as the invariants of the module say: who got less than all accepted goes on with the rest.
    ///
    /// # Errors
    /// `WouldBlock` if nothing goes; else those of the socket, after which the peer cannot have received all of `bytes`.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if !self.flush_now()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = &bytes[..bytes.len().min(WRITE_MOST)];
        let mut accepted = usize::from(std::mem::take(&mut self.owes_byte));
        while accepted < bytes.len() {
            let end = bytes.len().min(accepted + WRITE_LEN);
            accepted += self.tls.writer().write(&bytes[accepted..end])?;
            if !self.flush_now()? {
                self.owes_byte = true;
                accepted -= 1;
                break;
            }
        }
        if accepted == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(accepted)
    }

    /// Hands the socket what is encrypted, and says whether it took all of it.
    fn flush_now(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Outgoing(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the peer has ended the connection, or sent data. What TLS itself sends unasked, such as session tickets, is
    /// taken in and does not count. Costs no system call while the runtime knows that nothing has come.
    #[must_use]
    pub fn has_news(&mut self) -> bool {
        loop {
            if self.ended || !self.undecoded.is_empty() {
                return true;
            }
            let taken = SCRATCH.with(|scratch| {
                let mut scratch = scratch.borrow_mut();
                match self.tcp.try_read(&mut scratch) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                    Ok(count) if count > 0 => {
                        self.decode(&scratch[..count], None)?;
                        Ok(true)
                    }
                    Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => Err(error),
                }
            });
            match taken {
                Ok(false) => return self.has_plaintext(),
                Ok(true) if self.has_plaintext() => return true,
                Ok(true) => {}
                Err(_) => {
                    self.ended = true;
                    return true;
                }
            }
        }
    }

    /// Whether there is something to read without the socket: data, or the peer's end.
    fn has_plaintext(&mut self) -> bool {
        let first = self.tls.reader().into_first_chunk();
        !matches!(first, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads ciphertext once and decodes it; plaintext goes to `into` as far as there is room.
    fn poll_receive(&mut self, cx: &mut Context<'_>, into: Option<&mut ReadBuf<'_>>) -> Poll<io::Result<()>> {
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(self.decode(read.filled(), into))
        })
    }

    /// Decodes ciphertext. What there is no room for is kept, as it came.
    fn decode(&mut self, mut ciphertext: &[u8], mut into: Option<&mut ReadBuf<'_>>) -> io::Result<()> {
        while !ciphertext.is_empty() {
            let taken = self.tls.read_tls(&mut ciphertext)?;
            if taken == 0 {
                // What comes after the peer's end is nothing.
                self.ended = true;
                return Ok(());
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The peer is told why, if it can be told at once.
                    let _ = self.flush_now();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            let mut waiting = state.plaintext_bytes_to_read();
            if let Some(into) = into.as_deref_mut() {
                waiting -= self.take_plaintext(into)?.min(waiting);
            }
            if waiting > 0 {
                self.undecoded.extend_from_slice(ciphertext);
                break;
            }
        }
        // An answer that TLS itself gives; one for which there is no room goes out before the next data. That it cannot be
        // sent takes nothing from what has come.
        let _ = self.flush_now();
        Ok(())
    }

    /// Takes out what is decoded, as far as there is room.
    fn take_plaintext(&mut self, into: &mut ReadBuf<'_>) -> io::Result<usize> {
        let before = into.filled().len();
        while into.remaining() > 0 {
            let room = into.remaining().min(RECORD_LEN);
            match self.tls.reader().read(into.initialize_unfilled_to(room)) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => into.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(into.filled().len() - before)
    }
}

impl AsyncRead for Stream {
    /// Ready with nothing at the peer's end.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        loop {
            this.take_plaintext(into)?;
            if !this.undecoded.is_empty() && into.remaining() > 0 {
                let undecoded = std::mem::take(&mut this.undecoded);
                this.decode(&undecoded, Some(into))?;
            }
            if into.filled().len() > before || into.remaining() == 0 || this.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_receive(cx, Some(into)))?;
        }
    }
}

impl AsyncWrite for Stream {
    /// As [`Stream::try_write`], waiting for room. A cancelled write of one message must be gone on with, not replaced.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            // Asked first: what is encrypted cannot be taken back.
            ready!(this.tcp.poll_write_ready(cx))?;
            match this.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.flush_now()? {
            ready!(this.tcp.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.send_close_notify();
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl Drop for Stream {
    /// Says goodbye, if that goes at once.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush_now();
    }
}

/// The socket as a writer that never waits.
struct Outgoing<'a>(&'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
