//! OP_COMPRESSED on the client's side: what is agreed on in `hello`, requests that come compressed, replies that go so.
//!
//! As with a `mongod`, what is agreed on tells the client what it may send, and each message names its own compressor: a request is
//! taken by any compressor that the listener offers, and its reply goes back by the same. Replies to requests that came as
//! they are stay so; so do those of commands that must not be compressed.
//!
//! Room in the byte budget is drawn before a message is inflated, and for all its forms at once: one that held room for the
//! compressed form while it waits for the other could wait for others that do the same.

use bson::{RawArrayBuf, RawDocumentBuf, raw::cstr};
use bytes::BytesMut;

use super::{
    ListenerOptions,
    session::{End, Session},
    shared::Shared,
};
use crate::{
    net::{self, Permit, budget::SMALL},
    pool::Lease,
    telemetry::Counters,
    wire::{
        Compressor, Frame, Header, OpCode, RawDoc, WireError,
        op_compressed::{self, DEFAULT_LEVEL, Envelope},
    },
};

/// Bytes of the largest message, as it came or inflated, that is taken of a client before its login: no login needs more.
const MOST_OF_STRANGERS: usize = 64 << 10;

/// Compressors in an order, each at most once: those that a client offers, or those that it and its listener agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compressors([Option<Compressor>; Compressor::NEGOTIABLE.len()]);

impl Compressors {
    /// Reads what `hello` offers; what no compressor is called is passed over.
    ///
    /// # Errors
    /// What the list holds that is no name.
    pub(super) fn read(names: RawDoc<'_>) -> Result<Self, OfferError> {
        let mut offer = Self::default();
        for name in names {
            let name = name?.as_str_bytes().ok_or(OfferError::NoName)?;
            let known = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            offer.extend(known);
        }
        Ok(offer)
    }

    /// Those that the listener takes, too: in the listener's order if it states one, else in the client's, as a `mongod` does it.
    pub(super) fn agree(self, listener: &ListenerOptions) -> Self {
        match &listener.compressors {
            None => self,
            Some(ordered) => ordered.iter().copied().filter(|by| self.contains(*by)).collect(),
        }
    }

    /// Adds `compression` to the reply of `hello`, unless nothing is agreed on.
    pub(super) fn append_to(self, hello: &mut RawDocumentBuf) {
        let names: RawArrayBuf = self.iter().map(Compressor::name).collect();
        if !names.is_empty() {
            hello.append(cstr!("compression"), names);
        }
    }

    fn iter(&self) -> impl Iterator<Item = Compressor> + '_ {
        self.0.iter().flatten().copied()
    }

    fn contains(&self, compressor: Compressor) -> bool {
        self.iter().any(|other| other == compressor)
    }
}

impl Extend<Compressor> for Compressors {
    fn extend<I: IntoIterator<Item = Compressor>>(&mut self, compressors: I) {
        for compressor in compressors {
            // There is a place for each, so one is free for a new one.
            if !self.contains(compressor)
                && let Some(place) = self.0.iter_mut().find(|place| place.is_none())
            {
                *place = Some(compressor);
            }
        }
    }
}

impl FromIterator<Compressor> for Compressors {
    fn from_iter<I: IntoIterator<Item = Compressor>>(compressors: I) -> Self {
        let mut list = Self::default();
        list.extend(compressors);
        list
    }
}

/// What is wrong with an offer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfferError {
    /// An element is no string.
    #[error("compression must be a list of strings")]
    NoName,
    /// The list is no BSON.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Whether `envelope` came by a compressor that this listener takes.
///
/// # Errors
/// If it did not: the connection is closed, as a `mongod` does.
fn judge(session: &Session, envelope: &Envelope) -> Result<(), WireError> {
    let compressor = envelope.compressor;
    // What was agreed on is taken, though the listener may agree on other ones by now.
    if session.listener.takes(compressor) || session.compressors.contains(compressor) {
        Ok(())
    } else {
        Err(WireError::UnwantedCompressor(compressor))
    }
}

