//! OP_QUERY: commands, and queries for documents.

use bytes::BytesMut;

use super::{Asked, ON_CORE, ask, commands, cursors, last_error, reply, seen};
use crate::{
    client::{
        exhaust, old,
        session::{End, Session},
    },
    command::{
        ErrorReply,
        legacy::{
            cursor::{self, Batch},
            find,
        },
    },
    net::{Permit, compression::off_core},
    routing::Alias,
    telemetry::{Count, Pin},
    wire::{
        Compressor, Frame, OpCode, RawDoc, WireError,
        legacy::{EXHAUST, NO_CURSOR_TIMEOUT, Query, ReplyHead, SECONDARY_OK},
        legacy_translate::command_to_op_msg,
    },
};

/// The code by which servers refuse queries by OP_QUERY since 5.1.
const LEGACY_QUERY: i32 = 5_739_101;
const REFUSED: &str = "this listener does not translate OP_QUERY (legacy = \"refuse\"): use a driver that sends the find command, or \
                       another listener";

/// Serves an OP_QUERY.
///
/// # Errors
/// Those that end the session.
pub(super) async fn serve(
    session: &mut Session,
    frame: Frame,
    held: Option<Permit>,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let request_id = frame.header().request_id;
    let query = match Query::parse(frame.payload()) {
        Ok(query) => with_meant_flags(session, query),
        Err(error @ WireError::Bson(_)) => return failed(session, &error, request_id, compressor).await,
        Err(error) => return Err(End::Protocol(error)),
    };
    if query.is_command() && frame.bytes().len() > ON_CORE {
        let (flags, database) = (query.flags, query.database.to_owned());
        let work = move || {
            let query = Query {
                flags,
                ..Query::parse(frame.payload())?
            };
            command_to_op_msg(&query, 0)
        };
        let command = off_core(work).await??;
        session.counters().legacy_commands.one();
        let served = commands::run(session, command, &database, request_id, compressor).await;
        drop(held);
        return served;
    }
    let served = if query.is_command() {
        commands::serve(session, &query, request_id, compressor).await
    } else {
        find(session, &query, request_id, compressor).await
    };
    drop(held);
    match served {
        Err(End::Protocol(error @ WireError::Bson(_))) if !query.is_command() => {
            failed(session, &error, request_id, compressor).await
        }
        Err(End::Protocol(error @ WireError::Bson(_))) => {
            invalid(session, &error, request_id, compressor).await
        }
        served => served,
    }
}

/// Clears `slaveOk` where the client asks for nothing by it.
///
/// To the primary of a set it says that a secondary would do as well: drivers choose the member, and the primary answers. And the Node driver
/// 1.x sets it on every command, with a bit that means nothing there, whatever was asked for; with a read preference
/// it sends `$readPreference` as well.
fn with_meant_flags<'a>(session: &Session, mut query: Query<'a>) -> Query<'a> {
    let by_habit = query.is_command() && query.has(NO_CURSOR_TIMEOUT);
    if by_habit || session.alias() == Some(Alias::Primary) {
        query.flags &= !SECONDARY_OK;
    }
    query
}

/// Tells that a query is not valid: in the form that nobody takes for a document.
async fn failed(
    session: &mut Session,
    error: &WireError,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let error = ErrorReply::invalid_message(error);
    tracing::debug!(error = error.message(), "invalid query answered");
    let mut out = BytesMut::new();
    let head = ReplyHead::new(0, request_id);
    cursor::append_failure(error.code(), error.message(), head, &mut out)?;
    reply(session, out, compressor).await
}

/// Tells that a command is not valid.
async fn invalid(
    session: &mut Session,
    error: &WireError,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let error = ErrorReply::invalid_message(error);
    tracing::debug!(error = error.message(), "invalid request answered");
    let document = error.to_document();
    commands::say(
        session,
        RawDoc::prefix(document.as_bytes())?,
        request_id,
        compressor,
    )
    .await
}

