//! Tests of reading `hello` replies.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use proptest::prelude::*;

use super::{super::testing::address, *};

fn read_reply(reply: &Document) -> ServerDescription {
    let reply = RawDocumentBuf::try_from(reply).unwrap();
    ServerDescription::from_hello(
        address("a"),
        &reply,
        Instant::now(),
        Some(Duration::from_millis(5)),
    )
}

#[test]
fn the_kind_follows_from_the_roles() {
    use ServerKind as S;
    for (expected, reply) in [
        (S::Standalone, doc! { "ok": 1 }),
        (S::Standalone, doc! { "ok": 1.0, "ismaster": true }),
        (
            S::Mongos,
            doc! { "ok": 1, "msg": "isdbgrid", "isWritablePrimary": true },
        ),
        (S::RsGhost, doc! { "ok": 1, "isreplicaset": true }),
        (
            S::RsGhost,
            doc! { "ok": 1, "isreplicaset": true, "setName": "rs", "secondary": true },
        ),
        (
            S::RsPrimary,
            doc! { "ok": 1, "setName": "rs", "isWritablePrimary": true },
        ),
        (S::RsPrimary, doc! { "ok": 1, "setName": "rs", "ismaster": true }),
        (
            S::RsSecondary,
            doc! { "ok": 1, "setName": "rs", "isWritablePrimary": false, "ismaster": true, "secondary": true },
        ),
        (
            S::RsSecondary,
            doc! { "ok": 1_i64, "setName": "rs", "secondary": true, "passive": true },
        ),
        (
            S::RsArbiter,
            doc! { "ok": true, "setName": "rs", "arbiterOnly": true },
        ),
        (S::RsOther, doc! { "ok": 1, "setName": "rs" }),
        (
            S::RsOther,
            doc! { "ok": 1, "setName": "rs", "hidden": true, "secondary": true },
        ),
        (S::Unknown, doc! { "setName": "rs", "isWritablePrimary": true }),
        (
            S::Unknown,
            doc! { "ok": 0, "setName": "rs", "isWritablePrimary": true },
        ),
    ] {
        let description = read_reply(&reply);
        assert_eq!(description.kind, expected, "{reply}");
        // Only a server that is known has a round trip time, and only one that is not has an error.
        assert_eq!(description.rtt.is_some(), expected != S::Unknown);
        assert_eq!(description.error.is_some(), expected == S::Unknown);
        assert!(description.last_update.is_some());
    }
}

#[test]
fn every_field_of_a_real_reply_is_read() {
    let process = ObjectId::from_bytes([7; 12]);
    let description = read_reply(&doc! {
        "topologyVersion": { "processId": process, "counter": 6_i64 },
        "hosts": ["A:1", "b"], "passives": ["c"], "arbiters": ["d:2"],
        "setName": "rs0", "setVersion": 3, "isWritablePrimary": true, "secondary": false,
        "primary": "A:1", "me": "A:1", "electionId": process, "tags": { "dc": "ny", "rack": "1" },
        "lastWrite": {
            "opTime": { "ts": Timestamp { time: 9, increment: 2 }, "t": 4_i64 },
            "lastWriteDate": bson::DateTime::from_millis(1234),
        },
        "maxBsonObjectSize": 1000, "maxMessageSizeBytes": 2000, "maxWriteBatchSize": 30,
        "logicalSessionTimeoutMinutes": 29, "minWireVersion": 1, "maxWireVersion": 17,
        "secondaryDelaySecs": 5, "helloOk": true, "ok": 1.0,
    });
    let expected = ServerDescription {
        kind: ServerKind::RsPrimary,
        rtt: Some(Duration::from_millis(5)),
        last_update: description.last_update,
        last_write: Some(1234),
        op_time: Some(OpTime {
            timestamp: Timestamp {
                time: 9,
                increment: 2,
            },
            term: 4,
        }),
        min_wire_version: 1,
        max_wire_version: 17,
        max_bson_object_size: 1000,
        max_message_size_bytes: 2000,
        max_write_batch_size: 30,
        logical_session_timeout_minutes: Some(29),
        me: Some(address("a:1")),
        hosts: vec![address("a:1"), address("b:27017")],
        passives: vec![address("c:27017")],
        arbiters: vec![address("d:2")],
        tags: vec![("dc".into(), "ny".into()), ("rack".into(), "1".into())],
        set_name: Some("rs0".into()),
        set_version: Some(3),
        election_id: Some(process),
        primary: Some(address("a:1")),
        secondary_delay_secs: Some(5),
        topology_version: Some(TopologyVersion {
            process_id: process,
            counter: 6,
        }),
        hello_ok: true,
        ..ServerDescription::unknown(address("a"), None)
    };
    assert_eq!(description, expected);
    assert_eq!(description.members().count(), 4);
}