/// The room that a request takes in all its forms: as it came, inflated, and compressed again for the node; none if it is small
/// both as it came and inflated, whether it arrived in one piece or not. `beginning` is what has arrived of it, at least the
/// envelope of a compressed one.
///
/// # Errors
/// When it is compressed and cannot be taken, or is larger than what strangers may send: then it is not even read.
pub(super) fn request_room(session: &Session, header: &Header, beginning: &[u8]) -> Result<usize, WireError> {
    let inflated = if header.op_code == OpCode::Compressed {
        let envelope = Envelope::peek(beginning, header)?;
        judge(session, &envelope)?;
        Some(envelope.inside.length)
    } else {
        None
    };
    let message = inflated.unwrap_or(header.length);
    let longest = header.length.max(message);
    judge_longest(session, longest)?;
    if longest <= SMALL {
        return Ok(0);
    }
    Ok(header.length + inflated.unwrap_or(0) + for_node(&session.shared, message))
}

/// Judges a request by its header alone.
///
/// # Errors
/// When it is larger than what strangers may send.
pub(super) fn judge_length(session: &Session, header: &Header) -> Result<(), WireError> {
    judge_longest(session, header.length)
}

fn judge_longest(session: &Session, longest: usize) -> Result<(), WireError> {
    if session.identity.is_nobody() && longest > MOST_OF_STRANGERS {
        return Err(WireError::Length {
            length: i32::try_from(longest).unwrap_or(i32::MAX),
            max: MOST_OF_STRANGERS,
        });
    }
    Ok(())
}

fn for_node(shared: &Shared, length: usize) -> usize {
    if shared.cluster.compresses() {
        op_compressed::most_deflated(length)
    } else {
        0
    }
}

/// Inflates a request that came compressed, and tells by what. One that came with a permit has room for this already.
///
/// # Errors
/// When it cannot be taken, or does not inflate to what it announces.
pub(super) async fn inflate(
    session: &mut Session,
    frame: Frame,
    held: &mut Option<Permit>,
) -> Result<(Frame, Option<Compressor>), End> {
    let compressed = frame.header().length;
    let room = request_room(session, &frame.header(), frame.bytes())?;
    if held.is_none() {
        *held = session.shared.requests.acquire(room).await;
    }
    let (frame, compressor) = net::compression::inflate(frame).await?;
    let counters = session.counters();
    counters.compressed_requests.one();
    counters.compressed_request_bytes.add(compressed as u64);
    counters.inflated_request_bytes.add(frame.header().length as u64);
    Ok((frame, Some(compressor)))
}

/// The room that a reply takes in all its forms: as it comes, inflated, and compressed for the client.
pub(super) fn reply_room(lease: &Lease, header: &Header, compressor: Option<Compressor>) -> usize {
    let room = lease.room_for(header);
    match compressor {
        None => room,
        // Whatever a reply is, it is no longer than all its forms.
        Some(_) => room + op_compressed::most_deflated(room),
    }
}

/// Sends a whole reply, compressed if `compressor` says so and it is not so already, as the node sent it.
///
/// # Errors
/// As [`Session::answer`].
pub(super) async fn answer(
    session: &mut Session,
    reply: BytesMut,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    match compressor {
        None => session.answer(reply).await,
        Some(_) if op_compressed::inflated_len(&reply).is_some() => session.answer(reply).await,
        Some(compressor) => Box::pin(answer_compressed(session, reply, compressor)).await,
    }
}

async fn answer_compressed(
    session: &mut Session,
    reply: BytesMut,
    compressor: Compressor,
) -> Result<(), End> {
    let reply = deflated(reply, compressor).await?;
    session.answer(reply).await
}

