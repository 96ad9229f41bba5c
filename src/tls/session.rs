//! A TLS session without its socket: ciphertext comes in and goes out, and so does plaintext.
//!
//! Invariants: **what has come is decoded at once.** Of the ciphertext, only what is not whole yet is kept, of a record or of a message of
//! TLS itself; so whoever writes meets nothing that would have to be read first. **What is under way owns a buffer, and nothing else
//! does**: a session at rest has none.

use std::{io, sync::Arc};

use bytes::{Buf, BytesMut};
use rustls::{
    ClientConfig, CommonState, Error as RustlsError, InvalidMessage, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic},
};
use tokio::io::ReadBuf;

use super::{buffers::UNFINISHED_MOST, sni};

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Does the same on either side, whose types differ.
macro_rules! on_either_side {
    ($side:expr, $tls:ident => $does:expr) => {
        match $side {
            Side::Client($tls) => $does,
            Side::Server($tls) => $does,
        }
    };
}

/// One side's session, in the handshake and after it.
pub(super) struct Session {
    side: Side,
    /// Ciphertext of what is not whole yet, as the library has left it: it decrypts where the bytes lie.
    unfinished: Vec<u8>,
    done: Done,
    /// What broke the session. All that came before has been decoded.
    failed: Option<Box<RustlsError>>,
    sni: Option<Box<str>>,
}

/// What the library has made of what came.
#[derive(Default)]
struct Done {
    /// What is decoded, for want of a reader.
    plaintext: BytesMut,
    /// Ciphertext that the socket has not taken.
    outgoing: BytesMut,
    /// The peer sends no more.
    ended: bool,
}

impl Session {
    /// That of a client that has dialled `name`.
    pub(super) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, RustlsError> {
        UnbufferedClientConnection::new(config, name).map(|tls| Self::begin(Side::Client(tls)))
    }

    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, RustlsError> {
        UnbufferedServerConnection::new(config).map(|tls| Self::begin(Side::Server(tls)))
    }

    fn begin(side: Side) -> Self {
        let mut session = Self {
            side,
            unfinished: Vec::new(),
            done: Done::default(),
            failed: None,
            sni: None,
        };
        session.settle();
        session
    }

    /// What the library tells of either side.
    pub(super) fn about(&self) -> &CommonState {
        on_either_side!(&self.side, tls => tls)
    }

    /// The host name that the client dialled, on the server's side.
    pub(super) fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// Bytes that are kept of what is not whole yet: [`Session::receive`] wants room for them in front.
    pub(super) fn kept(&self) -> usize {
        self.unfinished.len()
    }

    /// Decodes what has come: all of `incoming` but its first [`Session::kept`] bytes, which are overwritten. Plaintext goes to `into` as
    /// far as there is room, and is kept else; what is wrong with it, [`Session::check`] tells.
    pub(super) fn receive(&mut self, incoming: &mut [u8], into: Option<&mut ReadBuf<'_>>) {
        if self.done.ended || self.failed.is_some() {
            return;
        }
        incoming[..self.unfinished.len()].copy_from_slice(&self.unfinished);
        let rest: &[u8] = match self.advance(incoming, into) {
            // What comes after the peer's goodbye is nothing.
            Ok(_) if self.done.ended => &[],
            Ok(used) if incoming.len() - used <= UNFINISHED_MOST => &incoming[used..],
            Ok(_) => return self.fail(InvalidMessage::HandshakePayloadTooLarge.into()),
            Err(error) => return self.fail(error),
        };
        if rest.is_empty() {
            self.unfinished = Vec::new();
        } else {
            self.unfinished.clear();
            self.unfinished.extend_from_slice(rest);
        }
    }

    /// Takes it that nothing will come any more. What is unfinished stays: the library counts on it in whatever it is asked later.
    pub(super) fn end(&mut self) {
        self.done.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.done.ended
    }

    /// Moves out what is decoded, as far as there is room.
    pub(super) fn take_plaintext(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.done.plaintext.len().min(into.remaining());
        into.put_slice(&self.done.plaintext[..count]);
        consume(&mut self.done.plaintext, count);
    }

    /// Whether there is something to read without the socket: data, the peer's end, or an error.
    pub(super) fn has_news(&self) -> bool {
        !self.done.plaintext.is_empty() || self.done.ended || self.failed.is_some()
    }

