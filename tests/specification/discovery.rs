//! The Server Discovery and Monitoring specification's tests: the state machine, told what servers answer.

use std::time::Instant;

use serde_json::Value;
use tidegate::{
    config::uri::{self, Host},
    topology::{Address, ServerDescription, Topology, TopologyOptions},
};

use super::{
    extended_json::{integer, raw_document},
    report::run_cases,
};

#[test]
fn replica_sets_are_discovered() {
    run_cases("discovery_and_monitoring/rs", &[], |_, case| judge(case));
}

#[test]
fn routers_are_discovered() {
    run_cases("discovery_and_monitoring/sharded", &[], |_, case| judge(case));
}

#[test]
fn single_servers_are_discovered() {
    run_cases("discovery_and_monitoring/single", &[], |_, case| judge(case));
}

#[test]
fn a_load_balancer_is_taken_as_it_is() {
    run_cases("discovery_and_monitoring/load-balanced", &[], |_, case| {
        judge(case)
    });
}

fn judge(case: &Value) {
    let mut topology = seeded(&case["uri"]);
    for (number, phase) in case["phases"].as_array().unwrap().iter().enumerate() {
        for response in phase["responses"].as_array().into_iter().flatten() {
            let _ = topology.apply(description(response));
        }
        check(&topology, &phase["outcome"], &format!("phase {}", number + 1));
    }
}

/// The topology before any check.
pub(crate) fn seeded(uri: &Value) -> Topology {
    let uri = uri.as_str().unwrap();
    let parsed = uri::parse(uri).unwrap_or_else(|errors| panic!("{uri}: {errors:?}"));
    let seeds = parsed.hosts.iter().map(|host| match host {
        Host::Tcp(address) => address.clone(),
        Host::Unix(path) => panic!("{path} is a socket"),
    });
    Topology::new(TopologyOptions {
        seeds: seeds.collect(),
        set_name: parsed.options.text("replicaSet").map(str::to_owned),
        direct: parsed.options.boolean("directConnection") == Some(true),
        load_balanced: parsed.options.boolean("loadBalanced") == Some(true),
    })
}

/// What a pair of address and `hello` reply tells; an empty reply stands for a network error.
pub(crate) fn description(response: &Value) -> ServerDescription {
    let address: Address = response[0].as_str().unwrap().parse().unwrap();
    if response[1].as_object().unwrap().is_empty() {
        return ServerDescription::unknown(address, Some("the connection broke".to_owned()));
    }
    ServerDescription::from_hello(address, &raw_document(&response[1]), Instant::now(), None)
}

/// Holds the topology against the `outcome` of a phase.
pub(crate) fn check(topology: &Topology, outcome: &Value, phase: &str) {
    let fields = outcome.as_object().unwrap();
    for (field, expected) in fields {
        let found: Value = match field.as_str() {
            "topologyType" => topology.kind().to_string().into(),
            "setName" => topology.set_name().into(),
            "logicalSessionTimeoutMinutes" => topology.logical_session_timeout_minutes().into(),
            "maxSetVersion" => topology.max_set_version().into(),
            "maxElectionId" => election(topology.max_election_id()),
            "compatible" => topology.compatibility_error().is_none().into(),
            "servers" => {
                check_servers(topology, expected, phase);
                continue;
            }
            other => panic!("{phase}: outcome {other:?} is not understood here"),
        };
        assert_eq!(&found, expected, "{phase}: {field}");
    }
}

fn check_servers(topology: &Topology, expected: &Value, phase: &str) {
    let expected = expected.as_object().unwrap();
    let mut names: Vec<Address> = expected.keys().map(|name| name.parse().unwrap()).collect();
    names.sort();
    let found: Vec<Address> = topology
        .servers()
        .iter()
        .map(|server| server.address.clone())
        .collect();
    assert_eq!(found, names, "{phase}: servers");
    for (name, fields) in expected {
        let server = topology.get(&name.parse().unwrap()).unwrap();
        for (field, value) in fields.as_object().unwrap() {
            check_server(server, field, value, &format!("{phase}: {name}"));
        }
    }
}

fn check_server(server: &ServerDescription, field: &str, expected: &Value, of: &str) {
    let found: Value = match field {
        // Whose monitor is asked first is told as an event, not as a type of its own.
        "type" if expected == "PossiblePrimary" => return assert_eq!(server.kind.name(), "Unknown", "{of}"),
        "type" => server.kind.name().into(),
        "setName" => server.set_name.clone().into(),
        "setVersion" => server.set_version.into(),
        "electionId" => election(server.election_id),
        "logicalSessionTimeoutMinutes" => server.logical_session_timeout_minutes.into(),
        "minWireVersion" | "maxWireVersion" if expected.is_null() => {
            return assert_eq!((server.min_wire_version, server.max_wire_version), (0, 0), "{of}");
        }
        "error" => {
            let (found, wanted) = (
                server.error.as_deref().unwrap_or_default(),
                expected.as_str().unwrap(),
            );
            return assert!(found.contains(wanted), "{of}: error {found:?}, not {wanted:?}");
        }
        "topologyVersion" => {
            let found = server.topology_version;
            let wanted = (!expected.is_null()).then(|| {
                let counter = integer(&expected["counter"]).unwrap();
                (
                    expected["processId"]["$oid"].as_str().unwrap().to_owned(),
                    counter,
                )
            });
            let found = found.map(|version| (version.process_id.to_hex(), version.counter));
            return assert_eq!(found, wanted, "{of}: topologyVersion");
        }
        // The pool is beside the description: `application_errors` looks at it.
        "pool" => return,
        other => panic!("{of}: field {other:?} is not understood here"),
    };
    assert_eq!(&found, expected, "{of}: {field}");
}

fn election(id: Option<bson::oid::ObjectId>) -> Value {
    id.map_or(Value::Null, |id| serde_json::json!({ "$oid": id.to_hex() }))
}
