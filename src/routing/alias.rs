//! Where commands go on a listener that does not stand for the whole cluster: a pure correction of the routing decision.
//!
//! Sources: the Server Selection specification ("Topology type: Single" and "Passing read preference to mongos and load balancers") for
//! what drivers send to the members of a replica set, and a `mongod` for what a secondary answers.

use crate::{
    command::{Class, Local, Request},
    topology::{Mode, ReadPreference},
};

use super::Route;

/// What a client takes the listener for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// The primary of a replica set.
    Primary,
    /// A secondary of it.
    Secondary,
    /// The one member that the listener reaches.
    Member,
}

/// The command is one that a secondary refuses, as only a primary takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPrimary;

/// Corrects where `request` goes, for a client that takes the listener for this `alias`.
///
/// # Errors
/// If the alias stands for a secondary, and only a primary takes the command.
pub fn redirect(
    route: Route,
    request: &Request,
    message: &[u8],
    alias: Alias,
    max_wire_version: impl FnOnce() -> i32,
) -> Result<Route, NotPrimary> {
    match alias {
        Alias::Primary => Ok(as_primary(route, request)),
        // Whichever answers later, it shall be as it was set.
        Alias::Secondary if request.name(message) == b"configureFailPoint" => Ok(Route::AllSecondaries),
        Alias::Secondary => as_secondary(route, request, max_wire_version),
        Alias::Member => Ok(as_member(route, request, message)),
    }
}

/// A driver that was told to connect directly sends `primaryPreferred` with everything, as its way to say that whatever answers is
/// fine. The primary does.
fn as_primary(route: Route, request: &Request) -> Route {
    match route {
        Route::Read(preference) if is_direct(&preference) => match request.class() {
            Class::AnyNode => Route::AnyNode,
            _ => Route::Primary,
        },
        other => other,
    }
}

fn is_direct(preference: &ReadPreference) -> bool {
    preference.mode == Mode::PrimaryPreferred
        && preference.tag_sets.is_empty()
        && preference.max_staleness.is_none()
}

/// Reads are served by a secondary if there is one: the client has chosen it. Strict ones are never served by another.
fn as_secondary(
    route: Route,
    request: &Request,
    max_wire_version: impl FnOnce() -> i32,
) -> Result<Route, NotPrimary> {
    let relaxed = |preference| {
        Route::Read(ReadPreference {
            mode: Mode::SecondaryPreferred,
            ..preference
        })
    };
    match (route, request.class()) {
        (Route::Primary, _) if request.in_transaction || request.linearizable => Err(NotPrimary),
        (Route::Primary, Class::Read)
            if request.writes && max_wire_version() < super::decide::SECONDARY_OUT =>
        {
            Err(NotPrimary)
        }
        (Route::Primary, Class::Read | Class::Explicit | Class::Sharding(_) | Class::AnyNode)
        | (Route::AnyNode, _) => Ok(relaxed(ReadPreference::PRIMARY)),
        (Route::Primary, _) => Err(NotPrimary),
        (Route::Read(preference), _) if preference.mode != Mode::Secondary => Ok(relaxed(preference)),
        (other, _) => Ok(other),
    }
}

/// Everything goes to the one member; only logins are still refused, and what is the connection's own is answered here.
fn as_member(route: Route, request: &Request, message: &[u8]) -> Route {
    let is_login = || {
        matches!(
            request.name(message),
            b"saslStart" | b"saslContinue" | b"authenticate"
        )
    };
    match route {
        Route::Local(Local::Ping) => Route::AnyNode,
        Route::Local(_) => route,
        Route::Refused(_) if is_login() => route,
        _ => Route::AnyNode,
    }
}

#[cfg(test)]
#[path = "alias_tests.rs"]
mod tests;
