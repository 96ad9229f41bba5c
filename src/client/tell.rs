//! What a client is told of a command that has no reply of a node: that it cannot be run, or why it came to nothing.

use super::{
    abandon, awaits,
    choose::Patience,
    exchange::{Attempt, judge},
    inbound::{self, Inbound, NoRequest, ReplyTo},
    relay,
    session::{End, Session},
    stranger,
};
use crate::{
    command::{ErrorReply, Request},
    failover::{Repeat, Sent},
    pool::CheckOutError,
    telemetry::{CommandRefusal, Count},
    upstream::Failure,
};

/// Says why a message is no request.
pub(super) async fn decline(session: &mut Session, reason: NoRequest, reply_to: ReplyTo) -> Result<(), End> {
    match reason {
        NoRequest::Breach(error) => Err(End::Protocol(error)),
        NoRequest::Answer(error) => {
            tracing::debug!(error = error.message(), "invalid request answered");
            match inbound::encode(&error.to_document(), reply_to)? {
                Some(reply) => session.answer(reply).await,
                None => Ok(()),
            }
        }
    }
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
        Attempt::Reply(taken) => return relay::give(session, taken, request, inbound.reply_to).await,
        Attempt::Late(late) => {
            let (lease, incoming) = *late;
            return abandon::discard(session, lease, incoming, &inbound.frame, request).await;
        }
        Attempt::Gone => {
            return if session.client.buffered().is_empty() {
                Err(End::Client)
            } else {
                Ok(())
            };
        }
        Attempt::Answer(error) => {
            counters.commands_failed.one();
            counters.reasons.one(CommandRefusal::NoNode);
            error
        }
        Attempt::NoConnection(error) => {
            if let Some(reply) = awaits::nothing_new(session, &error, inbound) {
                counters.awaits_unserved.one();
                return answer(session, &reply, inbound).await;
            }
            let overloaded = matches!(*error, CheckOutError::Timeout { .. });
            if overloaded {
                counters.commands_overloaded.one();
                counters.reasons.one(CommandRefusal::NoConnection);
            } else {
                counters.commands_failed.one();
                counters.reasons.one(CommandRefusal::Failed);
            }
            session.no_connection(&error, request, patience)
        }
        Attempt::Failed(failure) => {
            counters.commands_failed.one();
            counters.reasons.one(CommandRefusal::Failed);
            if failure.sent != Sent::NotSent && inbound.repeat() != Repeat::Read {
                counters.outcomes_unknown.one();
            }
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

/// Answers a command that a rule denies. It is judged anew: the session's future has no room for what is rare.
pub(super) async fn deny(session: &mut Session, inbound: &Inbound) -> Result<(), End> {
    let Err(denied) = judge(session, inbound) else {
        return Ok(());
    };
    let message = inbound.frame.bytes();
    let (name, database) = (inbound.request.name(message), inbound.request.db(message));
    let error = stranger::denied(session, denied, name, database);
    session.counters().commands_refused.one();
    session.counters().reasons.one(CommandRefusal::Denied);
    answer(session, &error.to_document(), inbound).await
}

/// Answers a command that cannot be routed.
pub(super) async fn refuse(session: &mut Session, error: &ErrorReply, inbound: &Inbound) -> Result<(), End> {
    session.counters().commands_refused.one();
    session.counters().reasons.one(CommandRefusal::Invalid);
    answer(session, &error.to_document(), inbound).await
}
