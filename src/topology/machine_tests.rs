//! Tests of the state machine: each action of the specification's table, then properties.

use bson::doc;
use proptest::prelude::*;

use super::{
    super::testing::{
        address, arbiter, down, election, ghost, hello, mongos, other, primary, secondary, seeded, servers,
        standalone, told,
    },
    *,
};

fn version(process: u8, counter: i64) -> Option<TopologyVersion> {
    Some(TopologyVersion {
        process_id: ObjectId::from_bytes([process; 12]),
        counter,
    })
}

#[test]
fn the_options_decide_where_it_starts() {
    use TopologyKind as T;
    for (seeds, set_name, direct, expected) in [
        (&["a"][..], None, false, T::Unknown),
        (&["a"], Some("rs"), false, T::ReplicaSetNoPrimary),
        (&["a", "b"], None, false, T::Unknown),
        (&["a", "A", "a:27017"], Some("rs"), true, T::Single),
        (&["a"], None, true, T::Single),
        (&["a", "b"], None, true, T::Unknown),
    ] {
        let seeds = seeds.iter().map(|seed| address(seed)).collect();
        let topology = Topology::new(TopologyOptions {
            seeds,
            set_name: set_name.map(Into::into),
            direct,
            load_balanced: false,
        });
        assert_eq!(topology.kind(), expected);
    }
}

#[test]
fn the_first_answers_decide_what_it_is() {
    use TopologyKind as T;
    let all = ["a", "b"];
    for (seeds, first, kind, expected) in [
        (&["a"][..], down("a"), T::Unknown, &["a Unknown"][..]),
        (&["a"], ghost("a"), T::Unknown, &["a RSGhost"]),
        (&["a"], standalone("a"), T::Single, &["a Standalone"]),
        (&all, standalone("a"), T::Unknown, &["b Unknown"]),
        (&all, mongos("a"), T::Sharded, &["a Mongos", "b Unknown"]),
        (
            &["a"],
            primary("a", &all, 1),
            T::ReplicaSetWithPrimary,
            &["a RSPrimary", "b Unknown"],
        ),
        (
            &["a"],
            secondary("a", &all),
            T::ReplicaSetNoPrimary,
            &["a RSSecondary", "b Unknown"],
        ),
        (
            &["a"],
            arbiter("a", &all),
            T::ReplicaSetNoPrimary,
            &["a RSArbiter", "b Unknown"],
        ),
        (
            &["a"],
            other("a", &all),
            T::ReplicaSetNoPrimary,
            &["a RSOther", "b Unknown"],
        ),
    ] {
        let topology = told(seeds, [first.clone()]);
        assert_eq!(
            (topology.kind(), servers(&topology)),
            (kind, expected.iter().map(|s| (*s).to_owned()).collect()),
            "{first:?}"
        );
    }
}

#[test]
fn a_replica_set_removes_what_is_no_member() {
    for (name, wrong) in [("b", standalone("b")), ("b", mongos("b"))] {
        for rest in [secondary("a", &["a", "b"]), primary("a", &["a", "b"], 1)] {
            let mut topology = told(&["a"], [rest]);
            let kind = topology.kind();
            let change = topology.apply(wrong.clone());
            assert_eq!(change.removed, [address(name)]);
            assert!(change.changed && topology.get(&address(name)).is_none());
            assert_eq!(topology.kind(), kind);
        }
    }
}

#[test]
fn a_sharded_cluster_keeps_routers_only() {
    for wrong in [
        standalone("b"),
        primary("b", &["b"], 1),
        secondary("b", &["b"]),
        arbiter("b", &["b"]),
        ghost("b"),
    ] {
        let mut topology = told(&["a", "b"], [mongos("a")]);
        let change = topology.apply(wrong);
        assert_eq!(
            (change.removed.as_slice(), topology.kind()),
            (&[address("b")][..], TopologyKind::Sharded)
        );
        assert!(topology.apply(down("a")).changed);
        assert_eq!(
            (topology.kind(), servers(&topology)),
            (TopologyKind::Sharded, vec!["a Unknown".to_owned()])
        );
    }
}

