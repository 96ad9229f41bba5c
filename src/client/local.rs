//! Commands that Tidegate answers itself.

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    hello,
    inbound::{Inbound, encode},
    legacy, login,
    session::{End, Session},
};
use crate::command::Local;

/// Answers a command without asking a node.
pub(super) async fn answer(session: &mut Session, local: Local, inbound: &Inbound) -> Result<(), End> {
    let reply = match local {
        Local::Hello => {
            // Before it is answered, for it may wait.
            session.counters().commands_local.one();
            return Box::pin(hello::answer(session, inbound)).await;
        }
        Local::Ping => rawdoc! { "ok": 1.0 },
        Local::Login(command) => return Box::pin(login::serve(session, command, inbound)).await,
        Local::WhatsMyUri => rawdoc! { "you": session.peer.to_string(), "ok": 1.0 },
        Local::ConnectionStatus => connection_status(inbound),
        Local::LastError(command) => {
            return Box::pin(legacy::answer_last_error(session, command, inbound)).await;
        }
    };
    say(session, &reply, inbound).await
}

/// Gives the client a reply that no node was asked for, with the cluster's time, which servers add to every reply.
pub(super) async fn say(session: &mut Session, reply: &RawDocument, inbound: &Inbound) -> Result<(), End> {
    session.counters().commands_local.one();
    let mut reply = reply.to_owned();
    append_cluster_time(session, &mut reply);
    match encode(&reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Adds the cluster's time, by which drivers' sessions follow what others did (Driver Sessions specification, gossip).
pub(super) fn append_cluster_time(session: &Session, reply: &mut RawDocumentBuf) {
    if let Some(time) = &session.shared.cluster.load().cluster_time {
        time.append_to(reply);
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
