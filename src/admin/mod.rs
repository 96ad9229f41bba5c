//! The HTTP admin endpoint: health, status, metrics and actions; and the commands that ask it, as `tidegate status` does.
//!
//! One observation of the proxy ([`Status`]) is gathered when somebody asks, from snapshots and counters that exist anyway, and
//! rendered as JSON, as Prometheus text or as a table. Gathering costs a pass over the nodes and cores, never one over the clients.
//! Invariants: nothing that is shown holds a secret; each path states the right that it needs (`access`), and only those that need the
//! right to act change what the proxy does; no answer waits for a node longer than a second.

mod access;
mod act;
mod answer;
mod ask;
pub mod capacity;
mod command;
mod draining;
mod gather;
mod listing;
pub mod lists;
mod live;
mod measured;
mod metrics;
#[cfg(test)]
mod openapi_tests;
mod page;
mod people;
mod places;
mod query;
mod readiness;
mod reloading;
mod respond;
mod routes;
mod server;
mod show;
pub mod status;
mod table;
mod tables;
#[cfg(test)]
mod testing;

pub use access::{Access, SHORTEST_TOKEN, Token, TokenError};
pub use ask::{Endpoint, Error};
pub use command::{Action, Filter, Show, act_command, ready_command, reload_command, show_command};
pub use lists::Setting;
pub use reloading::{Outcome, ReloadRequest, Reloaded, Reloading};
pub use server::serve;
pub use status::Status;

use std::{net::SocketAddr, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::{
    client::{Core, Listeners, Shared},
    tls::{Acceptor, Reloads},
    upstream,
};

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The socket address to bind.
    pub address: SocketAddr,
    /// Who may ask and act there.
    pub access: Access,
    /// Speaks TLS with those who ask; `None` speaks plain HTTP.
    pub tls: Option<Acceptor>,
}

/// What the endpoint shows.
#[derive(Debug)]
pub struct View {
    /// The sessions' shared state: cluster, counters, limits.
    pub shared: Arc<Shared>,
    /// What serves clients.
    pub cores: Arc<[Core]>,
    /// Where clients are served.
    pub listeners: Arc<Listeners>,
    /// How the nodes are reached.
    pub upstream: upstream::Options,
    /// The certificates in use.
    pub certificates: Arc<ArcSwap<Reloads>>,
    /// The reloads of the configuration.
    pub reloading: Arc<Reloading>,
    /// Who may ask and act.
    pub access: ArcSwap<Access>,
    /// Speaks TLS with those who ask, if it shall.
    pub tls: ArcSwapOption<Acceptor>,
    /// The configuration in force, to be shown.
    pub settings: ArcSwap<Vec<Setting>>,
}
