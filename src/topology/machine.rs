//! The topology: every server that is known, and how a new server description changes it.
//!
//! `Topology` is both the state machine and its snapshot: a clone costs one reference count per server and
//! is published as it stands. Invariants: servers are sorted by address and have distinct addresses; at most
//! one is a primary, and `primary` is its index; a topology that was `Single` stays so.
//!
//! Source: "Updating the TopologyDescription" of the Server Discovery and Monitoring specification. The rules
//! for replica sets are in `replica_set`.

use std::{cmp::Ordering, fmt, sync::Arc};

use bson::oid::ObjectId;

use super::{
    Address, Change, Event, RemovalReason, ServerDescription, ServerKind, TopologyVersion,
    event::write_set_names,
    view::{Common, incompatibility},
};

/// What the servers are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopologyKind {
    /// Nothing is known yet.
    Unknown,
    /// One server, whatever it is: a standalone, or a direct connection.
    Single,
    /// Routers of a sharded cluster.
    Sharded,
    /// A replica set whose primary is not known.
    ReplicaSetNoPrimary,
    /// A replica set and its primary.
    ReplicaSetWithPrimary,
    /// A load balancer, which stands for all that is behind it and is never checked.
    LoadBalanced,
}

impl TopologyKind {
    /// Whether it is a replica set that is not dialled directly.
    #[must_use]
    pub fn is_replica_set(self) -> bool {
        matches!(self, Self::ReplicaSetNoPrimary | Self::ReplicaSetWithPrimary)
    }
}

impl fmt::Display for TopologyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Single => "Single",
            Self::Sharded => "Sharded",
            Self::ReplicaSetNoPrimary => "ReplicaSetNoPrimary",
            Self::ReplicaSetWithPrimary => "ReplicaSetWithPrimary",
            Self::LoadBalanced => "LoadBalanced",
        })
    }
}

/// How a topology starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopologyOptions {
    /// The servers of the connection string; any live one is enough.
    pub seeds: Vec<Address>,
    /// `replicaSet`: servers of other sets are left out.
    pub set_name: Option<String>,
    /// `directConnection`: only the one seed is used. With any other number of seeds (which the
    /// connection string specification forbids) it has no effect.
    pub direct: bool,
    /// `loadBalanced`: the one seed is a load balancer. With any other number of seeds (which the connection
    /// string specification forbids) it has no effect.
    pub load_balanced: bool,
}

/// All known servers, and what they are together.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    pub(super) kind: TopologyKind,
    pub(super) servers: Vec<Arc<ServerDescription>>,
    pub(super) set_name: Option<Arc<str>>,
    pub(super) max_election_id: Option<ObjectId>,
    pub(super) max_set_version: Option<i32>,
    pub(super) primary: Option<usize>,
    pub(super) compatibility_error: Option<Arc<str>>,
    /// What the data-bearing servers had in common when there last was one.
    pub(super) common: Option<Common>,
    /// A lone standalone seed makes the topology `Single`; one of many is left out.
    one_seed: bool,
}

impl Topology {
    /// The topology before any server was checked.
    #[must_use]
    pub fn new(options: TopologyOptions) -> Self {
        let mut seeds = options.seeds;
        seeds.sort();
        seeds.dedup();
        let one_seed = seeds.len() == 1;
        let kind = if options.load_balanced && one_seed {
            TopologyKind::LoadBalanced
        } else if options.direct && one_seed {
            TopologyKind::Single
        } else if options.set_name.is_some() {
            TopologyKind::ReplicaSetNoPrimary
        } else {
            TopologyKind::Unknown
        };
        Self {
            kind,
            servers: seeds
                .into_iter()
                .map(|seed| Arc::new(ServerDescription::of_seed(seed, kind)))
                .collect(),
            set_name: options.set_name.map(Into::into),
            max_election_id: None,
            max_set_version: None,
            primary: None,
            compatibility_error: None,
            common: None,
            one_seed,
        }
    }

