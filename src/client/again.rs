//! Going round again: waiting for a node, and sending a command again where the verdict allows it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    choose::{Chosen, NoNode, Patience},
    exchange::{Attempt, attempt, charge_wait},
    inbound::Inbound,
    relay::Taken,
    search,
    session::Session,
    transaction,
};
use crate::{
    command::Request,
    failover::{Attempts, Sent, Verdict, after_error, after_failure, is_transient},
    pool::{CheckOutError, Pool},
    routing::Route,
};

/// How long a cursor's node is waited for that cannot be reached just now: perhaps only its connections broke.
const GRACE: Duration = Duration::from_secs(1);

/// How long it takes at most until all know what a node said of its state; what is no news is not told.
const MOST_TOLD: Duration = Duration::from_millis(100);

/// Whether the verdict must be asked about what an attempt came to.
pub(super) fn may_be_due(attempted: &Attempt, request: &Request) -> bool {
    match attempted {
        // Nearly every reply is decided by the first comparison.
        Attempt::Reply(taken) => {
            taken.error_code() != 0 && is_transient(taken.error_code()) && request.is_retryable_read()
        }
        Attempt::NoConnection(_) | Attempt::Failed(_) => true,
        Attempt::Late(..) | Attempt::Gone | Attempt::Answer(_) => false,
    }
}

/// Waits for a node, or looks for the one that has the cursor, and goes on from there.
pub(super) async fn seek(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
) -> Attempt {
    match route {
        Route::Cursor(id) => search::find_cursor(session, inbound, *id, patience).await,
        Route::Primary if transaction::is_pinned(session, &inbound.request) => {
            transaction::run(session, inbound, patience).await
        }
        _ => wait(session, inbound, route, patience).await,
    }
}

/// Waits for a node that fits, and goes on from there.
pub(super) async fn wait(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
) -> Attempt {
    let mut rounds = Rounds::new(inbound, patience, None);
    let attempted = rounds.attempt(session, inbound, route).await;
    rounds.run(session, inbound, route, attempted).await
}

/// Goes round again for as long as the verdict allows, after an attempt on `node`.
pub(super) async fn repeat(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
    node: Chosen,
    attempted: Attempt,
) -> Attempt {
    if let Route::Cursor(_) = route {
        return on_the_same(session, inbound, &node, patience, attempted).await;
    }
    let rounds = Rounds::new(inbound, patience, Some(node.pool));
    rounds.run(session, inbound, route, attempted).await
}

/// Sends the `getMore` of a pinned cursor again on its node, where alone it can go, if the node cannot have got it. A node to
/// which no connection can be made for a while has lost its cursors, or is out of reach: the client is told.
async fn on_the_same(
    session: &mut Session,
    inbound: &mut Inbound,
    node: &Chosen,
    patience: Patience,
    mut attempted: Attempt,
) -> Attempt {
    let mut rounds = Rounds::new(inbound, patience, None);
    let spent = match &attempted {
        Attempt::Failed(_) => Duration::ZERO,
        // To wait for a connection once more takes as long again.
        _ => patience.spent(),
    };
    let until = Instant::now() + GRACE.saturating_sub(spent);
    while Instant::now() < until && rounds.judge(session, &attempted) == Verdict::Again {
        rounds.pause(session).await;
        attempted = attempt(session, inbound, node, &patience).await;
    }
    attempted
}

/// The rounds of one command.
struct Rounds {
    patience: Patience,
    so_far: Attempts,
    /// The node that had it last: another one is better, if one fits.
    last: Option<Arc<Pool>>,
    /// Woken once it is known what a node said of its state.
    told: Option<watch::Receiver<u64>>,
}

impl Rounds {
    fn new(inbound: &Inbound, patience: Patience, last: Option<Arc<Pool>>) -> Self {
        Self {
            patience,
            so_far: Attempts {
                is_read: inbound.request.is_retryable_read(),
                not_sent: 0,
                reached: 0,
                time_left: true,
            },
            last,
            told: None,
        }
    }

    async fn run(
        mut self,
        session: &mut Session,
        inbound: &mut Inbound,
        route: &Route,
        mut attempted: Attempt,
    ) -> Attempt {
        while self.judge(session, &attempted) == Verdict::Again {
            // A reply that is not used gives its connection back before another is asked for.
            drop(attempted);
            self.pause(session).await;
            attempted = self.attempt(session, inbound, route).await;
        }
        attempted
    }

