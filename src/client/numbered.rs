//! Writes that come without a number go out under a session and number of the proxy's own.
//!
//! It happens once for a command, when it is known that a node gets it that takes numbers; every further attempt repeats the same
//! message, so that the node recognises it. The session goes back when a node has answered, if it was the only one that had the write
//! or says that it is done: then none is at it any more. Else it is dropped with the request, and never used again.

use std::time::{Duration, Instant};

use bson::uuid::Uuid;

use super::{exchange::Attempt, inbound::Inbound, session::Session, shared::Shared};
use crate::{
    command::{number, retryable::takes_number},
    failover::Lent,
    topology::ServerKind,
};

/// A node knows a later number of this session (TransactionTooOld): another process uses it too, as the copy of a virtual
/// machine would.
const TOO_OLD: i32 = 225;

/// Gives the request a session and number of the proxy's own, if it is a write that has none and a node of this kind takes it.
#[inline]
pub(super) fn put(session: &Session, inbound: &mut Inbound, kind: ServerKind) {
    let is_write = inbound.request.row.is_some_and(|row| row.write.is_some());
    if is_write && !inbound.lent.is_some() {
        put_on_write(session, inbound, kind);
    }
}

fn put_on_write(session: &Session, inbound: &mut Inbound, kind: ServerKind) {
    let shared = &session.shared;
    let takes_numbers = matches!(kind, ServerKind::RsPrimary | ServerKind::Mongos);
    if !takes_numbers || !session.listener.failover().exactly_once || session.reaches_one_member() {
        return;
    }
    let Inbound { frame, request, .. } = inbound;
    if !takes_number(frame.bytes(), request) {
        return;
    }
    let Some(timeout) = session_timeout(shared) else {
        return;
    };
    let new_id = || Uuid::new().bytes();
    let now = Instant::now();
    let lent = shared
        .sessions
        .lend(session.core, &session.identity, now, timeout, new_id);
    let is_put = lent
        .number()
        .is_some_and(|(id, number)| number::put(frame, request, id, number));
    if !is_put {
        // It was not used.
        shared.sessions.give_back(session.core, lent);
        return;
    }
    if !inbound.reply_to.form.is_awaited() {
        number::acknowledge(frame, request);
    }
    inbound.lent = lent;
    session.counters().writes_numbered.one();
}

/// After how long the nodes forget a session; `None` if one of them has no sessions.
pub(super) fn session_timeout(shared: &Shared) -> Option<Duration> {
    let minutes = shared.cluster.load().topology.common()?.session_timeout_minutes?;
    Some(Duration::from_secs(60 * u64::try_from(minutes).ok()?))
}

/// Gives the request's session back if the outcome of its write is known.
#[inline]
pub(super) fn settle(session: &Session, inbound: &mut Inbound, outcome: &Attempt) {
    if !inbound.lent.is_some() {
        return;
    }
    let is_known = match outcome {
        Attempt::Reply(taken) => match taken.trouble() {
            None => true,
            Some((_, code)) => code != TOO_OLD && !inbound.has_broken,
        },
        Attempt::Late(..) => true,
        _ => false,
    };
    if is_known {
        let lent = std::mem::replace(&mut inbound.lent, Lent::NONE);
        session.shared.sessions.give_back(session.core, lent);
    }
}
