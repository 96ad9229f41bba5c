//! The two that are compared.

use std::net::SocketAddr;

use tidegate::sandbox::{Options, ReplicaSet};

use crate::support::{Proxy, old_set, start_set};

/// MongoDB 4.2, and the proxy in front of the current version; sets of one node each, so that the same write concerns are
/// beyond both.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) old: &'static ReplicaSet,
    pub(crate) proxy: Proxy,
    /// Behind the proxy; dropped after it.
    _new: ReplicaSet,
}

/// Two servers, and where on them.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// That knows all legacy opcodes.
    pub(crate) old: SocketAddr,
    /// That must answer as it does.
    pub(crate) new: SocketAddr,
    pub(crate) db: String,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let new = start_set(Options {
            nodes: 1,
            mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
            ..Options::default()
        });
        Self {
            old: old_set(),
            proxy: Proxy::start(&new.uri(), ""),
            _new: new,
        }
    }

    /// Both, with a database that nobody else uses.
    pub(crate) fn pair(&self, db: &str) -> Pair {
        Pair {
            old: self.old.address(0).parse().unwrap(),
            new: self.proxy.address,
            db: db.to_owned(),
        }
    }
}
