//! Tests of selection: each rule by tables, then properties over random topologies.

use std::{collections::BTreeSet, time::Instant};

use bson::doc;
use proptest::prelude::*;

use super::{
    super::testing::{arbiter, down, ghost, hello, mongos, other, primary, secondary, standalone, told},
    *,
};

const OPTIONS: SelectionOptions = SelectionOptions {
    local_threshold: Duration::from_millis(15),
    heartbeat: Duration::from_secs(10),
};

const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];

/// With these round trip times in milliseconds and tags.
fn with(description: ServerDescription, rtt: u64, tags: &[(&str, &str)]) -> ServerDescription {
    let tags = tags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    ServerDescription {
        rtt: Some(Duration::from_millis(rtt)),
        tags,
        ..description
    }
}

fn preference(mode: Mode, sets: &[&[(&str, &str)]]) -> ReadPreference {
    let set = |pairs: &[(&str, &str)]| {
        TagSet(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    };
    ReadPreference {
        mode,
        tag_sets: sets.iter().map(|pairs| set(pairs)).collect(),
        max_staleness: None,
    }
}

/// Every server that some random numbers lead to, without its port.
fn reachable_by(topology: &Topology, criteria: Criteria<'_>, excluded: &[&str]) -> String {
    let name = |index: usize| topology.servers()[index].address.host();
    let mut found = BTreeSet::new();
    for first in 0..topology.servers().len() {
        let exclude = |index| excluded.contains(&name(index));
        let selected = select_excluding(topology, &criteria, &OPTIONS, exclude, |_| 0, |_| first).unwrap();
        found.extend(selected.map(name));
    }
    found.into_iter().collect::<Vec<_>>().join(" ")
}

fn read(topology: &Topology, preference: &ReadPreference) -> String {
    reachable_by(topology, Criteria::Read(preference), &[])
}

fn with_primary() -> Topology {
    told(
        &["a"],
        [
            with(primary("a", &ALL, 1), 5, &[("dc", "ny")]),
            with(secondary("b", &ALL), 5, &[("dc", "ny"), ("use", "report")]),
            with(secondary("c", &ALL), 20, &[("dc", "la")]),
            with(secondary("d", &ALL), 21, &[("dc", "la")]),
            arbiter("e", &ALL),
        ],
    )
}

fn without_primary() -> Topology {
    let mut topology = with_primary();
    let _ = topology.apply(down("a"));
    topology
}

#[test]
fn the_mode_tells_which_members_are_candidates() {
    // "d" is out of the latency window of "a" and "b".
    for (mode, with_one, without) in [
        (Mode::Primary, "a", ""),
        (Mode::PrimaryPreferred, "a", "b c"),
        (Mode::Secondary, "b c", "b c"),
        (Mode::SecondaryPreferred, "b c", "b c"),
        (Mode::Nearest, "a b c", "b c"),
    ] {
        let preference = preference(mode, &[]);
        assert_eq!(read(&with_primary(), &preference), with_one, "{mode}");
        assert_eq!(read(&without_primary(), &preference), without, "{mode}");
    }
    let only_primary = told(&["a"], [primary("a", &ALL, 1)]);
    assert_eq!(read(&only_primary, &preference(Mode::Secondary, &[])), "");
    assert_eq!(
        read(&only_primary, &preference(Mode::SecondaryPreferred, &[])),
        "a"
    );
}

#[test]
fn the_first_tag_set_that_fits_any_candidate_counts() {
    let ny: &[_] = &[("dc", "ny")];
    let la: &[_] = &[("dc", "la")];
    let nowhere: &[_] = &[("dc", "ny"), ("rack", "1")];
    for (mode, sets, expected) in [
        (Mode::Secondary, &[ny][..], "b"),
        (Mode::Secondary, &[la, ny], "c d"),
        (Mode::Secondary, &[nowhere, la], "c d"),
        (Mode::Secondary, &[nowhere, &[]], "b c"),
        (Mode::Secondary, &[nowhere], ""),
        (Mode::Secondary, &[&[("dc", "ny"), ("use", "report")]], "b"),
        (Mode::SecondaryPreferred, &[nowhere], "a"),
        (Mode::PrimaryPreferred, &[nowhere], "a"),
        (Mode::Nearest, &[ny], "a b"),
        (Mode::Nearest, &[nowhere], ""),
    ] {
        assert_eq!(
            read(&with_primary(), &preference(mode, sets)),
            expected,
            "{mode} {sets:?}"
        );
    }
    assert_eq!(
        read(
            &without_primary(),
            &preference(Mode::PrimaryPreferred, &[nowhere])
        ),
        ""
    );
}

/// A primary and two secondaries, each with seconds of its last check and last write.
fn written(times: [(u64, i64); 3]) -> Topology {
    let now = Instant::now();
    let at = |description: ServerDescription, (update, write): (u64, i64)| ServerDescription {
        last_update: Some(now + Duration::from_secs(update)),
        last_write: Some(write * 1000),
        ..description
    };
    let all = ["a", "b", "c"];
    told(
        &["a"],
        [
            at(primary("a", &all, 1), times[0]),
            at(secondary("b", &all), times[1]),
            at(secondary("c", &all), times[2]),
        ],
    )
}

#[test]
fn staleness_is_measured_against_the_primary_or_the_freshest_secondary() {
    let fresh = |mode, seconds| ReadPreference {
        max_staleness: Some(Duration::from_secs(seconds)),
        ..preference(mode, &[])
    };
    // Behind the primary: "b" 0 s and "c" 80 s, each plus a heartbeat of 10 s.
    for (times, with_one, without) in [
        ([(0, 1000), (0, 1000), (0, 920)], "b c", "b c"),
        ([(0, 1000), (0, 1000), (0, 919)], "b", "b"),
        // Checked 100 s later than the primary: as stale as if it had then lacked the writes of 80 s, or 81 s.
        ([(0, 1000), (0, 1000), (100, 1020)], "b c", "b c"),
        ([(0, 1000), (0, 1000), (100, 1019)], "b", "b c"),
        ([(0, 1000), (0, 900), (0, 900)], "", "b c"),
        ([(100, 1100), (0, 1000), (0, 900)], "b", "b"),
    ] {
        let mut topology = written(times);
        assert_eq!(
            read(&topology, &fresh(Mode::Secondary, 90)),
            with_one,
            "{times:?}"
        );
        let _ = topology.apply(down("a"));
        assert_eq!(read(&topology, &fresh(Mode::Secondary, 90)), without, "{times:?}");
    }
    let stale = written([(0, 1000), (0, 100), (0, 100)]);
    assert_eq!(read(&stale, &fresh(Mode::SecondaryPreferred, 90)), "a");
    assert_eq!(read(&stale, &fresh(Mode::Nearest, 90)), "a");
    assert_eq!(read(&stale, &fresh(Mode::Nearest, 910)), "a b c");
    // A secondary that does not tell its last write cannot be known to be fresh.
    let silent = told(&["a"], [secondary("a", &["a"])]);
    assert_eq!(read(&silent, &fresh(Mode::Secondary, 1_000_000)), "");
}

#[test]
fn a_staleness_that_cannot_be_measured_is_an_error_in_a_replica_set_only() {
    let check = |topology: &Topology, seconds, heartbeat| {
        let max_staleness = Some(Duration::from_secs(seconds));
        let preference = ReadPreference {
            max_staleness,
            ..preference(Mode::Nearest, &[])
        };
        let options = SelectionOptions {
            heartbeat: Duration::from_secs(heartbeat),
            ..OPTIONS
        };
        select(topology, &Criteria::Read(&preference), &options, |_| 0, |_| 0).map(|_| ())
    };
    let too_small = |seconds, smallest| {
        let (max_staleness, smallest) = (Duration::from_secs(seconds), Duration::from_secs(smallest));
        Err(SelectionError::MaxStalenessTooSmall {
            max_staleness,
            smallest,
        })
    };
    assert_eq!(check(&with_primary(), 89, 10), too_small(89, 90));
    assert_eq!(check(&with_primary(), 90, 10), Ok(()));
    assert_eq!(check(&without_primary(), 109, 100), too_small(109, 110));
    assert_eq!(check(&without_primary(), 110, 100), Ok(()));
    for lone in [
        told(&["a"], [mongos("a")]),
        told(&["a"], [standalone("a")]),
        told(&["a"], []),
    ] {
        assert_eq!(check(&lone, 1, 10), Ok(()));
    }
}

#[test]
fn other_topologies_ignore_the_read_preference() {
    let preference = preference(Mode::Secondary, &[&[("no", "where")]]);
    let sharded = told(
        &["a", "b", "c"],
        [
            with(mongos("a"), 1, &[]),
            with(mongos("b"), 2, &[]),
            with(mongos("c"), 99, &[]),
        ],
    );
    let unknown = told(&["a", "b"], [ghost("a")]);
    let single = told(&["a"], [standalone("a")]);
    for criteria in [
        Criteria::Primary,
        Criteria::Read(&preference),
        Criteria::DataBearing,
    ] {
        assert_eq!(reachable_by(&sharded, criteria, &[]), "a b");
        assert_eq!(reachable_by(&single, criteria, &[]), "a");
        assert_eq!(reachable_by(&unknown, criteria, &[]), "");
    }
}

#[test]
fn any_reachable_server_is_taken_in_order_of_use() {
    let any = |topology: &Topology| reachable_by(topology, Criteria::AnyReachable, &[]);
    assert_eq!(any(&with_primary()), "a");
    assert_eq!(any(&without_primary()), "b c");
    assert_eq!(any(&told(&["a", "b"], [ghost("a"), down("b")])), "a");
    assert_eq!(any(&told(&["a"], [arbiter("a", &["a", "b"])])), "a");
    assert_eq!(any(&told(&["a"], [other("a", &["a", "b"])])), "a");
    assert_eq!(any(&told(&["a", "b"], [down("a")])), "");
    assert_eq!(any(&told(&["a"], [mongos("a")])), "a");
    assert_eq!(reachable_by(&with_primary(), Criteria::DataBearing, &[]), "a b c");
}

#[test]
fn excluded_servers_are_taken_only_if_no_other_fits() {
    let preferred = preference(Mode::SecondaryPreferred, &[]);
    let la = preference(Mode::Secondary, &[&[("dc", "la")], &[]]);
    for (criteria, excluded, expected) in [
        (Criteria::Primary, &["a"][..], "a"),
        (Criteria::Read(&preferred), &["b"], "c d"),
        (Criteria::Read(&preferred), &["b", "c", "d"], "a"),
        (Criteria::Read(&preferred), &["a", "b", "c", "d"], "b c"),
        (Criteria::Read(&la), &["c", "d"], "b"),
        (Criteria::AnyReachable, &["a"], "b c"),
    ] {
        assert_eq!(
            reachable_by(&with_primary(), criteria, excluded),
            expected,
            "{criteria:?} {excluded:?}"
        );
    }
}

#[test]
fn of_two_random_servers_the_less_busy_one_is_taken() {
    let preference = preference(Mode::Nearest, &[]);
    let topology = with_primary();
    let choose = |load: [usize; 5], draws: [usize; 2]| {
        let mut draws = draws.into_iter();
        let random = |_| draws.next().unwrap();
        select(
            &topology,
            &Criteria::Read(&preference),
            &OPTIONS,
            |index| load[index],
            random,
        )
        .unwrap()
    };
    // The window is "a", "b", "c"; the second draw counts from the first one on.
    assert_eq!(choose([0, 0, 0, 0, 0], [0, 0]), Some(0));
    assert_eq!(choose([1, 0, 0, 0, 0], [0, 0]), Some(1));
    assert_eq!(choose([1, 1, 0, 0, 0], [0, 0]), Some(0));
    assert_eq!(choose([1, 1, 0, 0, 0], [0, 1]), Some(2));
    assert_eq!(choose([0, 1, 2, 0, 0], [2, 0]), Some(0));
    assert_eq!(choose([0, 1, 2, 0, 0], [2, 1]), Some(1));
}

#[test]
fn a_server_without_a_round_trip_time_is_the_last_choice() {
    let unmeasured = |name| ServerDescription {
        rtt: None,
        ..secondary(name, &["a", "b"])
    };
    let nearest = preference(Mode::Nearest, &[]);
    let mut topology = told(&["a"], [unmeasured("a"), unmeasured("b")]);
    assert_eq!(read(&topology, &nearest), "a b");
    let _ = topology.apply(secondary("b", &["a", "b"]));
    assert_eq!(read(&topology, &nearest), "b");
}

#[test]
fn an_incompatible_topology_serves_nothing() {
    let old = hello(
        "b",
        doc! { "setName": "rs", "secondary": true, "hosts": ["a", "b"], "maxWireVersion": 2 },
    );
    let topology = told(&["a"], [primary("a", &["a", "b"], 1), old]);
    for criteria in [Criteria::Primary, Criteria::DataBearing, Criteria::AnyReachable] {
        let selected = select(&topology, &criteria, &OPTIONS, |_| 0, |_| 0);
        assert!(
            matches!(selected, Err(SelectionError::Incompatible(_))),
            "{selected:?}"
        );
    }
}

fn server(name: &'static str) -> impl Strategy<Value = ServerDescription> {
    let tags = prop::sample::select(vec![
        &[][..],
        &[("dc", "ny")],
        &[("dc", "la")],
        &[("dc", "ny"), ("rack", "1")],
    ]);
    (0..7, 0_u64..60, tags, prop::option::of(0_i64..200)).prop_map(move |(role, rtt, tags, write)| {
        let description = match role {
            0 => down(name),
            1 => arbiter(name, &ALL),
            2 => primary(name, &ALL, 1),
            3 => ghost(name),
            _ => secondary(name, &ALL),
        };
        let last_write = write.map(|seconds| seconds * 1000);
        // An Unknown server has no round trip time.
        let rtt = if role == 0 {
            None
        } else {
            Some(Duration::from_millis(rtt))
        };
        ServerDescription {
            last_write,
            rtt,
            ..with(description, 0, tags)
        }
    })
}

fn any_preference() -> impl Strategy<Value = ReadPreference> {
    let modes = [
        Mode::Primary,
        Mode::PrimaryPreferred,
        Mode::Secondary,
        Mode::SecondaryPreferred,
        Mode::Nearest,
    ];
    let set = prop::sample::select(vec![
        &[][..],
        &[("dc", "ny")],
        &[("dc", "la")],
        &[("no", "where")],
    ]);
    let staleness = prop::option::of((90_u64..200).prop_map(Duration::from_secs));
    (
        prop::sample::select(modes.to_vec()),
        prop::collection::vec(set, 0..3),
        staleness,
    )
        .prop_map(|(mode, sets, max_staleness)| ReadPreference {
            max_staleness,
            ..preference(mode, &sets)
        })
}

proptest! {
    #[test]
    fn only_suitable_servers_are_selected(
        servers in (server("a"), server("b"), server("c"), server("d"), server("e")),
        preference in any_preference(),
        draws: [usize; 2],
        load: [usize; 5],
        excluded: [bool; 5],
    ) {
        let (a, b, c, d, e) = servers;
        let topology = told(&ALL, [a, b, c, d, e]);
        for criteria in [Criteria::Primary, Criteria::Read(&preference), Criteria::DataBearing, Criteria::AnyReachable] {
            let mut draws = draws.into_iter().cycle();
            // Not kept within its bound on purpose: it must not matter.
            let random = |_| draws.next().unwrap();
            let selected = select_excluding(&topology, &criteria, &OPTIONS, |i| excluded[i], |i| load[i], random).unwrap();
            let kind = selected.map_or(ServerKind::Unknown, |index| topology.servers()[index].kind);
            let has = |wanted| topology.servers().iter().any(|server| server.kind == wanted);
            prop_assert!(selected.is_none() || kind != ServerKind::Unknown);
            match criteria {
                Criteria::Primary => prop_assert_eq!(selected, topology.primary().map(|(index, _)| index)),
                Criteria::AnyReachable => prop_assert_eq!(selected.is_some(), topology.reachable().count() > 0),
                Criteria::DataBearing => {
                    let holds = has(ServerKind::RsPrimary) || has(ServerKind::RsSecondary);
                    prop_assert_eq!(selected.is_some() && kind.is_data_bearing(), holds);
                }
                Criteria::Read(preference) => if let Some(index) = selected {
                    let server = &topology.servers()[index];
                    let tagged = preference.tag_sets.is_empty() || preference.tag_sets.iter().any(|set| set.matches(&server.tags));
                    match (preference.mode, kind) {
                        (Mode::Primary | Mode::PrimaryPreferred | Mode::SecondaryPreferred, ServerKind::RsPrimary) => {}
                        (Mode::Nearest, ServerKind::RsPrimary) => prop_assert!(tagged),
                        (Mode::Primary, _) => prop_assert!(false, "{kind}"),
                        (_, ServerKind::RsSecondary) => {
                            prop_assert!(tagged);
                            prop_assert!(preference.max_staleness.is_none() || server.last_write.is_some());
                        }
                        _ => prop_assert!(false, "{kind}"),
                    }
                },
            }
        }
    }
}
