//! What replies tell of logins: users that were changed through this proxy, and nodes that have forgotten a login.

use super::gate::required;
use crate::{
    auth::scram::Hash,
    client::{exchange::Attempt, inbound::Inbound, relay::Taken, session::Session},
    command::{Class, ErrorReply, Local},
    pool::CheckOutError,
    routing::Route,
};

/// `Unauthorized`.
const UNAUTHORIZED: i32 = 13;
/// By this an error differs from that of a user who lacks a right.
const LOGGED_OUT: &[u8] = b"requires authentication";

/// What the commands are called that change users or roles.
const CHANGES: [&[u8]; 16] = [
    b"createRole",
    b"createUser",
    b"dropAllRolesFromDatabase",
    b"dropAllUsersFromDatabase",
    b"dropRole",
    b"dropUser",
    b"grantPrivilegesToRole",
    b"grantRolesToRole",
    b"grantRolesToUser",
    b"insert",
    b"revokePrivilegesFromRole",
    b"revokeRolesFromRole",
    b"revokeRolesFromUser",
    b"update",
    b"updateRole",
    b"updateUser",
];

/// Takes note of a command that may have changed users, whatever became of it.
pub(in crate::client) fn note_change(session: &Session, inbound: &Inbound) {
    if let Some(logins) = &session.shared.logins
        && changes_users(inbound)
    {
        logins.load().source.forget_all();
    }
}

/// Takes note of what a node has answered, where clients log in.
pub(in crate::client) fn note_reply(session: &Session, taken: &Taken) {
    if session.shared.logins.is_none() {
        return;
    }
    if taken.error_code() == UNAUTHORIZED && taken.says(LOGGED_OUT) {
        tracing::info!(user = ?session.identity, node = %taken.node(), "a node has forgotten a login: the user was dropped, perhaps");
        session.counters().logins_forgotten.one();
        session.identity.forget_connections();
    }
}

/// Whether the command changes users or roles, if it succeeds.
fn changes_users(inbound: &Inbound) -> bool {
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    let name = request.name(message);
    if request.class() != Class::Primary {
        return name == b"_mergeAuthzCollections";
    }
    match CHANGES.binary_search(&name) {
        // Users can be written as documents, too.
        Ok(_) if matches!(name, b"insert" | b"update") => request.db(message) == b"admin",
        Ok(_) => true,
        Err(_) => {
            matches!(
                name,
                b"delete" | b"findAndModify" | b"findandmodify" | b"bulkWrite" | b"applyOps"
            ) && request.db(message) == b"admin"
        }
    }
}

/// Of who is logged in, a node tells more: the roles.
pub(in crate::client) fn apply(session: &Session, route: Route) -> Route {
    match route {
        Route::Local(Local::ConnectionStatus) if session.identity.user().is_some() => Route::AnyNode,
        other => other,
    }
}

/// What becomes of a command for which no connection could be had because a node does not let its user in. If the user is another by now
/// than the one who has logged in, that is the end of the login; if not, the node may not know of the user yet.
pub(in crate::client) async fn refused(
    session: &mut Session,
    inbound: &Inbound,
    error: CheckOutError,
) -> Attempt {
    let logins = session.shared.logins();
    let Some(logins) = logins.filter(|_| !session.identity.is_service()) else {
        return Attempt::Answer(ErrorReply::unreachable(&inbound.request, error.to_string()));
    };
    tracing::warn!(peer = %session.peer, %error, "a node refuses a login");
    let keys = session
        .identity
        .login()
        .and_then(|login| login.scram_keys().cloned());
    if let (Some(keys), Some(user)) = (keys, session.identity.user()) {
        logins.source.doubt(user);
        let hash: Hash = keys.hash;
        if let Ok(found) = logins.source.find(user).await {
            let verifier = found.as_ref().and_then(|found| found.verifier(hash));
            if verifier.is_some_and(|verifier| verifier.is_of(&keys)) {
                return Attempt::NoConnection(Box::new(error));
            }
        }
    }
    session.closes = true;
    Attempt::Answer(required(&inbound.request, inbound.frame.bytes()))
}