    /// # Errors
    /// `InvalidData` with what broke the session, if it is broken.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                RustlsError::clone(error),
            )),
        }
    }

    /// Encrypts into `ciphertext`, which grows where it is too short, and returns how much of it is to be sent, behind what is
    /// [`Session::outgoing`] afterwards.
    ///
    /// # Errors
    /// Those of [`Session::check`], and where nothing may be sent: before the handshake's end, after that of both sides, and when the
    /// keys have been used as often as they may.
    pub(super) fn encrypt(&mut self, plaintext: &[u8], ciphertext: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.check()?;
            let encrypted = on_either_side!(&mut self.side, tls => {
                writing(tls.process_tls_records(&mut self.unfinished))
                    .map(|mut writing| writing.encrypt(plaintext, ciphertext))
            });
            let refused = match encrypted.ok_or(io::ErrorKind::BrokenPipe)? {
                Ok(count) => return Ok(count),
                Err(refused) => refused,
            };
            // A message of TLS itself that would have gone ahead is in the library's queue now.
            self.settle();
            match refused {
                EncryptError::InsufficientSize(needed) => ciphertext.resize(needed.required_size, 0),
                refused @ EncryptError::EncryptExhausted => return Err(io::Error::other(refused)),
            }
        }
    }

    /// Ciphertext that the socket has to take before any that is encrypted later.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.done.outgoing
    }

    /// The socket has taken the first `count` bytes of it.
    pub(super) fn sent(&mut self, count: usize) {
        consume(&mut self.done.outgoing, count);
    }

    /// Keeps what was encrypted and the socket has not taken.
    pub(super) fn owe(&mut self, ciphertext: &[u8]) {
        self.done.outgoing.extend_from_slice(ciphertext);
    }

    /// Says that this side sends no more. Nothing before the handshake's end.
    pub(super) fn say_goodbye(&mut self) {
        if self.failed.is_some() {
            return;
        }
        on_either_side!(&mut self.side, tls => {
            if let Some(mut writing) = writing(tls.process_tls_records(&mut self.unfinished)) {
                // There is no room for it on purpose: so it is queued with what else goes out.
                let _ = writing.queue_close_notify(&mut []);
            }
        });
        self.settle();
    }

    /// Sends what only TLS takes notice of.
    #[cfg(test)]
    pub(super) fn refresh_keys(&mut self) {
        on_either_side!(&mut self.side, tls => {
            let writing = writing(tls.process_tls_records(&mut self.unfinished)).expect("the handshake is done");
            writing.refresh_traffic_keys().expect("TLS 1.3");
        });
        self.settle();
    }

    /// Bytes of all buffers that this session owns.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.unfinished.capacity() + self.done.plaintext.capacity() + self.done.outgoing.capacity()
    }

    /// Empties the library's queue. All that asks it to write must leave it so: what it tells of its queue, it tells once.
    fn settle(&mut self) {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        match self.advance(&mut unfinished, None) {
            Ok(used) => {
                unfinished.drain(..used);
                self.unfinished = unfinished;
            }
            Err(error) => self.fail(error),
        }
    }

    /// Goes as far as `incoming` allows, which has to be all that is kept and what has come behind it; returns how much of it is done
    /// with.
    fn advance(
        &mut self,
        incoming: &mut [u8],
        mut into: Option<&mut ReadBuf<'_>>,
    ) -> Result<usize, RustlsError> {
        let is_handshaking = self.about().is_handshaking();
        let mut used = 0;
        let result = loop {
            let rest = &mut incoming[used..];
            let step = on_either_side!(&mut self.side, tls => {
                step(tls.process_tls_records(rest), &mut self.done, &mut into)
            });
            match step {
                Ok(Step { discard, is_last }) => {
                    used += discard;
                    if is_last {
                        break Ok(used);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        if is_handshaking && let Some(name) = sni::noted() {
            self.sni = Some(name);
        }
        result
    }

    /// Takes the session for broken, and has the peer told why.
    fn fail(&mut self, error: RustlsError) {
        self.failed = Some(Box::new(error));
        self.unfinished = Vec::new();
        // Alerts and nothing else: the library would read on behind what broke it.
        while self.about().wants_write() {
            let told = on_either_side!(&mut self.side, tls => {
                step(tls.process_tls_records(&mut []), &mut self.done, &mut None)
            });
            if told.is_err() {
                break;
            }
        }
    }
}

struct Step {
    /// Ciphertext that is done with.
    discard: usize,
    /// There is none after it, for now.
    is_last: bool,
}

/// Does what the library asks for.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    done: &mut Done,
    into: &mut Option<&mut ReadBuf<'_>>,
) -> Result<Step, RustlsError> {
    let UnbufferedStatus { mut discard, state } = status;
    let mut is_last = false;
    match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                hand_out(record.payload, &mut done.plaintext, into);
            }
        }
        ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut done.outgoing)?,
        // What is in the queue counts as sent.
        ConnectionState::TransmitTlsData(data) => data.done(),
        ConnectionState::PeerClosed => done.ended = true,
        ConnectionState::Closed => (done.ended, is_last) = (true, true),
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => is_last = true,
        // Only early data is left, which nobody is allowed to send.
        other => return Err(RustlsError::General(format!("unexpected state {other:?}"))),
    }
    Ok(Step { discard, is_last })
}

/// What writes, if the session is where it may; asked of a session whose queue is empty.
fn writing<'c, D>(status: UnbufferedStatus<'c, '_, D>) -> Option<WriteTraffic<'c, D>> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(writing)) => Some(writing),
        _ => None,
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, outgoing: &mut BytesMut) -> Result<(), RustlsError> {
    let start = outgoing.len();
    // Asked without room, it tells how much it needs.
    while let Err(error) = data.encode(&mut outgoing[start..]) {
        match error {
            EncodeError::InsufficientSize(needed) => outgoing.resize(start + needed.required_size, 0),
            error @ EncodeError::AlreadyEncoded => return Err(RustlsError::General(error.to_string())),
        }
    }
    Ok(())
}

/// Gives the reader what it has room for, and keeps the rest.
fn hand_out(mut payload: &[u8], plaintext: &mut BytesMut, into: &mut Option<&mut ReadBuf<'_>>) {
    if let Some(into) = into
        && plaintext.is_empty()
    {
        let (fits, rest) = payload.split_at(payload.len().min(into.remaining()));
        into.put_slice(fits);
        payload = rest;
    }
    plaintext.extend_from_slice(payload);
}

/// Takes `count` bytes off; an empty buffer is given up.
fn consume(buffer: &mut BytesMut, count: usize) {
    if count == buffer.len() {
        *buffer = BytesMut::new();
    } else {
        buffer.advance(count);
    }
}
