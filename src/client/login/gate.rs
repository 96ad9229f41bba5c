//! What may be asked before the login: what MongoDB allows, and nothing else.

use super::say_error;
use crate::{
    client::{
        inbound::Inbound,
        session::{End, Session},
    },
    command::{Class, ErrorReply, Local, LoginCommand, Request},
};

/// What is said where nobody need log in.
pub(in crate::client) const NO_AUTH: &str = "this proxy serves clients without authentication: leave user name and password out of the connection string that points at it";

/// What nodes answer to everybody, beside what Tidegate answers itself (`requiresAuth: false` in the `listCommands` of a `mongod` 6.0).
const OPEN: [&[u8]; 3] = [b"buildInfo", b"buildinfo", b"listCommands"];

/// Answers a client that has not logged in and asks for more than it may.
pub(in crate::client) async fn turn_away(session: &mut Session, inbound: &Inbound) -> Result<(), End> {
    let error = required(&inbound.request, inbound.frame.bytes());
    say_error(session, &error, inbound).await
}

/// Whether the command may come before the login.
pub(in crate::client) fn is_open(inbound: &Inbound) -> bool {
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    match request.class() {
        Class::Local(Local::Login(command)) => command != LoginCommand::Logout,
        Class::Local(_) => true,
        _ => OPEN.contains(&request.name(message)),
    }
}

/// What a `mongod` answers to who has not logged in, or whom it has logged out.
pub(in crate::client) fn required(request: &Request, message: &[u8]) -> ErrorReply {
    ErrorReply::requires_authentication(request.name(message))
}
