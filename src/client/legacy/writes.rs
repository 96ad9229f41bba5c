//! OP_INSERT, OP_UPDATE and OP_DELETE.
//!
//! They go out acknowledged, one after the other and before whatever the client sends next: so they are retried, applied once, and
//! seen by the client's later reads. Their outcome is kept for `getLastError`.

use std::{future::poll_fn, task::Poll};

use super::{ON_CORE, ask, last_error};
use crate::{
    client::session::{End, Session},
    command::{
        ErrorReply, LastErrorCommand, Write,
        legacy::{Concern, Outcome, message, write},
        old::{catalog::Catalog, indexes},
    },
    net::{Permit, compression::off_core},
    wire::{
        Frame, HEADER_LEN, Header, MAX_MESSAGE_LEN, OpCode, RawDoc, WireError,
        legacy::{Delete, Insert, Namespace, Query, Update},
    },
};

/// A write as commands.
struct Commands {
    kind: Write,
    database: String,
    collection: String,
    /// Whether the rest is executed though one of them failed.
    goes_on: bool,
    frames: Vec<Frame>,
    /// Why there are none.
    refused: Option<ErrorReply>,
}

/// Serves a write, which has no reply.
///
/// # Errors
/// When it breaks the protocol, and those that end the session.
pub(super) async fn serve(session: &mut Session, frame: Frame, held: Option<Permit>) -> Result<(), End> {
    let counters = session.counters();
    match frame.header().op_code {
        OpCode::Insert => counters.legacy_inserts.one(),
        OpCode::Update => counters.legacy_updates.one(),
        _ => counters.legacy_deletes.one(),
    }
    let asked_behind = concern_behind(session).await;
    let state = session.legacy.get_or_insert_default();
    let concern = asked_behind.unwrap_or_else(|| state.last_error.usual_concern());
    let sent = concern.clone();
    let commands = if frame.bytes().len() > ON_CORE {
        off_core(move || translate(&frame, &concern)).await??
    } else {
        translate(&frame, &concern)?
    };
    let Commands {
        kind,
        database,
        collection,
        goes_on,
        frames,
        refused,
    } = commands;
    if let Some(error) = refused {
        let (reply, namespace) = (error.to_document(), (database.as_str(), collection.as_str()));
        last_error::note_write(session, kind, RawDoc::prefix(reply.as_bytes())?, namespace, &sent)?;
    }
    let mut failure = None;
    for command in frames {
        let Some(asked) = ask(session, command, false).await? else {
            break;
        };
        let namespace = (database.as_str(), collection.as_str());
        let failed = last_error::note_write(session, kind, asked.body()?, namespace, &sent)?;
        if failed.is_some() && !goes_on {
            break;
        }
        failure = failed.or(failure);
    }
    // That the last part of a message went well does not make up for another.
    if let (Some(failure), Some(state)) = (failure, &mut session.legacy)
        && !state.last_error.failed()
    {
        state.last_error.note(Outcome::Failed(failure));
    }
    drop(held);
    Ok(())
}

fn translate(frame: &Frame, concern: &Concern) -> Result<Commands, WireError> {
    let payload = frame.payload();
    let commands = |kind, namespace: Namespace<'_>, goes_on, frames| Commands {
        kind,
        database: namespace.database.to_owned(),
        collection: namespace.collection.to_owned(),
        goes_on,
        frames,
        refused: None,
    };
    Ok(match frame.header().op_code {
        OpCode::Insert => {
            let insert = Insert::parse(payload)?;
            if Catalog::of(insert.namespace.collection) == Some(Catalog::Indexes) {
                return create_indexes(insert, concern);
            }
            let frames = write::insert(insert, concern).collect::<Result<_, _>>()?;
            commands(Write::Insert, insert.namespace, insert.continue_on_error, frames)
        }
        OpCode::Update => {
            let update = Update::parse(payload)?;
            let frames = vec![write::update(&update, concern)?];
            commands(Write::Update, update.namespace, false, frames)
        }
        OpCode::Delete => {
            let delete = Delete::parse(payload)?;
            let frames = vec![write::delete(&delete, concern)?];
            commands(Write::Delete, delete.namespace, false, frames)
        }
        other => return Err(WireError::Unsupported(other)),
    })
}

/// Documents inserted into `system.indexes` create indexes.
fn create_indexes(insert: Insert<'_>, concern: &Concern) -> Result<Commands, WireError> {
    let database = insert.namespace.database;
    let mut commands = Commands {
        kind: Write::Insert,
        database: database.to_owned(),
        collection: insert.namespace.collection.to_owned(),
        goes_on: insert.continue_on_error,
        frames: Vec::new(),
        refused: None,
    };
    match indexes::from_insert(database, insert.documents) {
        Ok(created) => {
            for (collection, command) in created {
                // Where a write goes that waits for the index to be everywhere.
                commands.collection = collection;
                let mut command = command;
                concern.append_to(&mut command);
                commands.frames.push(message(&command)?);
            }
        }
        Err(error) => commands.refused = Some(error),
    }
    Ok(commands)
}

/// What a `getLastError` asks for that has arrived behind the write. Drivers send both at once, so that it is there already or can be
/// read without waiting.
async fn concern_behind(session: &mut Session) -> Option<Concern> {
    if session.client.buffered().is_empty() && !session.client.has_ended() {
        let client = &mut session.client;
        poll_fn(|cx| {
            // An end or a failure is seen again by whoever reads next.
            let _ = client.poll_fill(cx);
            Poll::Ready(())
        })
        .await;
    }
    let bytes = session.client.buffered();
    let header = Header::peek(bytes, MAX_MESSAGE_LEN).ok()??;
    if header.op_code != OpCode::Query {
        return None;
    }
    let query = Query::parse(bytes.get(HEADER_LEN..header.length)?).ok()?;
    let (LastErrorCommand::Get, body) = last_error::of_query(&query)? else {
        return None;
    };
    Concern::of_last_error(body)
        .ok()
        .map(|concern| concern.for_write())
}
