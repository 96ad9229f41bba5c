//! The routing decision.
//!
//! Sources: the Server Selection specification ("passing read preference to mongos and load balancers") for what drivers
//! send, and `mongod`'s behaviour for what it demands.

use bson::RawDocument;

use crate::{
    command::{Class, ErrorReply, Local, Old, Request},
    topology::{Mode, ReadPreference, ServerKind},
};

/// The first wire version (MongoDB 5.0) whose secondaries pass the writes of `$out` and `$merge` on to the primary.
pub(super) const SECONDARY_OUT: i32 = 13;

/// Where a command goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// Answered here.
    Local(Local),
    /// Of old servers, and nodes do not have it any more.
    Old(Old),
    /// Not served; the text says what to do instead.
    Refused(&'static str),
    /// The primary.
    Primary,
    /// A node that this read preference allows.
    Read(ReadPreference),
    /// Any node that answers, the primary first.
    AnyNode,
    /// The node that holds this cursor.
    Cursor(i64),
    /// The nodes that hold the cursors in the body.
    KillCursors,
    /// Every data-bearing node.
    AllNodes,
    /// Every secondary.
    AllSecondaries,
}

/// Decides where `request` goes. `default` is the listener's read preference, `max_wire_version` what all nodes speak.
///
/// # Errors
/// When the read preference that decides is invalid, with `mongod`'s own code.
pub fn decide(
    request: &Request,
    message: &[u8],
    default: &ReadPreference,
    max_wire_version: i32,
) -> Result<Route, ErrorReply> {
    if let Class::Local(login @ Local::Login(_)) = request.class() {
        // Whatever stands beside it: on a connection that others use it would end, or change, who they are.
        return Ok(Route::Local(login));
    }
    if request.in_transaction {
        // In a replica set a transaction lives where writes go; reads in it may not go elsewhere.
        return Ok(Route::Primary);
    }
    match request.class() {
        // Which API versions there are, and what is part of them, only a node knows.
        Class::Local(local) if request.has_api_version && local != Local::Hello => Ok(Route::AnyNode),
        // From a driver, which has learnt from it what time it is in the cluster, and whether anyone is there.
        Class::Local(Local::Ping) if request.lsid.is_some() => explicit(request, message, || Route::Primary),
        Class::Local(local) => Ok(Route::Local(local)),
        Class::Refused(reason) => Ok(Route::Refused(reason)),
        // Of nodes that have not been seen yet the best is assumed.
        Class::Old(old) if max_wire_version == 0 || old.until() < max_wire_version => Ok(Route::Old(old)),
        // What is gone now wrote, too, and a primary takes it all.
        Class::Old(Old::ReIndex | Old::Removed(_)) => Ok(Route::Primary),
        Class::Old(_) => explicit(request, message, || Route::Primary),
        Class::Primary => Ok(Route::Primary),
        Class::GetMore => Ok(Route::Cursor(request.cursor_id.unwrap_or_default())),
        Class::KillCursors => Ok(Route::KillCursors),
        Class::AllNodes => Ok(Route::AllNodes),
        Class::AnyNode => explicit(request, message, || Route::AnyNode),
        Class::Explicit | Class::Sharding(_) => explicit(request, message, || Route::Primary),
        Class::Read if request.writes && max_wire_version < SECONDARY_OUT => Ok(Route::Primary),
        Class::Read => explicit(request, message, || {
            if takes_default(request, message) && default.mode != Mode::Primary {
                Route::Read(default.clone())
            } else {
                Route::Primary
            }
        }),
    }
}

/// What the client's own read preference says, else `otherwise`.
fn explicit(
    request: &Request,
    message: &[u8],
    otherwise: impl FnOnce() -> Route,
) -> Result<Route, ErrorReply> {
    let Some(span) = request.read_preference else {
        return Ok(otherwise());
    };
    // A value that is no document is left for the node to refuse.
    let Ok(document) = RawDocument::from_bytes(span.of(message)) else {
        return Ok(otherwise());
    };
    let preference = ReadPreference::parse(document).map_err(|error| ErrorReply::read_preference(&error))?;
    Ok(if preference.mode == Mode::Primary {
        Route::Primary
    } else {
        Route::Read(preference)
    })
}

/// Whether the listener's default applies: only to reads that a secondary can serve, of data that is replicated.
fn takes_default(request: &Request, message: &[u8]) -> bool {
    !request.writes && !request.linearizable && is_replicated(request, message)
}

fn is_replicated(request: &Request, message: &[u8]) -> bool {
    !matches!(request.db(message), b"local" | b"config")
}

