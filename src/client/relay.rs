//! Asking a node, and passing its reply on.

use std::{hint::cold_path, pin::pin, time::Duration};

use bson::RawDocumentBuf;
use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    attend::{Gone, IfGone, attend},
    compression, exhaust,
    inbound::{Inbound, ReplyForm, ReplyTo, encode},
    pin::{namespace, remember},
    session::{End, Session},
    shards,
    shared::Shared,
    stream,
};
use crate::{
    command::{
        Reply, Request, number,
        state_change::{self, Level, NodeState},
    },
    net::{
        Permit,
        budget::{SMALL, transfer_time},
    },
    pool::{Lease, Pool},
    topology::Address,
    upstream::{Failure, Incoming, Reason},
    wire::{Frame, Header, OpCode, RawDoc, WireError, op_msg},
};

/// How long the reply to a command is awaited whose client is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// Sends the request and waits for the reply, all of it if it is small.
pub(super) async fn ask(
    session: &mut Session,
    lease: &mut Lease,
    inbound: &mut Inbound,
) -> Result<Result<Incoming, Failure>, Gone> {
    let Inbound {
        frame,
        request,
        reply_to,
        ..
    } = inbound;
    let abandons = request.is_abandonable() && !session.client.has_ended();
    let (while_sending, for_reply) = if abandons {
        (IfGone::Stop, IfGone::Stop)
    } else {
        // A whole write is executed although its client left, so it must reach the node whole, at any speed above the least.
        let sending = transfer_time(frame.bytes().len());
        let for_reply = match reply_to.form {
            // That its client left says nothing; whether the write must go again is seen in its reply. But a write that
            // hangs must not keep its connection for ever.
            form if !form.is_awaited() => IfGone::GoOnFor(session.listener.failover().hold.max(DRAIN)),
            _ => IfGone::GoOnFor(DRAIN),
        };
        (IfGone::GoOnFor(sending), for_reply)
    };
    if let Err(failure) = attend(&mut session.client, while_sending, pin!(lease.send(frame))).await? {
        cold_path();
        return Ok(Err(failure));
    }
    let outcome = attend(&mut session.client, for_reply, pin!(lease.reply(SMALL))).await;
    match outcome {
        Err(Gone) if abandons && !lease.pool().may_abandon() => {
            cold_path();
            // Too many were closed just now: this one may finish and stay open.
            let rest = tokio::time::timeout(DRAIN, lease.reply(SMALL));
            rest.await.map_err(|_| Gone)
        }
        outcome => outcome,
    }
}

/// A reply that can go to the client.
#[derive(Debug)]
pub(super) struct Taken {
    lease: Lease,
    content: Content,
}

/// What there is of a reply.
#[derive(Debug)]
pub(super) enum Content {
    /// All of it.
    Whole(Whole),
    /// The rest follows while the client already gets the first.
    Stream(stream::Head),
}

/// A whole reply that has been judged.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) frame: Frame,
    pub(super) reply: Reply,
    /// That of the connection on which it came.
    pub(super) generation: u64,
    /// Its room in the byte budget.
    pub(super) room: Option<Permit>,
}

impl Whole {
    /// Reads what the reply says.
    pub(super) fn judge(lease: &Lease, frame: Frame, room: Option<Permit>) -> Result<Self, Failure> {
        match judge(&frame) {
            Ok(reply) => Ok(Self {
                frame,
                reply,
                generation: lease.generation(),
                room,
            }),
            Err(error) => {
                cold_path();
                Err(Failure::replied(Reason::Wire(error)))
            }
        }
    }
}

impl Taken {
    /// The node that replied.
    pub(super) fn node(&self) -> &Address {
        self.pool().address()
    }

    /// The pool of that node.
    pub(super) fn pool(&self) -> &Pool {
        self.lease.pool()
    }

