//! Which commands the addresses of a presented replica set take, and where they go.

use bson::{Document, doc};
use bytes::BytesMut;

use super::*;
use crate::{
    command::LoginCommand,
    routing::decide,
    topology::TagSet,
    wire::{RawDoc, op_msg},
};

fn route(body: Document, alias: Alias) -> Result<Route, NotPrimary> {
    let mut body = body;
    body.insert("$db", "admin");
    let bytes = body.to_vec().unwrap();
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(&bytes).unwrap(), 1, 0, 0, &mut message);
    let request = Request::peek(&message, op_msg::Layout::parse(&message).unwrap()).unwrap();
    let route = decide(&request, &message, &ReadPreference::PRIMARY, 17).unwrap();
    redirect(route, &request, &message, alias, || 17)
}

fn preferring(mode: &str, mut body: Document) -> Document {
    body.insert("$readPreference", doc! { "mode": mode });
    body
}

fn read(mode: Mode) -> Result<Route, NotPrimary> {
    Ok(Route::Read(ReadPreference {
        mode,
        ..ReadPreference::PRIMARY
    }))
}

fn find() -> Document {
    doc! { "find": "c" }
}

#[test]
fn what_a_test_sets_on_the_secondary_holds_on_all_of_them() {
    let stop = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn" };
    assert_eq!(route(stop.clone(), Alias::Secondary), Ok(Route::AllSecondaries));
    assert_ne!(route(stop, Alias::Primary), Ok(Route::AllSecondaries));
}

#[test]
fn the_primary_takes_what_direct_connections_send_for_its_own() {
    for (body, expected) in [
        (find(), Ok(Route::Primary)),
        (preferring("primaryPreferred", find()), Ok(Route::Primary)),
        (preferring("secondary", find()), read(Mode::Secondary)),
        (preferring("nearest", find()), read(Mode::Nearest)),
        (
            preferring("primaryPreferred", doc! { "replSetGetStatus": 1 }),
            Ok(Route::AnyNode),
        ),
        (doc! { "insert": "c" }, Ok(Route::Primary)),
    ] {
        assert_eq!(route(body.clone(), Alias::Primary), expected, "{body}");
    }
    let tagged = doc! {
        "find": "c", "$readPreference": { "mode": "primaryPreferred", "tags": [{ "dc": "ams" }] },
    };
    assert!(matches!(route(tagged, Alias::Primary), Ok(Route::Read(_))));
}

#[test]
fn a_secondary_serves_reads_and_refuses_what_only_a_primary_takes() {
    let transaction = doc! { "find": "c", "autocommit": false, "startTransaction": true };
    for (body, expected) in [
        (find(), read(Mode::SecondaryPreferred)),
        (preferring("primary", find()), read(Mode::SecondaryPreferred)),
        (
            preferring("primaryPreferred", find()),
            read(Mode::SecondaryPreferred),
        ),
        (preferring("nearest", find()), read(Mode::SecondaryPreferred)),
        (
            preferring("secondaryPreferred", find()),
            read(Mode::SecondaryPreferred),
        ),
        (preferring("secondary", find()), read(Mode::Secondary)),
        (doc! { "listCollections": 1 }, read(Mode::SecondaryPreferred)),
        (doc! { "replSetGetStatus": 1 }, read(Mode::SecondaryPreferred)),
        // No mongod knows it, and a secondary says so.
        (doc! { "isdbgrid": 1 }, read(Mode::SecondaryPreferred)),
        (doc! { "insert": "c" }, Err(NotPrimary)),
        (
            preferring("secondary", doc! { "findAndModify": "c" }),
            Err(NotPrimary),
        ),
        (doc! { "replSetStepDown": 1 }, Err(NotPrimary)),
        (transaction, Err(NotPrimary)),
        (
            doc! { "find": "c", "readConcern": { "level": "linearizable" } },
            Err(NotPrimary),
        ),
        (doc! { "getMore": 5_i64, "collection": "c" }, Ok(Route::Cursor(5))),
        (doc! { "ping": 1 }, Ok(Route::Local(Local::Ping))),
    ] {
        assert_eq!(route(body.clone(), Alias::Secondary), expected, "{body}");
    }
}

#[test]
fn tags_and_staleness_stay_with_a_read_from_a_secondary() {
    let body = doc! {
        "find": "c",
        "$readPreference": { "mode": "nearest", "tags": [{ "dc": "ams" }], "maxStalenessSeconds": 120 },
    };
    let Ok(Route::Read(preference)) = route(body, Alias::Secondary) else {
        panic!("it is a read")
    };
    assert_eq!(preference.mode, Mode::SecondaryPreferred);
    assert_eq!(preference.tag_sets, [TagSet(vec![("dc".into(), "ams".into())])]);
    assert_eq!(preference.max_staleness.unwrap().as_secs(), 120);
}

#[test]
fn one_member_gets_everything_but_logins_and_what_is_the_connections_own() {
    for body in [
        find(),
        preferring("secondary", find()),
        doc! { "insert": "c" },
        doc! { "find": "c", "autocommit": false },
        doc! { "getMore": 5_i64, "collection": "c" },
        doc! { "killCursors": "c", "cursors": [5_i64] },
        doc! { "killAllSessions": [] },
        doc! { "shutdown": 1 },
        doc! { "replSetStepUp": 1 },
        doc! { "ping": 1 },
        doc! { "fromTheFuture": 1 },
    ] {
        assert_eq!(route(body.clone(), Alias::Member), Ok(Route::AnyNode), "{body}");
    }
    assert_eq!(
        route(doc! { "hello": 1 }, Alias::Member),
        Ok(Route::Local(Local::Hello))
    );
    assert_eq!(
        route(doc! { "saslStart": 1 }, Alias::Member),
        Ok(Route::Local(Local::Login(LoginCommand::SaslStart)))
    );
}
