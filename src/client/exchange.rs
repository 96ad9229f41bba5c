//! The life of a command, from its message to its reply.
//!
//! Read [`exchange`] from top to bottom: it is the whole story. What waits, fans out, streams or fails stands in modules of
//! its own, and boxed, so that the future of an idle or ordinary session stays small.

use super::{
    abandon, alias, awaits,
    choose::{Chosen, NoNode, Patience},
    fail_point, fan_out,
    inbound::{self, Inbound, Received, ReplyForm},
    local, relay,
    session::{End, Session},
    shards, transaction,
};
use crate::{
    command::{ErrorReply, Request, rewrite},
    failover::{Sent, Verdict, after_failure},
    net::{Permit, buffers},
    pool::{CheckOutError, Lease},
    routing::{Route, decide, needs_read_preference, tells_read_preference},
    topology::{ReadPreference, ServerKind},
    upstream::{Failure, Incoming},
    wire::{Frame, MAX_MESSAGE_LEN},
};

/// What one attempt at a command came to.
pub(super) enum Attempt {
    /// The node's reply, or the first of it.
    Reply(Lease, Incoming),
    /// No connection could be had; nothing was sent.
    NoConnection(CheckOutError),
    /// The exchange failed.
    Failed(Failure),
    /// The client went away, and nothing is left to do for it.
    Gone,
    /// The client is told this.
    Answer(ErrorReply),
}

/// Serves one message. `held` is its room in the byte budget, kept until the command is done.
pub(super) async fn exchange(session: &mut Session, frame: Frame, held: Option<Permit>) -> Result<(), End> {
    let mut inbound = match inbound::receive(frame)? {
        Received::Command(inbound) => inbound,
        Received::Answer(reply) => return session.answer(reply).await,
        Received::Nothing => return Ok(()),
    };
    note(session, &inbound);
    if session.listener.fail_points && Box::pin(fail_point::strike(session, &inbound)).await? {
        return Ok(());
    }
    if session.client.has_ended() && inbound.request.is_abandonable() {
        return Ok(());
    }
    if shards::concerns(&inbound)
        && let Some(reply) = shards::answer(session, &inbound)
    {
        return local::say(session, &reply, &inbound).await;
    }
    let route = match route(session, &inbound).and_then(|route| alias::apply(session, &mut inbound, route)) {
        Ok(route) => route,
        Err(error) => return refuse(session, &error, &inbound).await,
    };
    let patience = Patience::new(
        &inbound.request,
        session.shared.cluster.server_selection_timeout(),
    );
    let outcome = match route {
        Route::Local(local) => return local::answer(session, local, &inbound).await,
        Route::Refused(reason) => {
            let error = ErrorReply::refused(inbound.request.name(inbound.frame.bytes()), reason);
            return refuse(session, &error, &inbound).await;
        }
        Route::KillCursors => return Box::pin(fan_out::kill_cursors(session, inbound, patience)).await,
        Route::AllNodes => return Box::pin(fan_out::all_nodes(session, inbound, patience)).await,
        Route::Cursor(id) => match awaits::pinned(session, &mut inbound.request, id) {
            Some(node) => attempt(session, &mut inbound, &node, patience).await,
            None => Box::pin(fan_out::find_cursor(session, &mut inbound, id, patience)).await,
        },
        Route::Primary if inbound.request.in_transaction && transaction::is_pinned(session) => {
            Box::pin(transaction::run(session, &mut inbound, patience)).await
        }
        Route::Primary | Route::Read(_) | Route::AnyNode => {
            match session.choose_now(&route, &inbound.request) {
                Ok(Some(node)) => match attempt(session, &mut inbound, &node, patience).await {
                    Attempt::Reply(lease, incoming) => Attempt::Reply(lease, incoming),
                    failed => Box::pin(repeat(session, &mut inbound, &route, patience, failed)).await,
                },
                Ok(None) => Box::pin(choose_and_attempt(session, &mut inbound, &route, patience)).await,
                Err(error) => Attempt::Answer(error),
            }
        }
    };
    match outcome {
        Attempt::Reply(lease, incoming) => {
            let Inbound {
                frame,
                request,
                reply_to,
            } = inbound;
            if session.client.has_ended() {
                return Box::pin(abandon::discard(session, lease, incoming, &frame, &request)).await;
            }
            buffers::give(frame.into_bytes());
            drop(held);
            relay::relay(session, lease, incoming, &request, reply_to).await
        }
        failed => Box::pin(tell(session, failed, &inbound, patience)).await,
    }
}

