//! The unified tests of the Server Discovery and Monitoring specification, and why none of them can run.
//!
//! They create clients by a driver's API, set fail points for these clients' application names on a server, and compare the events or
//! log messages that the driver hands to its application. The rules behind them are run elsewhere: by `application_errors` and `pooling`,
//! by the monitors' own tests, and with real nodes.

use super::report::{Exemption, run_cases};

const AUTHENTICATION: &str =
    "it counts a driver's events; that a login fails is an integration test with nodes that demand it";
const LABELS: &str = "it counts events and error labels of a driver; a failed attempt at connecting changes no description here either";
const MONITOR: &str = "it counts a driver's heartbeat events; the monitors' own tests hold the rule";
const SILENCE: &str = "it counts a driver's events; that a silent node is given up is an integration test with a node that hangs";
const STEPDOWN: &str =
    "it counts a driver's heartbeat events; an integration test steps a real primary down instead";
const MODE: &str = "there is no such choice: a node that can stream is streamed from";
const WARM: &str = "the node's monitor meets the refusal too, and its word alone clears the pool";
const OPERATION: &str = "it counts a driver's pool events; the rule is run by `application_errors`";
const CLEAR: &str = "it counts a driver's pool events; the rule is run by `pooling`";
const CLOSE: &str = "an application closes its client; Tidegate's cluster ends with the process";
const LOG: &str = "it compares log messages of a driver's components";

const UNIFIED: &[Exemption] = &[
    ("auth-error.json", AUTHENTICATION),
    ("auth-misc-command-error.json", AUTHENTICATION),
    ("auth-network-error.json", AUTHENTICATION),
    ("auth-network-timeout-error.json", AUTHENTICATION),
    ("auth-shutdown-error.json", AUTHENTICATION),
    ("backpressure-network-error-fail-replicaset.json", LABELS),
    ("backpressure-network-error-fail-single.json", LABELS),
    ("backpressure-network-timeout-fail-replicaset.json", LABELS),
    ("backpressure-network-timeout-fail-single.json", LABELS),
    (
        "backpressure-server-description-unchanged-on-min-pool-size-population-error.json",
        LABELS,
    ),
    ("cancel-server-check.json", MONITOR),
    ("connectTimeoutMS.json", SILENCE),
    ("find-network-error.json", OPERATION),
    ("find-network-timeout-error.json", OPERATION),
    ("find-shutdown-error.json", OPERATION),
    ("hello-command-error.json", MONITOR),
    ("hello-network-error.json", MONITOR),
    ("hello-timeout.json", SILENCE),
    ("insert-network-error.json", OPERATION),
    ("insert-shutdown-error.json", OPERATION),
    ("interruptInUse-pool-clear.json", CLEAR),
    ("loadbalanced-emit-topology-changed-before-close.json", CLOSE),
    ("logging-loadbalanced.json", LOG),
    ("logging-replicaset.json", LOG),
    ("logging-sharded.json", LOG),
    ("logging-standalone.json", LOG),
    ("minPoolSize-error.json", WARM),
    ("pool-cleared-error.json", CLEAR),
    ("rediscover-quickly-after-step-down.json", STEPDOWN),
    ("replicaset-emit-topology-changed-before-close.json", CLOSE),
    ("serverMonitoringMode.json", MODE),
    ("sharded-emit-topology-changed-before-close.json", CLOSE),
    ("standalone-emit-topology-changed-before-close.json", CLOSE),
];

/// Fails if a later version of the tests brings a file that is not listed.
#[test]
fn every_unified_test_is_listed_with_its_reason() {
    run_cases("discovery_and_monitoring/unified", UNIFIED, |name, _| {
        panic!("{name} is not listed")
    });
}
