//! Telling the nodes whose a command is (`[upstream] comment`).

use super::{inbound::Inbound, session::Session};
use crate::command::comment;

/// Adds the session's comment to a command that takes one and has none, if all nodes do. Without such a comment that costs a look at an `Option`.
#[inline]
pub(super) fn put(session: &Session, inbound: &mut Inbound) {
    if let Some(element) = &session.comment {
        put_element(session, inbound, element);
    }
}

#[cold]
fn put_element(session: &Session, inbound: &mut Inbound, element: &[u8]) {
    let wire = session.shared.cluster.load().topology.wire_version_range();
    if wire.is_some_and(|(_, common)| common >= comment::SINCE) {
        comment::put(&mut inbound.frame, &mut inbound.request, element);
    }
}
