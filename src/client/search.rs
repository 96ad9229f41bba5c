//! Looking for a cursor that this process does not know, because another opened it or it was forgotten.
//!
//! Each data-bearing node is asked with the client's own `getMore`: one that does not have the cursor says so and has done
//! nothing. They are asked in turn, the primary first; one that does not answer at once may be the right one, whose
//! documents take their time, or may hang, so after a moment the next is asked beside it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    attend::{Gone, IfGone, attend},
    awaits,
    choose::{Chosen, Patience},
    exchange::{Attempt, prepare},
    inbound::Inbound,
    relay,
    session::Session,
};
use crate::{
    command::{ErrorReply, Reply},
    failover::Sent,
    net::budget::SMALL,
    pool::{CheckOutError, Identity, Lease, Share},
    topology::{Address, ServerKind},
    upstream::{Failure, Incoming},
    wire::Frame,
};

/// `CursorNotFound`.
const CURSOR_NOT_FOUND: i32 = 43;
/// How long one node is waited for before the next is asked too.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long nodes are waited for that cannot be asked just now: most are back in a moment.
const GRACE: Duration = Duration::from_secs(2);

/// What one node said.
enum Answer {
    /// It has the cursor, or has another objection.
    Has(Lease, Incoming),
    /// It does not know the cursor.
    HasNot(Address),
    /// No connection could be had.
    Unasked(CheckOutError),
    /// The exchange failed, on a connection of this generation.
    Broken(Failure, u64),
}

type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What is known when no node that was asked said that it has the cursor.
#[derive(Default)]
struct Denied {
    /// These do not have it.
    by: Vec<Address>,
    /// An attempt on a node that did not say.
    unanswered: Option<Attempt>,
}

/// Finds the node that has the cursor, and its reply.
pub(super) async fn find_cursor(
    session: &mut Session,
    inbound: &mut Inbound,
    cursor: i64,
    patience: Patience,
) -> Attempt {
    session.counters().cursors_looked_up.one();
    let deadline = patience.deadline().min(Instant::now() + GRACE);
    let mut changes = session.shared.cluster.subscribe();
    let mut denied = Denied::default();
    loop {
        let mut nodes = session.data_bearing();
        nodes.retain(|node| !denied.by.contains(node.pool.address()));
        let found = ask_all(session, inbound, nodes, &mut denied, patience).await;
        if let Some(found) = found {
            return found;
        }
        let missing = missing(session, &denied);
        let may_help = denied
            .unanswered
            .as_ref()
            .map_or(!missing.is_empty(), cannot_have_run);
        if !may_help {
            return denied
                .unanswered
                .unwrap_or_else(|| Attempt::Answer(ErrorReply::cursor_not_found(cursor)));
        }
        session.shared.cluster.request_check();
        let changed = tokio::time::timeout_at(deadline, changes.changed());
        match attend(&mut session.client, IfGone::Stop, pin!(changed)).await {
            Ok(Ok(Ok(()))) => denied.unanswered = None,
            Ok(_) => {
                return denied
                    .unanswered
                    .unwrap_or_else(|| out_of_reach(inbound, cursor, &missing));
            }
            Err(Gone) => return Attempt::Gone,
        }
    }
}

/// Asks these nodes. `None` if none of them said that it has the cursor.
async fn ask_all(
    session: &mut Session,
    inbound: &mut Inbound,
    nodes: Vec<Chosen>,
    denied: &mut Denied,
    patience: Patience,
) -> Option<Attempt> {
    let first = nodes.first()?;
    if let Err(error) = prepare(inbound, first.kind, &session.listener.read_preference) {
        return Some(Attempt::Answer(error));
    }
    let share = awaits::share(&inbound.request);
    let core = session.core;
    let shared = Arc::clone(&session.shared);
    let identity = session.identity.clone();
    let ask = |node: Chosen| -> Question {
        let (shared, frame) = (Arc::clone(&shared), copy(&inbound.frame));
        let identity = identity.clone();
        Box::pin(async move {
            let answer = ask(&node, &identity, core, share, frame, patience).await;
            if let Answer::Broken(failure, generation) = &answer {
                let node = node.pool.address();
                shared.note_failure(core, node, *generation, failure);
            }
            answer
        })
    };
    let found = pin!(search(nodes.into_iter().map(ask), denied));
    match attend(&mut session.client, IfGone::Stop, found).await {
        Ok(found) => {
            let (lease, incoming) = found?;
            let (node, generation) = (lease.pool().clone(), lease.generation());
            let taken = relay::take(session, lease, incoming, inbound).await;
            if let Err(failure) = &taken {
                let shared = &session.shared;
                shared.note_failure(core, node.address(), generation, failure);
            }
            Some(taken.into())
        }
        Err(Gone) => {
            session.counters().abandoned.one();
            Some(Attempt::Gone)
        }
    }
}

