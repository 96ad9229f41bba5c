//! How far a secondary may be behind, as the Max Staleness specification estimates it.
//!
//! Pure. The estimate is an upper bound: a heartbeat interval is added for what may have happened since the last check.

use std::time::{Duration, Instant};

use crate::topology::{ServerDescription, ServerKind, Topology};

/// The estimate for `server` in seconds, never below zero. `None` for what is no secondary, and if nothing tells.
///
/// With a primary, its writes and its last check are the reference, so that the machines' clocks cancel out; without one, the
/// newest write of any secondary is.
#[must_use]
pub(super) fn staleness_seconds(
    topology: &Topology,
    server: &ServerDescription,
    heartbeat: Duration,
) -> Option<f64> {
    if server.kind != ServerKind::RsSecondary {
        return None;
    }
    let last_write = i128::from(server.last_write?);
    let primary = topology
        .primary()
        .and_then(|(_, primary)| primary.last_update.zip(primary.last_write));
    let lag = match primary {
        Some((update, write)) => millis_between(update, server.last_update?) + i128::from(write) - last_write,
        None => i128::from(newest_secondary_write(topology)?) - last_write,
    };
    let bound = lag + heartbeat.as_millis() as i128;
    Some(bound.max(0) as f64 / 1000.0)
}

fn newest_secondary_write(topology: &Topology) -> Option<i64> {
    let servers = topology.servers().iter();
    let secondaries = servers.filter(|server| server.kind == ServerKind::RsSecondary);
    secondaries.filter_map(|server| server.last_write).max()
}

/// From one moment to another, negative if the other is earlier.
fn millis_between(from: Instant, to: Instant) -> i128 {
    let ahead = to.saturating_duration_since(from).as_millis() as i128;
    ahead - from.saturating_duration_since(to).as_millis() as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TopologyOptions;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    fn server(name: &str, kind: ServerKind, update: Instant, write: Option<i64>) -> ServerDescription {
        ServerDescription {
            kind,
            last_update: Some(update),
            last_write: write,
            set_name: Some("rs".to_owned()),
            max_wire_version: 17,
            hosts: ["a:27017", "b:27017", "c:27017"]
                .map(|host| host.parse().unwrap())
                .to_vec(),
            ..ServerDescription::unknown(name.parse().unwrap(), None)
        }
    }

    fn estimates(servers: &[ServerDescription]) -> Vec<Option<f64>> {
        let mut topology = Topology::new(TopologyOptions {
            seeds: servers.iter().map(|server| server.address.clone()).collect(),
            ..TopologyOptions::default()
        });
        for server in servers {
            assert!(topology.apply(server.clone()).applied);
        }
        let of = |server: &ServerDescription| staleness_seconds(&topology, server, HEARTBEAT);
        servers.iter().map(of).collect()
    }

    #[test]
    fn a_secondary_is_compared_with_the_primary_and_its_checks() {
        let now = Instant::now();
        let later = now + Duration::from_secs(4);
        let found = estimates(&[
            server("a", ServerKind::RsPrimary, now, Some(100_000)),
            server("b", ServerKind::RsSecondary, now, Some(98_500)),
            server("c", ServerKind::RsSecondary, later, Some(104_000)),
        ]);
        assert_eq!(found, [None, Some(11.5), Some(10.0)]);
    }

    #[test]
    fn without_a_primary_the_newest_secondary_is_the_measure() {
        let now = Instant::now();
        let found = estimates(&[
            server("a", ServerKind::RsSecondary, now, None),
            server("b", ServerKind::RsSecondary, now, Some(98_000)),
            server("c", ServerKind::RsSecondary, now, Some(100_000)),
        ]);
        assert_eq!(found, [None, Some(12.0), Some(10.0)]);
    }

    #[test]
    fn a_secondary_that_seems_ahead_is_not_negatively_stale() {
        let now = Instant::now();
        let found = estimates(&[
            server("a", ServerKind::RsPrimary, now, Some(0)),
            server("b", ServerKind::RsSecondary, now, Some(60_000)),
        ]);
        assert_eq!(found, [None, Some(0.0)]);
    }
}
