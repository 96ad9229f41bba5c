//! How far secondaries may be behind, as the Max Staleness specification estimates it.
//!
//! The estimate is an upper bound: a heartbeat interval is added for what may have happened since the last check. With a primary, its
//! writes and its last check are the reference, so that the machines' clocks cancel out; without one, the newest write of any
//! secondary is. On the path of commands that bound the staleness: nothing is allocated.

use std::time::{Duration, Instant};

use super::{ServerDescription, ServerKind, Topology};

/// What the secondaries of one snapshot are compared with.
#[derive(Debug, Clone, Copy)]
pub struct StalenessEstimate {
    reference: Reference,
    heartbeat_ms: i128,
}

#[derive(Debug, Clone, Copy)]
enum Reference {
    /// The primary's last check and last write.
    Primary(Instant, i64),
    /// The newest write of any secondary.
    Newest(i64),
    /// Nothing tells when it was last written.
    Nothing,
}

impl StalenessEstimate {
    /// For the servers of this snapshot, checked every `heartbeat`.
    #[must_use]
    pub fn of(topology: &Topology, heartbeat: Duration) -> Self {
        Self {
            reference: Reference::of(topology),
            heartbeat_ms: millis(heartbeat),
        }
    }

    /// The estimate for `server` in milliseconds, negative if it seems ahead. `None` for what is no secondary, and if nothing tells.
    #[must_use]
    pub fn of_server_ms(&self, server: &ServerDescription) -> Option<i128> {
        if server.kind != ServerKind::RsSecondary {
            return None;
        }
        let last_write = i128::from(server.last_write?);
        let lag = match self.reference {
            Reference::Primary(update, write) => {
                since(server.last_update?, update) - last_write + i128::from(write)
            }
            Reference::Newest(write) => i128::from(write) - last_write,
            Reference::Nothing => return None,
        };
        Some(lag + self.heartbeat_ms)
    }

    /// Whether a secondary is at most `max` behind; one that does not tell enough counts as too stale.
    #[must_use]
    pub fn is_within(&self, secondary: &ServerDescription, max: Duration) -> bool {
        self.of_server_ms(secondary)
            .is_some_and(|staleness| staleness <= millis(max))
    }
}

impl Reference {
    fn of(topology: &Topology) -> Self {
        let primary = topology
            .primary()
            .and_then(|(_, primary)| primary.last_update.zip(primary.last_write));
        if let Some((update, write)) = primary {
            return Self::Primary(update, write);
        }
        let servers = topology.servers().iter();
        let secondaries = servers.filter(|server| server.kind == ServerKind::RsSecondary);
        let newest = secondaries.filter_map(|server| server.last_write).max();
        newest.map_or(Self::Nothing, Self::Newest)
    }
}

fn millis(duration: Duration) -> i128 {
    // At most 2^64 seconds: far below what the type holds.
    duration.as_millis() as i128
}

/// `later - earlier` in milliseconds, of either sign.
fn since(later: Instant, earlier: Instant) -> i128 {
    match later.checked_duration_since(earlier) {
        Some(ahead) => millis(ahead),
        None => -millis(earlier.duration_since(later)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::TopologyOptions, *};

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

    fn estimates(servers: &[ServerDescription]) -> Vec<Option<i128>> {
        let mut topology = Topology::new(TopologyOptions {
            seeds: servers.iter().map(|server| server.address.clone()).collect(),
            ..TopologyOptions::default()
        });
        for server in servers {
            assert!(topology.apply(server.clone()).applied);
        }
        let estimate = StalenessEstimate::of(&topology, HEARTBEAT);
        servers
            .iter()
            .map(|server| estimate.of_server_ms(server))
            .collect()
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
        assert_eq!(found, [None, Some(11_500), Some(10_000)]);
    }

    #[test]
    fn without_a_primary_the_newest_secondary_is_the_measure() {
        let now = Instant::now();
        let found = estimates(&[
            server("a", ServerKind::RsSecondary, now, None),
            server("b", ServerKind::RsSecondary, now, Some(98_000)),
            server("c", ServerKind::RsSecondary, now, Some(100_000)),
        ]);
        assert_eq!(found, [None, Some(12_000), Some(10_000)]);
    }

    #[test]
    fn a_secondary_that_seems_ahead_is_within_any_bound() {
        let now = Instant::now();
        let found = estimates(&[
            server("a", ServerKind::RsPrimary, now, Some(0)),
            server("b", ServerKind::RsSecondary, now, Some(60_000)),
        ]);
        assert_eq!(found, [None, Some(-50_000)]);
    }
}