/// The nodes that may have the cursor and cannot be asked now.
fn missing(session: &Session, denied: &Denied) -> Vec<Address> {
    let snapshot = session.shared.cluster.load();
    let servers = snapshot.topology.servers().iter();
    servers
        .filter(|server| server.kind == ServerKind::Unknown && !denied.by.contains(&server.address))
        .map(|server| server.address.clone())
        .collect()
}

/// Whether the node cannot have done anything, so that it may be asked again. One that is busy is not.
fn cannot_have_run(attempted: &Attempt) -> bool {
    match attempted {
        Attempt::NoConnection(error) => !matches!(**error, CheckOutError::Timeout { .. }),
        Attempt::Failed(failure) => failure.sent == Sent::NotSent,
        _ => false,
    }
}

/// Every node that could be asked says no, but one is out of reach that may have it.
fn out_of_reach(inbound: &Inbound, cursor: i64, missing: &[Address]) -> Attempt {
    let missing: Vec<_> = missing.iter().map(Address::to_string).collect();
    let message = format!(
        "cursor id {cursor} is on no node that can be reached; it may be on {}",
        missing.join(", ")
    );
    Attempt::Answer(ErrorReply::unreachable(&inbound.request, message))
}

/// Asks one after another, each once those before had their head start. The first that has the cursor ends it.
async fn search(questions: impl Iterator<Item = Question>, denied: &mut Denied) -> Option<(Lease, Incoming)> {
    let mut questions = questions.peekable();
    let mut open = Vec::new();
    loop {
        open.extend(questions.next());
        if open.is_empty() {
            return None;
        }
        let answer = match questions.peek() {
            Some(_) => tokio::time::timeout(HEAD_START, first(&mut open)).await.ok(),
            None => Some(first(&mut open).await),
        };
        match answer {
            Some(Answer::Has(lease, incoming)) => return Some((lease, incoming)),
            Some(Answer::HasNot(address)) => denied.by.push(address),
            Some(Answer::Unasked(error)) => {
                note(&mut denied.unanswered, Attempt::NoConnection(Box::new(error)))
            }
            Some(Answer::Broken(failure, _)) => note(&mut denied.unanswered, Attempt::Failed(failure)),
            None => {}
        }
    }
}

/// Keeps the worse of two: what may have run counts for more than what cannot have.
fn note(unanswered: &mut Option<Attempt>, attempt: Attempt) {
    if unanswered.as_ref().is_none_or(cannot_have_run) {
        *unanswered = Some(attempt);
    }
}

/// Waits for the first answer, and takes its question out.
async fn first(open: &mut Vec<Question>) -> Answer {
    poll_fn(|cx| {
        for at in 0..open.len() {
            if let Poll::Ready(answer) = open[at].as_mut().poll(cx) {
                drop(open.swap_remove(at));
                return Poll::Ready(answer);
            }
        }
        Poll::Pending
    })
    .await
}

