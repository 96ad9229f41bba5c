//! What a driver is pointed at: proxies that present themselves in one way, and the addresses that lead to them.

use serde_json::{Value, json};

use crate::support::{Balancer, Proxy, shared_proxy, shared_set};

/// What drivers take the proxy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presentation {
    /// One address for the whole set, the default.
    Mongos,
    /// A `mongos` that is two proxies behind one address.
    TwoProxies,
    /// The primary of a set, and a second address as its secondary.
    ReplicaSet,
    /// Two proxies behind one address, for drivers that know that (`loadBalanced=true`).
    LoadBalanced,
}

impl Presentation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mongos => "mongos",
            Self::TwoProxies => "two",
            Self::ReplicaSet => "replica_set",
            Self::LoadBalanced => "load_balanced",
        }
    }

    pub(super) fn has_two_proxies(self) -> bool {
        matches!(self, Self::TwoProxies | Self::LoadBalanced)
    }

    /// The topology that a driver discovers: its kind and the kinds of its servers, in the specification's words.
    pub(super) fn topology(self) -> Value {
        match self {
            Self::Mongos | Self::TwoProxies => json!(["Sharded", ["Mongos"]]),
            Self::ReplicaSet => json!(["ReplicaSetWithPrimary", ["RSPrimary", "RSSecondary"]]),
            Self::LoadBalanced => json!(["LoadBalanced", ["LoadBalancer"]]),
        }
    }
}

/// Addresses of one kind, and what stands behind them for as long as they are used.
pub(super) struct Reached {
    /// Has options already: further ones are appended with `&`.
    pub(super) uri: String,
    /// With `directConnection=true`.
    pub(super) single: String,
    /// Those of this test alone.
    pub(super) proxies: Vec<Proxy>,
    _balancer: Option<Balancer>,
}

impl Reached {
    pub(super) fn new(presentation: Presentation) -> Self {
        match presentation {
            Presentation::Mongos => {
                Self::at(&shared_proxy().uri(), "directConnection=false", Vec::new(), None)
            }
            Presentation::TwoProxies => Self::balanced("directConnection=false", ["zstd", "zlib"]),
            Presentation::LoadBalanced => Self::balanced("loadBalanced=true", ["snappy", ""]),
            Presentation::ReplicaSet => {
                let listener = "presents_as = 'replica_set'\nsecondary_address = '127.0.0.1:0'";
                let proxy = Proxy::start_with(&shared_set().uri(), "", listener, "");
                let option = format!("replicaSet={}", shared_set().options().set_name);
                Self::at(&proxy.uri(), &option, vec![proxy], None)
            }
        }
    }

    /// Two proxies, each with these compressors towards the nodes: what the driver compresses by is none of theirs.
    fn balanced(option: &str, compressors: [&str; 2]) -> Self {
        let start = |by| Proxy::start(&format!("{}&compressors={by}", shared_set().uri()), "");
        let proxies: Vec<Proxy> = compressors.into_iter().map(start).collect();
        let balancer = Balancer::start(proxies.iter().map(|proxy| proxy.address).collect());
        Self::at(&balancer.uri(), option, proxies, Some(balancer))
    }

    fn at(address: &str, option: &str, proxies: Vec<Proxy>, balancer: Option<Balancer>) -> Self {
        Self {
            uri: format!("{address}?{option}"),
            single: format!("{address}?directConnection=true"),
            proxies,
            _balancer: balancer,
        }
    }
}
