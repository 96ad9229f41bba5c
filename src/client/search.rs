//! Looking for a cursor that this process does not know, because another opened it or it was forgotten.
//!
//! Each data-bearing node is asked with the client's own `getMore`: one that does not have the cursor says so and has done
//! nothing. They are asked in turn, the primary first; one that does not answer at once may be the right one, whose
//! documents take their time, or may hang, so after a moment the next is asked beside it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;

use super::{
    attend::{IfGone, attend},
    awaits,
    choose::{Chosen, Patience},
    exchange::{Attempt, prepare},
    inbound::Inbound,
    relay,
    session::Session,
};
use crate::{
    command::{ErrorReply, Reply},
    net::budget::SMALL,
    pool::{Lease, Share},
    topology::ServerKind,
    upstream::Incoming,
    wire::Frame,
};

/// `CursorNotFound`.
const CURSOR_NOT_FOUND: i32 = 43;
/// How long one node is waited for before the next is asked too.
const HEAD_START: Duration = Duration::from_millis(500);

/// What one node said.
enum Answer {
    /// It has the cursor, or has another objection.
    Has(Lease, Incoming),
    /// It does not know the cursor.
    HasNot,
    /// Nobody knows.
    Unknown(Attempt),
}

type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Finds the node that has the cursor, and its reply.
pub(super) async fn find_cursor(
    session: &mut Session,
    inbound: &mut Inbound,
    cursor: i64,
    patience: Patience,
) -> Attempt {
    session.counters().cursors_looked_up.one();
    let nodes = session.data_bearing();
    let Some(first) = nodes.first() else {
        // That nobody has the cursor is known only when somebody was asked.
        let message = "no data-bearing node can be asked for the cursor";
        return Attempt::Answer(ErrorReply::unreachable(&inbound.request, message));
    };
    if let Err(error) = prepare(inbound, first.kind, &session.listener.read_preference) {
        return Attempt::Answer(error);
    }
    let share = awaits::share(&inbound.request);
    let core = session.core;
    let ask = |node| -> Question { Box::pin(ask(node, core, share, copy(&inbound.frame), patience)) };
    let found = pin!(search(nodes.into_iter().map(ask)));
    match attend(&mut session.client, IfGone::Stop, found).await {
        Ok(Answer::Has(lease, incoming)) => relay::take(session, lease, incoming, inbound).await.into(),
        Ok(Answer::HasNot) => Attempt::Answer(nowhere(session, inbound, cursor)),
        Ok(Answer::Unknown(failed)) => failed,
        Err(_) => {
            session.counters().abandoned.one();
            Attempt::Gone
        }
    }
}

/// Every node that could be asked says no: the cursor is gone, unless one is out of reach that may have it.
fn nowhere(session: &Session, inbound: &Inbound, cursor: i64) -> ErrorReply {
    let snapshot = session.shared.cluster.load();
    let servers = snapshot.topology.servers().iter();
    let unknown: Vec<_> = servers
        .filter(|server| server.kind == ServerKind::Unknown)
        .map(|server| server.address.to_string())
        .collect();
    if unknown.is_empty() {
        return ErrorReply::cursor_not_found(cursor);
    }
    let message = format!(
        "cursor id {cursor} is on no node that can be reached; it may be on {}",
        unknown.join(", ")
    );
    ErrorReply::unreachable(&inbound.request, message)
}

/// Asks one after another, each once those before had their head start. The first that has the cursor ends it.
async fn search(questions: impl Iterator<Item = Question>) -> Answer {
    let mut questions = questions.peekable();
    let (mut open, mut outcome) = (Vec::new(), Answer::HasNot);
    loop {
        open.extend(questions.next());
        if open.is_empty() {
            return outcome;
        }
        let answer = match questions.peek() {
            Some(_) => tokio::time::timeout(HEAD_START, first(&mut open)).await.ok(),
            None => Some(first(&mut open).await),
        };
        match answer {
            Some(found @ Answer::Has(..)) => return found,
            Some(unknown @ Answer::Unknown(_)) => outcome = unknown,
            Some(Answer::HasNot) | None => {}
        }
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

async fn ask(node: Chosen, core: usize, share: Share, frame: Option<Frame>, patience: Patience) -> Answer {
    let Some(mut frame) = frame else {
        return Answer::HasNot;
    };
    let mut lease = match node.pool.try_check_out(core, share) {
        Some(lease) => lease,
        None => match node.pool.wait(core, share, patience.max_time_left()).await {
            Ok(lease) => lease,
            Err(error) => return Answer::Unknown(Attempt::NoConnection(error)),
        },
    };
    if let Err(failure) = lease.send(&mut frame).await {
        return Answer::Unknown(Attempt::Failed(failure));
    }
    match lease.reply(SMALL).await {
        Ok(Incoming::Whole(frame)) if code(&frame) == CURSOR_NOT_FOUND => Answer::HasNot,
        Ok(incoming) => Answer::Has(lease, incoming),
        Err(failure) => Answer::Unknown(Attempt::Failed(failure)),
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use bson::rawdoc;

    use super::*;
    use crate::{
        client::{
            inbound::{Received, receive},
            testing,
        },
        shutdown::Shutdown,
        upstream::{Failure, Reason},
        wire::{RawDoc, op_msg},
    };

    fn inbound() -> Inbound {
        let body = rawdoc! { "getMore": 5_i64, "collection": "tides", "$db": "test" };
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 0, 0, &mut message);
        match receive(Frame::new(message).unwrap()).unwrap() {
            Received::Command(inbound) => inbound,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_cursor_that_nobody_can_be_asked_for_is_not_said_to_be_gone() {
        let shutdown = Shutdown::new();
        let mut session = testing::departed(&shutdown).await;
        let mut inbound = inbound();
        let patience = Patience::new(&inbound.request, Duration::from_secs(1));
        let Attempt::Answer(error) = find_cursor(&mut session, &mut inbound, 5, patience).await else {
            panic!("there is nobody to ask")
        };
        assert_ne!(error.code(), CURSOR_NOT_FOUND);
        shutdown.begin();
    }

    fn after(millis: u64, answer: Answer) -> Question {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            answer
        })
    }

    fn lost() -> Answer {
        Answer::Unknown(Attempt::Failed(Failure::maybe_sent(Reason::Closed)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_does_not_keep_the_others_from_being_asked() {
        let asked = Arc::new(AtomicUsize::new(0));
        let questions = [u64::MAX / 2, 10, 10].map(|millis| -> Question {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                asked.fetch_add(1, Relaxed);
                after(millis, Answer::HasNot).await
            })
        });
        let searched = tokio::time::timeout(Duration::from_secs(3), search(questions.into_iter()));
        assert!(searched.await.is_err(), "the one that hangs may have the cursor");
        assert_eq!(asked.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn that_nobody_has_it_is_said_only_when_all_said_so() {
        let all = vec![
            after(1, Answer::HasNot),
            after(2000, Answer::HasNot),
            after(1, Answer::HasNot),
        ];
        assert!(matches!(search(all.into_iter()).await, Answer::HasNot));
        let some = vec![after(1, lost()), after(1, Answer::HasNot)];
        assert!(matches!(search(some.into_iter()).await, Answer::Unknown(_)));
    }
}
