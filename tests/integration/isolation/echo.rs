//! What is asked for, and whether a reply is it.

use std::io;

use bson::{Document, doc};
use fastrand::Rng;

use super::DATABASE;
use crate::support::raw::Reply;

/// Why an echo did not come.
#[derive(Debug)]
pub(super) enum Miss {
    /// An error reply, as it should look.
    Refused(#[allow(dead_code, reason = "printed")] Document),
    /// The connection ended within a reply that was passed on while it arrived.
    Broken,
    /// What must never be.
    Violation(String),
}

pub(super) type Echo = Result<(), Miss>;

/// A connection that ended: only a reply that was streamed may do that.
pub(super) fn lost(error: &io::Error, streamed: bool) -> Miss {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | ConnectionReset | BrokenPipe if streamed => Miss::Broken,
        _ => Miss::Violation(format!("no reply: {error}")),
    }
}

pub(super) fn unconnected(error: io::Error) -> Miss {
    Miss::Violation(format!("cannot connect: {error}"))
}

/// Checks that a successful reply holds exactly what was asked for, and that another is an error of the kind that
/// lost connections cause. Returns the cursor's id.
pub(super) fn batch(reply: &Reply, expected: &[Document]) -> Result<i64, Miss> {
    let wrong = || Miss::Violation(format!("{expected:?} expected: {reply:?}"));
    if !reply.ok() {
        return Err(refused(reply));
    }
    let cursor = reply.body.get_document("cursor").map_err(|_| wrong())?;
    let batch = cursor
        .get_array("firstBatch")
        .or_else(|_| cursor.get_array("nextBatch"));
    let same = batch.is_ok_and(|batch| {
        batch.len() == expected.len()
            && batch
                .iter()
                .zip(expected)
                .all(|(a, b)| a.as_document() == Some(b))
    });
    if same {
        cursor.get_i64("id").map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

/// HostUnreachable is what the proxy says of anything between it and the nodes.
pub(super) fn refused(reply: &Reply) -> Miss {
    if reply.code() == 6 && reply.body.get_str("errmsg").is_ok() && reply.body.get_str("codeName").is_ok() {
        Miss::Refused(reply.body.clone())
    } else {
        Miss::Violation(format!("an error that no fault explains: {reply:?}"))
    }
}

/// A duplicate key would mean that the insert was applied twice.
pub(super) fn acknowledged(reply: &Reply) -> Echo {
    if !reply.ok() {
        return Err(refused(reply));
    }
    if reply.body.contains_key("writeErrors") {
        return Err(Miss::Violation(format!(
            "an insert of a new document failed: {reply:?}"
        )));
    }
    if reply.body.contains_key("writeConcernError") {
        return Err(Miss::Refused(reply.body.clone()));
    }
    if reply.body.get_i32("n").ok() == Some(1) {
        Ok(())
    } else {
        Err(Miss::Violation(format!("an insert's reply: {reply:?}")))
    }
}

pub(super) fn insert(token: &str) -> Document {
    doc! {"insert": "many", "documents": [{"_id": token}], "writeConcern": {"w": "majority"}, "$db": DATABASE}
}

pub(super) fn aggregate(documents: &[Document], rng: &mut Rng) -> Document {
    doc! {"aggregate": 1, "pipeline": [{"$documents": documents.to_vec()}], "cursor": {}, "$db": DATABASE,
    "$readPreference": preference(rng)}
}

pub(super) fn preference(rng: &mut Rng) -> Document {
    let mode = rng.choice(["primary", "secondaryPreferred", "nearest"]).unwrap();
    doc! {"mode": mode}
}

/// The token, and enough copies of it to fill `size` bytes: a reply put together from two shows anywhere.
pub(super) fn padded(token: &str, size: usize) -> Document {
    doc! {"t": token, "p": token.repeat(size / token.len())}
}
