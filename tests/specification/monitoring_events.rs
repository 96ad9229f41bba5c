//! The tests of the SDAM Logging and Monitoring specification. Tidegate publishes no events to an application; what it would have to
//! tell is what [`Topology::apply`] says of a change, and from that the events are made here.

use serde_json::{Value, json};
use tidegate::topology::{Address, ServerDescription, Topology};

use super::{
    discovery::{description, seeded},
    report::run_cases,
};

#[test]
fn changes_are_told() {
    let exemptions = [(
        "load_balancer.json",
        "Tidegate dials no load balancer; its machine knows one from the start, so that no change is there to tell",
    )];
    run_cases("sdam_monitoring", &exemptions, |_, case| judge(case));
}

fn judge(case: &Value) {
    let mut topology = seeded(&case["uri"]);
    let mut events = vec![
        json!({ "topology_opening_event": {} }),
        topology_changed(
            &json!({ "topologyType": "Unknown", "servers": [] }),
            &described(&topology),
        ),
    ];
    let seeds = topology.servers().iter();
    events.extend(seeds.map(|seed| server_event("server_opening_event", &seed.address)));
    for phase in case["phases"].as_array().unwrap() {
        for response in phase["responses"].as_array().into_iter().flatten() {
            take_in(&mut topology, description(response), &mut events);
        }
        let expected = phase["outcome"]["events"].as_array().unwrap();
        let found = std::mem::take(&mut events);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_contains(found, expected, "");
        }
    }
}

fn take_in(topology: &mut Topology, told: ServerDescription, events: &mut Vec<Value>) {
    let (before, address) = (topology.clone(), told.address.clone());
    let change = topology.apply(told);
    if !change.changed {
        return;
    }
    let old = before.get(&address).unwrap();
    if let Some(new) = topology.get(&address) {
        events.push(json!({ "server_description_changed_event": {
            "address": address.to_string(), "previousDescription": server(old), "newDescription": server(new),
        }}));
    }
    events.extend(
        change
            .added
            .iter()
            .map(|added| server_event("server_opening_event", added)),
    );
    events.extend(
        change
            .removed
            .iter()
            .map(|gone| server_event("server_closed_event", gone)),
    );
    events.push(topology_changed(&described(&before), &described(topology)));
}

fn server_event(name: &str, address: &Address) -> Value {
    json!({ name: { "address": address.to_string() } })
}

fn topology_changed(before: &Value, after: &Value) -> Value {
    json!({ "topology_description_changed_event": { "previousDescription": before, "newDescription": after } })
}

fn described(topology: &Topology) -> Value {
    let servers: Vec<Value> = topology.servers().iter().map(|known| server(known)).collect();
    json!({ "topologyType": topology.kind().to_string(), "setName": topology.set_name(), "servers": servers })
}

fn server(known: &ServerDescription) -> Value {
    let list = |addresses: &[Address]| Value::from_iter(addresses.iter().map(ToString::to_string));
    json!({
        "address": known.address.to_string(),
        "type": known.kind.name(),
        "hosts": list(&known.hosts),
        "passives": list(&known.passives),
        "arbiters": list(&known.arbiters),
        "primary": known.primary.as_ref().map(ToString::to_string),
        "setName": known.set_name,
    })
}

/// Holds what was found against what is expected; what is not mentioned there may be anything.
fn assert_contains(found: &Value, expected: &Value, at: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (key, expected) in expected.iter().filter(|(key, _)| *key != "topologyId") {
                let found = found
                    .get(key)
                    .unwrap_or_else(|| panic!("{at}: no {key} in {found:?}"));
                assert_contains(found, expected, &format!("{at}/{key}"));
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{at}");
            for (found, expected) in found.iter().zip(expected) {
                assert_contains(found, expected, at);
            }
        }
        // The one hint at a primary is an event of its own here, not a type.
        (found, expected) if expected == "PossiblePrimary" => assert_eq!(found, "Unknown", "{at}"),
        _ => assert_eq!(found, expected, "{at}"),
    }
}
