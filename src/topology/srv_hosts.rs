//! The hosts that SRV records name: which of them may be used, and how a later look changes the topology.
//!
//! Sources: the Initial DNS Seedlist Discovery specification, "Querying DNS"; the Polling SRV Records for mongos
//! Discovery specification.

use super::{Address, Change, RemovalReason, Topology, TopologyKind};

/// Whether `target`, which an SRV record of `host` names, is in the domain of `host`: all of its parts but the first, or
/// the whole of a name with fewer than three parts. A forged record cannot lead elsewhere.
#[must_use]
pub fn shares_domain(host: &str, target: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let domain = match host.split_once('.') {
        Some((_, domain)) if domain.contains('.') => domain,
        _ => &host,
    };
    let target = target.strip_suffix('.').unwrap_or(target).to_ascii_lowercase();
    target
        .strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// At most `most` of the hosts (0: all of them), drawn by chance; `random` gives a number below its argument.
#[must_use]
pub fn choose_hosts(
    mut hosts: Vec<Address>,
    most: usize,
    mut random: impl FnMut(usize) -> usize,
) -> Vec<Address> {
    if most == 0 || most >= hosts.len() {
        return hosts;
    }
    // The first steps of a Fisher-Yates shuffle: what it has placed is not looked at again.
    for place in 0..most {
        let drawn = place + random(hosts.len() - place);
        hosts.swap(place, drawn);
    }
    hosts.truncate(most);
    hosts
}

impl Topology {
    /// Whether a change of the SRV records concerns it: a replica set tells its members itself.
    #[must_use]
    pub fn follows_srv_records(&self) -> bool {
        matches!(self.kind, TopologyKind::Unknown | TopologyKind::Sharded)
    }

    /// Takes in the hosts that the SRV records name now: others leave, new ones come in as Unknown, up to `most` in all
    /// (0: no bound), drawn by chance. Without hosts, or where they do not count, nothing changes.
    pub fn update_srv_hosts(
        &mut self,
        hosts: &[Address],
        most: usize,
        random: impl FnMut(usize) -> usize,
    ) -> Change {
        if hosts.is_empty() || !self.follows_srv_records() {
            return Change::default();
        }
        let before = self.clone();
        let mut change = Change {
            applied: true,
            ..Change::default()
        };
        for server in before.servers() {
            if !hosts.contains(&server.address) {
                self.remove(&server.address, RemovalReason::NotInSrvRecords, &mut change);
            }
        }
        let mut new: Vec<Address> = hosts
            .iter()
            .filter(|host| self.position(host).is_err())
            .cloned()
            .collect();
        new.sort();
        new.dedup();
        let room = most.saturating_sub(self.servers.len());
        if most == 0 || room > 0 {
            for address in choose_hosts(new, room, random) {
                self.add(&address, &mut change);
            }
        }
        self.settle(&before, &mut change);
        change
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topology::{
        ServerKind, TopologyOptions,
        testing::{address, mongos, primary},
    };

    fn addresses(hosts: &[&str]) -> Vec<Address> {
        hosts.iter().map(|host| address(host)).collect()
    }

    fn named(topology: &Topology) -> Vec<String> {
        let servers = topology.servers().iter();
        servers.map(|server| server.address.to_string()).collect()
    }

    fn unknown(hosts: &[&str]) -> Topology {
        Topology::new(TopologyOptions {
            seeds: addresses(hosts),
            ..TopologyOptions::default()
        })
    }

    #[test]
    fn a_target_shares_the_domain_of_the_name_that_was_asked_for() {
        for (host, target, expected) in [
            ("a.example.com", "b.example.com", true),
            ("a.example.com", "B.Example.Com.", true),
            ("a.example.com", "c.b.example.com", true),
            ("a.example.com", "example.com", false),
            ("a.b.example.com", "b.example.com", false),
            ("a.b.example.com", "c.example.com", false),
            // Names of one or two parts are a domain of their own, and a target lies below it.
            ("localhost", "a.localhost", true),
            ("mongo.local", "a.mongo.local", true),
            ("localhost", "localhost.mongodb", false),
            ("mongo.local", "test_1.evil.local", false),
            ("blogs.mongodb.com", "blogs.evil.com", false),
            ("localhost", "localhost", false),
            ("mongo.local", "mongo.local", false),
            // A dot stands before the domain.
            ("localhost", "test_1.cluster_1localhost", false),
            ("mongo.local", "test_1.my_hostmongo.local", false),
            ("blogs.mongodb.com", "cluster.testmongodb.com", false),
            ("blogs.mongodb.com", ".mongodb.com", false),
            ("", "a", false),
        ] {
            assert_eq!(shares_domain(host, target), expected, "{host} -> {target}");
        }
    }

    // The prose tests of SRV polling: records are added, removed and replaced.
    #[test]
    fn hosts_come_and_go_as_the_records_do() {
        for (records, expected) in [
            (&["l:1", "l:2", "l:3"][..], &["l:1", "l:2", "l:3"][..]),
            (&["l:1"], &["l:1"]),
            (&["l:1", "l:3"], &["l:1", "l:3"]),
            (&["l:3"], &["l:3"]),
            (&["l:3", "l:4"], &["l:3", "l:4"]),
            (&[], &["l:1", "l:2"]),
        ] {
            let mut topology = unknown(&["l:1", "l:2"]);
            let change = topology.update_srv_hosts(&addresses(records), 0, |_| 0);
            assert_eq!(named(&topology), expected, "{records:?}");
            assert_eq!(change.changed, !records.is_empty() && expected != ["l:1", "l:2"]);
        }
    }

    #[test]
    fn a_host_that_stays_keeps_what_is_known_of_it() {
        let mut topology = unknown(&["l:1", "l:2"]);
        let _ = topology.apply(mongos("l:1"));
        let change = topology.update_srv_hosts(&addresses(&["l:1", "l:3"]), 0, |_| 0);
        assert_eq!(topology.kind(), TopologyKind::Sharded);
        assert_eq!(topology.get(&address("l:1")).unwrap().kind, ServerKind::Mongos);
        assert_eq!(topology.get(&address("l:3")).unwrap().kind, ServerKind::Unknown);
        assert_eq!(
            (change.added, change.removed),
            (addresses(&["l:3"]), addresses(&["l:2"]))
        );
    }

    #[test]
    fn no_more_hosts_than_the_bound_are_taken() {
        for (most, records, expected) in [
            (0, &["l:1", "l:3", "l:4"][..], &["l:1", "l:3", "l:4"][..]),
            (2, &["l:3", "l:4"], &["l:3", "l:4"]),
            (2, &["l:1", "l:3", "l:4"], &["l:1", "l:3"]),
            (2, &["l:1", "l:2", "l:3"], &["l:1", "l:2"]),
        ] {
            let mut topology = unknown(&["l:1", "l:2"]);
            let _ = topology.update_srv_hosts(&addresses(records), most, |_| 0);
            assert_eq!(named(&topology), expected, "{most} of {records:?}");
        }
    }

    #[test]
    fn a_replica_set_does_not_follow_the_records() {
        let mut topology = unknown(&["a", "b"]);
        let _ = topology.apply(primary("a", &["a", "b"], 1));
        assert!(!topology.follows_srv_records());
        assert!(!topology.update_srv_hosts(&addresses(&["c"]), 0, |_| 0).applied);
        assert_eq!(named(&topology), ["a:27017", "b:27017"]);
    }

    proptest! {
        #[test]
        fn a_draw_is_a_part_without_repetition(count in 0..8usize, most in 0..10usize, seed: u64) {
            let hosts: Vec<_> = (0..count).map(|n| address(&format!("h{n}"))).collect();
            let mut state = seed;
            let chosen = choose_hosts(hosts.clone(), most, |bound| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state >> 33) as usize % bound
            });
            prop_assert_eq!(chosen.len(), if most == 0 { count } else { count.min(most) });
            let mut distinct = chosen.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), chosen.len());
            prop_assert!(chosen.iter().all(|host| hosts.contains(host)));
        }
    }
}
