//! Cursors are pinned to their nodes as replies tell of them.

use std::{sync::Arc, time::Instant};

use super::session::Session;
use crate::{
    command::{Reply, Request},
    routing::Pinned,
    telemetry::{Count, Pin},
    topology::Address,
    wire::RawDoc,
};

/// Keeps the pins true: a reply opens a cursor, goes on with one, or ends it. `namespace` is asked for only where a pin is made.
pub(super) fn remember(
    session: &Session,
    reply: &Reply,
    node: &Address,
    request: &Request,
    namespace: impl FnOnce() -> Option<Arc<str>>,
) {
    let pins = &session.shared.pins;
    let pinned = || Pinned {
        node: node.clone(),
        namespace: namespace(),
        awaits: request.awaits || reply.resumable,
        returned: 0,
    };
    match (request.cursor_id, reply.cursor_id) {
        (Some(old), Some(0)) => pins.remove(old),
        (Some(old), Some(id)) if (old != id || pins.get(id, Instant::now()).is_none()) => {
            pins.insert(id, pinned(), Instant::now());
        }
        (Some(old), None) if reply.code == 43 => pins.remove(old),
        (None, Some(id)) if id != 0 && request.may_have_cursor() => {
            let pinned = pinned();
            session
                .counters()
                .reasons
                .one(if pinned.awaits { Pin::Awaiting } else { Pin::Cursor });
            pins.insert(id, pinned, Instant::now());
            session.entry.ties.note_cursor(id, &session.shared);
        }
        _ => {}
    }
}

/// What a cursor reads, as the node tells it beside the batch.
pub(super) fn namespace(cursor: RawDoc<'_>) -> Option<Arc<str>> {
    cursor.get("ns").ok()??.as_str().map(Arc::from)
}
