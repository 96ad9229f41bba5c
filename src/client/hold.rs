//! Holding a command at the gate until a node can take it.

use std::{pin::pin, sync::Arc};

use tokio::time::timeout_at;

use super::{
    attend::{IfGone, attend},
    choose::{Chosen, NoNode, Patience, choose, describe},
    inbound::{Inbound, ReplyForm},
    session::Session,
    transaction,
};
use crate::{
    command::ErrorReply,
    failover::{Place, Turn},
    routing::Route,
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

/// A node for a command that came through the gate, and what it keeps there until it has a connection.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) node: Chosen,
    /// Held for its drop.
    pub(super) passage: Option<(Place, Option<Turn>)>,
}

impl Session {
    /// Whether a command on this route must go through the gate although a node may fit: others wait before it, or the gate is
    /// closed by hand. A listener for one member has no part in it.
    pub(super) fn must_wait(&self, route: &Route) -> bool {
        let gate = &self.shared.gate;
        (gate.is_paused() || gate.has_queue() && *route == Route::Primary) && !self.reaches_one_member()
    }

    /// Whether the gate is closed by hand to a command that looks for no node when it comes: one for the node of a cursor, or
    /// for several, or in a transaction that lives on one `mongos`.
    pub(super) fn must_wait_out_pause(&self, inbound: &Inbound, route: &Route) -> bool {
        let looks = match route {
            Route::Local(_) | Route::Refused(_) | Route::Read(_) | Route::AnyNode => true,
            Route::Primary => !transaction::is_pinned(self, &inbound.request),
            Route::Cursor(_) | Route::KillCursors | Route::AllNodes | Route::AllSecondaries => false,
        };
        self.shared.gate.is_paused() && !looks && !self.reaches_one_member()
    }

    /// Finds a node that fits, now or as soon as there is one.
    pub(super) async fn find_node(
        &mut self,
        inbound: &Inbound,
        search: Search<'_>,
    ) -> Result<Passed, NoNode> {
        if !self.must_wait(search.route) {
            let chosen = choose(&self.shared, search.route, &inbound.request, search.avoid);
            if let Some(node) = chosen.map_err(NoNode::Answer)? {
                return Ok(Passed { node, passage: None });
            }
        }
        let place = self.enter(inbound, search.returns, || self.obstacle(search.route))?;
        self.counters().commands_held.one();
        let shared = Arc::clone(&self.shared);
        let (takes_turns, heeds_hand) = (*search.route == Route::Primary, !self.reaches_one_member());
        let way = async {
            let turn = if takes_turns && heeds_hand {
                Some(shared.gate.turn().await)
            } else {
                None
            };
            let mut changes = shared.cluster.subscribe();
            loop {
                if heeds_hand {
                    shared.gate.resumed().await;
                }
                if let Some(node) = choose(&shared, search.route, &inbound.request, search.avoid)? {
                    return Ok((node, turn));
                }
                shared.cluster.request_check();
                // The cluster lives as long as `shared`.
                let _ = changes.changed().await;
            }
        };
        let waited = timeout_at(search.patience.deadline(), way);
        let if_gone = if_gone(inbound, search.may_be_done);
        match attend(&mut self.client, if_gone, pin!(waited)).await {
            Ok(Ok(Ok((node, turn)))) => {
                self.counters().commands_released.one();
                let passage = Some((place, turn));
                Ok(Passed { node, passage })
            }
            Ok(Ok(Err(error))) => Err(NoNode::Answer(error)),
            Ok(Err(_)) => Err(NoNode::Answer(self.expired(inbound, search))),
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
        let gate = Arc::clone(&self.shared.gate);
        let waited = timeout_at(patience.deadline(), gate.resumed());
        match attend(&mut self.client, if_gone(inbound, false), pin!(waited)).await {
            Ok(Ok(())) => {
                self.counters().commands_released.one();
                Ok(())
            }
            Ok(Err(_)) => {
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

/// Why nothing passes.
const CLOSED: &str = "the gate is closed by hand (POST /resume opens it)";

/// What becomes of a command at the gate whose client goes away. One that was sent already is seen through, and so is one
/// whose client never wanted to hear of it. All others leave: nobody would learn what became of them.
fn if_gone(inbound: &Inbound, may_be_done: bool) -> IfGone {
    let is_seen_through = inbound.reply_to.form == ReplyForm::None || may_be_done;
    if is_seen_through && !inbound.request.is_abandonable() {
        IfGone::GoOn
    } else {
        IfGone::Stop
    }
}