#[test]
fn nonsense_is_an_unknown_server_whose_error_names_the_field() {
    for (field, value) in [
        ("setName", Bson::Int32(1)),
        ("hosts", Bson::from("a")),
        ("hosts", Bson::from(vec![1])),
        ("hosts", Bson::from(vec!["a:b:c"])),
        ("me", Bson::from("a:0")),
        ("electionId", Bson::from("x")),
        ("setVersion", Bson::Int64(1 << 40)),
        ("maxWireVersion", Bson::Double(1.5)),
        ("maxBsonObjectSize", Bson::Int32(-1)),
        ("maxMessageSizeBytes", Bson::Int32(0)),
        ("tags", Bson::from(doc! { "a": 1 })),
        ("lastWrite", Bson::Int32(1)),
    ] {
        let mut reply = doc! { "ok": 1, "isWritablePrimary": true };
        reply.insert(field, value);
        let description = read_reply(&reply);
        assert_eq!(description.kind, ServerKind::Unknown, "{reply}");
        assert!(description.error.unwrap().contains(field), "{reply}");
    }
    let error = read_reply(&doc! { "ok": 0, "errmsg": "go away" }).error.unwrap();
    assert!(error.contains("go away"), "{error}");
}

#[test]
fn a_member_without_a_primary_may_name_an_empty_one() {
    let description = read_reply(&doc! { "ok": 1, "setName": "rs", "secondary": true, "primary": "" });
    assert_eq!(
        (description.kind, description.primary),
        (ServerKind::RsSecondary, None)
    );
}

/// Any value under the name of a field that matters.
fn field() -> impl Strategy<Value = (String, Bson)> {
    let names = prop::sample::select(vec![
        "ok",
        "isWritablePrimary",
        "ismaster",
        "secondary",
        "arbiterOnly",
        "isreplicaset",
        "msg",
        "hidden",
        "setName",
        "me",
        "primary",
        "hosts",
        "passives",
        "arbiters",
        "tags",
        "setVersion",
        "electionId",
        "maxWireVersion",
        "maxBsonObjectSize",
        "lastWrite",
        "topologyVersion",
        "errmsg",
        "secondaryDelaySecs",
    ]);
    let leaf = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        prop_oneof!["[a-c]:[0-9]{0,5}", ".{0,6}", Just("isdbgrid".to_owned())].prop_map(Bson::String),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        Just(Bson::Null),
    ];
    let value = leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(
                (
                    prop::sample::select(vec!["opTime", "ts", "t", "processId", "counter"]),
                    inner
                ),
                0..4
            )
            .prop_map(|fields| Bson::Document(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    });
    (names.prop_map(str::to_owned), value)
}

proptest! {
    #[test]
    fn random_replies_never_panic(fields in prop::collection::vec(field(), 0..12)) {
        let mut reply = doc! { "ok": 1 };
        reply.extend(fields.into_iter().collect::<Document>());
        let description = read_reply(&reply);
        prop_assert_eq!(description.is_reachable(), description.error.is_none());
        prop_assert_eq!(description.is_reachable(), description.rtt.is_some());
    }

    #[test]
    fn damaged_replies_never_panic(fields in prop::collection::vec(field(), 0..8), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = RawDocumentBuf::try_from(&fields.into_iter().collect::<Document>()).unwrap().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(reply) = RawDocument::from_bytes(&bytes) {
            let description = ServerDescription::from_hello(address("a"), reply, Instant::now(), None);
            prop_assert_eq!(description.is_reachable(), description.error.is_none());
        }
    }
}