#[test]
fn one_seed_leads_to_the_whole_set() {
    let mut topology = seeded(&["b"], None);
    let all = ["a", "b", "c"];
    let change = topology.apply(secondary("b", &all));
    assert_eq!(change.added, [address("a"), address("c")]);
    assert_eq!((topology.set_name(), topology.primary()), (Some("rs"), None));
    let change = topology.apply(primary("c", &["b", "c", "d"], 1));
    assert_eq!(
        (change.added.as_slice(), change.removed.as_slice()),
        (&[address("d")][..], &[address("a")][..])
    );
    assert!(change.events.contains(&Event::NewPrimary(address("c"))));
    assert!(change.events.contains(&Event::MemberRemoved {
        address: address("a"),
        reason: RemovalReason::NotNamedByPrimary
    }));
    assert_eq!(topology.primary().unwrap().0, 1);
    // What a secondary says of the set does not count beside a primary.
    assert_eq!(topology.apply(secondary("b", &["b", "x"])).added, []);
    // A member that was removed is not listened to.
    assert_eq!(topology.apply(primary("a", &["a"], 9)), Change::default());
}

#[test]
fn passives_and_arbiters_are_members_too() {
    let fields = doc! { "setName": "rs", "isWritablePrimary": true, "hosts": ["a"], "passives": ["P:1"], "arbiters": ["v"] };
    let topology = told(&["a"], [hello("a", fields)]);
    assert_eq!(servers(&topology), ["a RSPrimary", "p Unknown", "v Unknown"]);
}

#[test]
fn a_hidden_seed_finds_the_set_and_leaves_it() {
    let mut topology = told(&["h"], [other("h", &["a", "b"])]);
    assert_eq!(servers(&topology), ["a Unknown", "b Unknown", "h RSOther"]);
    let _ = topology.apply(primary("a", &["a", "b"], 1));
    assert_eq!(servers(&topology), ["a RSPrimary", "b Unknown"]);
}

#[test]
fn the_primary_is_lost_in_each_way() {
    let all = ["a", "b"];
    for gone in [
        down("a"),
        ghost("a"),
        secondary("a", &all),
        standalone("a"),
        other("a", &all),
    ] {
        let mut topology = told(&["a", "b"], [primary("a", &all, 1), secondary("b", &all)]);
        let change = topology.apply(gone);
        assert!(
            change.events.contains(&Event::PrimaryLost(address("a"))),
            "{change:?}"
        );
        assert_eq!(
            (topology.kind(), topology.primary()),
            (TopologyKind::ReplicaSetNoPrimary, None)
        );
    }
}

#[test]
fn a_newer_primary_ends_the_older_one() {
    let all = ["a", "b"];
    let mut topology = told(&["a"], [primary("a", &all, 1)]);
    let change = topology.apply(primary("b", &all, 2));
    assert_eq!(servers(&topology), ["a Unknown", "b RSPrimary"]);
    let error = topology.get(&address("a")).unwrap().error.clone().unwrap();
    assert!(
        error.contains("primary marked stale due to discovery of newer primary"),
        "{error}"
    );
    assert!(change.events.contains(&Event::NewPrimary(address("b"))));
    assert!(
        !change
            .events
            .iter()
            .any(|event| matches!(event, Event::PrimaryLost(_)))
    );
    // The old one still thinks itself primary.
    let change = topology.apply(primary("a", &all, 1));
    assert!(
        change
            .events
            .iter()
            .any(|event| matches!(event, Event::StalePrimary { .. })),
        "{change:?}"
    );
    assert_eq!(servers(&topology), ["a Unknown", "b RSPrimary"]);
    let error = topology.get(&address("a")).unwrap().error.clone().unwrap();
    assert!(
        error.contains("primary marked stale due to electionId/setVersion mismatch"),
        "{error}"
    );
}

