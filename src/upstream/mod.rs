//! The MongoDB side: connecting to nodes, the handshake, one exchange at a time on a connection,
//! monitoring, and the published snapshot of the whole cluster.

pub mod avoid;
pub mod cluster;
pub mod connect;
pub mod connection;
pub mod dns;
pub mod failure;
mod interrupt;
pub mod login;
mod monitor;
mod pace;
mod round_trips;
pub mod srv;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

pub use avoid::Avoided;
pub use cluster::{Cluster, NodeResource, Snapshot};
pub use connect::{Opened, connect, connect_as};
pub use connection::{Connection, Incoming};
pub use dns::{DnsError, Resolver};
pub use failure::{Failure, Reason};
pub use interrupt::{Interrupter, Interruption};
pub use login::{Login, LoginError, login};
pub use srv::{Seedlist, SrvError, SrvOptions};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    tls,
    topology::Address,
    wire::{Compressor, op_compressed::DEFAULT_LEVEL},
};

/// How the cluster is reached and watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The nodes named in the connection string; any one live one is enough.
    pub seeds: Vec<Address>,
    /// `mongodb+srv://`: what the DNS is asked for. The seeds come from there, and are looked at again.
    pub srv: Option<SrvOptions>,
    /// The name server that is asked for all names, instead of the system's ways to resolve them.
    pub nameserver: Option<SocketAddr>,
    /// `replicaSet`: members that answer with another set name are left out.
    pub set_name: Option<String>,
    /// `directConnection=true`: only the one seed is used, whatever it is.
    pub direct: bool,
    /// `appName`, shown by the nodes in `currentOp` and their logs for every connection.
    pub app_name: String,
    /// `connectTimeoutMS`: for connecting and for the handshake, each.
    pub connect_timeout: Duration,
    /// `heartbeatFrequencyMS`: the pause between checks, and the longest wait of a streaming check.
    pub heartbeat: Duration,
    /// `serverSelectionTimeoutMS`: how long a command waits for a node that fits.
    pub server_selection_timeout: Duration,
    /// `localThresholdMS`: the width of the latency window.
    pub local_threshold: Duration,
    /// `tls`: how nodes are spoken to, if not in the clear.
    pub tls: Option<tls::Connector>,
    /// `compressors`: offered to the nodes, the preferred one first.
    pub compressors: Vec<Compressor>,
    /// `zlibCompressionLevel`: -1 for the default, or 0 to 9.
    pub zlib_level: i8,
    /// The user that connections log in as which serve no particular one; `None` where the nodes take anybody. Monitors do not
    /// log in.
    pub service: Option<Arc<Login>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            srv: None,
            nameserver: None,
            set_name: None,
            direct: false,
            app_name: "tidegate".to_owned(),
            connect_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            server_selection_timeout: Duration::from_secs(30),
            local_threshold: Duration::from_millis(15),
            tls: None,
            compressors: Vec::new(),
            zlib_level: DEFAULT_LEVEL,
            service: None,
        }
    }
}