    async fn attempt(&mut self, session: &mut Session, inbound: &mut Inbound, route: &Route) -> Attempt {
        let avoid = self.last.as_ref().map(|pool| pool.address());
        match session
            .choose_later(route, &inbound.request, self.patience, avoid)
            .await
        {
            Ok(node) => {
                charge_wait(inbound, self.patience);
                let attempted = attempt(session, inbound, &node, &self.patience).await;
                self.last = Some(node.pool);
                attempted
            }
            Err(NoNode::Gone) => Attempt::Gone,
            Err(NoNode::Answer(error)) => Attempt::Answer(error),
        }
    }

    /// What to do after this attempt; counts it.
    fn judge(&mut self, session: &Session, attempted: &Attempt) -> Verdict {
        let sent = match attempted {
            // A full pool is waited for once; to wait again elsewhere would only lengthen every queue.
            Attempt::NoConnection(CheckOutError::Timeout { .. }) => return Verdict::Fail,
            Attempt::NoConnection(_) => Sent::NotSent,
            Attempt::Failed(failure) => failure.sent,
            Attempt::Reply(taken) => return self.judge_reply(session, taken),
            Attempt::Late(..) | Attempt::Gone | Attempt::Answer(_) => return Verdict::Fail,
        };
        match attempted {
            Attempt::NoConnection(CheckOutError::Connect { node, .. }) => session.shared.cluster.doubt(node),
            Attempt::NoConnection(_) => session.shared.cluster.request_check(),
            // What the failure tells has been reported.
            _ => {}
        }
        if sent == Sent::NotSent {
            self.so_far.not_sent += 1;
            self.so_far.time_left = !self.patience.is_over();
        } else {
            self.reached();
        }
        let verdict = after_failure(sent, self.so_far);
        match (verdict, sent) {
            (Verdict::Fail, _) => {}
            (Verdict::Again, Sent::NotSent) => session.counters().commands_sent_again.one(),
            (Verdict::Again, _) => session.counters().reads_sent_again.one(),
        }
        verdict
    }

    fn judge_reply(&mut self, session: &Session, taken: &Taken) -> Verdict {
        if session.reaches_one_member() {
            // There is no other, and its state is the client's to know.
            return Verdict::Fail;
        }
        self.reached();
        let verdict = after_error(taken.error_code(), self.so_far);
        if verdict == Verdict::Again {
            session.counters().node_errors.one();
            session.counters().reads_sent_again.one();
            let told = session.shared.cluster.subscribe();
            self.told = taken.report_state(session).then_some(told);
        }
        verdict
    }

    /// A node had the command: what is left of the command's own time counts, and a node is waited for anew.
    fn reached(&mut self) {
        self.so_far.reached += 1;
        self.so_far.time_left = self.patience.max_time_left() != Some(Duration::ZERO);
        self.patience = self.patience.renewed();
    }

    /// From the second time on, the nodes are most likely going down: what is known of them changes in a moment. One that
    /// said that it is no primary must not be chosen as such again.
    async fn pause(&mut self, session: &Session) {
        let attempts = self.so_far.not_sent + self.so_far.reached;
        if let Some(mut told) = self.told.take() {
            let _ = tokio::time::timeout(MOST_TOLD, told.changed()).await;
        } else if attempts > 1 {
            let pause = Duration::from_millis(20 << attempts.min(5));
            let mut changes = session.shared.cluster.subscribe();
            let _ = tokio::time::timeout(pause, changes.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{
        client::{exchange::exchange, testing},
        routing::Pinned,
        shutdown::Shutdown,
        wire::{Frame, RawDoc, op_msg},
    };

    fn get_more() -> Frame {
        let body = rawdoc! { "getMore": 5_i64, "collection": "tides", "$db": "test" };
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 0, 0, &mut message);
        Frame::new(message).unwrap()
    }

    #[tokio::test]
    async fn a_cursor_whose_node_is_away_for_a_moment_goes_on_whether_it_is_pinned_or_looked_for() {
        for is_pinned in [true, false] {
            let shutdown = Shutdown::new();
            let (mut session, mut client, node) = testing::unreachable_node(&shutdown).await;
            let address = node.local_addr().unwrap().to_string().parse().unwrap();
            if is_pinned {
                let pinned = Pinned {
                    node: address,
                    awaits: false,
                };
                let pins = &session.shared.pins;
                pins.insert(5, pinned, std::time::Instant::now());
            }
            let batch = rawdoc! { "cursor": { "nextBatch": [], "id": 0_i64, "ns": "test.tides" }, "ok": 1.0 };
            let answer = batch.clone();
            let back = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                testing::serve(node.listen(16).unwrap(), answer).await;
            });
            exchange(&mut session, get_more(), None).await.unwrap();
            let mut reply = vec![0; 21 + batch.as_bytes().len()];
            client.read_exact(&mut reply).await.unwrap();
            assert_eq!(&reply[21..], batch.as_bytes(), "{is_pinned}");
            shutdown.begin();
            back.abort();
        }
    }
}
