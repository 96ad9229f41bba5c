//! Exhaust cursors: one `getMore` answered by a chain of replies (OP_MSG specification, `exhaustAllowed` and `moreToCome`).
//!
//! Each reply of a chain names the one before it, and the first one the request. The node numbers its replies as it likes
//! and each connection's requests have numbers of their own, so the chain is told anew with ours. It holds its connection to
//! the end; a slow client slows the node down, and one that leaves closes the connection, by which the node learns to
//! stop and closes the cursor.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    attend::{Gone, IfGone, attend},
    inbound::{ReplyTo, encode},
    pace::STALL,
    relay::{self, Content, Outgoing, Whole},
    session::{End, Session},
    stream,
};
use crate::{
    command::{ErrorReply, Request},
    net::{budget::SMALL, buffers},
    pool::Lease,
    telemetry::{Count, Pin},
    topology::Address,
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
    mut content: Content,
    request: &Request,
    mut reply_to: ReplyTo,
) -> Result<(), End> {
    session.counters().exhaust_chains.one();
    session.counters().reasons.one(Pin::Exhaust);
    loop {
        let id = session.shared.next_id();
        match content {
            Content::Whole(whole) => {
                // An error ends the chain, whatever its flag bits say.
                let is_last = lease.is_clean() || whole.reply.has_error;
                let node = lease.pool().clone();
                let outgoing = form(session, whole, node.address(), request, reply_to, id, is_last)?;
                if is_last {
                    drop(lease);
                    return send(session, outgoing, request, reply_to).await;
                }
                send(session, outgoing, request, reply_to).await?;
            }
            Content::Stream(head) => {
                let passed = stream::pass_on(session, &mut lease, head, request, reply_to, id).await;
                relay::note_broken(session, (lease.pool().address(), lease.generation()), &passed);
                passed?;
                if !head.is_followed() {
                    return Ok(());
                }
            }
        }
        reply_to.request_id = id;
        content = match next(session, &mut lease, request, reply_to).await {
            Ok(next) => next,
            Err(cut) => {
                if let Cut::Failed(failure) = &cut {
                    let (shared, core) = (&session.shared, session.core);
                    shared.note_failure(core, lease.pool().address(), lease.generation(), failure);
                }
                drop(lease);
                return end(session, cut, request, reply_to).await;
            }
        };
    }
}

/// Gives a whole reply the number `id`.
fn form(
    session: &Session,
    mut whole: Whole,
    node: &Address,
    request: &Request,
    reply_to: ReplyTo,
    id: i32,
    is_last: bool,
) -> Result<Outgoing, End> {
    if is_last {
        let flags = op_msg::peek_flags(whole.frame.bytes())? & !op_msg::MORE_TO_COME;
        op_msg::set_flags(&mut whole.frame, flags);
    }
    whole.frame.set_request_id(id);
    relay::form(session, &mut whole, node, request, reply_to)
}

async fn send(
    session: &mut Session,
    outgoing: Outgoing,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    match outgoing {
        Outgoing::Bytes(reply, None) if reply_to.compressor.is_none() => give(session, reply).await,
        // What holds room in the byte budget must go at pace.
        outgoing => relay::send(session, outgoing, request, reply_to).await,
    }
}

/// Gives the client a reply of a chain, or a part of one. The client takes it when it has worked through what came before.
///
/// # Errors
/// When the client takes nothing for very long, or fails, or Tidegate stops.
pub(super) async fn give(session: &mut Session, bytes: BytesMut) -> Result<(), End> {
    session.counters().sent_bytes.add(bytes.len() as u64);
    let mut written = session.client.write_now(&bytes)?;
    let mut pace = session.pace();
    while written < bytes.len() {
        let some = session.client.write_some(&bytes[written..]);
        match tokio::time::timeout(STALL, some).await {
            Ok(count) => {
                let count = count?;
                written += count;
                pace.took(count, Instant::now());
            }
            Err(_) if session.shared.drain.is_stopping() => return Err(End::Stopping),
            // Whoever waits: a chain was asked for so that each reply may be worked through before the next is taken.
            Err(_) if pace.is_too_slow(false, Instant::now()) => return Err(End::TooSlow(bytes.len())),
            Err(_) => {}
        }
    }
    buffers::give(bytes);
    Ok(())
}

/// Waits for the next reply, or for the head of a large one.
async fn next(
    session: &mut Session,
    lease: &mut Lease,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<Content, Cut> {
    if session.client.has_ended() {
        return Err(Cut::Gone);
    }
    let shared = Arc::clone(&session.shared);
    let arriving = async {
        match lease.reply(SMALL).await? {
            Incoming::Whole(frame) => Whole::judge(lease, frame, None).map(Content::Whole),
            Incoming::Large(header) => {
                relay::take_content(&shared, lease, &header, request, reply_to, 0).await
            }
        }
    };
    let arriving = pin!(arriving);
    let mut attended = pin!(attend(&mut session.client, IfGone::Stop, arriving));
    poll_fn(|cx| {
        // The session is woken when Tidegate stops; a chain that never waits sees it here too.
        if shared.drain.is_stopping() {
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
            format!("the node failed between two replies of an exhaust cursor: {failure}")
        }
    };
    let error = ErrorReply::unreachable(request, message);
    match encode(&error.to_document(), reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{client::testing, shutdown::Shutdown};

    /// More than the buffers of both sides of a loopback connection hold.
    const LARGE: usize = 20 << 20;

    #[tokio::test(start_paused = true)]
    async fn a_client_may_work_for_minutes_before_it_takes_more() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = testing::connected(&shutdown).await;
        let reading = async {
            tokio::time::sleep(Duration::from_secs(400)).await;
            let mut taken = vec![0; LARGE];
            client.read_exact(&mut taken).await.unwrap();
            taken
        };
        let (given, taken) = tokio::join!(
            give(&mut session, BytesMut::from(vec![7; LARGE].as_slice())),
            reading
        );
        given.unwrap();
        assert!(taken.iter().all(|byte| *byte == 7));
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_in_the_end() {
        let shutdown = Shutdown::new();
        let (mut session, _client) = testing::connected(&shutdown).await;
        let started = Instant::now();
        let given = give(&mut session, BytesMut::from(vec![7; LARGE].as_slice())).await;
        assert!(matches!(given, Err(End::TooSlow(LARGE))), "{given:?}");
        assert!(started.elapsed() >= crate::client::pace::MOST_STALLED);
        shutdown.begin();
    }
}
