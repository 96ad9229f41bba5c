//! `getLastError` and its like, which are answered from what is remembered of the connection.

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::{
    ask,
    commands::{UNSAID, Written},
};
use crate::{
    client::{
        inbound::{Inbound, ReplyForm},
        local,
        session::{End, Session},
    },
    command::{
        LastErrorCommand, Write,
        legacy::{
            Concern, Failure, Outcome, last_error,
            write::{self},
        },
        table::{self, Class, Local},
    },
    wire::{
        RawDoc, WireError,
        legacy::{Namespace, Query},
        legacy_translate::command_in,
    },
};

/// Which of these commands came by OP_QUERY, if one did, and its document. They are many, and need no translation.
pub(super) fn of_query<'a>(query: &Query<'a>) -> Option<(LastErrorCommand, RawDoc<'a>)> {
    if !query.is_command() {
        return None;
    }
    let body = command_in(query.document).ok()?;
    let name = body.iter().next()?.ok()?.key;
    match table::find(name)?.class {
        Class::Local(Local::LastError(command)) => Some((command, body)),
        _ => None,
    }
}

/// Answers one of these commands, which came by OP_MSG.
///
/// # Errors
/// Those that end the session.
pub(in crate::client) async fn answer(
    session: &mut Session,
    command: LastErrorCommand,
    inbound: &Inbound,
) -> Result<(), End> {
    match run(session, command, super::body(&inbound.frame)?).await? {
        Some(answer) => local::say(session, &answer, inbound).await,
        None => Ok(()),
    }
}

/// The answer to one of these commands; `None` if its client went away.
///
/// # Errors
/// Those that end the session.
pub(super) async fn run(
    session: &mut Session,
    command: LastErrorCommand,
    body: RawDoc<'_>,
) -> Result<Option<RawDocumentBuf>, End> {
    let state = session.legacy.get_or_insert_default();
    state.tells_errors = true;
    match command {
        LastErrorCommand::Get => get(session, body).await,
        LastErrorCommand::Previous => Ok(Some(state.last_error.previous())),
        LastErrorCommand::Reset => {
            state.last_error.reset();
            Ok(Some(rawdoc! { "ok": 1.0 }))
        }
        LastErrorCommand::Force => {
            let forced = last_error::forced();
            let answer = rawdoc! {
                "ok": 0.0,
                "errmsg": forced.message.as_str(),
                "code": forced.code,
                "codeName": forced.code_name.as_str(),
            };
            state.last_error.note(Outcome::Failed(forced));
            Ok(Some(answer))
        }
    }
}

/// A collection that is never written to.
const NOWHERE: &str = "tidegate.nowhere";

async fn get(session: &mut Session, command: RawDoc<'_>) -> Result<Option<RawDocumentBuf>, End> {
    session.counters().last_errors_told.one();
    let id = session.id;
    let state = session.legacy.get_or_insert_default();
    let asked = match Concern::of_last_error(command) {
        Ok(asked) => asked,
        Err(bad) => {
            let command = RawDocument::from_bytes(command.bytes())
                .map_err(|_| WireError::Bson("a getLastError cannot be read"))?;
            return Ok(Some(state.last_error.refuse(&bad, command, id)));
        }
    };
    let must_wait = state.last_error.must_wait(&asked);
    if must_wait.is_some() && asked.is_beyond_sets() {
        state.last_error.note_beyond_sets(&asked);
    } else if let Some((database, collection)) = must_wait {
        session.counters().last_errors_waited.one();
        // Some collections take no updates, such as time-series ones: then one that never exists.
        for collection in [collection.as_str(), NOWHERE] {
            let namespace = Namespace {
                database: &database,
                collection,
            };
            let Some(waited) = ask(session, write::nothing(namespace, &asked)?, true).await? else {
                return Ok(None);
            };
            let is_last = collection == NOWHERE;
            let state = session.legacy.get_or_insert_default();
            if state.last_error.note_wait(&asked, waited.body()?, is_last)? {
                break;
            }
        }
    }
    let state = session.legacy.get_or_insert_default();
    Ok(Some(state.last_error.answer(&asked, id)))
}

/// Takes up how a write by a legacy opcode ended; why it failed, if it did.
///
/// # Errors
/// When the reply cannot be walked.
pub(super) fn note_write(
    session: &mut Session,
    kind: Write,
    reply: RawDoc<'_>,
    namespace: (&str, &str),
    sent: &Concern,
) -> Result<Option<Failure>, WireError> {
    let state = session.legacy.get_or_insert_default();
    state.tells_errors = true;
    state.last_error.note_write(kind, reply, namespace, sent)?;
    Ok(state.last_error.failure().cloned())
}

/// Takes up how a command by OP_QUERY ended. Of a connection that never wrote nor asked only failures are remembered.
///
/// # Errors
/// When the reply cannot be walked.
pub(super) fn note_command(
    session: &mut Session,
    written: Option<Written>,
    reply: RawDoc<'_>,
) -> Result<(), WireError> {
    match written {
        Some((kind, (database, collection))) => {
            let namespace = (database.as_str(), collection.as_str());
            note_write(session, kind, reply, namespace, &UNSAID).map(drop)
        }
        None => {
            let tells_errors = session.legacy.as_ref().is_some_and(|state| state.tells_errors);
            if !tells_errors && !last_error::is_failure(reply)? {
                return Ok(());
            }
            let state = session.legacy.get_or_insert_default();
            state.tells_errors = true;
            state.last_error.note_command(reply)
        }
    }
}

/// Takes up that the client has read: what it did before is not its last operation any more.
pub(super) fn note_read(session: &mut Session) {
    if let Some(state) = &mut session.legacy {
        state.last_error.note(Outcome::Done);
    }
}

/// Takes up that the client itself goes on by OP_MSG, whose replies tell it all that it wants to know.
pub(in crate::client) fn note_message(session: &mut Session, inbound: &Inbound) {
    let asks = matches!(inbound.request.class(), Class::Local(Local::LastError(_)));
    let by_client = matches!(inbound.reply_to.form, ReplyForm::Msg | ReplyForm::None);
    if session.legacy.is_some() && by_client && !asks {
        note_read(session);
    }
}
