//! What is known of one server: the outcome of its last check.
//!
//! A description is a value: it is replaced, never changed, so that a snapshot can be read without a lock.
//! Source: "ServerDescription" of the Server Discovery and Monitoring specification.

use std::{
    cmp::Ordering,
    fmt,
    time::{Duration, Instant},
};

use bson::{RawDocumentBuf, Timestamp, oid::ObjectId, raw::cstr};

use super::{Address, TopologyKind};

/// What a server is, told by its `hello` reply.
///
/// There is no `PossiblePrimary`: it serves clients that check one server after the other; here
/// [`Event::PossiblePrimary`](super::Event::PossiblePrimary) says the same once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServerKind {
    /// Not yet checked, or its last check failed.
    #[default]
    Unknown,
    /// A `mongod` of no replica set.
    Standalone,
    /// A router of a sharded cluster.
    Mongos,
    /// The member that takes writes.
    RsPrimary,
    /// A member that serves reads.
    RsSecondary,
    /// A member that only votes.
    RsArbiter,
    /// A member that serves nothing now: hidden, starting up, recovering.
    RsOther,
    /// A member without a set: not initiated, or removed from its set.
    RsGhost,
    /// A load balancer; no reply says so, the connection string does.
    LoadBalancer,
}

impl ServerKind {
    /// Whether servers of this kind hold data that clients may use (a `mongos` stands for its shards).
    #[must_use]
    pub fn is_data_bearing(self) -> bool {
        matches!(
            self,
            Self::Standalone | Self::Mongos | Self::RsPrimary | Self::RsSecondary | Self::LoadBalancer
        )
    }

    /// The name that the specification uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Standalone => "Standalone",
            Self::Mongos => "Mongos",
            Self::RsPrimary => "RSPrimary",
            Self::RsSecondary => "RSSecondary",
            Self::RsArbiter => "RSArbiter",
            Self::RsOther => "RSOther",
            Self::RsGhost => "RSGhost",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server's counter of its own state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopologyVersion {
    /// Names one run of the server's process.
    pub process_id: ObjectId,
    /// Grows with every change during that run.
    pub counter: i64,
}

impl TopologyVersion {
    /// How what is known compares with what has just arrived. Without a version on either side, or with
    /// versions of two processes, the newcomer counts as more recent (`Less`).
    #[must_use]
    pub fn compare(known: Option<&Self>, arrived: Option<&Self>) -> Ordering {
        match (known, arrived) {
            (Some(known), Some(arrived)) if known.process_id == arrived.process_id => {
                known.counter.cmp(&arrived.counter)
            }
            _ => Ordering::Less,
        }
    }

    /// As it stands in replies.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("processId"), self.process_id);
        document.append(cstr!("counter"), self.counter);
        document
    }
}

/// A position in the oplog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpTime {
    /// When, by the primary's clock.
    pub timestamp: Timestamp,
    /// In which election term.
    pub term: i64,
}

/// What is known of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerDescription {
    /// The address that is dialled, which need not be the one that the server calls itself by.
    pub address: Address,
    /// What the server is.
    pub kind: ServerKind,
    /// Why the server is Unknown, if it was reached for.
    pub error: Option<String>,
    /// The average round trip time; `None` while the server is Unknown.
    pub rtt: Option<Duration>,
    /// When the check ended that this description comes from.
    pub last_update: Option<Instant>,
    /// The primary's wall clock at the newest write that this member has, in milliseconds since 1970.
    pub last_write: Option<i64>,
    /// The oplog position of that write.
    pub op_time: Option<OpTime>,
    /// The lowest wire version that the server speaks.
    pub min_wire_version: i32,
    /// The highest wire version that the server speaks.
    pub max_wire_version: i32,
    /// The largest document, in bytes.
    pub max_bson_object_size: i32,
    /// The largest message, in bytes.
    pub max_message_size_bytes: i32,
    /// Most statements in one write command.
    pub max_write_batch_size: i32,
    /// After how many idle minutes a session ends; `None` if the server has no sessions.
    pub logical_session_timeout_minutes: Option<i32>,
    /// The address by which the server's set knows it.
    pub me: Option<Address>,
    /// The members that can become primary, as this one sees the set.
    pub hosts: Vec<Address>,
    /// The members of priority zero.
    pub passives: Vec<Address>,
    /// The members that only vote.
    pub arbiters: Vec<Address>,
    /// The tags of this member.
    pub tags: Vec<(String, String)>,
    /// The name of its set.
    pub set_name: Option<String>,
    /// The version of the set's configuration.
    pub set_version: Option<i32>,
    /// The election that a primary won.
    pub election_id: Option<ObjectId>,
    /// Which member this one takes for the primary.
    pub primary: Option<Address>,
    /// Whether it says that it is a secondary; a hidden one is of another kind all the same.
    pub secondary: bool,
    /// Whether it is kept from clients.
    pub hidden: bool,
    /// Whether it has priority zero.
    pub passive: bool,
    /// By how many seconds it lags on purpose.
    pub secondary_delay_secs: Option<i64>,
    /// The server's count of its state changes.
    pub topology_version: Option<TopologyVersion>,
    /// Whether it understands `hello`, so that `isMaster` need not be sent.
    pub hello_ok: bool,
    /// Whether it is `mongocryptd`, which is no database.
    pub is_cryptd: bool,
}

