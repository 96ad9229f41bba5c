//! Tests of what a topology tells of its servers together.

use bson::doc;

use super::{
    super::{
        Event,
        testing::{arbiter, down, hello, primary, seeded, told},
    },
    *,
};

#[test]
fn limits_and_versions_are_the_lowest_of_those_that_hold_data() {
    let limits = |name: &str, role: &str, wire: (i32, i32), size: i32, minutes: Option<i32>| {
        let mut fields = doc! {
            "setName": "rs", role: true, "hosts": ["a", "b", "c"], "minWireVersion": wire.0, "maxWireVersion": wire.1,
            "maxBsonObjectSize": size, "maxMessageSizeBytes": size * 3, "maxWriteBatchSize": size / 2,
        };
        if let Some(minutes) = minutes {
            fields.insert("logicalSessionTimeoutMinutes", minutes);
        }
        hello(name, fields)
    };
    let mut topology = seeded(&["a"], None);
    assert_eq!((topology.wire_version_range(), topology.limits()), (None, None));
    assert_eq!(topology.logical_session_timeout_minutes(), None);
    let _ = topology.apply(limits("a", "arbiterOnly", (0, 7), 10, None));
    assert_eq!(topology.wire_version_range(), Some((0, 7)));
    let _ = topology.apply(limits("b", "secondary", (1, 21), 300, Some(30)));
    let _ = topology.apply(limits("c", "isWritablePrimary", (0, 17), 400, Some(20)));
    assert_eq!(topology.wire_version_range(), Some((1, 17)));
    let expected = Limits {
        max_bson_object_size: 300,
        max_message_size_bytes: 900,
        max_write_batch_size: 150,
    };
    assert_eq!(topology.limits(), Some(expected));
    assert_eq!(topology.logical_session_timeout_minutes(), Some(20));
    let _ = topology.apply(limits("b", "secondary", (1, 21), 300, None));
    assert_eq!(topology.logical_session_timeout_minutes(), None);
    assert_eq!(
        (topology.data_bearing().count(), topology.reachable().count()),
        (2, 3)
    );
}

#[test]
fn a_server_of_foreign_wire_versions_makes_the_topology_unusable_until_it_is_gone() {
    for (min, max, word) in [(0, 5, "at least 6"), (99, 100, "up to 27")] {
        let foreign = doc! { "setName": "rs", "secondary": true, "hosts": ["a", "b"], "minWireVersion": min, "maxWireVersion": max };
        let mut topology = told(&["a"], [primary("a", &["a", "b"], 1)]);
        let change = topology.apply(hello("b", foreign));
        assert!(topology.compatibility_error().unwrap().contains(word));
        assert!(matches!(change.events.last(), Some(Event::Incompatible(_))));
        let _ = topology.apply(down("b"));
        assert_eq!(topology.compatibility_error(), None);
    }
}

#[test]
fn what_the_servers_have_in_common_outlasts_them() {
    let hosts = &["a:27017", "b:27017"];
    let mut topology = seeded(&["a:27017"], None);
    assert_eq!(topology.common(), None);
    let sessions = hello(
        "a",
        doc! { "setName": "rs", "me": "a:27017", "hosts": hosts, "secondary": true,
        "logicalSessionTimeoutMinutes": 30, "maxWireVersion": 21 },
    );
    let _ = topology.apply(sessions);
    let known = topology.common().unwrap();
    assert_eq!(known.session_timeout_minutes, Some(30));
    assert_eq!(known.max_wire_version, 21);
    let _ = topology.apply(down("a"));
    assert_eq!(topology.wire_version_range(), None);
    assert_eq!(topology.common(), Some(known));
    let _ = topology.apply(arbiter("b", hosts));
    assert_eq!(topology.common(), Some(known), "an arbiter has no sessions");
}