/// Which of two elections and set versions is newer differs by the wire version of the one that tells.
#[test]
fn elections_are_ordered_before_set_versions_from_wire_version_17_on() {
    let tuple = |name: &str, wire: i32, number: Option<u8>, set_version: Option<i32>| {
        let mut fields =
            doc! { "setName": "rs", "isWritablePrimary": true, "hosts": ["a", "b"], "maxWireVersion": wire };
        if let Some(number) = number {
            fields.insert("electionId", election(number));
        }
        if let Some(set_version) = set_version {
            fields.insert("setVersion", set_version);
        }
        hello(name, fields)
    };
    for (wire, number, set_version, believed, max) in [
        // Known is election 5, set version 5.
        (17, Some(5), Some(5), true, (Some(5), Some(5))),
        (17, Some(6), Some(4), true, (Some(6), Some(4))),
        (17, Some(4), Some(6), false, (Some(5), Some(5))),
        (17, Some(5), Some(4), false, (Some(5), Some(5))),
        (17, Some(5), None, false, (Some(5), Some(5))),
        (17, None, Some(6), false, (Some(5), Some(5))),
        (17, None, None, false, (Some(5), Some(5))),
        (16, Some(5), Some(5), true, (Some(5), Some(5))),
        (16, Some(6), Some(4), false, (Some(5), Some(5))),
        (16, Some(4), Some(6), true, (Some(4), Some(6))),
        (16, Some(4), Some(5), false, (Some(5), Some(5))),
        (16, Some(5), None, true, (Some(5), Some(5))),
        (16, None, Some(6), true, (Some(5), Some(6))),
        (16, None, Some(4), true, (Some(5), Some(5))),
        (16, None, None, true, (Some(5), Some(5))),
    ] {
        let mut topology = told(&["a"], [tuple("a", wire, Some(5), Some(5))]);
        let _ = topology.apply(tuple("b", wire, number, set_version));
        let case = (wire, number, set_version);
        let expected = if believed {
            ["a Unknown", "b RSPrimary"]
        } else {
            ["a RSPrimary", "b Unknown"]
        };
        assert_eq!(servers(&topology), expected, "{case:?}");
        assert_eq!(
            (topology.max_election_id(), topology.max_set_version()),
            (max.0.map(election), max.1),
            "{case:?}"
        );
    }
}

#[test]
fn members_of_another_set_are_removed() {
    let elsewhere =
        |name: &str, role: &str| hello(name, doc! { "setName": "wrong", role: true, "hosts": ["x"] });
    for role in ["isWritablePrimary", "secondary", "arbiterOnly", "hidden"] {
        let mut topology = seeded(&["a"], Some("rs"));
        let change = topology.apply(elsewhere("a", role));
        assert_eq!(
            (change.removed.as_slice(), change.added.as_slice()),
            (&[address("a")][..], &[][..])
        );
        assert!(change.events.contains(&Event::NoServerLeft));
        assert_eq!(topology.kind(), TopologyKind::ReplicaSetNoPrimary);

        let mut topology = told(&["a"], [primary("a", &["a", "b"], 1)]);
        let change = topology.apply(elsewhere("b", role));
        assert_eq!(
            (change.removed.as_slice(), topology.kind()),
            (&[address("b")][..], TopologyKind::ReplicaSetWithPrimary)
        );
        let (expected, found) = ("rs".into(), Some("wrong".to_owned()));
        let reason = RemovalReason::SetNameMismatch { expected, found };
        assert!(change.events.contains(&Event::MemberRemoved {
            address: address("b"),
            reason
        }));
    }
}

