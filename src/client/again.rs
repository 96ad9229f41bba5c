//! Going round again: waiting for a node, and sending a command again where the verdict allows it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    choose::{Chosen, Patience},
    exchange::{Attempt, attempt, charge_wait, check_out, converse},
    hold::{Passed, Search},
    inbound::Inbound,
    search,
    session::Session,
    transaction,
};
use crate::{
    command::{ErrorReply, commit::set_majority_for_retry, state_change::is_state_change},
    failover::{Attempts, Outcome, Repeat, Sent, Verdict, is_transient, verdict as judge},
    pool::{CheckOutError, Pool},
    routing::Route,
    telemetry::{Count, Retry},
};

/// How long a cursor's node is waited for that cannot be reached just now: perhaps only its connections broke.
const GRACE: Duration = Duration::from_secs(1);

/// How long it takes at most until all know what a node said of its state; what is no news is not told.
const MOST_TOLD: Duration = Duration::from_millis(100);

/// Whether the verdict must be asked about what an attempt came to.
pub(super) fn may_be_due(attempted: &Attempt) -> bool {
    match attempted {
        // Nearly every reply has no error.
        Attempt::Reply(taken) => taken.trouble().is_some_and(|(_, code)| is_transient(code)),
        Attempt::NoConnection(_) | Attempt::Failed(_) => true,
        Attempt::Late(..) | Attempt::Gone | Attempt::Answer(_) => false,
    }
}

/// By when a node that does not hang answers a check, which may have to wait for half a second.
const ANSWER_DUE: Duration = Duration::from_millis(1500);

/// What is waited at least where attempts fail in a row, whatever news there are meanwhile.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

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
    let mut rounds = Rounds::new(patience, None);
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
    let rounds = Rounds::new(patience, Some(node.pool));
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
    let mut rounds = Rounds::new(patience, None);
    let spent = match &attempted {
        Attempt::Failed(_) => Duration::ZERO,
        // To wait for a connection once more takes as long again.
        _ => patience.spent(),
    };
    let until = Instant::now() + GRACE.saturating_sub(spent);
    while Instant::now() < until && rounds.judge(session, inbound, &attempted) == Verdict::Again {
        rounds.pause(session).await;
        attempted = attempt(session, inbound, node, &patience).await;
    }
    attempted
}

/// The rounds of one command.
struct Rounds {
    patience: Patience,
    so_far: Attempts,
    /// When the last attempt began.
    began: Instant,
    /// The node that had it last: another one is better, if one fits.
    last: Option<Arc<Pool>>,
    /// The last attempt waited in vain for a connection to a node that does not answer.
    node_hangs: bool,
    /// Woken once it is known what a node said of its state.
    told: Option<watch::Receiver<u64>>,
}

