//! Topologies as the Server Selection and Max Staleness tests write them down.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::topology::{
    Address, Mode, ReadPreference, ServerDescription, ServerKind, TagSet, Topology, TopologyOptions,
};

use super::extended_json::integer;

/// The topology of `topology_description`, brought about by what its servers would answer.
pub(crate) fn topology(described: &Value) -> Topology {
    let base = Instant::now();
    let servers: Vec<&Value> = described["servers"].as_array().unwrap().iter().collect();
    let addresses: Vec<Address> = servers.iter().map(|server| address(server)).collect();
    let kind = described["type"].as_str().unwrap();
    let mut topology = Topology::new(TopologyOptions {
        seeds: addresses.clone(),
        set_name: kind.starts_with("ReplicaSet").then(|| "rs".to_owned()),
        direct: kind == "Single",
        load_balanced: kind == "LoadBalanced",
    });
    for server in servers {
        let kind = server_kind(server["type"].as_str().unwrap());
        if !matches!(kind, ServerKind::Unknown | ServerKind::LoadBalancer) {
            let change = topology.apply(description(server, kind, &addresses, base));
            assert!(change.applied, "{server}");
        }
    }
    assert_eq!(
        topology.kind().to_string(),
        kind,
        "the tests and the machine agree on it"
    );
    topology
}

fn server_kind(name: &str) -> ServerKind {
    match name {
        "Unknown" | "PossiblePrimary" => ServerKind::Unknown,
        "Standalone" => ServerKind::Standalone,
        "Mongos" => ServerKind::Mongos,
        "RSPrimary" => ServerKind::RsPrimary,
        "RSSecondary" => ServerKind::RsSecondary,
        "RSArbiter" => ServerKind::RsArbiter,
        "RSOther" => ServerKind::RsOther,
        "RSGhost" => ServerKind::RsGhost,
        "LoadBalancer" => ServerKind::LoadBalancer,
        other => panic!("no such server type: {other}"),
    }
}

fn description(server: &Value, kind: ServerKind, members: &[Address], base: Instant) -> ServerDescription {
    let tags = server["tags"].as_object();
    let in_set = matches!(
        kind,
        ServerKind::RsPrimary | ServerKind::RsSecondary | ServerKind::RsArbiter | ServerKind::RsOther
    );
    ServerDescription {
        kind,
        rtt: server["avg_rtt_ms"]
            .as_f64()
            .map(|millis| Duration::from_secs_f64(millis / 1000.0)),
        last_update: Some(base + Duration::from_millis(server["lastUpdateTime"].as_u64().unwrap_or(0))),
        last_write: integer(&server["lastWrite"]["lastWriteDate"]),
        max_wire_version: server["maxWireVersion"]
            .as_i64()
            .map_or(21, |version| version as i32),
        tags: tags.map(pairs).unwrap_or_default(),
        set_name: in_set.then(|| "rs".to_owned()),
        hosts: if in_set { members.to_vec() } else { Vec::new() },
        ..ServerDescription::unknown(address(server), None)
    }
}

fn address(server: &Value) -> Address {
    server["address"].as_str().unwrap().parse().unwrap()
}

/// The addresses of a list of servers, sorted.
pub(crate) fn addresses(servers: &Value) -> Vec<Address> {
    let mut addresses: Vec<Address> = servers.as_array().into_iter().flatten().map(address).collect();
    addresses.sort();
    addresses
}

fn pairs(tags: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    tags.iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// The parts of `read_preference`: mode, tag sets, and the bound on staleness as it stands there.
pub(crate) fn read_preference_parts(described: &Value) -> (Mode, Vec<TagSet>, Option<i64>) {
    let mode = match described["mode"].as_str().unwrap_or("Primary") {
        "Primary" | "primary" => Mode::Primary,
        "PrimaryPreferred" => Mode::PrimaryPreferred,
        "Secondary" => Mode::Secondary,
        "SecondaryPreferred" => Mode::SecondaryPreferred,
        "Nearest" => Mode::Nearest,
        other => panic!("no such mode: {other}"),
    };
    let sets = described["tag_sets"].as_array().into_iter().flatten();
    let sets = sets.map(|set| TagSet(pairs(set.as_object().unwrap()))).collect();
    (mode, sets, described["maxStalenessSeconds"].as_i64())
}

/// A read preference as selection gets it, past the checks of its source: drivers pass a staleness that only a replica
/// set cares about on to other topologies.
pub(crate) fn read_preference(described: &Value) -> ReadPreference {
    let (mode, tag_sets, staleness) = read_preference_parts(described);
    let seconds = staleness.and_then(|seconds| u64::try_from(seconds).ok());
    ReadPreference {
        mode,
        tag_sets,
        max_staleness: seconds.map(Duration::from_secs),
    }
}