#[test]
fn a_direct_connection_takes_any_member_but_checks_the_set_name() {
    let direct = |set_name: Option<&str>| {
        Topology::new(TopologyOptions {
            seeds: vec![address("a")],
            set_name: set_name.map(Into::into),
            direct: true,
            load_balanced: false,
        })
    };
    for member in [
        primary("a", &["x"], 1),
        secondary("a", &["x"]),
        arbiter("a", &["x"]),
        ghost("a"),
        standalone("a"),
        mongos("a"),
    ] {
        let mut topology = direct(None);
        let _ = topology.apply(member.clone());
        assert_eq!(
            (topology.kind(), topology.servers()[0].kind),
            (TopologyKind::Single, member.kind)
        );
        assert_eq!((topology.servers().len(), topology.primary()), (1, None));
    }
    let mut topology = direct(Some("other"));
    let change = topology.apply(secondary("a", &["a"]));
    assert!(
        matches!(change.events.as_slice(), [Event::SetNameMismatch { .. }]),
        "{change:?}"
    );
    assert_eq!(servers(&topology), ["a Unknown"]);
    assert_eq!(
        topology.servers()[0].error.as_deref(),
        Some("the server is in replica set \"rs\", not in \"other\"")
    );
    let change = topology.apply(secondary("a", &["a"]));
    assert!(change.events.is_empty(), "told twice: {change:?}");
}

#[test]
fn a_server_that_its_set_knows_by_another_address_gives_way_to_that_one() {
    let renamed = |role: &str| {
        hello(
            "alias",
            doc! { "setName": "rs", role: true, "hosts": ["a", "b"], "me": "a:27017" },
        )
    };
    for role in ["isWritablePrimary", "secondary", "arbiterOnly"] {
        let mut topology = seeded(&["alias"], None);
        let change = topology.apply(renamed(role));
        assert_eq!(servers(&topology), ["a Unknown", "b Unknown"], "{role}");
        assert_eq!(topology.kind(), TopologyKind::ReplicaSetNoPrimary);
        let reason = RemovalReason::MeMismatch { me: address("a") };
        assert!(change.events.contains(&Event::MemberRemoved {
            address: address("alias"),
            reason
        }));
    }
    let mut topology = told(&["a"], [primary("a", &["a", "alias"], 1)]);
    assert_eq!(topology.apply(renamed("secondary")).removed, [address("alias")]);
    assert_eq!(topology.kind(), TopologyKind::ReplicaSetWithPrimary);
}

#[test]
fn a_member_that_one_reply_adds_and_removes_is_in_neither_list() {
    let mut topology = seeded(&["a", "b"], Some("rs"));
    let fields = doc! { "setName": "rs", "isWritablePrimary": true, "hosts": ["b"], "me": "b:27017" };
    let change = topology.apply(hello("a", fields));
    assert_eq!(
        (change.added.as_slice(), change.removed.as_slice()),
        (&[][..], &[address("a")][..])
    );
}

#[test]
fn a_primary_that_only_others_know_of_is_hinted_at() {
    let mut topology = seeded(&["a"], None);
    let fields = doc! { "setName": "rs", "secondary": true, "hosts": ["a", "b"], "primary": "b" };
    let change = topology.apply(hello("a", fields));
    assert!(change.events.contains(&Event::PossiblePrimary(address("b"))));
}

#[test]
fn a_newer_primary_that_only_others_know_of_is_hinted_at_while_the_old_one_counts() {
    let mut topology = seeded(&["a"], None);
    assert!(topology.apply(primary("a", &["a", "b", "c"], 1)).applied);
    let names = |primary| {
        let hosts = ["a", "b", "c"];
        hello(
            "c",
            doc! { "setName": "rs", "secondary": true, "hosts": hosts.as_slice(), "primary": primary },
        )
    };
    assert!(
        topology
            .apply(names("a"))
            .events
            .iter()
            .all(|event| !matches!(event, Event::PossiblePrimary(_)))
    );
    let change = topology.apply(names("b"));
    assert!(change.events.contains(&Event::PossiblePrimary(address("b"))));
    assert_eq!(
        topology.primary().unwrap().1.address,
        address("a"),
        "b must say so itself"
    );
}

