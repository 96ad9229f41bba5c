//! The life of a command, from its message to its reply.
//!
//! Read [`exchange`] from top to bottom: it is the whole story. What waits, fans out, streams or fails stands in modules of
//! its own, and boxed, so that the future of an idle or ordinary session stays small. The ways that a command seldom takes say so
//! (`cold_path`): the compiler lays them apart, and less of the program passes through the processor's cache.

use std::{hint::cold_path, time::Duration};

use super::{
    account, again, alias, awaits,
    choose::{Chosen, NoNode, Patience},
    compression, drain, fail_point, fan_out, identify,
    inbound::Inbound,
    legacy, local, login, numbered, old,
    relay::{self, Taken},
    session::{End, Session},
    shards,
    tell::{decline, deny, refuse, tell},
    transaction,
};
use crate::{
    command::{Class, Denied, ErrorReply, Request, rewrite},
    net::{Permit, buffers},
    pool::{CheckOutError, Lease},
    routing::{Route, decide, needs_read_preference, tells_read_preference},
    topology::{ReadPreference, ServerKind},
    upstream::{Failure, Incoming},
    wire::{Header, MAX_MESSAGE_LEN, OpCode, WireError},
};

/// What one attempt at a command came to.
pub(super) enum Attempt {
    /// The node's reply, ready to go to the client.
    Reply(Box<Taken>),
    /// The node's reply, or the first of it, whose client is gone.
    Late(Box<(Lease, Incoming)>),
    /// No connection could be had; nothing was sent.
    NoConnection(Box<CheckOutError>),
    /// The exchange failed.
    Failed(Failure),
    /// The client went away, and nothing is left to do for it.
    Gone,
    /// The client is told this.
    Answer(ErrorReply),
}

impl From<NoNode> for Attempt {
    fn from(no_node: NoNode) -> Self {
        match no_node {
            NoNode::Answer(error) => Self::Answer(error),
            NoNode::Gone => Self::Gone,
        }
    }
}

impl From<Result<Box<Taken>, Failure>> for Attempt {
    fn from(taken: Result<Box<Taken>, Failure>) -> Self {
        taken.map_or_else(Self::Failed, Self::Reply)
    }
}

/// Serves the message of this header, which has arrived whole. `held` is its room in the byte budget, kept until the command is done.
pub(super) async fn exchange(
    session: &mut Session,
    header: &Header,
    held: &mut Option<Permit>,
) -> Result<(), End> {
    if header.op_code == OpCode::Msg
        && let Some(frame) = session.client.take_whole(header)
    {
        let mut inbound = Inbound::new(frame, None);
        return execute(session, &mut inbound, held).await;
    }
    Box::pin(exchange_other(session, header, held)).await
}

/// Serves a message that is compressed, or of a legacy opcode.
async fn exchange_other(
    session: &mut Session,
    header: &Header,
    held: &mut Option<Permit>,
) -> Result<(), End> {
    let Some(mut frame) = session.client.take_whole(header) else {
        return Ok(());
    };
    let mut compressor = None;
    if frame.op_code() == OpCode::Compressed {
        (frame, compressor) = compression::inflate(session, frame, held).await?;
    }
    match frame.op_code() {
        OpCode::Msg => execute(session, &mut Inbound::new(frame, compressor), held).await,
        OpCode::Query
        | OpCode::GetMore
        | OpCode::KillCursors
        | OpCode::Insert
        | OpCode::Update
        | OpCode::Delete => legacy::serve(session, frame, held.take(), compressor).await,
        other @ (OpCode::Reply | OpCode::Compressed) => Err(End::Protocol(WireError::Unsupported(other))),
    }
}