    /// Takes note of the time when the node was done. While a reply is streamed it is not, nor when others are to follow.
    pub(super) fn note_done(&mut self, at: Instant) {
        if matches!(self.content, Content::Whole(_)) && self.lease.is_clean() {
            self.lease.note_done(at.into_std());
        }
    }

    /// Whether an error stands in it, at any level. What is streamed has none.
    pub(super) fn has_error(&self) -> bool {
        matches!(&self.content, Content::Whole(whole) if whole.reply.has_error)
    }

    /// The code of the error that the command failed with; 0 if it did not.
    pub(super) fn error_code(&self) -> i32 {
        match &self.content {
            Content::Whole(whole) if !whole.reply.ok => whole.reply.code,
            _ => 0,
        }
    }

    /// Whether the error with which the command failed ends with these words.
    pub(super) fn says(&self, words: &[u8]) -> bool {
        let Content::Whole(whole) = &self.content else {
            return false;
        };
        let message = body(&whole.frame).and_then(|body| body.get("errmsg"));
        matches!(message, Ok(Some(text)) if text.as_str_bytes().is_some_and(|text| text.ends_with(words)))
    }

    /// The error that a verdict may be due on: the command's own, or that of a changing replica set at any level.
    pub(super) fn trouble(&self) -> Option<(Level, i32)> {
        let Content::Whole(whole) = &self.content else {
            return None;
        };
        if !whole.reply.has_error {
            return None;
        }
        cold_path();
        if whole.reply.code != 0 {
            return Some((Level::Command, whole.reply.code));
        }
        state_change::find(body(&whole.frame).ok()?).ok()?
    }

    /// Makes use of what an error that is not passed on tells of its node; whether it tells anything.
    pub(super) fn report_state(&self, session: &Session) -> bool {
        let Content::Whole(whole) = &self.content else {
            return false;
        };
        let state = masked(&whole.frame).and_then(|masked| masked.node_state);
        let tells = state.is_some();
        note_state(session, (self.node(), whole.generation), state);
        tells
    }
}

/// Takes a reply in, as far as that is needed before any of it may go to the client. A large one is a matter of its own
/// ([`take_large`]), so that the usual one costs the session's future nothing.
///
/// # Errors
/// When it cannot be read; nothing has gone out then.
pub(super) fn take_whole(lease: Lease, frame: Frame) -> Result<Box<Taken>, Failure> {
    let content = Content::Whole(Whole::judge(&lease, frame, None)?);
    Ok(Box::new(Taken { lease, content }))
}

/// Takes a reply in, be it large or not.
///
/// # Errors
/// When it breaks off, or cannot be read; nothing has gone out then.
pub(super) async fn take(
    session: &Session,
    lease: Lease,
    incoming: Incoming,
    inbound: &Inbound,
) -> Result<Box<Taken>, Failure> {
    match incoming {
        Incoming::Whole(frame) => take_whole(lease, frame),
        Incoming::Large(header) => take_large(session, lease, header, inbound).await,
    }
}

/// Takes a large reply in: its head if it can be streamed, else all of it.
///
/// # Errors
/// When it breaks off, or cannot be read; nothing has gone out then.
pub(super) async fn take_large(
    session: &Session,
    mut lease: Lease,
    header: Header,
    inbound: &Inbound,
) -> Result<Box<Taken>, Failure> {
    // Of a chain the client takes as much at a time as it likes, so as little as possible is held.
    let above = if inbound.request.takes_exhaust() {
        0
    } else {
        session.listener.limits().stream_above
    };
    let (shared, request) = (&session.shared, &inbound.request);
    let content = take_content(shared, &mut lease, &header, request, inbound.reply_to, above).await?;
    Ok(Box::new(Taken { lease, content }))
}

