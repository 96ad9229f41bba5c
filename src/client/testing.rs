//! Sessions for the tests of this module.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::{Limits, ListenerOptions, Shared, options::Peer, session::Session};
use crate::{
    net::Socket,
    shutdown::Shutdown,
    upstream::{self, Cluster},
};

/// A session whose client has already left, with a cluster that has no nodes.
pub(super) async fn departed(shutdown: &Shutdown) -> Session {
    let cluster = Cluster::start(upstream::Options::default(), shutdown, |_| {
        unreachable!("there are no seeds")
    });
    let shared = Arc::new(Shared::new(cluster, Limits::default(), 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(TcpStream::connect(address).await.unwrap());
    let stream = listener.accept().await.unwrap().0;
    let options = ListenerOptions::at(address);
    Session::new(
        Socket::new(stream),
        Peer::Tcp(address),
        0,
        Arc::new(options),
        shared,
    )
}
