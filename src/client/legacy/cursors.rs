//! OP_GET_MORE and OP_KILL_CURSORS.

use std::time::Instant;

use super::{ask, last_error, query::batch, reply};
use crate::{
    client::session::{End, Session},
    command::legacy::cursor::{self, Batch},
    wire::{
        Compressor, Frame, WireError,
        legacy::{GetMore, KillCursors, ReplyHead},
    },
};

/// Answers an OP_GET_MORE.
///
/// # Errors
/// When it breaks the protocol, and those that end the session.
pub(super) async fn get_more(
    session: &mut Session,
    frame: &Frame,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    session.counters().legacy_get_mores.one();
    let more = GetMore::parse(frame.payload())?;
    if more.number_to_return < 0 {
        return Err(End::Protocol(WireError::Bson(
            "OP_GET_MORE wants a negative number of documents",
        )));
    }
    last_error::note_read(session);
    let starting_from = returned(session, more.cursor_id);
    let Some(asked) = ask(session, cursor::get_more(&more)?, true).await? else {
        return Ok(());
    };
    let head = ReplyHead {
        starting_from,
        ..ReplyHead::new(0, frame.header().request_id)
    };
    let translated = batch(asked, head).await?;
    remember(session, translated.batch, starting_from);
    reply(session, translated.reply, compressor).await
}

/// How many documents of a cursor came by legacy replies of this process.
fn returned(session: &Session, cursor_id: i64) -> i32 {
    let pinned = session.shared.pins.get(cursor_id, Instant::now());
    pinned.map_or(0, |pinned| pinned.returned)
}

/// Remembers how far the client is with a cursor, whose `batch` begins at `starting_from`.
pub(super) fn remember(session: &Session, batch: Batch, starting_from: i32) {
    let (pins, now) = (&session.shared.pins, Instant::now());
    if batch.cursor_id != 0
        && let Some(mut pinned) = pins.get(batch.cursor_id, now)
    {
        pinned.returned = starting_from.saturating_add(batch.count);
        pins.insert(batch.cursor_id, pinned, now);
    }
}

/// Serves an OP_KILL_CURSORS, which nobody waits for. One that does not add up is overlooked, as servers did: Poco's are 4
/// bytes too long.
///
/// # Errors
/// Those that end the session.
pub(super) async fn kill(session: &mut Session, frame: &Frame) -> Result<(), End> {
    session.counters().legacy_kill_cursors.one();
    let cursors = match KillCursors::parse(frame.payload()) {
        Ok(cursors) => cursors,
        Err(error) => {
            tracing::debug!(%error, "OP_KILL_CURSORS overlooked");
            return Ok(());
        }
    };
    ask(session, cursor::kill(&cursors)?, false).await.map(drop)
}

/// Drops a cursor whose client is gone.
///
/// # Errors
/// Those that end the session.
pub(in crate::client) async fn drop_one(session: &mut Session, cursor_id: i64) -> Result<(), End> {
    ask(session, cursor::kill_one(cursor_id)?, false).await.map(drop)
}