impl ServerDescription {
    /// A server of which nothing is known, or whose check failed with this error.
    #[must_use]
    pub fn unknown(address: Address, error: Option<String>) -> Self {
        Self {
            address,
            kind: ServerKind::Unknown,
            error,
            rtt: None,
            last_update: None,
            last_write: None,
            op_time: None,
            min_wire_version: 0,
            max_wire_version: 0,
            max_bson_object_size: 16 << 20,
            max_message_size_bytes: 48_000_000,
            max_write_batch_size: 100_000,
            logical_session_timeout_minutes: None,
            me: None,
            hosts: Vec::new(),
            passives: Vec::new(),
            arbiters: Vec::new(),
            tags: Vec::new(),
            set_name: None,
            set_version: None,
            election_id: None,
            primary: None,
            secondary: false,
            hidden: false,
            passive: false,
            secondary_delay_secs: None,
            topology_version: None,
            hello_ok: false,
            is_cryptd: false,
        }
    }

    /// A server of the connection string before its first check.
    pub(super) fn of_seed(address: Address, topology: TopologyKind) -> Self {
        let kind = match topology {
            TopologyKind::LoadBalanced => ServerKind::LoadBalancer,
            _ => ServerKind::Unknown,
        };
        Self {
            kind,
            ..Self::unknown(address, None)
        }
    }

    /// Whether clients may use this server's data.
    #[must_use]
    pub fn is_data_bearing(&self) -> bool {
        self.kind.is_data_bearing()
    }

    /// Whether its last check was answered, whatever the server is.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.kind != ServerKind::Unknown
    }

    /// Every member that this one names: hosts, passives, arbiters.
    pub fn members(&self) -> impl Iterator<Item = &Address> {
        self.hosts.iter().chain(&self.passives).chain(&self.arbiters)
    }

    /// Whether both say the same of the server itself, as the specification compares descriptions: what
    /// changes with every check (round trip time, last update, last write) does not count.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let volatile_of = |from: &Self| Self {
            rtt: from.rtt,
            last_update: from.last_update,
            last_write: from.last_write,
            op_time: from.op_time,
            ..other.clone()
        };
        *self == volatile_of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(process: u8, counter: i64) -> TopologyVersion {
        TopologyVersion {
            process_id: ObjectId::from_bytes([process; 12]),
            counter,
        }
    }

    #[test]
    fn only_versions_of_one_process_can_be_older() {
        let known = version(1, 5);
        for (arrived, expected) in [
            (None, Ordering::Less),
            (Some(version(1, 4)), Ordering::Greater),
            (Some(version(1, 5)), Ordering::Equal),
            (Some(version(1, 6)), Ordering::Less),
            (Some(version(2, 1)), Ordering::Less),
        ] {
            assert_eq!(
                TopologyVersion::compare(Some(&known), arrived.as_ref()),
                expected,
                "{arrived:?}"
            );
            assert_eq!(TopologyVersion::compare(None, arrived.as_ref()), Ordering::Less);
        }
    }

    #[test]
    fn measurements_do_not_make_a_description_another() {
        let one = ServerDescription::unknown("a".parse().unwrap(), None);
        let mut two = one.clone();
        two.rtt = Some(Duration::from_millis(3));
        two.last_write = Some(7);
        assert!(one.is_equivalent(&two));
        two.error = Some("gone".into());
        assert!(!one.is_equivalent(&two));
    }
}