fn note(session: &Session, inbound: &Inbound) {
    let counters = session.counters();
    counters.commands.one();
    match inbound.reply_to.form {
        ReplyForm::Msg => {}
        ReplyForm::Legacy => counters.legacy_commands.one(),
        ReplyForm::None => counters.commands_unacknowledged.one(),
    }
}

fn route(session: &Session, inbound: &Inbound) -> Result<Route, ErrorReply> {
    let wire = || {
        session
            .shared
            .cluster
            .load()
            .topology
            .wire_version_range()
            .map_or(0, |(_, max)| max)
    };
    // Only `$out` and `$merge` ask for the nodes' version.
    let max_wire_version = if inbound.request.writes { wire() } else { 0 };
    decide(
        &inbound.request,
        inbound.frame.bytes(),
        &session.listener.read_preference,
        max_wire_version,
    )
}

/// One attempt on one node: a connection, the request as this node needs it, the reply.
pub(super) async fn attempt(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: Patience,
) -> Attempt {
    let mut lease = match node
        .pool
        .try_check_out(session.core, awaits::share(&inbound.request))
    {
        Some(lease) => lease,
        None => match Box::pin(wait_for_connection(session, inbound, node, patience)).await {
            Ok(lease) => lease,
            Err(failed) => return failed,
        },
    };
    if let Err(error) = prepare(inbound, node.kind, &session.listener.read_preference) {
        return Attempt::Answer(error);
    }
    match relay::ask(session, &mut lease, &mut inbound.frame, &inbound.request).await {
        Ok(Ok(incoming)) => Attempt::Reply(lease, incoming),
        Ok(Err(failure)) => Attempt::Failed(failure),
        Err(_) => {
            session.counters().abandoned.one();
            Attempt::Gone
        }
    }
}

async fn wait_for_connection(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: Patience,
) -> Result<Lease, Attempt> {
    let lease = match session
        .check_out_later(&node.pool, &inbound.request, patience)
        .await
    {
        Ok(Ok(lease)) => lease,
        Ok(Err(error)) => {
            if patience.max_time_left().is_some_and(|left| left.is_zero()) {
                return Err(Attempt::Answer(session.no_connection(
                    &error,
                    &inbound.request,
                    patience,
                )));
            }
            return Err(Attempt::NoConnection(error));
        }
        Err(NoNode::Gone) => return Err(Attempt::Gone),
        Err(NoNode::Answer(error)) => return Err(Attempt::Answer(error)),
    };
    charge_wait(inbound, patience);
    Ok(lease)
}

/// Takes the time that the command was held from its `maxTimeMS`; in a `getMore` that is a wait, and stays.
fn charge_wait(inbound: &mut Inbound, patience: Patience) {
    if let (Some(max), Some(left)) = (inbound.request.max_time, patience.max_time_left()) {
        let millis = (left.as_millis() as u64).max(1);
        rewrite::set_max_time(&mut inbound.frame, &max, millis);
    }
}

/// Gives the request the form that a node of this kind needs.
fn prepare(inbound: &mut Inbound, kind: ServerKind, default: &ReadPreference) -> Result<(), ErrorReply> {
    let Inbound { frame, request, .. } = inbound;
    rewrite::demand_one_reply(frame, request);
    let added = if needs_read_preference(request, frame.bytes(), kind) {
        rewrite::append_read_preference(frame, request, None)
    } else if tells_read_preference(request, frame.bytes(), kind, default) {
        rewrite::append_read_preference(frame, request, Some(default))
    } else {
        Ok(())
    };
    added.map_err(|length| ErrorReply::too_large(length, MAX_MESSAGE_LEN))
}

