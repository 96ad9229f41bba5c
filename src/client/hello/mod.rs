//! What `hello` and its older names answer: Tidegate answers them itself, on every kind of listener.
//!
//! As a `mongos` it is one address for the whole set: drivers send their read preference along and leave the choice of nodes to it
//! (Server Discovery and Monitoring specification, `msg: "isdbgrid"`). As a replica set it is the primary, and stays it during
//! elections: holding commands back is the proxy's work. `show` says what is to be seen, `document` writes it down, `waiting` serves
//! clients that wait for a change.

mod document;
mod fields;
mod metadata;
mod show;
mod waiting;

use std::sync::Arc;

use bson::DateTime;

pub(super) use self::metadata::Metadata;
use self::{
    document::document,
    fields::Fields,
    show::{Shown, show},
};
use super::{
    inbound::{Inbound, ReplyForm, encode},
    local::append_cluster_time,
    login,
    session::{End, Session},
};
use crate::{
    command::{ErrorReply, comment},
    wire::{RawDoc, op_msg},
};

/// Answers a `hello`.
pub(super) async fn answer(session: &mut Session, inbound: &Inbound) -> Result<(), End> {
    session.entry.ties.note_hello();
    session.note_time(tokio::time::Instant::now());
    let fields = match refusal(inbound).map_or_else(|| greet(session, inbound), Err) {
        Ok(fields) => fields,
        Err(error) => return say(session, inbound, &error).await,
    };
    let logins = match Box::pin(login::answer_hello(session, inbound)).await {
        Ok(logins) => logins,
        Err(error) => return say(session, inbound, &error).await,
    };
    if fields.wait.is_none()
        && let Shown::Now(role, terms) = show(session, inbound, &fields, DateTime::now())
    {
        let mut reply = document(&fields, &role, &terms);
        logins.append_to(&mut reply);
        append_cluster_time(session, &mut reply);
        return match encode(&reply, inbound.reply_to)? {
            Some(reply) => session.answer(reply).await,
            None => Ok(()),
        };
    }
    Box::pin(waiting::answer(session, inbound, &fields, logins)).await
}

async fn say(session: &mut Session, inbound: &Inbound, error: &ErrorReply) -> Result<(), End> {
    match encode(&error.to_document(), inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Why this `hello` is refused, if its API version says so: there is one version, and only `hello` by that name is part of it.
pub(super) fn refusal(inbound: &Inbound) -> Option<ErrorReply> {
    if !inbound.request.has_api_version {
        return None;
    }
    let message = inbound.frame.bytes();
    let body = inbound.request.layout.body(message).ok()?;
    let flag = |name| matches!(body.get(name), Ok(Some(flag)) if flag.as_bool() == Some(true));
    match body.get("apiVersion") {
        Ok(Some(version)) if version.as_str_bytes() != Some(b"1") => Some(ErrorReply::api_version()),
        Ok(Some(_)) if flag("apiStrict") && inbound.request.name(message) != b"hello" => {
            Some(ErrorReply::api_strict(inbound.request.name(message)))
        }
        Ok(Some(_)) => None,
        _ if flag("apiStrict") || flag("apiDeprecationErrors") => Some(ErrorReply::api_version_missing()),
        _ => None,
    }
}

/// Reads what is asked for, and keeps what the client tells of itself.
fn greet(session: &mut Session, inbound: &Inbound) -> Result<Fields, ErrorReply> {
    let message = inbound.frame.bytes();
    let layout = &inbound.request.layout;
    let body = layout
        .body(message)
        .map_err(|error| ErrorReply::invalid_message(&error))?;
    let fields = Fields::read(inbound.request.name(message), body, exhausts(inbound))?;
    if fields.has_client {
        remember_client(session, body)?;
    }
    session.load_balanced |= fields.load_balanced;
    if let Some(offer) = fields.compressors {
        session.compressors = offer.agree(&session.listener);
    }
    Ok(fields)
}

/// Whether the client takes many replies. An OP_QUERY has no flag to say so.
fn exhausts(inbound: &Inbound) -> bool {
    inbound.reply_to.form == ReplyForm::Msg && inbound.request.layout.flags & op_msg::EXHAUST_ALLOWED != 0
}

fn remember_client(session: &mut Session, body: RawDoc<'_>) -> Result<(), ErrorReply> {
    if session.driver.is_some() {
        return Err(ErrorReply::metadata_is_known());
    }
    if let Ok(Some(client)) = body.get("client") {
        let metadata = Metadata::read(&client)?;
        tracing::debug!(
            peer = %session.peer, driver = metadata.driver, version = metadata.version,
            application = metadata.application, "client described itself"
        );
        let driver = session.shared.drivers.count(metadata);
        session.entry.note_driver(Arc::clone(&driver));
        if session.comment.is_some() {
            let element = comment::element(driver.application(), &session.peer.to_string(), session.id);
            session.comment = Some(element);
        }
        session.driver = Some(driver);
    }
    Ok(())
}