/// The head of a reply that has more than `above` bytes and can be streamed; all of any other.
///
/// # Errors
/// When it breaks off, or cannot be read.
pub(super) async fn take_content(
    shared: &Shared,
    lease: &mut Lease,
    header: &Header,
    request: &Request,
    reply_to: ReplyTo,
    above: usize,
) -> Result<Content, Failure> {
    // What a client wants compressed is held whole: it asked for few bytes, not for early ones.
    let may_stream = reply_to.form == ReplyForm::Msg && reply_to.compressor.is_none();
    if may_stream
        && header.length > above
        && let Some(head) = stream::head(lease, header, request).await?
        && lease.begin_stream()
    {
        return Ok(Content::Stream(head));
    }
    hold(shared, lease, header, reply_to).await.map(Content::Whole)
}

/// Holds all of a large reply, within the byte budget.
async fn hold(
    shared: &Shared,
    lease: &mut Lease,
    header: &Header,
    reply_to: ReplyTo,
) -> Result<Whole, Failure> {
    let room = compression::reply_room(lease, header, reply_to.compressor);
    let room = shared.replies.acquire(room).await;
    lease.socket().make_room(header.length);
    // A node that stops in mid-reply must not keep the room.
    let limit = transfer_time(header.length);
    let late = |_| Err(Failure::replied(Reason::ReplyTimeout(limit)));
    let rest = tokio::time::timeout(limit, lease.rest(header)).await;
    Whole::judge(lease, rest.unwrap_or_else(late)?, room)
}

/// What is left to do for a reply that is passed on.
pub(super) enum Outgoing {
    /// Nothing: the client wants none.
    Nothing,
    /// These bytes go out, and keep their room in the byte budget until then.
    Bytes(BytesMut, Option<Permit>),
    /// More comes from the node, or more than one reply.
    More(Box<Taken>),
}

