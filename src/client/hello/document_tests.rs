//! What `hello` says on each kind of listener, in each state of the cluster.

use bson::{Document, Timestamp, doc};

use super::*;
use crate::{
    topology::{Limits, OpTime},
    wire::Compressor,
};

const PROCESS: ObjectId = ObjectId::from_bytes([1; 12]);
const ELECTION: ObjectId = ObjectId::from_bytes([2; 12]);

fn terms() -> Terms {
    Terms {
        common: Common {
            max_wire_version: 17,
            limits: Limits {
                max_bson_object_size: 16 << 20,
                max_message_size_bytes: 48_000_000,
                max_write_batch_size: 100_000,
            },
            session_timeout_minutes: Some(30),
        },
        version: Some(TopologyVersion {
            process_id: PROCESS,
            counter: 4,
        }),
        connection_id: 9,
        compressors: Compressors::default(),
        now: DateTime::from_millis(7),
    }
}

/// What every `hello` shows.
fn rest() -> Document {
    doc! {
        "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000 - SPLICE_ROOM, "maxWriteBatchSize": 100_000,
        "localTime": DateTime::from_millis(7), "logicalSessionTimeoutMinutes": 30, "connectionId": 9,
        "maxWireVersion": 17, "minWireVersion": 0, "readOnly": false, "ok": 1.0,
    }
}

/// What this role shows beside that.
fn shown(fields: &Fields, role: &Role) -> Document {
    let mut document = Document::try_from(document(fields, role, &terms())).unwrap();
    for (key, value) in rest() {
        assert_eq!(document.remove(&key), Some(value), "{key}");
    }
    document
}

fn hello() -> Fields {
    Fields {
        is_hello: true,
        ..Fields::default()
    }
}

fn member() -> Member {
    Member {
        set_name: "rs".into(),
        set_version: Some(3),
        hosts: vec!["p:1".into(), "s:2".into()],
        primary: Some("p:1".into()),
        election_id: Some(ELECTION),
        last_write: Some(LastWrite {
            date: 5,
            op_time: Some(OpTime {
                timestamp: Timestamp {
                    time: 6,
                    increment: 1,
                },
                term: 2,
            }),
        }),
        ..Member::default()
    }
}

fn version() -> Document {
    doc! { "processId": PROCESS, "counter": 4_i64 }
}

#[test]
fn servers_without_a_set_show_what_they_are() {
    let service = ObjectId::from_bytes([3; 12]);
    for (role, expected) in [
        (
            Role::Mongos,
            doc! { "isWritablePrimary": true, "msg": "isdbgrid" },
        ),
        (
            Role::Service(service),
            doc! { "isWritablePrimary": true, "msg": "isdbgrid", "serviceId": service },
        ),
        (Role::Standalone, doc! { "isWritablePrimary": true }),
        (
            Role::Ghost,
            doc! { "isWritablePrimary": false, "isreplicaset": true },
        ),
    ] {
        let mut all = doc! { "topologyVersion": version() };
        all.extend(expected);
        assert_eq!(shown(&hello(), &role), all, "{role:?}");
    }
}

#[test]
fn both_aliases_name_each_other_and_the_real_set() {
    let last_write = doc! {
        "opTime": { "ts": Timestamp { time: 6, increment: 1 }, "t": 2_i64 }, "lastWriteDate": DateTime::from_millis(5),
    };
    let primary = Member {
        me: "p:1".into(),
        is_primary: true,
        ..member()
    };
    let expected = doc! {
        "topologyVersion": version(), "hosts": ["p:1", "s:2"], "setName": "rs", "setVersion": 3,
        "isWritablePrimary": true, "secondary": false, "primary": "p:1", "me": "p:1", "electionId": ELECTION,
        "lastWrite": last_write.clone(),
    };
    assert_eq!(shown(&hello(), &Role::Member(primary)), expected);
    let secondary = Member {
        me: "s:2".into(),
        is_secondary: true,
        ..member()
    };
    let expected = doc! {
        "topologyVersion": version(), "hosts": ["p:1", "s:2"], "setName": "rs", "setVersion": 3,
        "isWritablePrimary": false, "secondary": true, "primary": "p:1", "me": "s:2", "lastWrite": last_write,
    };
    assert_eq!(shown(&hello(), &Role::Member(secondary)), expected);
}

#[test]
fn a_single_member_shows_all_that_it_is() {
    let node = Member {
        set_name: "rs".into(),
        hosts: vec!["p:1".into()],
        me: "p:1".into(),
        is_secondary: true,
        is_hidden: true,
        is_passive: true,
        delay_secs: Some(60),
        tags: vec![("dc".into(), "ams".into())],
        ..Member::default()
    };
    let expected = doc! {
        "topologyVersion": version(), "hosts": ["p:1"], "setName": "rs", "isWritablePrimary": false, "secondary": true,
        "passive": true, "hidden": true, "secondaryDelaySecs": 60_i64, "tags": { "dc": "ams" }, "me": "p:1",
    };
    assert_eq!(shown(&hello(), &Role::Member(node)), expected);
    let arbiter = Member {
        is_arbiter: true,
        ..Member::default()
    };
    let document = shown(&hello(), &Role::Member(arbiter));
    assert!(document.get_bool("arbiterOnly").unwrap());
}

#[test]
fn older_names_are_answered_in_their_own_words() {
    let old = Fields {
        hello_ok: true,
        ..Fields::default()
    };
    let document = shown(&old, &Role::Mongos);
    assert!(document.get_bool("helloOk").unwrap());
    assert!(document.get_bool("ismaster").unwrap());
    assert!(!document.contains_key("isWritablePrimary"));
}

#[test]
fn what_is_agreed_on_is_named_in_its_order() {
    let mut terms = terms();
    terms.compressors = [Compressor::Zstd, Compressor::Snappy].into_iter().collect();
    let document = Document::try_from(document(&hello(), &Role::Mongos, &terms)).unwrap();
    assert_eq!(
        document.get_array("compression").unwrap(),
        &vec!["zstd".into(), "snappy".into()]
    );
}