    /// Takes in what a check of a server, or a failed exchange with it, told.
    ///
    /// Ignored if the server is not (or no longer) part of the topology, if its topology version is older than the
    /// known one, and if it is a load balancer.
    pub fn apply(&mut self, description: ServerDescription) -> Change {
        let Some(index) = self.index_of(&description.address) else {
            return Change::default();
        };
        if self.kind == TopologyKind::LoadBalanced {
            return Change::default();
        }
        let known = &self.servers[index];
        let versions = (
            known.topology_version.as_ref(),
            description.topology_version.as_ref(),
        );
        if TopologyVersion::compare(versions.0, versions.1) == Ordering::Greater {
            return Change::default();
        }
        let before = self.clone();
        let mut change = Change {
            applied: true,
            ..Change::default()
        };
        let address = description.address.clone();
        let description = self.verified(description, &mut change);
        self.servers[index] = Arc::new(description);
        self.transition(&address, &mut change);
        self.settle(&before, &mut change);
        change
    }

    /// Ends a change: what is derived from the servers follows, and the change says what became of `before`.
    pub(super) fn settle(&mut self, before: &Self, change: &mut Change) {
        self.refresh();
        self.report(before, change);
    }

    /// The set name of a direct connection is checked before the description is taken in.
    fn verified(&self, description: ServerDescription, change: &mut Change) -> ServerDescription {
        let Some(expected) = &self.set_name else {
            return description;
        };
        if self.kind != TopologyKind::Single
            || !description.is_reachable()
            || description.set_name.as_deref() == Some(expected)
        {
            return description;
        }
        let mut error = "the server ".to_owned();
        // Writing to a string cannot fail.
        let _ = write_set_names(&mut error, expected, description.set_name.as_deref());
        let known = self.get(&description.address);
        if known.is_none_or(|known| known.error.as_ref() != Some(&error)) {
            // Each check finds the same; it is told once.
            change.events.push(Event::SetNameMismatch {
                address: description.address.clone(),
                expected: expected.clone(),
                found: description.set_name,
            });
        }
        ServerDescription {
            last_update: description.last_update,
            ..ServerDescription::unknown(description.address, Some(error))
        }
    }

    /// The table of actions by topology kind and server kind.
    fn transition(&mut self, address: &Address, change: &mut Change) {
        use ServerKind as S;
        use TopologyKind as T;
        let Some(server) = self.get(address).cloned() else {
            return;
        };
        match (self.kind, server.kind) {
            (T::Single | T::LoadBalanced, _)
            | (_, S::LoadBalancer)
            | (T::Unknown | T::ReplicaSetNoPrimary, S::Unknown | S::RsGhost)
            | (T::Sharded, S::Unknown | S::Mongos) => {}
            (T::Unknown, S::Standalone) if self.one_seed => self.kind = T::Single,
            (T::Unknown, S::Mongos) => self.kind = T::Sharded,
            (T::Unknown, S::Standalone)
            | (T::Sharded, _)
            | (T::ReplicaSetNoPrimary, S::Standalone | S::Mongos) => self.remove_wrong_kind(&server, change),
            (T::ReplicaSetWithPrimary, S::Standalone | S::Mongos) => {
                self.remove_wrong_kind(&server, change);
                self.check_if_has_primary();
            }
            (T::ReplicaSetWithPrimary, S::Unknown | S::RsGhost) => self.check_if_has_primary(),
            (T::Unknown | T::ReplicaSetNoPrimary | T::ReplicaSetWithPrimary, S::RsPrimary) => {
                self.update_from_primary(&server, change);
            }
            (T::Unknown | T::ReplicaSetNoPrimary, S::RsSecondary | S::RsArbiter | S::RsOther) => {
                self.kind = T::ReplicaSetNoPrimary;
                self.update_without_primary(&server, change);
            }
            (T::ReplicaSetWithPrimary, S::RsSecondary | S::RsArbiter | S::RsOther) => {
                self.update_with_primary_from_member(&server, change);
            }
        }
    }

