//! The unit and integration tests of the Connection Monitoring and Pooling specification, on the pool's state machine.
//!
//! The clock is simulated: establishing a connection takes as long as the test's fail point blocks it, and nothing else takes time.
//! What the pool's shell does with the state machine is done here in the same steps, and written down as the specification's events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{pool_simulation::Simulation, report::run_cases};

/// What cannot apply, and why.
const EXEMPTIONS: &[(&str, &str)] = &[
    (
        "pool-checkout-no-idle.json",
        "connections that were idle for too long are closed by the upkeep of each second: a check-out reads no clock",
    ),
    (
        "pool-checkout-maxConnecting-timeout.json",
        "no command is tied to an attempt at connecting: the time for a connection is bounded as a whole",
    ),
    (
        "pool-clear-interrupting-pending-connections.json",
        "a clear tells those who wait at once; the attempt itself ends by connectTimeoutMS",
    ),
    (
        "pool-create-min-size-error.json",
        "the node's monitor meets the refusal too, and its word alone clears the pool",
    ),
];

#[test]
fn a_pool_lends_waits_clears_and_closes() {
    run_cases("connection_monitoring", EXEMPTIONS, |_, case| judge(case));
}

fn judge(case: &Value) {
    let mut simulation = Simulation::new(&case["poolOptions"], &case["failPoint"]);
    let mut error = None;
    for operation in case["operations"].as_array().unwrap() {
        error = perform(&mut simulation, operation).err();
    }
    let expected_error = case["error"]["type"].as_str();
    assert_eq!(error.as_deref(), expected_error, "the last operation's error");
    let ignored: Vec<&str> = case["ignore"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let is_told = |event: &&BTreeMap<&str, Value>| !ignored.contains(&event["type"].as_str().unwrap());
    let found: Vec<_> = simulation.events.iter().filter(is_told).collect();
    let expected = case["events"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.into_iter().zip(expected) {
        assert_is(found, expected);
    }
}

/// Performs one operation; the error is that of a check-out.
fn perform(simulation: &mut Simulation, operation: &Value) -> Result<(), String> {
    let text = |field: &str| operation[field].as_str();
    let count = operation["count"].as_u64().unwrap_or(1) as usize;
    match text("name").unwrap() {
        "start" => {}
        "ready" => simulation.ready(),
        "clear" => simulation.clear(operation["interruptInUseConnections"] == true),
        "close" => simulation.close(),
        "checkIn" => simulation.check_in(text("connection").unwrap()),
        "checkOut" => {
            let ticket = simulation.check_out(text("label"));
            match text("thread") {
                Some(thread) => simulation.on_thread(thread, ticket),
                None => return simulation.until_answered(ticket),
            }
        }
        "wait" => simulation.pass(operation["ms"].as_u64().unwrap()),
        "waitForEvent" => simulation.until_event(text("event").unwrap(), count),
        "waitForThread" => return simulation.until_thread_ended(text("target").unwrap()),
        other => panic!("operation {other:?} is not understood here"),
    }
    Ok(())
}

/// 42 stands for anything; what is not mentioned may be anything, too.
fn assert_is(found: &BTreeMap<&str, Value>, expected: &Value) {
    for (field, expected) in expected.as_object().unwrap() {
        if *expected == 42 {
            continue;
        }
        match (field.as_str(), found.get(field.as_str())) {
            ("options", Some(Value::Object(found))) => {
                for (option, expected) in expected.as_object().unwrap() {
                    assert_eq!(found.get(option), Some(expected), "{option}");
                }
            }
            (_, found_value) => assert_eq!(found_value, Some(expected), "{field} of {found:?}"),
        }
    }
}
