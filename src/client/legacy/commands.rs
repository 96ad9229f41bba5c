//! Commands that come by OP_QUERY.

use bson::rawdoc;
use bytes::BytesMut;

use super::{Asked, ON_CORE, last_error, reply, seen};
use crate::{
    client::{
        old,
        session::{End, Session},
    },
    command::{
        Class, ErrorReply, Local, Row, Write,
        legacy::{Concern, in_old_words, javascript, message},
        may_be_compressed, table,
    },
    net::compression::off_core,
    wire::{
        Compressor, Frame, OpCode, RawDoc, WireError,
        legacy::{AWAIT_CAPABLE, Query, encode_reply},
        legacy_translate::{command_in, command_to_op_msg},
        op_msg,
    },
};

/// Answers a command.
///
/// # Errors
/// Those that end the session.
pub(super) async fn serve(
    session: &mut Session,
    query: &Query<'_>,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    session.counters().legacy_commands.one();
    if session.listener.translates
        && let Some((of, body)) = last_error::of_query(query)
        && !session.denies(name_of(body)?)
    {
        seen::note(session, OpCode::Query);
        return match last_error::run(session, of, body).await? {
            Some(answer) => {
                let document = RawDoc::prefix(answer.as_bytes())?;
                say(session, document, request_id, compressor).await
            }
            None => Ok(()),
        };
    }
    let plain = without_scopes(query)?;
    let document = plain.as_deref().map(RawDoc::prefix).transpose()?;
    let query = &Query {
        document: document.unwrap_or(query.document),
        ..*query
    };
    let command = command_to_op_msg(query, 0)?;
    run(session, command, query.database, request_id, compressor).await
}

/// Answers a command that has been translated.
///
/// # Errors
/// Those that end the session.
pub(super) async fn run(
    session: &mut Session,
    command: Frame,
    database: &str,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let (name, row, unacknowledged) = look_at(&command)?;
    let compressor = compressor.filter(|_| may_be_compressed(name));
    let greets = row.is_some_and(|row| row.class == Class::Local(Local::Hello));
    if !greets {
        seen::note(session, OpCode::Query);
    }
    if !greets && !session.listener.translates {
        let error = ErrorReply::unsupported_op_query(name).to_document();
        return say(session, RawDoc::prefix(error.as_bytes())?, request_id, compressor).await;
    }
    let write = row.and_then(|row| row.write);
    let namespace = write.map(|write| (write, namespace(database, &command)));
    let Some(asked) = old::ask(session, command, !unacknowledged).await? else {
        return Ok(());
    };
    last_error::note_command(session, namespace, asked.body()?)?;
    if unacknowledged {
        // Servers told nothing of what became of it.
        let done = message(&rawdoc! { "ok": 1.0 })?;
        return say(session, super::body(&done)?, request_id, compressor).await;
    }
    if let Some(old) = in_old_words(asked.body()?)? {
        return say(session, RawDoc::prefix(old.as_bytes())?, request_id, compressor).await;
    }
    if asked.frame.bytes().len() <= ON_CORE {
        return say(session, asked.body()?, request_id, compressor).await;
    }
    let Asked { frame, room } = asked;
    let work = move || {
        let mut out = BytesMut::new();
        encode_reply(super::body(&frame)?, AWAIT_CAPABLE, 0, request_id, &mut out);
        Ok::<_, WireError>(out)
    };
    let out = off_core(work).await??;
    // It is held until the client has it.
    let replied = reply(session, out, compressor).await;
    drop(room);
    replied
}

/// What a command is called.
fn name_of(body: RawDoc<'_>) -> Result<&[u8], WireError> {
    let first = body.iter().next().transpose()?;
    Ok(first.map_or(&b""[..], |first| first.key))
}

/// The query with its conditions as servers of today take them, if they are not so.
fn without_scopes(query: &Query<'_>) -> Result<Option<Vec<u8>>, WireError> {
    let first = command_in(query.document)?.iter().next().transpose()?;
    let holds = first.is_some_and(|first| javascript::holds_conditions(first.key));
    Ok(holds
        .then(|| javascript::without_scopes(query.document))
        .flatten())
}

type Look<'a> = (&'a [u8], Option<&'static Row>, bool);

/// The command's name and row, and whether it is a write with `w: 0`.
fn look_at(command: &Frame) -> Result<Look<'_>, WireError> {
    let body = super::body(command)?;
    let name = name_of(body)?;
    let row = table::find(name);
    let is_write = row.is_some_and(|row| row.write.is_some());
    let concern = if is_write { body.get("writeConcern")? } else { None };
    let w = concern
        .and_then(|concern| concern.as_doc())
        .map(|concern| concern.get("w"))
        .transpose()?
        .flatten();
    Ok((name, row, w.is_some_and(|w| w.as_i64() == Some(0))))
}

/// Where a write command writes to.
fn namespace(database: &str, command: &Frame) -> (String, String) {
    let body = op_msg::Layout::parse(command.bytes()).and_then(|layout| layout.body(command.bytes()));
    let first = body.ok().and_then(|body| body.iter().next()?.ok());
    let collection = first.and_then(|first| first.as_str()).unwrap_or_default();
    (database.to_owned(), collection.to_owned())
}

/// A write command: what it is, and where to.
pub(super) type Written = (Write, (String, String));

/// The concern that a write command is taken to have had: a later `getLastError` asks anew.
pub(super) const UNSAID: Concern = Concern {
    members: crate::command::legacy::concern::Members::Unsaid,
    journal: false,
    timeout: 0,
};

/// Gives the client an OP_REPLY of one document.
pub(super) async fn say(
    session: &mut Session,
    document: RawDoc<'_>,
    request_id: i32,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let mut out = BytesMut::new();
    encode_reply(document, AWAIT_CAPABLE, 0, request_id, &mut out);
    reply(session, out, compressor).await
}