/// Answers a query for documents.
async fn find(
    session: &mut Session,
    query: &Query<'_>,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    session.counters().legacy_queries.one();
    seen::note(session, OpCode::Query);
    last_error::note_read(session);
    let head = ReplyHead::new(0, request_id);
    if !session.listener.translates {
        let mut out = BytesMut::new();
        cursor::append_failure(LEGACY_QUERY, REFUSED, head, &mut out)?;
        return reply(session, out, compressor).await;
    }
    // Where queries are denied this one is sent on as such, and refused.
    if old::is_pseudo(query.collection) && !session.denies(b"find") {
        let Some(asked) = Box::pin(old::find(session, query)).await? else {
            return Ok(());
        };
        let first = batch(asked, head).await?;
        cursors::remember(session, first.batch, 0);
        return reply(session, first.reply, compressor).await;
    }
    let command = match find::command(query) {
        Ok(command) => command,
        Err(error) => {
            let mut out = BytesMut::new();
            cursor::append_failure(error.code().0, &error.to_string(), head, &mut out)?;
            return reply(session, out, compressor).await;
        }
    };
    let Some(asked) = ask(session, command.frame, true).await? else {
        return Ok(());
    };
    if command.explains {
        let mut out = BytesMut::new();
        cursor::append_explain(asked.body()?, head, &mut out)?;
        return reply(session, out, compressor).await;
    }
    let first = batch(asked, head).await?;
    if query.has(EXHAUST) && first.batch.cursor_id != 0 {
        return exhaust(session, query, first).await;
    }
    cursors::remember(session, first.batch, 0);
    reply(session, first.reply, compressor).await
}

/// A batch as OP_REPLY.
pub(super) struct Translated {
    pub(super) reply: BytesMut,
    pub(super) batch: Batch,
    /// Room in the byte budget, for as long as the reply is held.
    pub(super) room: Option<Permit>,
}

/// Translates the reply to a `find` or `getMore`.
///
/// # Errors
/// When it is no valid reply.
pub(super) async fn batch(asked: Asked, head: ReplyHead) -> Result<Translated, End> {
    let Asked { frame, room } = asked;
    let is_large = frame.bytes().len() > ON_CORE;
    let work = move || {
        let mut reply = BytesMut::new();
        let batch = cursor::to_op_reply(super::body(&frame)?, head, &mut reply)?;
        Ok::<_, WireError>((reply, batch))
    };
    let (reply, batch) = if is_large { off_core(work).await?? } else { work()? };
    Ok(Translated { reply, batch, room })
}

/// Sends one reply after the other, each naming the one before, until the cursor is at its end.
async fn exhaust(session: &mut Session, query: &Query<'_>, first: Translated) -> Result<(), End> {
    session.counters().exhaust_chains.one();
    session.counters().reasons.one(Pin::Exhaust);
    let (mut next, mut returned) = (first, 0_i32);
    loop {
        let id = session.shared.next_id();
        let Translated {
            mut reply,
            batch: Batch { cursor_id, count },
            room,
        } = next;
        reply[4..8].copy_from_slice(&id.to_le_bytes());
        returned = returned.saturating_add(count);
        if let Err(end) = exhaust::give(session, reply).await {
            if cursor_id != 0 {
                cursors::drop_one(session, cursor_id).await?;
            }
            return Err(end);
        }
        // Who waits for the room of the next reply must hold none.
        drop(room);
        if cursor_id == 0 {
            return Ok(());
        }
        let more = cursor::next_batch(query.database, query.collection, cursor_id, 0)?;
        let asked = match ask(session, more, true).await {
            Ok(Some(asked)) => asked,
            // Its client is gone, whichever way that was noticed.
            gone => {
                cursors::drop_one(session, cursor_id).await?;
                return gone.map(drop);
            }
        };
        let head = ReplyHead {
            starting_from: returned,
            ..ReplyHead::new(0, id)
        };
        next = batch(asked, head).await?;
    }
}