/// Makes a reply ready to go out. The connection goes back to its pool before the client gets the reply's bytes, except
/// while more of them come.
///
/// # Errors
/// When the reply has no form that the client understands.
pub(super) fn make_ready(
    session: &Session,
    mut taken: Box<Taken>,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<Outgoing, End> {
    match &mut *taken {
        Taken {
            lease,
            content: Content::Whole(whole),
        } if lease.is_clean() || !request.takes_exhaust() => {
            form(session, whole, lease.pool().address(), request, reply_to)
        }
        _ => {
            cold_path();
            Ok(Outgoing::More(taken))
        }
    }
}

/// Sends what [`make_ready`] made: every reply of a node goes out here, but those that are streamed.
pub(super) async fn send(
    session: &mut Session,
    outgoing: Outgoing,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    match outgoing {
        Outgoing::Nothing => Ok(()),
        Outgoing::Bytes(reply, room) => match session.kept() {
            Some(kept) => {
                cold_path();
                kept.take_in(reply, room);
                Ok(())
            }
            None => compression::answer(session, reply, reply_to.compressor).await,
        },
        Outgoing::More(taken) => {
            cold_path();
            Box::pin(send_more(session, *taken, request, reply_to)).await
        }
    }
}

async fn send_more(
    session: &mut Session,
    taken: Taken,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    let Taken { lease, content } = taken;
    match content {
        Content::Stream(head) if !head.is_followed() => {
            let (node, generation) = (lease.pool().clone(), lease.generation());
            let passed = stream::pass_through(session, lease, head, request, reply_to).await;
            note_broken(session, (node.address(), generation), &passed);
            passed
        }
        first => exhaust::chain(session, lease, first, request, reply_to).await,
    }
}

/// Passes a reply on.
pub(super) async fn give(
    session: &mut Session,
    taken: Box<Taken>,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    let outgoing = make_ready(session, taken, request, reply_to)?;
    send(session, outgoing, request, reply_to).await
}

/// Gives a whole reply, whose bytes it takes, the form that the client wants, under the number of its request, and makes use of what it tells.
pub(super) fn form(
    session: &Session,
    whole: &mut Whole,
    node: &Address,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<Outgoing, End> {
    let Whole {
        frame,
        reply,
        generation,
        room,
    } = whole;
    remember(session, reply, node, request, || {
        let cursor = body(frame).ok()?.get("cursor").ok()??.as_doc()?;
        namespace(cursor)
    });
    if reply.tells_of_retry {
        cold_path();
        note_retry(session, frame, request);
    }
    if reply.has_error {
        cold_path();
        session.counters().node_errors.one();
        if reply.has_labels && !request.has_txn_number {
            number::forget_label(frame);
        }
        if let Some(masked) = masked(frame)
            && !session.reaches_one_member()
        {
            return form_masked(session, masked, (node, *generation), reply_to);
        }
    }
    match reply_to.form {
        ReplyForm::None => {
            if reply.has_error {
                tracing::debug!(%node, "an unacknowledged command failed");
            }
            Ok(Outgoing::Nothing)
        }
        ReplyForm::Msg => {
            if request.in_transaction && reply.ok {
                shards::add_recovery_token(session, frame);
            }
            frame.set_response_to(reply_to.request_id);
            op_msg::refresh_checksum(frame);
            let as_it_came = reply_to.compressor.and_then(|by| frame.take_packed(by));
            let bytes = as_it_came.unwrap_or_else(|| frame.surrender());
            Ok(Outgoing::Bytes(bytes, room.take()))
        }
        ReplyForm::Kept | ReplyForm::KeptUnawaited => Ok(Outgoing::Bytes(frame.surrender(), room.take())),
    }
}

/// Takes note that the node had executed the write at an earlier attempt. Who sent no number is not told.
fn note_retry(session: &Session, frame: &mut Frame, request: &Request) {
    session.counters().retries_recognised.one();
    if !request.has_txn_number {
        number::forget_retry(frame);
        op_msg::refresh_checksum(frame);
    }
}

/// A reply without its state-change errors; makes use of what they tell.
fn form_masked(
    session: &Session,
    masked: state_change::Masked,
    from: (&Address, u64),
    reply_to: ReplyTo,
) -> Result<Outgoing, End> {
    session.counters().state_changes_masked.one();
    note_state(session, from, masked.node_state);
    // What came from the wire as BSON always goes back into it.
    let reply = RawDocumentBuf::try_from(&masked.reply).unwrap_or_default();
    let reply = encode(&reply, reply_to)?;
    Ok(reply.map_or(Outgoing::Nothing, |reply| Outgoing::Bytes(reply, None)))
}

/// Makes use of how a streamed reply ended, which came on a connection of this generation.
pub(super) fn note_broken(session: &Session, (node, generation): (&Address, u64), passed: &Result<(), End>) {
    if let Err(End::StreamBroken(failure)) = passed {
        let (shared, core) = (&session.shared, session.core);
        shared.note_failure(core, node, generation, failure);
    }
}

/// Makes use of what a node told of itself, on a connection of this generation.
fn note_state(session: &Session, (node, generation): (&Address, u64), state: Option<NodeState>) {
    if let Some(state) = state {
        let error = state.into_error(generation);
        session.shared.cluster.report_error(node, error);
    }
}

fn judge(frame: &Frame) -> Result<Reply, WireError> {
    if frame.header().op_code != OpCode::Msg {
        cold_path();
        return Err(WireError::Unsupported(frame.header().op_code));
    }
    let layout = op_msg::Layout::parse(frame.bytes())?;
    Reply::peek(layout.body(frame.bytes())?)
}

/// The reply without the errors that a driver would take for the proxy's own state, if it has any.
fn masked(frame: &Frame) -> Option<state_change::Masked> {
    let layout = op_msg::Layout::parse(frame.bytes()).ok()?;
    state_change::mask(layout.body(frame.bytes()).ok()?).ok()?
}

/// The body of a whole reply.
pub(super) fn body(frame: &Frame) -> Result<RawDoc<'_>, WireError> {
    op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