async fn ask(
    node: &Chosen,
    identity: &Identity,
    core: usize,
    share: Share,
    frame: Option<Frame>,
    patience: Patience,
) -> Answer {
    let has_not = || Answer::HasNot(node.pool.address().clone());
    let Some(mut frame) = frame else {
        return has_not();
    };
    let mut lease = match node.pool.try_check_out(identity, core, share) {
        Some(lease) => lease,
        None => match node
            .pool
            .wait(identity, core, share, Instant::now(), patience.max_time_left())
            .await
        {
            Ok(lease) => lease,
            Err(error) => return Answer::Unasked(error),
        },
    };
    if let Err(failure) = lease.send(&mut frame).await {
        return Answer::Broken(failure, lease.generation());
    }
    match lease.reply(SMALL).await {
        Ok(Incoming::Whole(frame)) if code(&frame) == CURSOR_NOT_FOUND => has_not(),
        Ok(incoming) => Answer::Has(lease, incoming),
        Err(failure) => Answer::Broken(failure, lease.generation()),
    }
}

fn code(frame: &Frame) -> i32 {
    relay::body(frame)
        .and_then(Reply::peek)
        .map_or(0, |reply| reply.code)
}

/// The request once more: several nodes may have it at a time. A frame's own bytes always are one.
fn copy(frame: &Frame) -> Option<Frame> {
    Frame::new(BytesMut::from(frame.bytes())).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bson::rawdoc;

    use super::*;
    use crate::{
        client::{inbound::Inbound, testing},
        shutdown::Shutdown,
        upstream::Reason,
        wire::{RawDoc, op_msg},
    };

    fn inbound() -> Inbound {
        let body = rawdoc! { "getMore": 5_i64, "collection": "tides", "$db": "test" };
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 0, 0, &mut message);
        let mut inbound = Inbound::new(Frame::new(message).unwrap(), None);
        inbound.read().unwrap();
        inbound
    }

    #[tokio::test]
    async fn a_cursor_that_nobody_can_be_asked_for_is_not_said_to_be_gone() {
        let shutdown = Shutdown::new();
        let (mut session, _client, _node) = testing::unreachable_node(&shutdown).await;
        let mut inbound = inbound();
        let patience = Patience::new(&inbound.request, Duration::from_millis(300));
        let asked = Instant::now();
        let Attempt::Answer(error) = find_cursor(&mut session, &mut inbound, 5, patience).await else {
            panic!("there is nobody to ask")
        };
        assert_ne!(error.code(), CURSOR_NOT_FOUND);
        assert!(
            asked.elapsed() >= Duration::from_millis(300),
            "it might have come back"
        );
        shutdown.begin();
    }

    fn has_not() -> Answer {
        Answer::HasNot("tides.example:27017".parse().unwrap())
    }

    fn after(millis: u64, answer: Answer) -> Question {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            answer
        })
    }

    fn lost() -> Answer {
        Answer::Broken(Failure::maybe_sent(Reason::Closed), 0)
    }

    fn unsent() -> Answer {
        Answer::Broken(Failure::not_sent(Reason::Closed), 0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_does_not_keep_the_others_from_being_asked() {
        let asked = Arc::new(AtomicUsize::new(0));
        let questions = [u64::MAX / 2, 10, 10].map(|millis| -> Question {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                asked.fetch_add(1, Relaxed);
                after(millis, has_not()).await
            })
        });
        let mut denied = Denied::default();
        let searched = search(questions.into_iter(), &mut denied);
        let searched = tokio::time::timeout(Duration::from_secs(3), searched);
        assert!(searched.await.is_err(), "the one that hangs may have the cursor");
        assert_eq!(asked.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nodes_deny_is_told_from_what_they_did_not_say() {
        let table = [
            (vec![has_not(), has_not(), has_not()], 3, None),
            (vec![unsent(), has_not()], 1, Some(true)),
            // Whether this one has moved the cursor on is unknown, whatever else failed.
            (vec![lost(), unsent(), has_not()], 1, Some(false)),
            (vec![unsent(), lost()], 0, Some(false)),
        ];
        for (answers, by, may_ask_again) in table {
            let mut denied = Denied::default();
            let questions = answers.into_iter().map(|answer| after(1, answer));
            assert!(search(questions, &mut denied).await.is_none());
            assert_eq!(denied.by.len(), by);
            assert_eq!(denied.unanswered.as_ref().map(cannot_have_run), may_ask_again);
        }
    }
}