/// Whether a read preference must be added before `request` goes to a server of this kind: a secondary answers 13435
/// (`NotPrimaryNoSecondaryOk`) to a request that carries none.
#[must_use]
pub fn needs_read_preference(request: &Request, message: &[u8], kind: ServerKind) -> bool {
    request.read_preference.is_none()
        && matches!(kind, ServerKind::RsSecondary | ServerKind::RsOther)
        && !request.in_transaction
        && !request.linearizable
        && !matches!(request.class(), Class::GetMore | Class::KillCursors)
        && is_replicated(request, message)
}

/// Whether the listener's `default` must be told to a server of this kind: a `mongos` chooses the node itself, and knows only
/// what the request says (Server Selection specification, "Passing read preference to mongos").
#[must_use]
pub fn tells_read_preference(
    request: &Request,
    message: &[u8],
    kind: ServerKind,
    default: &ReadPreference,
) -> bool {
    kind == ServerKind::Mongos
        && default.mode != Mode::Primary
        && request.read_preference.is_none()
        && !request.in_transaction
        && request.class() == Class::Read
        && takes_default(request, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::LoginCommand;
    use crate::wire::{RawDoc, op_msg};
    use bson::{Document, doc};
    use bytes::BytesMut;

    fn peek(body: &Document) -> (Request, BytesMut) {
        let mut message = BytesMut::new();
        op_msg::encode(
            RawDoc::prefix(&body.to_vec().unwrap()).unwrap(),
            1,
            0,
            0,
            &mut message,
        );
        let layout = op_msg::Layout::parse(&message).unwrap();
        (Request::peek(&message, layout).unwrap(), message)
    }

    fn preferring(mode: Mode) -> ReadPreference {
        ReadPreference {
            mode,
            ..ReadPreference::default()
        }
    }

    fn route(body: &Document, default: Mode, wire: i32) -> Result<Route, i32> {
        let (request, message) = peek(body);
        let default = preferring(default);
        decide(&request, &message, &default, wire).map_err(|error| error.code())
    }

    fn read(mode: Mode) -> Result<Route, i32> {
        Ok(Route::Read(preferring(mode)))
    }

    #[test]
    fn a_read_preference_is_added_where_a_server_cannot_know_it() {
        let find = doc! {"find": "c", "$db": "d"};
        let told = |body: &Document, kind, default| {
            let (request, message) = peek(body);
            (
                needs_read_preference(&request, &message, kind),
                tells_read_preference(&request, &message, kind, &preferring(default)),
            )
        };
        let nearest = Mode::Nearest;
        assert_eq!(told(&find, ServerKind::RsSecondary, nearest), (true, false));
        assert_eq!(told(&find, ServerKind::RsPrimary, nearest), (false, false));
        assert_eq!(told(&find, ServerKind::Standalone, nearest), (false, false));
        assert_eq!(told(&find, ServerKind::Mongos, nearest), (false, true));
        assert_eq!(told(&find, ServerKind::Mongos, Mode::Primary), (false, false));
        for body in [
            doc! {"find": "c", "$db": "d", "$readPreference": {"mode": "primary"}},
            doc! {"find": "c", "$db": "d", "autocommit": false},
            doc! {"find": "c", "$db": "config"},
            doc! {"aggregate": "c", "pipeline": [{"$out": "x"}], "$db": "d"},
            doc! {"insert": "c", "$db": "d"},
            doc! {"getMore": 5i64, "collection": "c", "$db": "d"},
            doc! {"killCursors": "c", "cursors": [5i64], "$db": "d"},
        ] {
            assert_eq!(told(&body, ServerKind::Mongos, nearest), (false, false), "{body}");
        }
    }

    #[test]
    fn every_kind_of_command_goes_where_it_must() {
        let secondary = doc! {"mode": "secondary"};
        let out = vec![doc! {"$out": "x"}];
        let table = [
            // What the client says, and what the listener says for it.
            (doc! {"find": "c", "$db": "d"}, Mode::Primary, Ok(Route::Primary)),
            (
                doc! {"find": "c", "$db": "d"},
                Mode::SecondaryPreferred,
                read(Mode::SecondaryPreferred),
            ),
            (
                doc! {"find": "c", "$db": "d", "$readPreference": {"mode": "primary"}},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"find": "c", "$db": "d", "$readPreference": secondary.clone()},
                Mode::Primary,
                read(Mode::Secondary),
            ),
            // The default is for replicated data that a secondary can serve.
            (
                doc! {"find": "c", "$db": "local"},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"find": "c", "$db": "d", "readConcern": {"level": "linearizable"}},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"aggregate": "c", "pipeline": out.clone(), "$db": "d"},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"listCollections": 1, "$db": "d"},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            // Writes stay on the primary whatever comes along.
            (
                doc! {"insert": "c", "$db": "d", "$readPreference": secondary.clone()},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"find": "c", "$db": "d", "autocommit": false, "$readPreference": secondary.clone()},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            // Metadata and unknown commands honour an explicit preference.
            (
                doc! {"listIndexes": "c", "$db": "d", "$readPreference": secondary.clone()},
                Mode::Primary,
                read(Mode::Secondary),
            ),
            (
                doc! {"fromTheFuture": 1, "$db": "d", "$readPreference": secondary.clone()},
                Mode::Primary,
                read(Mode::Secondary),
            ),
            (
                doc! {"fromTheFuture": 1, "$db": "d"},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            // What a presented `mongos` does not answer itself is for the node.
            (
                doc! {"listShards": 1, "$db": "admin"},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            // Old commands go to nodes that have them only.
            (
                doc! {"group": {}, "$db": "d"},
                Mode::Secondary,
                Ok(Route::Old(Old::Group)),
            ),
            (
                doc! {"getnonce": 1, "$db": "d"},
                Mode::Primary,
                Ok(Route::Local(Local::Login(LoginCommand::GetNonce))),
            ),
            // No login is ever forwarded, whatever makes it look like what nodes must judge.
            (
                doc! {"logout": 1, "$db": "d", "apiVersion": "1"},
                Mode::Primary,
                Ok(Route::Local(Local::Login(LoginCommand::Logout))),
            ),
            (
                doc! {"saslStart": 1, "$db": "d", "lsid": {}, "txnNumber": 1i64, "autocommit": false},
                Mode::Primary,
                Ok(Route::Local(Local::Login(LoginCommand::SaslStart))),
            ),
            (
                doc! {"replSetGetStatus": 1, "$db": "admin"},
                Mode::Primary,
                Ok(Route::AnyNode),
            ),
            (
                doc! {"replSetGetStatus": 1, "$db": "admin", "$readPreference": secondary.clone()},
                Mode::Primary,
                read(Mode::Secondary),
            ),
            (
                doc! {"ping": 1, "$db": "admin"},
                Mode::Primary,
                Ok(Route::Local(Local::Ping)),
            ),
            (
                doc! {"ping": 1, "$db": "admin", "lsid": {}},
                Mode::Secondary,
                Ok(Route::Primary),
            ),
            (
                doc! {"ping": 1, "$db": "admin", "lsid": {}, "$readPreference": secondary.clone()},
                Mode::Primary,
                read(Mode::Secondary),
            ),
            (
                doc! {"ping": 1, "$db": "admin", "apiVersion": "2"},
                Mode::Primary,
                Ok(Route::AnyNode),
            ),
            // Cursors and sessions.
            (
                doc! {"getMore": 5i64, "collection": "c", "$db": "d"},
                Mode::Secondary,
                Ok(Route::Cursor(5)),
            ),
            (
                doc! {"killCursors": "c", "cursors": [5i64], "$db": "d"},
                Mode::Secondary,
                Ok(Route::KillCursors),
            ),
            (
                doc! {"killSessions": [], "$db": "admin"},
                Mode::Primary,
                Ok(Route::AllNodes),
            ),
            // Bad preferences.
            (
                doc! {"find": "c", "$db": "d", "$readPreference": {"mode": "primary", "tags": [{"a": "b"}]}},
                Mode::Primary,
                Err(2),
            ),
            (
                doc! {"find": "c", "$db": "d", "$readPreference": {"mode": "nearest", "maxStalenessSeconds": 5}},
                Mode::Primary,
                Err(160),
            ),
        ];
        for (body, default, expected) in table {
            assert_eq!(route(&body, default, 17), expected, "{body}");
        }
        let group = doc! {"group": {}, "$db": "d", "$readPreference": secondary.clone()};
        assert_eq!(route(&group, Mode::Primary, 7), read(Mode::Secondary));
        assert_eq!(route(&group, Mode::Primary, 8), Ok(Route::Old(Old::Group)));
        assert_eq!(
            route(&group, Mode::Primary, 0),
            Ok(Route::Old(Old::Group)),
            "no node has been seen"
        );
        let eval = doc! {"eval": "1", "$db": "d", "$readPreference": secondary.clone()};
        assert_eq!(route(&eval, Mode::Primary, 7), Ok(Route::Primary));
        let merge = doc! {"aggregate": "c", "pipeline": out, "$db": "d", "$readPreference": secondary};
        assert_eq!(route(&merge, Mode::Primary, 17), read(Mode::Secondary));
        assert_eq!(
            route(&merge, Mode::Primary, 9),
            Ok(Route::Primary),
            "before 5.0 a secondary cannot write"
        );
    }
}
