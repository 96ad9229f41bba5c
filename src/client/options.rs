//! What a listener is told: where it listens, what it looks like to drivers, and what its commands reach.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::ListenerTls;
use crate::{
    auth::Network,
    command::Policy,
    topology::{Address, ReadPreference},
    wire::Compressor,
};

/// The access mode of a Unix domain socket unless told otherwise: its owner's alone.
pub const UNIX_MODE: u32 = 0o600;

/// What a listener looks like to drivers, as long as the upstream is a replica set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presentation {
    /// As a `mongos`: drivers take one address for the whole set and send their read preference along.
    #[default]
    Mongos,
    /// As the primary of the replica set, under its real name; for connection strings with `replicaSet=`.
    ReplicaSet,
}

impl Presentation {
    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mongos => "mongos",
            Self::ReplicaSet => "replica_set",
        }
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The IP address and port, if it is not a path.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// An IPv4 address that came over an IPv6 socket, written as what it is: so it is told to clients, and counted with others.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        // Its zone stays.
        IpAddr::V6(_) => address,
    }
}

/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A client over TCP.
    Tcp(SocketAddr),
    /// A client on this host, over a Unix domain socket.
    Unix,
}

impl Peer {
    /// The address that the bound on clients per address counts.
    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What the commands of a listener's clients reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// Every node, as the command and its read preference ask.
    #[default]
    Cluster,
    /// As a secondary of the set would serve them: reads go to real secondaries, writes are refused.
    Secondaries,
    /// This member alone, whatever the command.
    Node(Address),
}

/// The other alias of a listener that presents itself as a replica set: beside the primary the secondary, and the other way
/// round. Drivers find both in `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The socket address that it is bound to.
    pub address: SocketAddr,
    /// By which address drivers are to find it; `None` stands for `address`.
    pub advertise: Option<Address>,
}

/// One address that clients dial.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerOptions {
    /// The address to bind.
    pub address: ListenAddress,
    /// The access mode of a Unix domain socket.
    pub unix_mode: u32,
    /// How it takes TLS; `None`: not at all.
    pub tls: Option<ListenerTls>,
    /// What `hello` answers.
    pub presents_as: Presentation,
    /// By which address drivers are to find it; `None` stands for the one that they dialled.
    pub advertise: Option<Address>,
    /// The other alias of the set that is presented, if there is one.
    pub twin: Option<Twin>,
    /// What its commands reach.
    pub reach: Reach,
    /// Commands tell the nodes whose they are, where they say nothing themselves.
    pub identifies: bool,
    /// Clients must log in before they are served.
    pub demands_login: bool,
    /// The networks from which clients may connect; none stands for all. Clients on this host by a Unix domain socket always may.
    pub allow_networks: Vec<Network>,
    /// What commands clients may send; `None` permits all.
    pub policy: Option<Policy>,
    /// Used for reads of clients that send no read preference.
    pub read_preference: ReadPreference,
    /// Clients may set the fail point `failCommand`, which is then played here.
    pub fail_points: bool,
    /// The compressors by which messages are taken, and which `hello` agrees on, the preferred one first; `None` stands for all,
    /// in the order in which the client prefers them.
    pub compressors: Option<Vec<Compressor>>,
    /// Legacy opcodes are translated; if not, they are refused as by a server that has none.
    pub translates: bool,
    /// The highest wire version that `hello` shows; `None` shows that of the nodes.
    pub max_wire_version: Option<i32>,
}

impl ListenerOptions {
    /// A listener at `address` with all defaults.
    #[must_use]
    pub fn at(address: impl Into<ListenAddress>) -> Self {
        Self {
            address: address.into(),
            unix_mode: UNIX_MODE,
            tls: None,
            presents_as: Presentation::default(),
            advertise: None,
            twin: None,
            reach: Reach::default(),
            identifies: false,
            demands_login: false,
            allow_networks: Vec::new(),
            policy: None,
            read_preference: ReadPreference::default(),
            fail_points: false,
            compressors: None,
            translates: true,
            max_wire_version: None,
        }
    }

    /// Whether a client may connect from there.
    pub(super) fn admits(&self, peer: Peer) -> bool {
        let is_in = |address| {
            self.allow_networks
                .iter()
                .any(|network| network.contains(address))
        };
        self.allow_networks.is_empty() || peer.ip().is_none_or(is_in)
    }

    /// Whether messages are taken by `compressor`.
    #[must_use]
    pub fn takes(&self, compressor: Compressor) -> bool {
        self.compressors
            .as_deref()
            .unwrap_or(&Compressor::NEGOTIABLE)
            .contains(&compressor)
    }

    /// In a word, what it looks like: "node" where it shows a member as that is, else the name of its presentation.
    #[must_use]
    pub fn shown_as(&self) -> &'static str {
        match self.reach {
            Reach::Node(_) => "node",
            Reach::Cluster | Reach::Secondaries => self.presents_as.name(),
        }
    }

    /// The alias for secondaries that is bound beside this listener, if it has one.
    #[must_use]
    pub fn secondary_alias(&self) -> Option<Self> {
        let (twin, ListenAddress::Tcp(address)) = (self.twin.as_ref()?, &self.address) else {
            return None;
        };
        (self.reach == Reach::Cluster).then(|| Self {
            address: twin.address.into(),
            advertise: twin.advertise.clone(),
            twin: Some(Twin {
                address: *address,
                advertise: self.advertise.clone(),
            }),
            reach: Reach::Secondaries,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_networks_may_connect_and_unix_sockets_always() {
        let peer = |address: &str| Peer::Tcp(SocketAddr::new(address.parse().unwrap(), 5));
        let mut options = ListenerOptions::at(ListenAddress::Unix("/x".into()));
        assert!(options.admits(peer("10.0.0.1")) && options.admits(Peer::Unix));
        options.allow_networks = ["192.168.0.0/16", "fd00::/8"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        for (address, may) in [
            ("192.168.9.9", true),
            ("::ffff:192.168.9.9", true),
            ("fd12::1", true),
            ("10.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(options.admits(peer(address)), may, "{address}");
        }
        assert!(options.admits(Peer::Unix));
    }

    #[test]
    fn an_ipv4_address_is_told_as_such_whatever_socket_it_came_over() {
        for (address, expected) in [
            ("[::ffff:10.0.0.1]:5", "10.0.0.1:5"),
            ("10.0.0.1:5", "10.0.0.1:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
        ] {
            assert_eq!(canonical(address.parse().unwrap()).to_string(), expected);
        }
    }
}
