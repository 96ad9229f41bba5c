//! Asking a node, and passing its reply on.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bson::RawDocumentBuf;
use bytes::BytesMut;

use super::{
    attend::{Gone, IfGone, attend},
    inbound::{ReplyForm, ReplyTo, encode},
    session::{End, Session},
    shards, stream,
};
use crate::{
    command::{Reply, Request, state_change},
    net::budget::{SMALL, transfer_time},
    pool::Lease,
    routing::Pinned,
    topology::Address,
    upstream::{Failure, Incoming, Reason},
    wire::{Frame, OpCode, RawDoc, WireError, legacy_translate, op_msg},
};

/// How long the reply to a command is awaited whose client is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// Sends the request and waits for the reply, all of it if it is small.
pub(super) async fn ask(
    session: &mut Session,
    lease: &mut Lease,
    frame: &mut Frame,
    request: &Request,
) -> Result<Result<Incoming, Failure>, Gone> {
    let abandons = request.is_abandonable() && !session.client.has_ended();
    let (while_sending, for_reply) = if abandons {
        (IfGone::Stop, IfGone::Stop)
    } else {
        // A whole write is executed although its client left, so it must reach the node whole, at any speed above the least.
        let sending = transfer_time(frame.bytes().len());
        (IfGone::GoOnFor(sending), IfGone::GoOnFor(DRAIN))
    };
    if let Err(failure) = attend(&mut session.client, while_sending, pin!(lease.send(frame))).await? {
        return Ok(Err(failure));
    }
    let outcome = attend(&mut session.client, for_reply, pin!(lease.reply(SMALL))).await;
    match outcome {
        Err(Gone) if abandons && !lease.pool().may_abandon() => {
            // Too many were closed just now: this one may finish and stay open.
            let rest = tokio::time::timeout(DRAIN, lease.reply(SMALL));
            rest.await.map_err(|_| Gone)
        }
        outcome => outcome,
    }
}

/// Passes a reply on. The connection goes back to its pool before the client gets its bytes, except while streaming.
pub(super) async fn relay(
    session: &mut Session,
    lease: Lease,
    incoming: Incoming,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    match incoming {
        Incoming::Whole(frame) => {
            let node = lease.pool().clone();
            drop(lease);
            pass_on(session, frame, node.address(), request, reply_to).await
        }
        Incoming::Large(header) => Box::pin(relay_large(session, lease, header, request, reply_to)).await,
    }
}

async fn relay_large(
    session: &mut Session,
    mut lease: Lease,
    header: crate::wire::Header,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    if header.length > session.shared.limits.stream_above && reply_to.form == ReplyForm::Msg {
        match stream::head(&mut lease, &header, request).await {
            Ok(Some(head)) => return stream::pass_through(session, lease, head, request, reply_to).await,
            Ok(None) => {}
            Err(failure) => return broken(session, &failure, request, reply_to).await,
        }
    }
    let room = session.shared.replies.acquire(header.length).await;
    // A node that stops in mid-reply must not keep the room.
    let limit = transfer_time(header.length);
    let late = |_| Err(Failure::replied(Reason::ReplyTimeout(limit)));
    let rest = tokio::time::timeout(limit, lease.rest(&header)).await;
    let frame = match rest.unwrap_or_else(late) {
        Ok(frame) => frame,
        Err(failure) => return broken(session, &failure, request, reply_to).await,
    };
    let node = lease.pool().clone();
    drop(lease);
    let passed = pass_on(session, frame, node.address(), request, reply_to).await;
    drop(room);
    passed
}

/// Tells the client that the reply broke off before any of it was passed on.
async fn broken(
    session: &mut Session,
    failure: &Failure,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    session.counters().commands_failed.one();
    session.shared.cluster.request_check();
    let message = format!("the reply broke off: {failure}; the command may have been executed");
    let error = crate::command::ErrorReply::unreachable(request, message);
    match encode(&error.to_document(), reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Judges a whole reply, and gives it to the client under the number of its request.
async fn pass_on(
    session: &mut Session,
    mut frame: Frame,
    node: &Address,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    let reply = match judge(&frame) {
        Ok(reply) => reply,
        Err(error) => {
            let failure = Failure::replied(Reason::Wire(error));
            return Box::pin(broken(session, &failure, request, reply_to)).await;
        }
    };
    remember(session, &reply, node, request);
    if reply.has_error {
        session.counters().node_errors.one();
        if let Some(masked) = masked(&frame)
            && !session.reaches_one_member()
        {
            return Box::pin(answer_masked(session, masked, node, reply_to)).await;
        }
    }
    match reply_to.form {
        ReplyForm::None => {
            if reply.has_error {
                tracing::debug!(%node, "an unacknowledged command failed");
            }
            Ok(())
        }
        ReplyForm::Msg => {
            if request.in_transaction && reply.ok {
                shards::add_recovery_token(session, &mut frame);
            }
            frame.set_response_to(reply_to.request_id);
            op_msg::refresh_checksum(&mut frame);
            session.answer(frame.into_bytes()).await
        }
        ReplyForm::Legacy => {
            let mut out = BytesMut::new();
            legacy_translate::op_msg_to_reply(&frame, reply_to.request_id, &mut out)?;
            session.answer(out).await
        }
    }
}

/// Gives the client a reply without its state-change errors, and makes use of what they tell.
async fn answer_masked(
    session: &mut Session,
    masked: state_change::Masked,
    node: &Address,
    reply_to: ReplyTo,
) -> Result<(), End> {
    session.counters().state_changes_masked.one();
    if let Some(state) = masked.node_state {
        session
            .shared
            .cluster
            .report_state_change(node, state.code, state.topology_version);
    }
    // What came from the wire as BSON always goes back into it.
    let reply = RawDocumentBuf::try_from(&masked.reply).unwrap_or_default();
    match encode(&reply, reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Reads what the reply says.
fn judge(frame: &Frame) -> Result<Reply, WireError> {
    if frame.header().op_code != OpCode::Msg {
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

/// Keeps the pins true: a reply opens a cursor, goes on with one, or ends it.
pub(super) fn remember(session: &Session, reply: &Reply, node: &Address, request: &Request) {
    let pins = &session.shared.pins;
    let pinned = || Pinned {
        node: node.clone(),
        awaits: request.awaits || reply.resumable,
    };
    match (request.cursor_id, reply.cursor_id) {
        (Some(old), Some(0)) => pins.remove(old),
        (Some(old), Some(id)) if (old != id || pins.get(id, Instant::now()).is_none()) => {
            pins.insert(id, pinned(), Instant::now());
        }
        (Some(old), None) if reply.code == 43 => pins.remove(old),
        (None, Some(id)) if id != 0 && request.may_have_cursor() => pins.insert(id, pinned(), Instant::now()),
        _ => {}
    }
}

/// The body of a whole reply.
pub(super) fn body(frame: &Frame) -> Result<RawDoc<'_>, WireError> {
    op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