/// Serves one command, to be read, which stays where it is: by value it would stand twice in the session's future. `held` is its room in the byte
/// budget.
pub(super) async fn execute(
    session: &mut Session,
    inbound: &mut Inbound,
    held: &mut Option<Permit>,
) -> Result<(), End> {
    if let Err(reason) = inbound.read() {
        cold_path();
        return Box::pin(decline(session, reason, inbound.reply_to)).await;
    }
    legacy::note_message(session, inbound);
    note(session, inbound);
    session.entry.note_command(inbound.request.row);
    if session.identity.is_nobody() && !login::is_open(inbound) {
        cold_path();
        return Box::pin(login::turn_away(session, inbound)).await;
    }
    if session.stranger.is_some() {
        cold_path();
        session.note_stranger(inbound.request.class());
    }
    if judge(session, inbound).is_err() {
        cold_path();
        return Box::pin(deny(session, inbound)).await;
    }
    if session.listener.fail_points
        && Box::pin(fail_point::strike(session, inbound, inbound.reply_to)).await?
    {
        return Ok(());
    }
    if session.client.has_ended() && inbound.request.is_abandonable() {
        cold_path();
        return Ok(());
    }
    if shards::concerns(inbound)
        && let Some(reply) = shards::answer(session, inbound)
    {
        cold_path();
        return Box::pin(local::say(session, &reply, inbound)).await;
    }
    let route = match route(session, inbound).and_then(|route| alias::apply(session, inbound, route)) {
        Ok(route) => route,
        Err(error) => {
            cold_path();
            return Box::pin(refuse(session, &error, inbound)).await;
        }
    };
    let patience = Patience::new(&inbound.request, session.listener.failover().hold);
    session.note_time(patience.since());
    session.waited = Duration::ZERO;
    if session.must_wait_out_pause(inbound, &route) {
        cold_path();
        if let Err(no_node) = Box::pin(session.wait_out_pause(inbound, patience)).await {
            return Box::pin(tell(session, no_node.into(), inbound, patience)).await;
        }
        charge_wait(inbound, patience);
    }
    match route {
        Route::Local(local) => return local::answer(session, local, inbound).await,
        Route::Old(command) => return Box::pin(old::serve(session, inbound, command)).await,
        Route::Refused(reason) => {
            cold_path();
            let error = ErrorReply::refused(inbound.request.name(inbound.frame.bytes()), reason);
            return Box::pin(refuse(session, &error, inbound)).await;
        }
        Route::KillCursors | Route::AllNodes | Route::AllSecondaries => {
            cold_path();
            return Box::pin(fan_out::serve(session, inbound, &route, patience)).await;
        }
        Route::Cursor(_) | Route::Primary | Route::Read(_) | Route::AnyNode => {}
    }
    if inbound.request.in_transaction {
        drain::note_statement(session, inbound);
    }
    let node = match choose(session, inbound, &route) {
        Ok(node) => node,
        Err(error) => {
            cold_path();
            return Box::pin(tell(session, Attempt::Answer(error), inbound, patience)).await;
        }
    };
    let mut outcome = match &node {
        Some(node) => attempt(session, inbound, node, &patience).await,
        None => {
            cold_path();
            Box::pin(again::seek(session, inbound, &route, patience)).await
        }
    };
    if let Some(node) = node
        && again::may_be_due(&outcome)
    {
        cold_path();
        outcome = Box::pin(again::repeat(session, inbound, &route, patience, node, outcome)).await;
    }
    if inbound.request.in_transaction {
        drain::note_outcome(session, inbound, &outcome);
    }
    numbered::settle(session, inbound, &outcome);
    login::note_change(session, inbound);
    account::note(session, inbound, &mut outcome, patience);
    match outcome {
        Attempt::Reply(taken) => {
            login::note_reply(session, &taken);
            // Nothing is sent again from here on.
            buffers::give(inbound.frame.surrender());
            drop(held.take());
            let outgoing = relay::make_ready(session, taken, &inbound.request, inbound.reply_to)?;
            relay::send(session, outgoing, &inbound.request, inbound.reply_to).await
        }
        failed => {
            cold_path();
            Box::pin(tell(session, failed, inbound, patience)).await
        }
    }
}

/// The node that can take the command now: the cursor's own, or one that fits. What must be looked for first has none yet.
fn choose(session: &Session, inbound: &mut Inbound, route: &Route) -> Result<Option<Chosen>, ErrorReply> {
    match route {
        Route::Primary if transaction::is_pinned(session, &inbound.request) => Ok(None),
        Route::Cursor(id) => Ok(awaits::pinned(session, &mut inbound.request, *id)),
        _ => session.choose_now(route, &inbound.request),
    }
}