    fn remove_wrong_kind(&mut self, server: &ServerDescription, change: &mut Change) {
        let reason = RemovalReason::WrongKind {
            kind: server.kind,
            topology: self.kind,
        };
        self.remove(&server.address, reason, change);
    }

    /// Adds an Unknown server, unless it is there.
    pub(super) fn add(&mut self, address: &Address, change: &mut Change) {
        if let Err(index) = self.position(address) {
            self.servers
                .insert(index, Arc::new(ServerDescription::unknown(address.clone(), None)));
            change.added.push(address.clone());
            change.events.push(Event::MemberAdded(address.clone()));
        }
    }

    pub(super) fn remove(&mut self, address: &Address, reason: RemovalReason, change: &mut Change) {
        if let Ok(index) = self.position(address) {
            self.servers.remove(index);
            // A member that one reply both adds and removes was never monitored.
            match change.added.iter().position(|added| added == address) {
                Some(added) => drop(change.added.remove(added)),
                None => change.removed.push(address.clone()),
            }
            change.events.push(Event::MemberRemoved {
                address: address.clone(),
                reason,
            });
        }
    }

    /// Replaces a server's description by an Unknown one.
    pub(super) fn forget(&mut self, address: &Address, error: String) {
        if let Ok(index) = self.position(address) {
            let last_update = self.servers[index].last_update;
            let unknown = ServerDescription::unknown(address.clone(), Some(error));
            self.servers[index] = Arc::new(ServerDescription {
                last_update,
                ..unknown
            });
        }
    }

    pub(super) fn check_if_has_primary(&mut self) {
        let has_primary = self
            .servers
            .iter()
            .any(|server| server.kind == ServerKind::RsPrimary);
        self.kind = if has_primary {
            TopologyKind::ReplicaSetWithPrimary
        } else {
            TopologyKind::ReplicaSetNoPrimary
        };
    }

    /// Recomputes what is derived from the servers.
    fn refresh(&mut self) {
        self.primary = match self.kind {
            // A direct connection has a server, not a primary: it takes everything.
            TopologyKind::Single => None,
            _ => self
                .servers
                .iter()
                .position(|server| server.kind == ServerKind::RsPrimary),
        };
        self.compatibility_error = self
            .servers
            .iter()
            .find_map(|server| incompatibility(server))
            .map(Into::into);
        self.common = self.common_now();
    }

    /// Compares with the topology before, for the log and for whoever waits for a change.
    fn report(&self, before: &Self, change: &mut Change) {
        for server in &self.servers {
            if let Some(old) = before.get(&server.address) {
                change.changed |= !Arc::ptr_eq(old, server) && !old.is_equivalent(server);
                if old.kind != server.kind {
                    change.events.push(Event::KindChanged {
                        address: server.address.clone(),
                        from: old.kind,
                        to: server.kind,
                        error: server.error.clone(),
                    });
                }
            }
        }
        if self.kind != before.kind {
            change.events.push(Event::TopologyKindChanged {
                from: before.kind,
                to: self.kind,
            });
        }
        let old = before.primary().map(|(_, server)| &server.address);
        let new = self.primary().map(|(_, server)| &server.address);
        match (old, new) {
            (_, Some(new)) if Some(new) != old => change.events.push(Event::NewPrimary(new.clone())),
            (Some(old), None) => change.events.push(Event::PrimaryLost(old.clone())),
            _ => {}
        }
        if self.compatibility_error != before.compatibility_error
            && let Some(error) = &self.compatibility_error
        {
            change.events.push(Event::Incompatible(error.clone()));
        }
        if self.servers.is_empty() && !before.servers.is_empty() {
            change.events.push(Event::NoServerLeft);
        }
        change.changed |= self.kind != before.kind
            || !change.added.is_empty()
            || !change.removed.is_empty()
            || (&self.set_name, self.max_election_id, self.max_set_version)
                != (&before.set_name, before.max_election_id, before.max_set_version);
    }

    pub(super) fn position(&self, address: &Address) -> Result<usize, usize> {
        self.servers
            .binary_search_by(|server| server.address.cmp(address))
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
