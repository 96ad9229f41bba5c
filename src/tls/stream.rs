//! A TCP stream with TLS in between.
//!
//! Invariants: **what is accepted has been sent.** When all bytes of a message have been accepted by writes, the socket has all of
//! their ciphertext; nothing waits here for another call. While the socket has no room for the ciphertext, the last byte of what was
//! encrypted is said not to be accepted yet, so that the caller comes again. **What has come is decoded at once**, in the thread's own
//! buffers: an idle stream has none (`session`). The end of TCP counts as the peer's end also without a `close_notify`, as
//! MongoDB's servers and drivers treat it: messages tell their length, so that a truncated one is recognised.

use std::{
    fmt,
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{HandshakeError, buffers, session::Session, subject};

/// Plaintext that is encrypted before the socket is asked again whether it takes more.
const WRITE_LEN: usize = 64 << 10;
/// Plaintext that one call writes at most, so that a core also serves others.
const WRITE_MOST: usize = 256 << 10;

/// A TCP stream with TLS, after the handshake.
pub struct Stream {
    tcp: TcpStream,
    session: Session,
    /// The next byte to be written has been encrypted by the write before.
    owes_byte: bool,
    peer_subject: Option<Box<str>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The session has keys.
        f.debug_struct("Stream")
            .field("tcp", &self.tcp)
            .field("peer_subject", &self.peer_subject)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Runs the handshake to its end.
    pub(super) async fn shake_hands(tcp: TcpStream, session: Session) -> Result<Self, HandshakeError> {
        let mut stream = Self {
            tcp,
            session,
            owes_byte: false,
            peer_subject: None,
        };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        let certificate = stream.session.about().peer_certificates();
        stream.peer_subject = certificate
            .and_then(<[_]>::first)
            .and_then(|certificate| subject::of(certificate))
            .map(Into::into);
        Ok(stream)
    }

    /// The same session over another socket.
    #[cfg(test)]
    pub(super) fn onto(self, tcp: TcpStream) -> Self {
        let mut stream = self;
        stream.tcp = tcp;
        stream
    }

    /// Sends what only TLS takes notice of.
    #[cfg(test)]
    pub(super) fn refresh_keys(&mut self) {
        self.session.refresh_keys();
        assert!(self.flush_now().expect("there is room"));
    }

    /// Bytes of all buffers that this stream owns.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.session.buffered()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.session.check()?;
            while !self.flush_now()? {
                ready!(self.tcp.poll_write_ready(cx))?;
            }
            if !self.session.about().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.session.has_ended() {
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
        self.session.sni()
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
            let is_sent = self.encrypt_and_send(&bytes[accepted..end])?;
            accepted = end;
            if !is_sent {
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

    /// Says whether the socket took all of it; what it did not take is kept.
    fn encrypt_and_send(&mut self, plaintext: &[u8]) -> io::Result<bool> {
        buffers::outgoing(|ciphertext| {
            let count = self.session.encrypt(plaintext, ciphertext)?;
            let mut rest = &ciphertext[..count];
            if !self.session.outgoing().is_empty() {
                self.session.owe(rest);
                return self.flush_now();
            }
            while let Some(taken) = offer(&self.tcp, rest)? {
                rest = &rest[taken..];
                if rest.is_empty() {
                    return Ok(true);
                }
            }
            self.session.owe(rest);
            Ok(false)
        })
    }

    /// Hands the socket what was encrypted before, and says whether it took all of it.
    fn flush_now(&mut self) -> io::Result<bool> {
        while !self.session.outgoing().is_empty() {
            match offer(&self.tcp, self.session.outgoing())? {
                Some(taken) => self.session.sent(taken),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether the peer has ended the connection, or sent data. What TLS itself sends unasked, such as session tickets, is
    /// taken in and does not count. Costs no system call while the runtime knows that nothing has come.
    #[must_use]
    pub fn has_news(&mut self) -> bool {
        while !self.session.has_news() {
            let tcp = &self.tcp;
            let received = receive(&mut self.session, None, |room| tcp.try_read(room));
            match received {
                Ok(()) => self.answer(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.session.end(),
            }
        }
        true
    }

    /// Reads ciphertext once and decodes it; plaintext goes to `into` as far as there is room.
    fn poll_receive(&mut self, cx: &mut Context<'_>, into: Option<&mut ReadBuf<'_>>) -> Poll<io::Result<()>> {
        let tcp = Pin::new(&mut self.tcp);
        let received = receive(&mut self.session, into, |room| {
            let mut read = ReadBuf::new(room);
            match tcp.poll_read(cx, &mut read)? {
                Poll::Ready(()) => Ok(read.filled().len()),
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            received => received?,
        }
        self.answer();
        Poll::Ready(Ok(()))
    }

    /// Sends what TLS itself answers. What there is no room for goes out before the next data; that it cannot be sent takes nothing from
    /// what has come.
    fn answer(&mut self) {
        let _ = self.flush_now();
    }
}

/// Has `read` fill the thread's buffer, and decodes what it got.
fn receive(
    session: &mut Session,
    into: Option<&mut ReadBuf<'_>>,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let kept = session.kept();
    buffers::incoming(kept, |scratch| {
        match read(&mut scratch[kept..])? {
            0 => session.end(),
            count => session.receive(&mut scratch[..kept + count], into),
        }
        Ok(())
    })
}

/// Hands the socket as much as goes at once; `None` if nothing goes.
fn offer(tcp: &TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    match tcp.try_write(bytes) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(taken) => Ok(Some(taken)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl AsyncRead for Stream {
    /// Ready with nothing at the peer's end. An error comes after all that came before it.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        loop {
            this.session.take_plaintext(into);
            if into.filled().len() > before || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.session.check()?;
            if this.session.has_ended() {
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
        self.session.say_goodbye();
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
        self.session.say_goodbye();
        let _ = self.flush_now();
    }
}