/// A finished reply in the form in which it goes out: compressed, unless that would be above the limit on messages. For small ones
/// this waits for nothing.
///
/// # Errors
/// Only where Tidegate is stopping.
pub(super) async fn deflated(reply: BytesMut, compressor: Compressor) -> Result<BytesMut, End> {
    let (reply, deflated) = net::compression::deflate(reply, compressor, DEFAULT_LEVEL).await?;
    let Some(deflated) = deflated else {
        return Ok(reply);
    };
    net::buffers::give(reply);
    Ok(deflated)
}

/// As [`deflated`], for the replies that Tidegate makes itself: the few large ones go as they are.
pub(super) fn deflated_small(reply: BytesMut, compressor: Compressor) -> BytesMut {
    net::compression::deflate_small(reply, compressor, DEFAULT_LEVEL)
}

/// Counts a reply that goes out compressed.
pub(super) fn count(counters: &Counters, reply: &[u8], inflated: usize) {
    counters.compressed_replies.one();
    counters.compressed_reply_bytes.add(reply.len() as u64);
    counters.inflated_reply_bytes.add(inflated as u64);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bson::rawdoc;

    use super::*;
    use crate::{client::testing, shutdown::Shutdown, wire::HEADER_LEN};
    use Compressor::{Snappy, Zlib, Zstd};

    fn listener(compressors: Option<&[Compressor]>) -> ListenerOptions {
        ListenerOptions {
            compressors: compressors.map(<[_]>::to_vec),
            ..ListenerOptions::at(SocketAddr::from(([127, 0, 0, 1], 0)))
        }
    }

    #[test]
    fn the_listener_decides_what_is_agreed_on() {
        for (stated, offered, agreed) in [
            (None, &[Zstd, Zlib][..], &[Zstd, Zlib][..]),
            (None, &[], &[]),
            (Some(&[Snappy, Zlib, Zstd][..]), &[Zstd, Snappy], &[Snappy, Zstd]),
            (Some(&[Zlib]), &[Snappy, Zlib], &[Zlib]),
            (Some(&[Zlib]), &[Snappy], &[]),
            (Some(&[]), &[Snappy, Zlib, Zstd], &[]),
        ] {
            let offer: Compressors = offered.iter().copied().collect();
            let found: Vec<_> = offer.agree(&listener(stated)).iter().collect();
            assert_eq!(found, agreed, "{stated:?} {offered:?}");
        }
    }

    #[test]
    fn nothing_agreed_on_leaves_the_reply_as_it_is() {
        let mut hello = rawdoc! { "ok": 1 };
        Compressors::default().append_to(&mut hello);
        assert_eq!(hello, rawdoc! { "ok": 1 });
    }

    #[tokio::test]
    async fn small_requests_need_no_room_whatever_forms_they_take_on_the_way() {
        let shutdown = Shutdown::new();
        let (session, _client) = testing::compressing(&shutdown).await;
        let room = |length: usize, inflated: Option<usize>| {
            let header = Header {
                length,
                request_id: 1,
                response_to: 0,
                op_code: inflated.map_or(OpCode::Msg, |_| OpCode::Compressed),
            };
            let mut beginning = header.to_bytes().to_vec();
            if let Some(inflated) = inflated {
                beginning.extend((OpCode::Msg as i32).to_le_bytes());
                beginning.extend((inflated as i32 - HEADER_LEN as i32).to_le_bytes());
                beginning.push(Zlib as u8);
            }
            request_room(&session, &header, &beginning).unwrap()
        };
        for (length, inflated) in [(SMALL, None), (100, Some(SMALL)), (SMALL, Some(SMALL))] {
            assert_eq!(room(length, inflated), 0, "{length} {inflated:?}");
        }
        for (length, inflated, bytes) in [
            (SMALL + 1, None, SMALL + 1),
            (100, Some(SMALL + 1), 100 + SMALL + 1),
        ] {
            let forms = bytes + op_compressed::most_deflated(SMALL + 1);
            assert_eq!(room(length, inflated), forms, "{length} {inflated:?}");
        }
        shutdown.begin();
    }
}