fn note(session: &Session, inbound: &Inbound) {
    let counters = session.counters();
    counters.commands.one();
    if !inbound.reply_to.form.is_awaited() {
        counters.commands_unacknowledged.one();
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
    let request = &inbound.request;
    // Only `$out`, `$merge` and old commands ask for the nodes' version.
    let asks = request.writes || matches!(request.class(), Class::Old(_));
    decide(
        request,
        inbound.frame.bytes(),
        &session.listener.read_preference,
        if asks { wire() } else { 0 },
    )
    .map(|route| login::apply(session, old::apply(session, route)))
}

/// One attempt on one node: a connection, the request as this node needs it, the reply.
pub(super) async fn attempt(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: &Patience,
) -> Attempt {
    let share = awaits::share(&inbound.request);
    let mut lease = node.pool.try_check_out(&session.identity, session.core, share);
    if lease.is_none() {
        match wait_for_connection(session, inbound, node, patience).await {
            Ok(waited_for) => lease = Some(waited_for),
            Err(failed) => {
                cold_path();
                return failed;
            }
        }
    }
    converse(session, inbound, node, &mut lease).await
}

/// A connection to this node, at once or after a while.
pub(super) async fn check_out(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: &Patience,
) -> Result<Lease, Attempt> {
    let share = awaits::share(&inbound.request);
    match node.pool.try_check_out(&session.identity, session.core, share) {
        Some(lease) => Ok(lease),
        None => Box::pin(wait_for_connection(session, inbound, node, patience)).await,
    }
}

/// The exchange itself, on a connection that is lent; `None` comes to nothing.
///
/// It is taken out of a place of the caller's: by value it would stand twice in the session's future.
pub(super) async fn converse(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    lent: &mut Option<Lease>,
) -> Attempt {
    let Some(lease) = lent.as_mut() else {
        cold_path();
        return Attempt::Gone;
    };
    if let Err(error) = prepare(inbound, node.kind, &session.listener.read_preference) {
        cold_path();
        return Attempt::Answer(error);
    }
    identify::put(session, inbound);
    lease.set_write(is_for_primary(node, &inbound.request));
    numbered::put(session, inbound, node.kind);
    let generation = lease.generation();
    let asked = relay::ask(session, lease, inbound).await;
    let Some(lease) = lent.take() else {
        cold_path();
        return Attempt::Gone;
    };
    let is_late = session.client.has_ended();
    let attempted = match asked {
        // What was opened for a client that is gone is closed again; of a write it counts how it ended.
        Ok(Ok(incoming)) if is_late && inbound.request.may_have_cursor() => {
            cold_path();
            Attempt::Late(Box::new((lease, incoming)))
        }
        Ok(Ok(Incoming::Whole(frame))) => {
            if is_late {
                cold_path();
                session.counters().drained.one();
            }
            relay::take_whole(lease, frame).into()
        }
        Ok(Ok(Incoming::Large(header))) => {
            cold_path();
            Box::pin(relay::take_large(session, lease, header, inbound))
                .await
                .into()
        }
        Ok(Err(failure)) => {
            cold_path();
            Attempt::Failed(failure)
        }
        Err(_) => {
            cold_path();
            session.counters().abandoned.one();
            Attempt::Gone
        }
    };
    if let Attempt::Failed(failure) = &attempted {
        cold_path();
        let (shared, core) = (&session.shared, session.core);
        shared.note_failure(core, node.pool.address(), generation, failure);
        node.pool.totals.timings.of(core, 0).errors.one();
    }
    attempted
}

/// Whether the command goes to the node as to the primary, so that it must not outlast the node's time as such.
fn is_for_primary(node: &Chosen, request: &Request) -> bool {
    node.kind == ServerKind::RsPrimary && !request.is_abandonable()
}

async fn wait_for_connection(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: &Patience,
) -> Result<Lease, Attempt> {
    let left = patience.max_time_left();
    let lease = match session.check_out_later(&node.pool, &inbound.request, left).await {
        Ok(Ok(_)) if is_for_primary(node, &inbound.request) && !session.is_primary_still(&node.pool) => {
            cold_path();
            return Err(Attempt::NoConnection(Box::new(CheckOutError::Cleared {
                node: node.pool.address().clone(),
                reason: "it is not the primary any more".to_owned(),
            })));
        }
        Ok(Ok(lease)) => lease,
        Ok(Err(refused @ CheckOutError::LoginRefused { .. })) => {
            cold_path();
            return Err(Box::pin(login::refused(session, inbound, refused)).await);
        }
        Ok(Err(error)) => {
            cold_path();
            if patience.max_time_left().is_some_and(|left| left.is_zero()) {
                return Err(Attempt::Answer(session.no_connection(
                    &error,
                    &inbound.request,
                    *patience,
                )));
            }
            return Err(Attempt::NoConnection(Box::new(error)));
        }
        Err(no_node) => {
            cold_path();
            return Err(no_node.into());
        }
    };
    charge_wait(inbound, *patience);
    Ok(lease)
}

/// Takes the time that the command was held from its `maxTimeMS`; in a `getMore` that is a wait, and stays.
pub(super) fn charge_wait(inbound: &mut Inbound, patience: Patience) {
    if let (Some(max), Some(left)) = (inbound.request.max_time, patience.max_time_left()) {
        let millis = (left.as_millis() as u64).max(1);
        rewrite::set_max_time(&mut inbound.frame, &max, millis);
    }
}

/// Gives the request the form that a node of this kind needs.
pub(super) fn prepare(
    inbound: &mut Inbound,
    kind: ServerKind,
    default: &ReadPreference,
) -> Result<(), ErrorReply> {
    let Inbound { frame, request, .. } = inbound;
    rewrite::demand_reply(frame, request);
    let added = if needs_read_preference(request, frame.bytes(), kind) {
        rewrite::append_read_preference(frame, request, None)
    } else if tells_read_preference(request, frame.bytes(), kind, default) {
        rewrite::append_read_preference(frame, request, Some(default))
    } else {
        Ok(())
    };
    added.map_err(|length| ErrorReply::too_large(length, MAX_MESSAGE_LEN))
}

/// Whether the rules of the listener permit a command, if it has any.
pub(super) fn judge(session: &Session, inbound: &Inbound) -> Result<(), Denied> {
    let policy = session.listener.policy.as_ref();
    policy.map_or(Ok(()), |policy| {
        policy.judge(&inbound.request, inbound.frame.bytes())
    })
}
