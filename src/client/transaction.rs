//! Transactions when the upstream is a sharded cluster: every statement goes to the `mongos` that began it.
//!
//! Source: Transactions specification, "Sharded Transactions". What a driver does with several addresses of `mongos`
//! happens here, because drivers see only the proxy's: statements stay where the transaction began, and when that router
//! is gone they fail with a label that lets the application run the transaction anew. A commit or an abort then goes to
//! another router, which finds the outcome by the `recoveryToken` that the driver sends along.

use std::time::{Duration, Instant};

use super::{
    again,
    choose::Patience,
    exchange::{Attempt, attempt},
    inbound::Inbound,
    session::Session,
};
use crate::{
    command::{ErrorReply, Request},
    failover::Sent,
    pool::CheckOutError,
    routing::{Route, SessionId},
    telemetry::{Count, Pin, Retry},
    topology::{Address, ServerKind, TopologyKind},
};

/// How long a router that cannot be reached just now is waited for: perhaps only its connections broke.
const GRACE: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// `NoSuchTransaction`.
const NO_SUCH_TRANSACTION: i32 = 251;

/// Whether this is a statement of a transaction that must go where the others went.
pub(super) fn is_pinned(session: &Session, request: &Request) -> bool {
    request.in_transaction && session.shared.cluster.load().topology.kind() == TopologyKind::Sharded
}

/// Runs a statement of a transaction, or its end.
pub(super) async fn run(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Attempt {
    let lsid = inbound.request.lsid.map(|lsid| lsid.of(inbound.frame.bytes()));
    let id = lsid.and_then(SessionId::of);
    let known = id
        .filter(|_| !inbound.request.starts_transaction)
        .and_then(|id| session.shared.transactions.get(id, Instant::now()));
    let attempted = match known {
        Some(router) => on_router(session, inbound, &router, patience).await,
        None if inbound.request.is_transaction_statement() && !inbound.request.starts_transaction => {
            find(session, inbound, patience).await
        }
        None => anywhere(session, inbound, patience).await,
    };
    if let (Some(id), Attempt::Reply(taken)) = (id, &attempted) {
        // Before the client has the reply, so that its next statement finds it.
        let router = taken.node().clone();
        session.shared.transactions.insert(id, router, Instant::now());
        if inbound.request.starts_transaction {
            session.counters().reasons.one(Pin::Transaction);
        }
    }
    attempted
}

/// On the router that began the transaction. If it is gone, the end of the transaction goes to another.
async fn on_router(
    session: &mut Session,
    inbound: &mut Inbound,
    router: &Address,
    patience: Patience,
) -> Attempt {
    let grace = Instant::now() + GRACE;
    let mut changes = session.shared.cluster.subscribe();
    while let Some(node) = session.node(router) {
        if node.kind == ServerKind::Mongos {
            match attempt(session, inbound, &node, &patience).await {
                // The router is there, and busy.
                Attempt::NoConnection(error) => {
                    if matches!(*error, CheckOutError::Timeout { .. }) {
                        return Attempt::NoConnection(error);
                    }
                }
                Attempt::Failed(failure) if failure.sent == Sent::NotSent => {}
                done => return done,
            }
            session.counters().commands_sent_again.one();
            session.counters().reasons.one(Retry::NotSent);
        }
        if !patience.is_left() || Instant::now() >= grace {
            break;
        }
        session.shared.cluster.request_check();
        let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
    }
    if inbound.request.ends_transaction() {
        return anywhere(session, inbound, patience).await;
    }
    session.counters().transactions_lost.one();
    let message = format!("the mongos {router} that ran this transaction is gone");
    Attempt::Answer(ErrorReply::no_such_transaction(message))
}

/// Looks for a transaction that this process does not know, because another began it: on each router in turn. One that
/// does not run it says so and has done nothing.
async fn find(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Attempt {
    let routers = session.data_bearing();
    if routers.len() < 2 {
        return anywhere(session, inbound, patience).await;
    }
    let mut unreached = None;
    for router in routers {
        match attempt(session, inbound, &router, &patience).await {
            Attempt::Reply(taken) if taken.error_code() == NO_SUCH_TRANSACTION => {}
            failed @ Attempt::NoConnection(_) => unreached = Some(failed),
            Attempt::Failed(failure) if failure.sent == Sent::NotSent => {
                unreached = Some(Attempt::Failed(failure));
            }
            done => return done,
        }
    }
    unreached.unwrap_or_else(|| {
        Attempt::Answer(ErrorReply::no_such_transaction("no mongos runs this transaction"))
    })
}

/// On whichever router selection finds.
async fn anywhere(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Attempt {
    match session.choose_now(&Route::Primary, &inbound.request) {
        Ok(Some(node)) => {
            let attempted = attempt(session, inbound, &node, &patience).await;
            again::repeat(session, inbound, &Route::Primary, patience, node, attempted).await
        }
        Ok(None) => again::wait(session, inbound, &Route::Primary, patience).await,
        Err(error) => Attempt::Answer(error),
    }
}
