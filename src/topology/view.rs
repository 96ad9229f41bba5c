//! What a topology tells: its servers, its primary, and what all its servers have in common.
//!
//! Source: "TopologyDescription" and "Checking wire protocol compatibility" of the Server Discovery and
//! Monitoring specification.

use std::sync::Arc;

use bson::oid::ObjectId;

use super::{Address, ServerDescription, Topology, TopologyKind};

/// The lowest wire version that is spoken here: MongoDB 3.6, the first with OP_MSG and sessions.
pub const MIN_WIRE_VERSION: i32 = 6;

/// The highest wire version that is spoken here: MongoDB 8.2.
pub const MAX_WIRE_VERSION: i32 = 27;

/// The lowest limits of the servers that hold data; see [`Topology::limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest document, in bytes.
    pub max_bson_object_size: i32,
    /// The largest message, in bytes.
    pub max_message_size_bytes: i32,
    /// Most statements in one write command.
    pub max_write_batch_size: i32,
}

/// What can be told of the set as a whole, for instance in a `hello` on its behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// The highest wire version that all servers speak.
    pub max_wire_version: i32,
    /// The lowest limits.
    pub limits: Limits,
    /// The shortest session timeout, in minutes; `None` if a server has no sessions.
    pub session_timeout_minutes: Option<i32>,
}

impl Topology {
    /// What the data-bearing servers have in common or, while there is none, had in common last; `None` if no server
    /// has ever answered. While none can be reached, the set is still the same one.
    #[must_use]
    pub fn common(&self) -> Option<Common> {
        self.common
    }

    /// What [`Topology::common`] tells from now on.
    pub(super) fn common_now(&self) -> Option<Common> {
        if self.common.is_some() && self.data_bearing().next().is_none() {
            return self.common;
        }
        Some(Common {
            max_wire_version: self.wire_version_range()?.1,
            limits: self.limits()?,
            session_timeout_minutes: self.logical_session_timeout_minutes(),
        })
    }

    /// All servers, sorted by address; an index into them names a server of this snapshot.
    #[must_use]
    pub fn servers(&self) -> &[Arc<ServerDescription>] {
        &self.servers
    }

    /// The index of a server, if it is part of the topology.
    #[must_use]
    pub fn index_of(&self, address: &Address) -> Option<usize> {
        self.position(address).ok()
    }

    /// A server by its address.
    #[must_use]
    pub fn get(&self, address: &Address) -> Option<&Arc<ServerDescription>> {
        self.index_of(address).map(|index| &self.servers[index])
    }

    /// What the servers are together.
    #[must_use]
    pub fn kind(&self) -> TopologyKind {
        self.kind
    }

    /// The name of the replica set, configured or discovered.
    #[must_use]
    pub fn set_name(&self) -> Option<&str> {
        self.set_name.as_deref()
    }

    /// The primary of the replica set and its index; none on a direct connection, whatever the server is.
    #[must_use]
    pub fn primary(&self) -> Option<(usize, &Arc<ServerDescription>)> {
        self.primary.map(|index| (index, &self.servers[index]))
    }

    /// The newest election of which a primary told.
    #[must_use]
    pub fn max_election_id(&self) -> Option<ObjectId> {
        self.max_election_id
    }

    /// The configuration version that goes with it.
    #[must_use]
    pub fn max_set_version(&self) -> Option<i32> {
        self.max_set_version
    }

    /// The servers whose data clients may use, with their indexes.
    pub fn data_bearing(&self) -> impl Iterator<Item = (usize, &Arc<ServerDescription>)> {
        self.servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.is_data_bearing())
    }

    /// The servers that answer, whatever they are, with their indexes.
    pub fn reachable(&self) -> impl Iterator<Item = (usize, &Arc<ServerDescription>)> {
        self.servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.is_reachable())
    }

    /// Folds over the data-bearing servers or, if there is none, over those that answer.
    fn fold<T>(&self, of: impl Fn(&ServerDescription) -> T, with: impl Fn(T, T) -> T) -> Option<T> {
        let data_bearing = self.data_bearing().map(|(_, server)| of(server)).reduce(&with);
        data_bearing.or_else(|| self.reachable().map(|(_, server)| of(server)).reduce(&with))
    }

    /// The wire versions that every data-bearing server speaks: the highest minimum and the lowest maximum.
    /// Without a data-bearing server all that answer count; `None` if none does.
    #[must_use]
    pub fn wire_version_range(&self) -> Option<(i32, i32)> {
        self.fold(
            |server| (server.min_wire_version, server.max_wire_version),
            |a, b| (a.0.max(b.0), a.1.min(b.1)),
        )
    }

    /// The lowest limits of the data-bearing servers (else of all that answer); `None` if none does.
    #[must_use]
    pub fn limits(&self) -> Option<Limits> {
        self.fold(
            |server| Limits {
                max_bson_object_size: server.max_bson_object_size,
                max_message_size_bytes: server.max_message_size_bytes,
                max_write_batch_size: server.max_write_batch_size,
            },
            |a, b| Limits {
                max_bson_object_size: a.max_bson_object_size.min(b.max_bson_object_size),
                max_message_size_bytes: a.max_message_size_bytes.min(b.max_message_size_bytes),
                max_write_batch_size: a.max_write_batch_size.min(b.max_write_batch_size),
            },
        )
    }

    /// The shortest session timeout of the data-bearing servers, in minutes; `None` if one has no sessions,
    /// and if there is no such server.
    #[must_use]
    pub fn logical_session_timeout_minutes(&self) -> Option<i32> {
        // `None` is less than any number, so the least is what the rule asks for.
        self.data_bearing()
            .map(|(_, server)| server.logical_session_timeout_minutes)
            .min()
            .flatten()
    }

    /// Why the topology cannot be used, if a server speaks no wire version that is understood here.
    #[must_use]
    pub fn compatibility_error(&self) -> Option<&Arc<str>> {
        self.compatibility_error.as_ref()
    }
}

/// Why this server cannot be spoken with, if it cannot.
pub(super) fn incompatibility(server: &ServerDescription) -> Option<String> {
    let ServerDescription {
        address,
        min_wire_version: min,
        max_wire_version: max,
        ..
    } = server;
    if !server.is_reachable() {
        None
    } else if *min > MAX_WIRE_VERSION {
        Some(format!(
            "server at {address} requires wire version {min}, but this version of Tidegate only supports up to {MAX_WIRE_VERSION}"
        ))
    } else if *max < MIN_WIRE_VERSION {
        Some(format!(
            "server at {address} reports wire version {max}, but this version of Tidegate requires at least {MIN_WIRE_VERSION} (MongoDB 3.6)"
        ))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
