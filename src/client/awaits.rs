//! Cursors that wait for new documents: tailable ones with `awaitData`, and change streams.
//!
//! Their `getMore`s hold a connection for as long as nothing happens, so they have a share of the pool of their own
//! ([`Share::Awaiting`]). Which cursors they are is known from the command that opened them (the pin remembers), from
//! `maxTimeMS` in the `getMore`, and from the resume token in a change stream's replies.

use std::time::Instant;

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use super::{choose::Chosen, inbound::Inbound, session::Session};
use crate::{
    command::Request,
    pool::{CheckOutError, Share},
};

/// The share of the pool that a command draws on.
pub(super) fn share(request: &Request) -> Share {
    // A chain of replies lasts for as long as its client reads.
    let lasts = request.awaits || request.takes_exhaust();
    if lasts && request.cursor_id.is_some() {
        Share::Awaiting
    } else {
        // Opening an awaiting cursor takes no longer than opening another.
        Share::Ordinary
    }
}

/// The node that holds this cursor, if that is remembered; notes on the request whether the cursor awaits.
pub(super) fn pinned(session: &Session, request: &mut Request, cursor: i64) -> Option<Chosen> {
    let pinned = session.shared.pins.get(cursor, Instant::now())?;
    request.awaits |= pinned.awaits;
    session.node(&pinned.node)
}

/// What is true of an awaiting cursor whose `getMore` found no connection in time: in this time there was nothing new. The
/// client asks again, as it does after every await; an overload error would end many a tailable cursor. For a change stream
/// it is as right: its resume token is optional in replies, and the last one stays good.
///
/// `None` where that is not known to be so: of another command, another failure, or a cursor that may not exist.
pub(super) fn nothing_new(
    session: &Session,
    error: &CheckOutError,
    inbound: &Inbound,
) -> Option<RawDocumentBuf> {
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    let cursor = request.cursor_id.filter(|_| request.awaits)?;
    if !matches!(error, CheckOutError::Timeout { .. }) {
        return None;
    }
    session.shared.pins.get(cursor, Instant::now())?;
    let body = request.layout.body(message).ok()?;
    let collection = body.get("collection").ok()??.as_str()?;
    let namespace = format!("{}.{collection}", std::str::from_utf8(request.db(message)).ok()?);
    Some(rawdoc! {
        "cursor": { "nextBatch": RawArrayBuf::new(), "id": cursor, "ns": namespace },
        "ok": 1.0,
    })
}
