//! Holding a command at the gate until a node can take it.

use std::{pin::pin, sync::Arc};

use tokio::time::{Instant, timeout_at};

use super::{
    attend::{IfGone, attend},
    choose::{Chosen, NoNode, Patience, choose, describe},
    inbound::Inbound,
    roster::HeldUpBy,
    session::Session,
    transaction,
};
use crate::{
    command::{ErrorReply, Request},
    failover::{Place, Turn},
    routing::Route,
    telemetry::{Count, Wait},
    topology::Address,
};

/// What a command looks for that has to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) route: &'a Route,
    pub(super) patience: Patience,
    /// Taken only if no other node fits.
    pub(super) avoid: Option<&'a Address>,
    /// It had a node already, and comes back.
    pub(super) returns: bool,
    /// An attempt at it may have been executed.
    pub(super) may_be_done: bool,
}

/// A node for a command that came through the gate, and the turn that it keeps there until it has a connection.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) node: Chosen,
    pub(super) turn: Option<Turn>,
}

impl Session {
    /// Whether a command on this route must go through the gate although a node may fit: others wait before it, or the gate is
    /// closed by hand. A listener for one member has no part in it.
    pub(super) fn must_wait(&self, route: &Route) -> bool {
        let gate = &self.shared.gate;
        (gate.is_paused() || gate.has_queue() && *route == Route::Primary) && !self.reaches_one_member()
    }

    /// Whether the gate is closed by hand to this request. What goes on with a transaction passes: the locks that it holds would
    /// be in the way of whatever the gate was closed for.
    fn heeds_hand(&self, request: &Request) -> bool {
        !self.reaches_one_member() && (!request.in_transaction || request.starts_transaction)
    }

    /// Whether the gate is closed by hand to a command that looks for no node when it comes: one for the node of a cursor, or
    /// for several, or in a transaction that lives on one `mongos`.
    pub(super) fn must_wait_out_pause(&self, inbound: &Inbound, route: &Route) -> bool {
        let looks = match route {
            Route::Local(_) | Route::Old(_) | Route::Refused(_) | Route::Read(_) | Route::AnyNode => true,
            Route::Primary => !transaction::is_pinned(self, &inbound.request),
            Route::Cursor(_) | Route::KillCursors | Route::AllNodes | Route::AllSecondaries => false,
        };
        self.shared.gate.is_paused() && !looks && self.heeds_hand(&inbound.request)
    }

    /// Finds a node that fits, now or as soon as there is one.
    pub(super) async fn find_node(
        &mut self,
        inbound: &Inbound,
        search: Search<'_>,
    ) -> Result<Passed, NoNode> {
        let (shared, request) = (Arc::clone(&self.shared), &inbound.request);
        let heeds_hand = self.heeds_hand(request);
        let look = || choose(&shared, search.route, request, search.avoid).map_err(NoNode::Answer);
        let is_shut = heeds_hand && shared.gate.is_paused();
        let found = if is_shut { None } else { look()? };
        let is_held = found.is_none();
        // Who comes back was before all those who wait, and has no share in a rush: there are no more than connections.
        let takes_turns = *search.route == Route::Primary && heeds_hand && !search.returns;
        if let Some(node) = found
            && !(takes_turns && shared.gate.has_queue())
        {
            return Ok(Passed { node, turn: None });
        }
        let _place = self.enter(inbound, search.returns, || self.obstacle(search.route))?;
        self.counters().commands_held.one();
        let _waiting = self.entry.wait(HeldUpBy::Gate);
        self.counters().reasons.one(match is_held {
            _ if is_shut => Wait::Paused,
            true => Wait::NoNode,
            false => Wait::Turn,
        });
        let begun = Instant::now();
        let way = async {
            let turn = if takes_turns {
                Some(shared.gate.turn(is_held).await)
            } else {
                None
            };
            let mut changes = shared.cluster.subscribe();
            loop {
                if heeds_hand {
                    shared.gate.resumed().await;
                }
                if let Some(node) = look()? {
                    return Ok(Passed { node, turn });
                }
                shared.cluster.request_check();
                // The cluster lives as long as `shared`.
                let _ = changes.changed().await;
            }
        };
        let deadline = search.patience.deadline();
        let way = async {
            tokio::select! {
                biased; // What can go on does.
                passed = timeout_at(deadline, way) => passed.ok(),
                () = shared.gate.stopped(), if !search.may_be_done => Some(Err(stopping(request))),
            }
        };
        let attended = attend(&mut self.client, if_gone(inbound, search.may_be_done), pin!(way)).await;
        self.waited += begun.elapsed();
        match attended {
            Ok(Some(Ok(passed))) => {
                self.counters().commands_released.one();
                Ok(passed)
            }
            Ok(Some(Err(no_node))) => Err(no_node),
            Ok(None) => Err(NoNode::Answer(self.expired(inbound, search))),
            Err(_) => {
                self.counters().holds_left.one();
                Err(NoNode::Gone)
            }
        }
    }

