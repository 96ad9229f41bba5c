//! The Server Selection and Max Staleness specifications' tests.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use serde_json::Value;
use tidegate::topology::{
    Address, Criteria, ReadPreference, RttAverage, SelectionError, SelectionOptions, Topology, select,
    select_excluding,
};

use super::{
    described::{addresses, read_preference, read_preference_parts, topology},
    report::run_cases,
};

/// `localThresholdMS` of the tests, the default of drivers.
const LOCAL_THRESHOLD: Duration = Duration::from_millis(15);
/// Wide enough for every server to be near.
const ANY_DISTANCE: Duration = Duration::from_secs(3600);

#[test]
fn suitable_servers_are_selected() {
    run_cases("server_selection/server_selection", &[], |_, case| {
        judge_selection(case)
    });
}

#[test]
fn too_stale_servers_are_left_out() {
    run_cases("max_staleness", &[], |_, case| {
        if case["error"] == true {
            assert!(is_refused(case), "it should be an error");
        } else {
            judge_selection(case);
        }
    });
}

#[test]
fn less_busy_servers_are_taken_more_often() {
    run_cases("server_selection/in_window", &[], |_, case| {
        judge_frequencies(case)
    });
}

#[test]
fn round_trips_are_averaged() {
    run_cases("server_selection/rtt", &[], |_, case| {
        let millis = |value: &Value| {
            value
                .as_f64()
                .map(|millis| Duration::from_secs_f64(millis / 1000.0))
        };
        let mut average = RttAverage::new();
        if let Some(known) = millis(&case["avg_rtt_ms"]) {
            average.record(known);
        }
        average.record(millis(&case["new_rtt_ms"]).unwrap());
        let (found, expected) = (average.average().unwrap(), millis(&case["new_avg_rtt"]).unwrap());
        assert!(
            found.abs_diff(expected) < Duration::from_nanos(10),
            "{found:?}, not {expected:?}"
        );
    });
}

/// Everything that a case asks for, however the dice fall.
fn judge_selection(case: &Value) {
    let topology = topology(&case["topology_description"]);
    let suitable = selected(case, &topology, ANY_DISTANCE).unwrap();
    assert_eq!(suitable, addresses(&case["suitable_servers"]), "suitable servers");
    let in_window = selected(case, &topology, LOCAL_THRESHOLD).unwrap();
    assert_eq!(
        in_window,
        addresses(&case["in_latency_window"]),
        "servers in the latency window"
    );
}

/// Every server that can be selected, sorted: each draw is tried.
fn selected(case: &Value, topology: &Topology, threshold: Duration) -> Result<Vec<Address>, SelectionError> {
    let preference = read_preference(&case["read_preference"]);
    let criteria = match case["operation"].as_str() {
        Some("write") => Criteria::Primary,
        _ => Criteria::Read(&preference),
    };
    let deprioritized = addresses(&case["deprioritized_servers"]);
    let excluded = |index: usize| deprioritized.contains(&topology.servers()[index].address);
    let mut found = Vec::new();
    for draw in 0..topology.servers().len().max(1) {
        let index = select_excluding(
            topology,
            &criteria,
            &options(case, threshold),
            excluded,
            |_| 0,
            |bound| draw % bound,
        )?;
        found.extend(index.map(|index| topology.servers()[index].address.clone()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn options(case: &Value, local_threshold: Duration) -> SelectionOptions {
    SelectionOptions {
        local_threshold,
        heartbeat: Duration::from_millis(case["heartbeatFrequencyMS"].as_u64().unwrap_or(10_000)),
    }
}

/// Whether the read preference is refused when it is made, or when a server is selected by it.
fn is_refused(case: &Value) -> bool {
    let (mode, tag_sets, staleness) = read_preference_parts(&case["read_preference"]);
    let topology = topology(&case["topology_description"]);
    ReadPreference::from_parts(mode, tag_sets, staleness).is_err()
        || selected(case, &topology, LOCAL_THRESHOLD).is_err()
}

fn judge_frequencies(case: &Value) {
    let topology = topology(&case["topology_description"]);
    let busy = |index: usize| {
        let states = case["mocked_topology_state"].as_array().unwrap().iter();
        let address = &topology.servers()[index].address;
        let state = states
            .clone()
            .find(|state| state["address"] == address.to_string());
        state.unwrap()["operation_count"].as_u64().unwrap() as usize
    };
    let nearest = ReadPreference {
        mode: tidegate::topology::Mode::Nearest,
        ..ReadPreference::PRIMARY
    };
    let generator = Cell::new(0x9e37_79b9_7f4a_7c15_u64);
    let iterations = case["iterations"].as_u64().unwrap();
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..iterations {
        let random = |bound: usize| (next(&generator) % bound as u64) as usize;
        let criteria = Criteria::Read(&nearest);
        let index = select(
            &topology,
            &criteria,
            &options(case, LOCAL_THRESHOLD),
            busy,
            random,
        );
        let address = &topology.servers()[index.unwrap().unwrap()].address;
        *taken.entry(address.to_string()).or_default() += 1;
    }
    let tolerance = case["outcome"]["tolerance"].as_f64().unwrap();
    for (address, expected) in case["outcome"]["expected_frequencies"].as_object().unwrap() {
        let found = *taken.get(address).unwrap_or(&0) as f64 / iterations as f64;
        let expected = expected.as_f64().unwrap();
        // What is always or never taken allows no deviation, as the specification has it.
        let allowed = if expected == 0.0 || expected == 1.0 {
            0.0
        } else {
            tolerance
        };
        assert!(
            (found - expected).abs() <= allowed,
            "{address}: {found}, not {expected}"
        );
    }
}

/// Xorshift from a fixed seed: the frequencies are the same in every run.
fn next(state: &Cell<u64>) -> u64 {
    let mut x = state.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.set(x);
    x >> 11
}
