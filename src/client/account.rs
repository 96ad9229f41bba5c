//! What is written down of a command once its outcome is known: how long it took, and whether it failed, by command and by node.
//!
//! It happens before the reply goes out, for a client that is slow to take it is not the node's fault. What waits on purpose, as for the
//! next document of a change stream, has no duration that says anything, and only its errors count.

use tokio::time::Instant;

use super::{
    choose::Patience, drivers::Described, exchange::Attempt, inbound::Inbound, session::Session, slow,
};
use crate::{command::table, telemetry::busiest::hash_of};

/// Stands for the name of applications that have none.
const NAMELESS: &str = "(none)";

/// Takes note of how a command ended for which nodes were to be asked.
pub(super) fn note(session: &Session, inbound: &Inbound, outcome: &mut Attempt, patience: Patience) {
    let has_failed = match &*outcome {
        Attempt::Reply(taken) => taken.has_error(),
        Attempt::Late(..) => false,
        // Nobody waits for it any more, and it may never have been sent.
        Attempt::Gone => return,
        Attempt::NoConnection(_) | Attempt::Failed(_) | Attempt::Answer(_) => true,
    };
    let request = &inbound.request;
    let timing = session
        .shared
        .timings
        .of(session.core, table::number_of(request.row));
    count_by_name(session, inbound);
    // Nobody looks at the clock for what waits on purpose.
    let now = (!request.awaits).then(Instant::now);
    if let (Attempt::Reply(taken), Some(now)) = (&mut *outcome, now) {
        taken.note_done(now);
    }
    let node = match &*outcome {
        Attempt::Reply(taken) => Some(taken.pool()),
        Attempt::Late(late) => Some(&**late.0.pool()),
        _ => None,
    };
    let at_node = node.map(|pool| pool.totals.timings.of(session.core, 0));
    if has_failed {
        timing.errors.one();
        if let Some(at_node) = at_node {
            at_node.errors.one();
        }
    }
    let Some(now) = now else {
        return;
    };
    let took = now.saturating_duration_since(patience.since());
    timing.durations.record(took);
    if session.shared.slow.is_slow(took) {
        slow::note(session, inbound, node, took, has_failed);
    }
    if let Some(at_node) = at_node {
        at_node.durations.record(took.saturating_sub(session.waited));
    }
}

fn count_by_name(session: &Session, inbound: &Inbound) {
    let (shared, core) = (&session.shared, session.core);
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    let namespace = hash_of([request.db(message), request.collection(message)]);
    shared
        .namespaces
        .one(core, namespace, |name| request.write_namespace(message, name));
    let driver = session.driver.as_deref();
    let application = driver.map_or_else(|| hash_of([b"", b""]), Described::application_hash);
    shared.applications.one(core, application, |name| {
        name.push_str(driver.and_then(Described::application).unwrap_or(NAMELESS));
    });
}

/// Takes note of how long a command took that went to several nodes.
pub(super) fn note_fan_out(session: &Session, inbound: &Inbound, patience: Patience) {
    let number = table::number_of(inbound.request.row);
    let timing = session.shared.timings.of(session.core, number);
    timing.durations.record(patience.spent());
}
