//! A `hello` that waits: for the first node that answers, or until what is shown changes; once, or as a stream.
//!
//! Sources: the Server Discovery and Monitoring specification ("Streaming protocol", `topologyVersion`, `exhaustAllowed`), and a
//! `mongod` for the chain of message ids: each reply of a stream answers the one before. A waiting client costs its future, a timer and
//! a place among those that are woken when something changes; measurements wake none.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bson::{DateTime, RawDocumentBuf};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    document::document,
    exhausts,
    fields::Fields,
    show::{Shown, show},
};
use crate::{
    client::{
        Reach,
        choose::describe,
        fail_point,
        inbound::{Inbound, ReplyForm, ReplyTo, encode},
        local::append_cluster_time,
        login,
        session::{End, Session},
    },
    command::ErrorReply,
    net::{buffers, buffers::SCRATCH_LEN},
    routing::Route,
    topology::TopologyVersion,
    wire::{RawDoc, op_msg},
};

/// The shortest wait between two replies of a stream: without any, a client that reads as fast as it is written to would keep
/// its core from all others, and Tidegate from stopping.
const SHORTEST_IN_STREAM: Duration = Duration::from_millis(1);

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The cluster has news.
    News,
    /// The time is over.
    Late,
    /// The client went away.
    Gone,
    /// The client sent something, in the middle of a stream.
    Interrupted,
    /// Tidegate is stopping.
    Stopping,
}

/// A reply, and whether it is an error, after which no stream goes on.
struct Next {
    reply: RawDocumentBuf,
    version: Option<TopologyVersion>,
}

/// Answers a `hello` that waits.
pub(super) async fn answer(
    session: &mut Session,
    inbound: &Inbound,
    fields: &Fields,
    logins: login::Answers,
) -> Result<(), End> {
    let mut logins = Some(logins);
    let streams = exhausts(inbound) && !session.load_balanced;
    let mut fields = fields.clone();
    if let Some((_, patience)) = fields.wait.as_mut().filter(|_| streams) {
        *patience = (*patience).max(SHORTEST_IN_STREAM);
    }
    let mut response_to = inbound.reply_to.request_id;
    loop {
        let (next, woken) = next(session, inbound, &fields, streams).await;
        let Some(mut next) = next else {
            return match woken {
                Woken::Stopping => Err(End::Stopping),
                _ => Ok(()),
            };
        };
        if let Some(logins) = logins.take() {
            logins.append_to(&mut next.reply);
        }
        // Only a reply with a version can be followed by another.
        let more = streams && next.version.is_some() && woken != Woken::Interrupted;
        if inbound.reply_to.form != ReplyForm::Msg {
            return match encode(&next.reply, inbound.reply_to)? {
                Some(reply) => session.answer(reply).await,
                None => Ok(()),
            };
        }
        let id = session.shared.next_id();
        let mut out = buffers::take();
        let flags = if more { op_msg::MORE_TO_COME } else { 0 };
        op_msg::encode(
            RawDoc::prefix(next.reply.as_bytes())?,
            id,
            response_to,
            flags,
            &mut out,
        );
        if inbound.reply_to.checksum {
            op_msg::append_checksum(&mut out);
        }
        session.answer(out).await?;
        if !more || session.client.has_ended() {
            return Ok(());
        }
        response_to = id;
        // A server runs the command anew for each reply of the stream.
        let reply_to = ReplyTo {
            request_id: id,
            ..inbound.reply_to
        };
        if session.listener.fail_points && Box::pin(fail_point::strike(session, inbound, reply_to)).await? {
            return Ok(());
        }
        if let (Some((known, _)), Some(version)) = (&mut fields.wait, next.version) {
            *known = version;
        }
    }
}

