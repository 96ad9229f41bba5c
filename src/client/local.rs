//! Commands that Tidegate answers itself.

use std::pin::pin;

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    attend::{IfGone, attend},
    choose::describe,
    hello,
    inbound::{Inbound, encode},
    session::{End, Session},
};
use crate::{
    command::{ErrorReply, Local},
    routing::Route,
};

/// Answers a command without asking a node.
pub(super) async fn answer(session: &mut Session, local: Local, inbound: &Inbound) -> Result<(), End> {
    let reply = match local {
        Local::Hello => match (hello::refusal(inbound), hello::document(session, inbound)) {
            (Some(error), _) => error.to_document(),
            (None, Some(hello)) => hello,
            (None, None) => Box::pin(first_hello(session, inbound)).await,
        },
        Local::Ping | Local::Logout => rawdoc! { "ok": 1.0 },
        Local::WhatsMyUri => rawdoc! { "you": session.peer.to_string(), "ok": 1.0 },
        Local::ConnectionStatus => connection_status(inbound),
    };
    say(session, &reply, inbound).await
}

/// Gives the client a reply that no node was asked for.
pub(super) async fn say(session: &mut Session, reply: &RawDocument, inbound: &Inbound) -> Result<(), End> {
    session.counters().commands_local.one();
    match encode(reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Nobody is logged in; the shape is that of a server without access control.
fn connection_status(inbound: &Inbound) -> RawDocumentBuf {
    let body = inbound.request.layout.body(inbound.frame.bytes());
    let privileges = body.and_then(|body| body.get("showPrivileges"));
    let show = matches!(privileges, Ok(Some(flag)) if flag.as_bool() == Some(true));
    let mut auth_info = rawdoc! { "authenticatedUsers": [], "authenticatedUserRoles": [] };
    if show {
        auth_info.append(cstr!("authenticatedUserPrivileges"), RawArrayBuf::new());
    }
    rawdoc! { "authInfo": auth_info, "ok": 1.0 }
}

/// Until a node has answered, what to advertise is not known: waits for the first.
async fn first_hello(session: &mut Session, inbound: &Inbound) -> RawDocumentBuf {
    let mut changes = session.shared.cluster.subscribe();
    let deadline = tokio::time::Instant::now() + session.shared.cluster.server_selection_timeout();
    loop {
        if let Some(hello) = hello::document(session, inbound) {
            return hello;
        }
        let changed = tokio::time::timeout_at(deadline, changes.changed());
        if !matches!(
            attend(&mut session.client, IfGone::Stop, pin!(changed)).await,
            Ok(Ok(Ok(())))
        ) {
            let detail = describe(&Route::AnyNode, session);
            let message = format!("no node of the replica set has answered yet: {detail}");
            return ErrorReply::unreachable(&inbound.request, message).to_document();
        }
    }
}