#[test]
fn an_older_topology_version_is_ignored() {
    let mut topology = seeded(&["a"], None);
    let with = |mut description: ServerDescription, version| {
        description.topology_version = version;
        description
    };
    assert!(
        topology
            .apply(with(primary("a", &["a"], 1), version(1, 5)))
            .applied
    );
    assert_eq!(
        topology.apply(with(secondary("a", &["a"]), version(1, 4))),
        Change::default()
    );
    assert_eq!(servers(&topology), ["a RSPrimary"]);
    // The same version, another process, and none at all are news.
    for newer in [version(1, 5), version(2, 1), None, version(1, 1)] {
        assert!(
            topology.apply(with(primary("a", &["a"], 1), newer)).applied,
            "{newer:?}"
        );
    }
}

#[test]
fn a_check_that_tells_nothing_new_changes_nothing() {
    let mut topology = told(&["a"], [primary("a", &["a"], 1)]);
    let change = topology.apply(ServerDescription {
        rtt: None,
        last_write: Some(5),
        ..primary("a", &["a"], 1)
    });
    assert_eq!(
        change,
        Change {
            applied: true,
            ..Change::default()
        }
    );
    assert_eq!(topology.servers()[0].last_write, Some(5));
}

/// Any description of one of five servers that name each other.
fn description() -> impl Strategy<Value = ServerDescription> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    let hosts = prop::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..=5);
    (
        name,
        hosts,
        0..9,
        0_u8..4,
        prop::option::of(1..4),
        prop::bool::weighted(0.1),
        prop::sample::select(vec![16, 17]),
    )
        .prop_map(|(name, hosts, role, number, set_version, odd, wire)| {
            let mut fields =
                doc! { "setName": if odd { "odd" } else { "rs" }, "hosts": hosts, "maxWireVersion": wire };
            if let Some(set_version) = set_version {
                fields.insert("setVersion", set_version);
            }
            match role {
                0 => return down(name),
                1 => return ghost(name),
                2 if odd => return mongos(name),
                2 => return standalone(name),
                3 => fields.insert("secondary", true),
                4 => fields.insert("arbiterOnly", true),
                5 => fields.insert("me", "a:27017"),
                _ => {
                    if number > 0 {
                        fields.insert("electionId", election(number));
                    }
                    fields.insert("isWritablePrimary", true)
                }
            };
            hello(name, fields)
        })
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_invariants(descriptions in prop::collection::vec(description(), 0..30)) {
        let mut topology = seeded(&["a", "c"], None);
        for description in descriptions {
            let before = topology.clone();
            let change = topology.apply(description.clone());
            let servers = topology.servers();
            prop_assert!(servers.windows(2).all(|pair| pair[0].address < pair[1].address));
            let primaries: Vec<_> = servers.iter().enumerate().filter(|(_, s)| s.kind == ServerKind::RsPrimary).map(|(i, _)| i).collect();
            prop_assert!(primaries.len() <= 1);
            prop_assert_eq!(topology.primary().map(|(index, _)| index), primaries.first().copied());
            prop_assert_eq!(topology.kind() == TopologyKind::ReplicaSetWithPrimary, primaries.len() == 1);
            prop_assert_eq!(change.applied, before.get(&description.address).is_some());
            for added in &change.added {
                prop_assert!(before.get(added).is_none() && topology.get(added).is_some());
            }
            for removed in &change.removed {
                prop_assert!(before.get(removed).is_some() && topology.get(removed).is_none());
            }
            let expected = before.servers().len() + change.added.len() - change.removed.len();
            prop_assert_eq!(servers.len(), expected);
            if before != topology && !change.changed {
                prop_assert!(before.servers().iter().zip(servers).all(|(old, new)| old.is_equivalent(new)));
            }
        }
    }

    #[test]
    fn an_older_election_never_becomes_primary(elections in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), 1_u8..20), 1..20)) {
        let all = ["a", "b", "c"];
        let mut topology = seeded(&all, None);
        let mut newest = 0;
        for (name, number) in elections {
            let _ = topology.apply(primary(name, &all, number));
            let believed = topology.primary().map(|(_, server)| server.address == address(name)).unwrap_or_default();
            prop_assert_eq!(believed, number >= newest);
            newest = newest.max(number);
            prop_assert_eq!(topology.max_election_id(), Some(election(newest)));
        }
    }
}
