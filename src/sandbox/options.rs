//! What a local replica set looks like.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use super::Error;

/// The most members of a replica set, and the most that vote (MongoDB manual, "Replica Set Limits").
const MOST_MEMBERS: usize = 50;
const MOST_VOTERS: usize = 7;

/// How to start a [`ReplicaSet`](super::ReplicaSet).
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Data-bearing nodes, at least one. They are numbered from 0.
    pub nodes: usize,
    /// Arbiters, numbered after the data-bearing nodes.
    pub arbiters: usize,
    /// Where the data lies, and stays. `None`: a temporary folder that is removed at the end.
    pub data: Option<PathBuf>,
    /// The replica set's name.
    pub set_name: String,
    /// A `mongod` of no replica set: one node, without a set's name or configuration.
    pub standalone: bool,
    /// The loopback address that the nodes listen on.
    pub ip: IpAddr,
    /// `false` leaves the nodes without a configuration, as before `replSetInitiate`.
    pub initiate: bool,
    /// The nodes' settings by number; nodes without an entry have the defaults.
    pub members: Vec<MemberOptions>,
    /// Clients must log in (`--auth`). The members know each other by a key file of the set's own, and the sandbox's commands go
    /// out as theirs.
    pub authentication: bool,
    /// Further arguments of every `mongod`, such as `--setParameter enableTestCommands=1`.
    pub mongod_arguments: Vec<String>,
    /// `settings.electionTimeoutMillis`.
    pub election_timeout: Duration,
    /// `settings.heartbeatIntervalMillis`.
    pub heartbeat_interval: Duration,
    /// The binary; `None` looks for one with [`find`](super::mongod::find).
    pub mongod: Option<PathBuf>,
}

/// What the set's configuration says of one data-bearing node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberOptions {
    /// The tags that read preferences and write concerns choose by.
    pub tags: BTreeMap<String, String>,
    /// Hidden from applications. Implies a priority of 0.
    pub hidden: bool,
    /// Preference in elections; 0 never becomes primary. `None` is MongoDB's default, 1.
    pub priority: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            arbiters: 0,
            data: None,
            set_name: "sandbox".to_owned(),
            standalone: false,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            initiate: true,
            members: Vec::new(),
            authentication: false,
            mongod_arguments: Vec::new(),
            election_timeout: Duration::from_millis(2000),
            heartbeat_interval: Duration::from_millis(500),
            mongod: None,
        }
    }
}

impl Options {
    /// Whether the nodes get a configuration.
    pub(super) fn initiates(&self) -> bool {
        self.initiate && !self.standalone
    }

    /// Data-bearing nodes and arbiters together.
    pub(super) fn size(&self) -> usize {
        self.nodes + self.arbiters
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let fault = |what: String| Err(Error::Options(what));
        if self.nodes == 0 {
            return fault("a replica set needs at least one data-bearing node".to_owned());
        }
        if self.size() > MOST_MEMBERS || self.arbiters >= MOST_VOTERS {
            return fault(format!(
                "{} nodes and {} arbiters: a replica set has at most {MOST_MEMBERS} members, and {MOST_VOTERS} that vote",
                self.nodes, self.arbiters
            ));
        }
        if self.members.len() > self.nodes {
            return fault(format!(
                "settings for {} members, but {} nodes",
                self.members.len(),
                self.nodes
            ));
        }
        if self.standalone && (self.size() > 1 || self.data.is_some()) {
            return fault("a standalone is one node, and keeps no data".to_owned());
        }
        if (0..self.nodes).all(|node| self.priority(node) == 0.0) {
            return fault("no node may become primary: all have priority 0".to_owned());
        }
        Ok(())
    }

    /// Members beyond the most that vote neither vote nor can be elected.
    pub(super) fn votes(&self, node: usize) -> bool {
        node >= self.nodes || node < MOST_VOTERS - self.arbiters
    }

    pub(super) fn priority(&self, node: usize) -> f64 {
        let member = self.members.get(node);
        if member.is_some_and(|m| m.hidden) || !self.votes(node) {
            return 0.0;
        }
        member.and_then(|m| m.priority).unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sets_are_refused() {
        let hidden = MemberOptions {
            hidden: true,
            ..MemberOptions::default()
        };
        let cases = [
            (
                Options {
                    nodes: 0,
                    ..Options::default()
                },
                "at least one",
            ),
            (
                Options {
                    nodes: 51,
                    ..Options::default()
                },
                "at most 50",
            ),
            (
                Options {
                    nodes: 1,
                    arbiters: 7,
                    ..Options::default()
                },
                "7 that vote",
            ),
            (
                Options {
                    nodes: 1,
                    members: vec![hidden.clone(), hidden.clone()],
                    ..Options::default()
                },
                "settings",
            ),
            (
                Options {
                    standalone: true,
                    ..Options::default()
                },
                "standalone",
            ),
            (
                Options {
                    nodes: 1,
                    members: vec![hidden],
                    ..Options::default()
                },
                "priority 0",
            ),
        ];
        for (options, part) in cases {
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn at_most_seven_members_vote() {
        let options = Options {
            nodes: 8,
            arbiters: 1,
            ..Options::default()
        };
        options.check().unwrap();
        assert_eq!((0..9).filter(|node| options.votes(*node)).count(), 7);
        assert!(options.votes(8), "an arbiter that does not vote is useless");
    }
}