/// Waits for a node, and goes on from there.
pub(super) async fn choose_and_attempt(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
) -> Attempt {
    let attempted = attempt_later(session, inbound, route, patience).await;
    repeat(session, inbound, route, patience, attempted).await
}

async fn attempt_later(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
) -> Attempt {
    match session.choose_later(route, &inbound.request, patience).await {
        Ok(node) => {
            charge_wait(inbound, patience);
            attempt(session, inbound, &node, patience).await
        }
        Err(NoNode::Gone) => Attempt::Gone,
        Err(NoNode::Answer(error)) => Attempt::Answer(error),
    }
}

/// Goes round again for as long as the verdict allows.
pub(super) async fn repeat(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
    mut attempted: Attempt,
) -> Attempt {
    for attempts in 1.. {
        let sent = match &attempted {
            // A full pool is waited for once; to wait again elsewhere would only lengthen every queue.
            Attempt::NoConnection(CheckOutError::Timeout { .. }) => return attempted,
            Attempt::NoConnection(_) => Sent::NotSent,
            Attempt::Failed(failure) => failure.sent,
            Attempt::Reply(..) | Attempt::Gone | Attempt::Answer(_) => return attempted,
        };
        session.shared.cluster.request_check();
        if after_failure(sent, attempts, !patience.is_over()) == Verdict::Fail {
            break;
        }
        session.counters().commands_sent_again.one();
        if attempts > 1 {
            // The node is most likely going down: what is known of it changes in a moment.
            let pause = std::time::Duration::from_millis(20 << attempts.min(5));
            let mut changes = session.shared.cluster.subscribe();
            let _ = tokio::time::timeout(pause, changes.changed()).await;
        }
        attempted = attempt_later(session, inbound, route, patience).await;
    }
    attempted
}

/// Tells the client what became of a command that has no reply.
pub(super) async fn tell(
    session: &mut Session,
    failed: Attempt,
    inbound: &Inbound,
    patience: Patience,
) -> Result<(), End> {
    let request = &inbound.request;
    let counters = session.counters();
    let error = match failed {
        Attempt::Reply(..) => return Ok(()),
        Attempt::Gone => {
            return if session.client.buffered().is_empty() {
                Err(End::Client)
            } else {
                Ok(())
            };
        }
        Attempt::Answer(error) => {
            counters.commands_failed.one();
            error
        }
        Attempt::NoConnection(error) => {
            if let Some(reply) = awaits::nothing_new(session, &error, inbound) {
                counters.awaits_unserved.one();
                return answer(session, &reply, inbound).await;
            }
            let overloaded = matches!(error, CheckOutError::Timeout { .. });
            if overloaded {
                counters.commands_overloaded.one()
            } else {
                counters.commands_failed.one()
            }
            session.no_connection(&error, request, patience)
        }
        Attempt::Failed(failure) => {
            counters.commands_failed.one();
            session.shared.cluster.request_check();
            ErrorReply::unreachable(request, failed_message(&failure, request, inbound.frame.bytes()))
        }
    };
    tracing::debug!(peer = %session.peer, error = error.message(), "command failed");
    answer(session, &error.to_document(), inbound).await
}

/// Gives the client a reply of Tidegate's own.
async fn answer(session: &mut Session, reply: &bson::RawDocument, inbound: &Inbound) -> Result<(), End> {
    match inbound::encode(reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

fn failed_message(failure: &Failure, request: &Request, message: &[u8]) -> String {
    let name = String::from_utf8_lossy(request.name(message)).into_owned();
    format!(
        "{name} failed on its way to the replica set: {failure}; {}",
        failure.sent
    )
}

/// Answers a command that cannot be routed.
async fn refuse(session: &mut Session, error: &ErrorReply, inbound: &Inbound) -> Result<(), End> {
    session.counters().commands_refused.one();
    answer(session, &error.to_document(), inbound).await
}
