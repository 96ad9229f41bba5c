//! The HTTP admin endpoint: health, status and metrics.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use crate::client::{Core, Shared};

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The socket address to bind.
    pub address: SocketAddr,
}

/// What the endpoint shows.
#[derive(Debug)]
pub struct View {
    /// The sessions' shared state: cluster, counters, limits.
    pub shared: Arc<Shared>,
    /// The threads that serve clients.
    pub cores: Arc<[Core]>,
    /// Where clients are served.
    pub listeners: Vec<SocketAddr>,
}

/// Serves requests until it is cancelled.
pub async fn serve(_listener: TcpListener, _view: Arc<View>) {
    std::future::pending().await
}

/// E
#[derive(Debug, thiserror::Error)]
#[error("not there")]
pub struct Error;

/// S
pub fn status_command(_url: &str, _json: bool) -> Result<(), Error> {
    Err(Error)
}