impl Rounds {
    fn new(patience: Patience, last: Option<Arc<Pool>>) -> Self {
        Self {
            patience,
            so_far: Attempts::NONE,
            began: patience.since(),
            last,
            node_hangs: false,
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
        loop {
            self.node_hangs = hangs(session, &attempted).await;
            if self.judge(session, inbound, &attempted) != Verdict::Again {
                return self.conclude(session, inbound, attempted);
            }
            // A reply that is not used gives its connection back before another is asked for.
            drop(attempted);
            if self.so_far.reached() > 0 && inbound.request.commits() {
                // One that does not fit goes as it is: a second attempt is no worse without.
                let _ = set_majority_for_retry(&mut inbound.frame, &mut inbound.request);
            }
            self.pause(session).await;
            attempted = self.attempt(session, inbound, route).await;
        }
    }

    async fn attempt(&mut self, session: &mut Session, inbound: &mut Inbound, route: &Route) -> Attempt {
        let search = Search {
            route,
            patience: self.patience,
            avoid: self.last.as_ref().map(|pool| pool.address()),
            returns: self.so_far.count() > 0,
            may_be_done: self.may_be_done(inbound.repeat()),
        };
        match session.find_node(inbound, search).await {
            Ok(Passed { node, turn }) => {
                self.began = Instant::now();
                charge_wait(inbound, self.patience);
                let lease = check_out(session, inbound, &node, &self.patience).await;
                // The next may look for a connection.
                drop(turn);
                let attempted = match lease {
                    Ok(lease) => converse(session, inbound, &node, &mut Some(lease)).await,
                    Err(failed) => failed,
                };
                self.last = Some(node.pool);
                attempted
            }
            Err(no_node) => no_node.into(),
        }
    }

    /// What to do after this attempt; counts it.
    fn judge(&mut self, session: &Session, inbound: &mut Inbound, attempted: &Attempt) -> Verdict {
        let Some(outcome) = self.outcome(session, attempted) else {
            return Verdict::Relay;
        };
        match outcome {
            Outcome::Failed(Sent::NotSent) => self.so_far.not_sent += 1,
            Outcome::Failed(_) => {
                self.so_far.broken += 1;
                inbound.has_broken = true;
            }
            Outcome::Error(..) => self.so_far.answered += 1,
        }
        if outcome != Outcome::Failed(Sent::NotSent) {
            self.patience = self.patience.not_held_since(self.began);
        }
        self.so_far.time_left = self.patience.is_left();
        let command = inbound.repeat();
        let verdict = judge(command, outcome, self.so_far);
        note(session, command, outcome, verdict);
        if verdict == Verdict::Again {
            session.counters().reasons.one(reason(outcome, attempted));
        }
        if let (Verdict::Again, Attempt::Reply(taken)) = (verdict, attempted) {
            taken.pool().totals.timings.of(session.core, 0).errors.one();
            let told = session.shared.cluster.subscribe_news();
            self.told = taken.report_state(session).then_some(told);
        }
        verdict
    }

    /// How an attempt ended, if not well.
    fn outcome(&self, session: &Session, attempted: &Attempt) -> Option<Outcome> {
        let cluster = &session.shared.cluster;
        let sent = match attempted {
            // A full pool is waited for once; to wait again elsewhere would only lengthen every queue.
            Attempt::NoConnection(error)
                if matches!(**error, CheckOutError::Timeout { .. })
                    && self.so_far.reached() == 0
                    && !self.node_hangs =>
            {
                return None;
            }
            Attempt::NoConnection(error) => {
                match &**error {
                    CheckOutError::Connect { node, .. } => cluster.doubt(node),
                    _ => cluster.request_check(),
                }
                Sent::NotSent
            }
            Attempt::Failed(failure) => {
                // What it tells of its node has been reported; the others may know more.
                cluster.request_check();
                failure.sent
            }
            Attempt::Reply(_) if session.reaches_one_member() => {
                // There is no other, and its state is the client's to know.
                return None;
            }
            Attempt::Reply(taken) => {
                let (level, code) = taken.trouble()?;
                return Some(Outcome::Error(level, code));
            }
            Attempt::Late(..) | Attempt::Gone | Attempt::Answer(_) => return None,
        };
        Some(Outcome::Failed(sent))
    }

    /// From the second time on, or if a node answered an error, the nodes are most likely going down: what is known of them
    /// changes in a moment. One that said that it is no primary must not be chosen as such again.
    async fn pause(&mut self, session: &Session) {
        let attempts = self.so_far.count();
        if let Some(mut told) = self.told.take() {
            let _ = timeout(MOST_TOLD, told.changed()).await;
        } else if attempts > 1 || self.so_far.answered > 0 {
            sleep(LEAST_PAUSE).await;
        }
        if attempts > 1 {
            let pause = Duration::from_millis(10 << attempts.min(6));
            let mut news = session.shared.cluster.subscribe_news();
            let _ = timeout(pause, news.changed()).await;
        }
    }

    /// Whether an attempt may have changed something. What a node refused that looks before it executes has not.
    fn may_be_done(&self, command: Repeat) -> bool {
        match command {
            Repeat::Read => false,
            Repeat::Single => self.so_far.broken > 0,
            Repeat::Recognised | Repeat::Statement | Repeat::Never => self.so_far.reached() > 0,
        }
    }

    /// Sees to it that the client is not told that a command was not executed because its last attempt was not.
    fn conclude(&self, session: &Session, inbound: &Inbound, attempted: Attempt) -> Attempt {
        let is_open = self.may_be_done(inbound.repeat());
        let error = match &attempted {
            Attempt::NoConnection(error) if is_open => error.to_string(),
            Attempt::Answer(error) if is_open => error.message().to_owned(),
            Attempt::Failed(failure) if is_open && failure.sent == Sent::NotSent => failure.to_string(),
            _ => return attempted,
        };
        session.counters().outcomes_unknown.one();
        let message = format!("{error}; an earlier attempt may have been executed: its outcome is unknown");
        Attempt::Answer(ErrorReply::unreachable(&inbound.request, message))
    }
}

/// Whether an attempt waited in vain for a connection because its node hangs, and not because there is too much to do. A node
/// that is asked on a new connection answers, however busy it is.
async fn hangs(session: &Session, attempted: &Attempt) -> bool {
    let Attempt::NoConnection(error) = attempted else {
        return false;
    };
    let CheckOutError::Timeout {
        node, stalled: true, ..
    } = &**error
    else {
        return false;
    };
    let cluster = &session.shared.cluster;
    let (asked, deadline) = (std::time::Instant::now(), Instant::now() + ANSWER_DUE);
    let mut changes = cluster.subscribe();
    cluster.doubt(node);
    loop {
        let heard = cluster
            .load()
            .topology
            .get(node)
            .and_then(|server| server.last_update);
        if heard.is_some_and(|heard| heard > asked) {
            return false;
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return true;
        }
    }
}

/// Why a command goes again.
fn reason(outcome: Outcome, attempted: &Attempt) -> Retry {
    match outcome {
        Outcome::Failed(Sent::NotSent) if matches!(attempted, Attempt::NoConnection(_)) => {
            Retry::NoConnection
        }
        Outcome::Failed(Sent::NotSent) => Retry::NotSent,
        Outcome::Failed(Sent::MaybeSent) => Retry::Broke,
        Outcome::Failed(Sent::Replied) => Retry::Unusable,
        Outcome::Error(_, 10107 | 13435 | 10058) => Retry::NotPrimary,
        Outcome::Error(_, code) if is_state_change(code) => Retry::Interrupted,
        Outcome::Error(_, 134 | 211) => Retry::NotYet,
        Outcome::Error(..) => Retry::Unreachable,
    }
}

/// Counts what was decided, by kind, and says so in the log.
fn note(session: &Session, command: Repeat, outcome: Outcome, verdict: Verdict) {
    let counters = session.counters();
    match (verdict, outcome, command) {
        (Verdict::Again, Outcome::Failed(Sent::NotSent), _) | (Verdict::Again, _, Repeat::Single) => {
            counters.commands_sent_again.one();
        }
        (Verdict::Again, _, Repeat::Read) => counters.reads_sent_again.one(),
        (Verdict::Again, Outcome::Failed(_), _) => counters.writes_sent_again.one(),
        (Verdict::Again, Outcome::Error(..), _) => counters.writes_sent_again_after_error.one(),
        (Verdict::Relay, Outcome::Error(_, code), _) if is_state_change(code) => {
            counters.state_errors_relayed.one();
        }
        _ => {}
    }
    if let Outcome::Error(..) = outcome
        && verdict == Verdict::Again
    {
        counters.node_errors.one();
    }
    tracing::debug!(peer = %session.peer, ?command, ?outcome, ?verdict, "attempt judged");
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{
        client::{exchange::execute, testing},
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
                    namespace: None,
                    awaits: false,
                    returned: 0,
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
            execute(&mut session, &mut Inbound::new(get_more(), None), &mut None)
                .await
                .unwrap();
            let mut reply = vec![0; 21 + batch.as_bytes().len()];
            client.read_exact(&mut reply).await.unwrap();
            assert_eq!(&reply[21..], batch.as_bytes(), "{is_pinned}");
            shutdown.begin();
            back.abort();
        }
    }
}
