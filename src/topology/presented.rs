//! What can be told of the upstream as one server: in a `hello` on its behalf, whatever its members do at the moment.
//!
//! Invariants: the counter grows exactly when something of which drivers make use has changed; what was known once stays known
//! while no server tells otherwise, so that an election does not show.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::{Common, OpTime, ServerDescription, ServerKind, Topology, TopologyKind};

/// What stands behind, as far as it has shown itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpstreamKind {
    /// A replica set, or something that has not answered yet.
    #[default]
    ReplicaSet,
    /// A `mongod` of no replica set: it takes no transactions and no retryable writes.
    Standalone,
    /// Routers of a sharded cluster.
    Sharded,
}

/// What drivers may notice; compared to tell whether something has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What stands behind.
    pub kind: UpstreamKind,
    /// Wire versions and limits; `None` while no server has ever answered.
    pub common: Option<Common>,
    /// The replica set's name.
    pub set_name: Option<Arc<str>>,
    /// The version of the set's configuration.
    pub set_version: Option<i32>,
    /// The newest election that a primary won.
    pub election_id: Option<ObjectId>,
    /// Whether a secondary can serve reads now.
    pub has_secondary: bool,
}

/// The newest write that members of the set are known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWrite {
    /// The primary's wall clock at that write, in milliseconds since 1970.
    pub date: i64,
    /// The oplog position.
    pub op_time: Option<OpTime>,
}

/// The upstream as one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presented {
    /// How often the facts have changed.
    pub counter: i64,
    /// What drivers may notice.
    pub facts: Facts,
    /// The newest write of any member.
    pub last_write: Option<LastWrite>,
    /// The newest write that a secondary has.
    pub secondary_last_write: Option<LastWrite>,
}

impl Presented {
    /// What is to be told now that the topology is this one.
    #[must_use]
    pub fn next(&self, topology: &Topology) -> Self {
        let facts = self.facts.next(topology);
        let newest = |only_secondaries: bool| {
            let servers = topology.data_bearing().map(|(_, server)| &**server);
            servers
                .filter(|server| !only_secondaries || server.kind == ServerKind::RsSecondary)
                .filter_map(last_write)
                .max_by_key(|write| write.date)
        };
        Self {
            counter: self.counter + i64::from(facts != self.facts),
            facts,
            last_write: newest(false).or(self.last_write),
            secondary_last_write: newest(true).or(self.secondary_last_write),
        }
    }
}

impl Facts {
    fn next(&self, topology: &Topology) -> Self {
        // A direct connection has neither primary nor elections; its one server tells what it knows.
        let single = match (topology.kind(), topology.servers()) {
            (TopologyKind::Single, [server]) if server.is_reachable() => Some(server),
            _ => None,
        };
        let kind = match (topology.kind(), single.map(|server| server.kind)) {
            (_, Some(ServerKind::Standalone)) => UpstreamKind::Standalone,
            (TopologyKind::Sharded, _) | (_, Some(ServerKind::Mongos)) => UpstreamKind::Sharded,
            (TopologyKind::Single, None) | (TopologyKind::Unknown, _) => self.kind,
            _ => UpstreamKind::ReplicaSet,
        };
        let set_name = match single {
            Some(server) => server.set_name.as_deref().map(Arc::from),
            None => topology.set_name().map(Arc::from),
        };
        Self {
            kind,
            common: topology.common(),
            set_name: set_name.or_else(|| self.set_name.clone()),
            set_version: single
                .map_or(topology.max_set_version(), |server| server.set_version)
                .or(self.set_version),
            election_id: single
                .map_or(topology.max_election_id(), |server| server.election_id)
                .or(self.election_id),
            has_secondary: topology
                .data_bearing()
                .any(|(_, server)| server.kind == ServerKind::RsSecondary),
        }
    }
}

/// The newest write that a server has.
#[must_use]
pub fn last_write(server: &ServerDescription) -> Option<LastWrite> {
    server.last_write.map(|date| LastWrite {
        date,
        op_time: server.op_time,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{down, election, mongos, primary, secondary, seeded, standalone, told};
    use super::*;

    const SEEDS: &[&str] = &["a", "b"];
    const HOSTS: &[&str] = &["a:27017", "b:27017"];

    fn first(topology: &Topology) -> Presented {
        Presented::default().next(topology)
    }

    #[test]
    fn an_election_does_not_show_until_it_is_won() {
        let mut topology = told(SEEDS, [primary("a", HOSTS, 1), secondary("b", HOSTS)]);
        let before = first(&topology);
        assert_eq!(before.counter, 1);
        assert_eq!(before.facts.set_name.as_deref(), Some("rs"));
        assert_eq!(before.facts.election_id, Some(election(1)));
        let _ = topology.apply(secondary("a", HOSTS));
        let during = before.next(&topology);
        assert_eq!((during.counter, &during.facts), (1, &before.facts));
        let _ = topology.apply(primary("b", HOSTS, 2));
        let after = during.next(&topology);
        assert_eq!((after.counter, after.facts.election_id), (2, Some(election(2))));
    }

    #[test]
    fn secondaries_that_come_and_go_show() {
        let mut topology = told(SEEDS, [primary("a", HOSTS, 1), secondary("b", HOSTS)]);
        let with = first(&topology);
        let _ = topology.apply(down("b"));
        let without = with.next(&topology);
        assert!(with.facts.has_secondary && !without.facts.has_secondary);
        assert_eq!(without.counter, 2);
    }

    #[test]
    fn what_stands_behind_is_told_and_kept_while_it_is_silent() {
        let alone = || told(&["a"], [standalone("a")]);
        for (mut topology, kind) in [
            (alone(), UpstreamKind::Standalone),
            (told(&["a"], [mongos("a")]), UpstreamKind::Sharded),
            (
                told(&["a"], [primary("a", &["a:27017"], 1)]),
                UpstreamKind::ReplicaSet,
            ),
        ] {
            let known = first(&topology);
            assert_eq!(known.facts.kind, kind);
            let _ = topology.apply(down("a"));
            let silent = known.next(&topology);
            assert_eq!((silent.facts.kind, silent.counter), (kind, 1));
        }
        assert_eq!(first(&seeded(SEEDS, None)).facts, Facts::default());
    }

    #[test]
    fn the_newest_write_is_that_of_any_member_and_is_remembered() {
        let wrote = |server: ServerDescription, date| ServerDescription {
            last_write: Some(date),
            ..server
        };
        let mut topology = told(
            SEEDS,
            [
                wrote(primary("a", HOSTS, 1), 30),
                wrote(secondary("b", HOSTS), 20),
            ],
        );
        let known = first(&topology);
        let dates = |presented: &Presented| {
            [presented.last_write, presented.secondary_last_write].map(|write| write.map(|write| write.date))
        };
        assert_eq!(dates(&known), [Some(30), Some(20)]);
        let _ = topology.apply(down("a"));
        let _ = topology.apply(down("b"));
        assert_eq!(dates(&known.next(&topology)), [Some(30), Some(20)]);
    }
}
