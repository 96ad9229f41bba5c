//! What a server description changed in the topology, told to whoever drives the machine.

use std::{fmt, sync::Arc};

use super::{Address, ServerKind, TopologyKind};

/// The outcome of [`Topology::apply`](super::Topology::apply).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// Whether the description was taken in at all. It was not if its server is no longer part of the
    /// topology or if its topology version is older than the known one.
    pub applied: bool,
    /// Whether anything that selection or clients can notice changed. Measurements alone (round trip time,
    /// last write) leave this false, yet a snapshot that follows them should be published too.
    pub changed: bool,
    /// Servers to start monitoring.
    pub added: Vec<Address>,
    /// Servers to stop monitoring, whose pools can go.
    pub removed: Vec<Address>,
    /// What is worth a log line, in the order in which it happened.
    pub events: Vec<Event>,
}

/// Something that is worth a log line; its `Display` is that line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A server became something else.
    KindChanged {
        /// Which server.
        address: Address,
        /// What it was.
        from: ServerKind,
        /// What it is.
        to: ServerKind,
        /// Why it is Unknown now, if it is.
        error: Option<String>,
    },
    /// The topology became something else.
    TopologyKindChanged {
        /// What it was.
        from: TopologyKind,
        /// What it is.
        to: TopologyKind,
    },
    /// There is a primary, and it is another one than before.
    NewPrimary(Address),
    /// This server was the primary, and there is none now.
    PrimaryLost(Address),
    /// A member names this server, of which nothing is known, as its primary: checking it at once pays.
    PossiblePrimary(Address),
    /// A server joined the topology.
    MemberAdded(Address),
    /// A server left the topology.
    MemberRemoved {
        /// Which server.
        address: Address,
        /// Why.
        reason: RemovalReason,
    },
    /// A primary contradicts a newer one and is not believed.
    StalePrimary {
        /// Which server.
        address: Address,
        /// The election and set versions of both.
        error: String,
    },
    /// A server that is dialled directly is of another set than the configured one, or of none.
    SetNameMismatch {
        /// Which server.
        address: Address,
        /// The configured set name.
        expected: Arc<str>,
        /// The set name that the server gave.
        found: Option<String>,
    },
    /// A server speaks no wire version that is understood here.
    Incompatible(Arc<str>),
    /// No server is left, and none can come back: the topology is dead.
    NoServerLeft,
}

/// Why a server left the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalReason {
    /// The primary does not name it as a member.
    NotNamedByPrimary,
    /// The SRV records do not name it any more.
    NotInSrvRecords,
    /// It is of another replica set.
    SetNameMismatch {
        /// The topology's set name.
        expected: Arc<str>,
        /// The set name that the server gave.
        found: Option<String>,
    },
    /// Its set knows it by another address, which takes its place.
    MeMismatch {
        /// That address.
        me: Address,
    },
    /// It is of a kind that does not belong into this topology.
    WrongKind {
        /// What it is.
        kind: ServerKind,
        /// What the topology is.
        topology: TopologyKind,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KindChanged {
                address,
                from,
                to,
                error: Some(error),
            } => {
                write!(f, "{address} changed from {from} to {to}: {error}")
            }
            Self::KindChanged {
                address,
                from,
                to,
                error: None,
            } => {
                write!(f, "{address} changed from {from} to {to}")
            }
            Self::TopologyKindChanged { from, to } => write!(f, "the topology changed from {from} to {to}"),
            Self::NewPrimary(address) => write!(f, "{address} is the primary"),
            Self::PrimaryLost(address) => {
                write!(f, "{address} is no longer the primary, and no other is known")
            }
            Self::PossiblePrimary(address) => write!(f, "{address} is said to be the primary"),
            Self::MemberAdded(address) => write!(f, "{address} joined the topology"),
            Self::MemberRemoved { address, reason } => write!(f, "{address} left the topology: {reason}"),
            Self::StalePrimary { address, error } => write!(f, "{address} is not believed: {error}"),
            Self::SetNameMismatch {
                address,
                expected,
                found,
            } => {
                write!(f, "{address} ")?;
                write_set_names(f, expected, found.as_deref())
            }
            Self::Incompatible(error) => f.write_str(error),
            Self::NoServerLeft => f.write_str(
                "no server is left in the topology: check the seeds and replicaSet of the connection string",
            ),
        }
    }
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamedByPrimary => f.write_str("the primary does not name it as a member"),
            Self::NotInSrvRecords => f.write_str("the SRV records do not name it any more"),
            Self::SetNameMismatch { expected, found } => {
                f.write_str("it ")?;
                write_set_names(f, expected, found.as_deref())
            }
            Self::MeMismatch { me } => write!(f, "its replica set knows it as {me}"),
            Self::WrongKind { kind, topology } => write!(f, "a {kind} has no place in a {topology} topology"),
        }
    }
}

/// Ends a sentence about a server of the wrong set.
pub(super) fn write_set_names(f: &mut impl fmt::Write, expected: &str, found: Option<&str>) -> fmt::Result {
    match found {
        Some(found) => write!(f, "is in replica set {found:?}, not in {expected:?}"),
        None => write!(f, "is in no replica set, not in {expected:?}"),
    }
}
