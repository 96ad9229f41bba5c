//! The format is what scrapers parse, and nothing is left out.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    admin::{measured::MeasuredNode, testing},
    telemetry::{Close, Count, PerCore, Timings, busiest::Counts},
};

fn page() -> String {
    let counters = PerCore::new(1);
    counters.core(0).received_bytes.add(42);
    counters.core(0).reasons.one(Close::Idle);
    let timings = Timings::new(1, 1);
    for millis in [1, 2, 90_000] {
        timings.of(0, 0).durations.record(Duration::from_millis(millis));
    }
    timings.of(0, 0).errors.one();
    let timed = timings.sum(0);
    let measured = Measured {
        nodes: vec![MeasuredNode {
            address: "a:27017".to_owned(),
            waits: timed.durations.clone(),
            timed: timed.clone(),
        }],
        commands: vec![("find", timed)],
        namespaces: Counts {
            named: vec![("shop.\"orders\"".to_owned(), 7)],
            others: 2,
        },
        applications: Counts::default(),
        reasons: counters.reasons(),
        buffer_waits: [("request", 1), ("reply", 0)],
    };
    render(testing::status(), counters.sums(), measured, 1_700_000_000.25).unwrap()
}

/// Reads the text as OpenMetrics demands it: family by family, each declared once, samples named after their family.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut family = String::new();
    let body = page.strip_suffix("# EOF\n").expect("the end is marked");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            family = name.to_owned();
            assert!(
                families.insert(family.clone(), kind.to_owned()).is_none(),
                "{name} is declared twice"
            );
        } else if !line.starts_with("# ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let suffixes: &[&str] = match families[&family].as_str() {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            let is_of_family = |suffix: &&str| bare == format!("{family}{suffix}");
            assert!(suffixes.iter().any(is_of_family), "{line} in {family}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(
                samples.insert(name.to_owned(), value).is_none(),
                "{line} comes twice"
            );
        }
    }
    samples
}

#[test]
fn it_is_well_formed_and_has_the_proxy_its_nodes_and_pools() {
    let samples = parse(&page());
    for (name, value) in [
        ("process_start_time_seconds", 1_700_000_000.25),
        ("tidegate_build_info{version=\"1.2.3\"}", 1.0),
        ("tidegate_received_bytes_total", 42.0),
        ("tidegate_commands_total", 0.0),
        ("tidegate_ready", 1.0),
        ("tidegate_config_reloads_total{result=\"invalid\"}", 1.0),
        ("tidegate_config_last_reload_success", 0.0),
        ("tidegate_config_loaded_timestamp_seconds", 1_700_000_000.25),
        ("tidegate_config_waiting_for_restart", 1.0),
        ("tidegate_clients", 3.0),
        ("tidegate_core_clients{core=\"1\"}", 1.0),
        ("tidegate_buffer_used_bytes{direction=\"reply\"}", 1_048_576.0),
        ("tidegate_server_sessions_created_total", 6.0),
        (
            "tidegate_server_sessions_ended_total{reason=\"outcome unknown\"}",
            3.0,
        ),
        ("tidegate_server_sessions_idle", 2.0),
        (
            "tidegate_certificate_expiry_seconds{used_by=\"listener 127.0.0.1:27018\"}",
            2e9,
        ),
        ("tidegate_gate_commands", 7.0),
        ("tidegate_gate_bytes{kind=\"used\"}", 4096.0),
        ("tidegate_gate_oldest_wait_seconds", 1.5),
        ("tidegate_gate_paused", 1.0),
        ("tidegate_node_state{node=\"b:27017\",state=\"secondary\"}", 1.0),
        ("tidegate_node_state{node=\"b:27017\",state=\"primary\"}", 0.0),
        ("tidegate_node_round_trip_seconds{node=\"a:27017\"}", 0.00125),
        ("tidegate_node_staleness_seconds{node=\"b:27017\"}", 10.5),
        ("tidegate_pool_connections{node=\"c:27017\",state=\"idle\"}", 1.0),
        (
            "tidegate_pool_connections{node=\"c:27017\",state=\"awaiting\"}",
            3.0,
        ),
        ("tidegate_pool_awaiting_max{node=\"a:27017\"}", 10.0),
        ("tidegate_pool_await_queue{node=\"a:27017\"}", 2.0),
        ("tidegate_pool_connections_opened_total{node=\"a:27017\"}", 5.0),
        ("tidegate_pool_queue_wait_seconds_total{node=\"a:27017\"}", 0.5),
        ("tidegate_client_closes_total{reason=\"idle\"}", 1.0),
        ("tidegate_client_closes_total{reason=\"drained\"}", 0.0),
        ("tidegate_buffer_waits_total{direction=\"request\"}", 1.0),
        ("tidegate_command_errors_total{command=\"find\"}", 1.0),
        ("tidegate_command_duration_seconds_count{command=\"find\"}", 3.0),
        ("tidegate_command_duration_seconds_sum{command=\"find\"}", 90.003),
        (
            "tidegate_command_duration_seconds_bucket{le=\"0.0005\",command=\"find\"}",
            0.0,
        ),
        (
            "tidegate_command_duration_seconds_bucket{le=\"0.0025\",command=\"find\"}",
            2.0,
        ),
        (
            "tidegate_command_duration_seconds_bucket{le=\"60.0\",command=\"find\"}",
            2.0,
        ),
        (
            "tidegate_command_duration_seconds_bucket{le=\"+Inf\",command=\"find\"}",
            3.0,
        ),
        (
            "tidegate_namespace_commands_total{namespace=\"shop.\\\"orders\\\"\"}",
            7.0,
        ),
        ("tidegate_namespace_commands_total{namespace=\"(other)\"}", 2.0),
        ("tidegate_upstream_wait_seconds_count{node=\"a:27017\"}", 3.0),
        ("tidegate_node_command_errors_total{node=\"a:27017\"}", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
    assert!(
        !samples.contains_key("tidegate_node_round_trip_seconds{node=\"c:27017\"}"),
        "unknown is absent"
    );
}

#[test]
fn every_counter_is_there() {
    let samples = parse(&page());
    for (name, ..) in PerCore::new(1).sums() {
        assert!(samples.contains_key(&format!("tidegate_{name}_total")), "{name}");
    }
}