    /// Holds a command that needs no search while the gate is closed by hand.
    pub(super) async fn wait_out_pause(
        &mut self,
        inbound: &Inbound,
        patience: Patience,
    ) -> Result<(), NoNode> {
        let _place = self.enter(inbound, false, || CLOSED.to_owned())?;
        self.counters().commands_held.one();
        let _waiting = self.entry.wait(HeldUpBy::Gate);
        self.counters().reasons.one(Wait::Paused);
        let begun = Instant::now();
        let gate = Arc::clone(&self.shared.gate);
        let way = async {
            tokio::select! {
                biased; // What can go on does.
                resumed = timeout_at(patience.deadline(), gate.resumed()) => resumed.ok().map(Ok),
                () = gate.stopped() => Some(Err(stopping(&inbound.request))),
            }
        };
        let attended = attend(&mut self.client, if_gone(inbound, false), pin!(way)).await;
        self.waited += begun.elapsed();
        match attended {
            Ok(Some(resumed)) => {
                self.counters().commands_released.add(resumed.is_ok().into());
                resumed
            }
            Ok(None) => {
                self.counters().holds_expired.one();
                let error = patience.expired(&inbound.request, "passage", CLOSED);
                Err(NoNode::Answer(error))
            }
            Err(_) => {
                self.counters().holds_left.one();
                Err(NoNode::Gone)
            }
        }
    }

    fn enter(&self, inbound: &Inbound, returns: bool, why: impl FnOnce() -> String) -> Result<Place, NoNode> {
        let (gate, bytes) = (&self.shared.gate, inbound.frame.bytes().len());
        if returns {
            return Ok(gate.return_to(bytes, why));
        }
        gate.enter(bytes, why).map_err(|full| {
            self.counters().holds_refused.one();
            let message = format!("no node can take the command now, and {full}; it was not sent");
            NoNode::Answer(ErrorReply::overloaded(&inbound.request, message))
        })
    }

    /// Why a command on this route does not pass.
    fn obstacle(&self, route: &Route) -> String {
        if self.shared.gate.is_paused() {
            CLOSED.to_owned()
        } else {
            describe(route, self)
        }
    }

    fn expired(&self, inbound: &Inbound, search: Search<'_>) -> ErrorReply {
        self.counters().holds_expired.one();
        let mut detail = self.obstacle(search.route);
        if !search.may_be_done {
            detail.push_str("; the command was not sent");
        }
        search
            .patience
            .expired(&inbound.request, "node that fits", &detail)
    }
}

/// What a command is told that waits when the process stops.
fn stopping(request: &Request) -> NoNode {
    let message = "the proxy is stopping; the command was not sent";
    NoNode::Answer(ErrorReply::unreachable(request, message))
}

/// Why nothing passes.
const CLOSED: &str = "the gate is closed by hand (POST /resume opens it)";

/// What becomes of a command at the gate whose client goes away. One that was sent already is seen through, and so is one
/// whose client never wanted to hear of it. All others leave: nobody would learn what became of them.
fn if_gone(inbound: &Inbound, may_be_done: bool) -> IfGone {
    let is_seen_through = !inbound.reply_to.form.is_awaited() || may_be_done;
    if is_seen_through && !inbound.request.is_abandonable() {
        IfGone::GoOn
    } else {
        IfGone::Stop
    }
}
