//! What is left to do for a client that went away before its reply came.

use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};

use super::{
    relay,
    session::{End, Session},
};
use crate::{
    command::{Reply, Request},
    pool::Lease,
    upstream::Incoming,
    wire::Frame,
};

/// The largest reply that is read only to keep its connection.
const DRAIN_BYTES: usize = 1 << 20;
/// How long the cursor of a reply that nobody wants may take to be closed.
const KILL_TIME: Duration = Duration::from_secs(1);

/// Drops a reply, keeps its connection if that is cheap, and closes the cursor that it opened.
///
/// The session goes on afterwards: more complete requests may have arrived before the client's end.
pub(super) async fn discard(
    session: &mut Session,
    mut lease: Lease,
    incoming: Incoming,
    frame: &Frame,
    request: &Request,
) -> Result<(), End> {
    session.counters().drained.one();
    let reply = match incoming {
        Incoming::Whole(reply) => reply,
        Incoming::Large(header) if lease.room_for(&header) <= DRAIN_BYTES => {
            match tokio::time::timeout(KILL_TIME, lease.rest(&header)).await {
                Ok(Ok(reply)) => reply,
                _ => return Ok(()),
            }
        }
        Incoming::Large(_) => return Ok(()),
    };
    let Ok(reply) = relay::body(&reply).and_then(Reply::peek) else {
        return Ok(());
    };
    if let Some(cursor) = reply
        .cursor_id
        .filter(|id| *id != 0 && request.cursor_id.is_none())
        && let Some(kill) = kill_cursor(frame, request, cursor)
    {
        let _ = tokio::time::timeout(KILL_TIME, lease.run(&kill)).await;
    }
    Ok(())
}

/// `killCursors` on the client's behalf: it repeats the client's API version, without which a strict server refuses.
fn kill_cursor(frame: &Frame, request: &Request, cursor: i64) -> Option<RawDocumentBuf> {
    let body = request.layout.body(frame.bytes()).ok()?;
    let body = bson::RawDocument::from_bytes(body.bytes()).ok()?;
    let name = std::str::from_utf8(request.name(frame.bytes())).ok()?;
    // The collection is what the command names; a database-level cursor lives under a name of its own.
    let collection = body.get_str(name).unwrap_or("$cmd.aggregate");
    let mut kill = rawdoc! { "killCursors": collection, "cursors": [cursor] };
    for key in ["apiVersion", "apiStrict", "apiDeprecationErrors"] {
        if let Ok(Some(value)) = body.get(key) {
            kill.append(
                bson::raw::CString::try_from(key.to_owned()).ok()?,
                value.to_owned(),
            );
        }
    }
    kill.append(
        bson::raw::cstr!("$db"),
        std::str::from_utf8(request.db(frame.bytes())).ok()?,
    );
    Some(kill)
}
