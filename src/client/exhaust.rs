//! Exhaust cursors: one `getMore` answered by a chain of replies (OP_MSG specification, `exhaustAllowed` and `moreToCome`).
//!
//! Each reply of a chain names the one before it, and the first one the request. The node numbers its replies as it likes
//! and each connection's requests have numbers of their own, so the chain is told anew with ours. It holds its connection to
//! the end; a slow client slows the node down, and one that leaves closes the connection, by which the node learns to
//! stop and closes the cursor.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

use super::{
    attend::{Gone, IfGone, attend},
    inbound::{ReplyTo, encode},
    relay::{self, Whole},
    session::{End, Session},
};
use crate::{
    command::{ErrorReply, Request},
    net::budget::SMALL,
    pool::Lease,
    upstream::{Failure, Incoming},
    wire::op_msg,
};

/// Why the next reply of a chain does not come.
enum Cut {
    /// The client is gone.
    Gone,
    /// Tidegate is stopping.
    Stopping,
    /// The node failed.
    Failed(Failure),
}

/// Passes a chain on from its first reply, which says that more come, to its last.
///
/// # Errors
/// When the client fails, or is gone.
pub(super) async fn chain(
    session: &mut Session,
    mut lease: Lease,
    mut whole: Whole,
    request: &Request,
    mut reply_to: ReplyTo,
) -> Result<(), End> {
    session.counters().exhaust_chains.one();
    loop {
        let is_last = lease.is_clean() || whole.reply.has_error;
        if is_last {
            // An error ends the chain, whatever its flag bits say.
            let flags = op_msg::peek_flags(whole.frame.bytes())? & !op_msg::MORE_TO_COME;
            op_msg::set_flags(&mut whole.frame, flags);
            let node = lease.pool().clone();
            drop(lease);
            let last = relay::form(session, whole, node.address(), request, reply_to)?;
            return relay::send(session, last, request, reply_to).await;
        }
        let id = session.shared.next_id();
        whole.frame.set_request_id(id);
        let outgoing = relay::form(session, whole, lease.pool().address(), request, reply_to)?;
        relay::send(session, outgoing, request, reply_to).await?;
        reply_to.request_id = id;
        whole = match next(session, &mut lease, reply_to).await {
            Ok(next) => next,
            Err(cut) => {
                drop(lease);
                return end(session, cut, request, reply_to).await;
            }
        };
    }
}

/// Waits for the next reply.
async fn next(session: &mut Session, lease: &mut Lease, reply_to: ReplyTo) -> Result<Whole, Cut> {
    if session.client.has_ended() {
        return Err(Cut::Gone);
    }
    let shared = Arc::clone(&session.shared);
    let arriving = async {
        match lease.reply(SMALL).await? {
            Incoming::Whole(frame) => Whole::judge(frame, None),
            Incoming::Large(header) => relay::hold(&shared, lease, &header, reply_to).await,
        }
    };
    let arriving = pin!(arriving);
    let mut attended = pin!(attend(&mut session.client, IfGone::Stop, arriving));
    poll_fn(|cx| {
        // The session is woken when Tidegate stops; a chain that never waits sees it here too.
        if shared.stopping.load(Relaxed) {
            return Poll::Ready(Err(Cut::Stopping));
        }
        attended.as_mut().poll(cx).map(|outcome| match outcome {
            Ok(next) => next.map_err(Cut::Failed),
            Err(Gone) => Err(Cut::Gone),
        })
    })
    .await
}

/// Ends a chain early: with an error in the place of the next reply, if somebody is there to read it.
async fn end(session: &mut Session, cut: Cut, request: &Request, reply_to: ReplyTo) -> Result<(), End> {
    let counters = session.counters();
    let message = match cut {
        Cut::Gone => {
            counters.abandoned.one();
            // Complete requests that arrived before the client's end are still to be executed.
            return if session.client.buffered().is_empty() {
                Err(End::Client)
            } else {
                Ok(())
            };
        }
        Cut::Stopping => "the proxy is stopping".to_owned(),
        Cut::Failed(failure) => {
            counters.commands_failed.one();
            session.shared.cluster.request_check();
            format!("the node failed between two replies of an exhaust cursor: {failure}")
        }
    };
    let error = ErrorReply::unreachable(request, message);
    match encode(&error.to_document(), reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}