/// The next reply, once there is one; none if nobody is to get it.
async fn next(
    session: &mut Session,
    inbound: &Inbound,
    fields: &Fields,
    streams: bool,
) -> (Option<Next>, Woken) {
    let mut news = session.shared.cluster.subscribe_news();
    let started = Instant::now();
    let limit = inbound.request.deadline_millis().map(Duration::from_millis);
    let mut timer = None;
    let mut woken = Woken::News;
    loop {
        let shown = show(session, inbound, fields, DateTime::now());
        let patience = match (&shown, &fields.wait) {
            (Shown::NotYet, _) => session.shared.cluster.server_selection_timeout(),
            (Shown::Now(_, terms), Some((known, patience))) => {
                match judge(session, known, terms.version.as_ref()) {
                    Ok(true) => *patience,
                    Ok(false) => Duration::ZERO,
                    Err(error) => return (Some(Next::error(&error)), woken),
                }
            }
            _ => Duration::ZERO,
        };
        let is_due = patience.is_zero() || !matches!(woken, Woken::News);
        match shown {
            Shown::Error(error) => return (Some(Next::error(&error)), woken),
            Shown::Now(role, terms) if is_due => {
                let mut reply = document(fields, &role, &terms);
                append_cluster_time(session, &mut reply);
                let version = terms.version;
                return (Some(Next { reply, version }), woken);
            }
            Shown::NotYet if is_due => {
                return (Some(Next::error(&nobody_has_answered(session, inbound))), woken);
            }
            _ => {}
        }
        let deadline = started + limit.map_or(patience, |limit| limit.min(patience));
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // While it does nothing else the session may be closed.
        session.entry.ties.note_wait(true);
        woken = wait(session, &mut news, timer, streams).await;
        session.entry.ties.note_wait(false);
        match woken {
            Woken::Gone | Woken::Stopping => return (None, woken),
            Woken::Late if limit.is_some_and(|limit| limit < patience) => {
                let error = ErrorReply::max_time_expired("a change of the topology");
                return (Some(Next::error(&error)), woken);
            }
            _ => {}
        }
    }
}

impl Next {
    fn error(error: &ErrorReply) -> Self {
        Self {
            reply: error.to_document(),
            version: None,
        }
    }
}

/// Whether to wait, because what the client knows is what is shown. Another process, or an older count, is answered at once: with
/// several proxies behind one address the client may have asked another one before.
fn judge(
    session: &Session,
    known: &TopologyVersion,
    shown: Option<&TopologyVersion>,
) -> Result<bool, ErrorReply> {
    match shown {
        Some(shown) if shown.process_id == known.process_id => {
            let is_own = !matches!(session.listener.reach, Reach::Node(_));
            if known.counter > shown.counter && is_own {
                let message = format!(
                    "received a topology version with counter {}, which is greater than the server's: {}",
                    known.counter, shown.counter
                );
                return Err(ErrorReply::invalid_hello(31382, "Location31382", message));
            }
            // Of a node, another proxy may have heard earlier.
            Ok(known.counter >= shown.counter)
        }
        _ => Ok(false),
    }
}

/// Waits for whatever comes first. Bytes that come in meanwhile are kept, up to a bound beyond which the client is not watched.
async fn wait(
    session: &mut Session,
    news: &mut watch::Receiver<u64>,
    timer: &mut Pin<Box<Sleep>>,
    streams: bool,
) -> Woken {
    let mut changed = pin!(news.changed());
    let shared = std::sync::Arc::clone(&session.shared);
    let client = &mut session.client;
    poll_fn(|cx| {
        // The session's task is woken when Tidegate stops, and the flag is set before.
        if shared.drain.is_stopping() {
            return Poll::Ready(Woken::Stopping);
        }
        if changed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::News);
        }
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Late);
        }
        while !client.has_ended() && client.buffered().len() < SCRATCH_LEN {
            match client.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                // A reset tells the same as an end; reads that follow see it again.
                Poll::Ready(Err(_)) => client.end(),
            }
        }
        if client.has_ended() && client.buffered().is_empty() {
            return Poll::Ready(Woken::Gone);
        }
        if streams && !client.buffered().is_empty() {
            return Poll::Ready(Woken::Interrupted);
        }
        Poll::Pending
    })
    .await
}

fn nobody_has_answered(session: &Session, inbound: &Inbound) -> ErrorReply {
    let detail = describe(&Route::AnyNode, session);
    let message = format!("no node of the replica set has answered yet: {detail}");
    ErrorReply::unreachable(&inbound.request, message)
}
