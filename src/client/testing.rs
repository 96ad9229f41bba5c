//! Sessions for the tests of this module.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{Limits, ListenerOptions, Shared, options::Peer, session::Session};
use crate::{
    net::Socket,
    pool::Pool,
    shutdown::Shutdown,
    upstream::{self, Cluster},
};

/// A session whose client has already left, with a cluster that has no nodes.
pub(super) async fn departed(shutdown: &Shutdown) -> Session {
    let cluster = Cluster::start(upstream::Options::default(), shutdown, |_| {
        unreachable!("there are no seeds")
    });
    session(cluster).await.0
}

/// A session and its client, with a cluster of one node at which nobody listens.
pub(super) async fn unreachable_node(shutdown: &Shutdown) -> (Session, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seed = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let options = upstream::Options {
        seeds: vec![seed],
        ..upstream::Options::default()
    };
    let tasks = shutdown.clone();
    let cluster = Cluster::start(options.clone(), shutdown, move |address| {
        Pool::new(
            address.clone(),
            crate::pool::Options::default(),
            Arc::new(options.clone()),
            [Handle::current()].into(),
            &tasks,
        )
    });
    session(cluster).await
}

async fn session(cluster: Arc<Cluster<Pool>>) -> (Session, TcpStream) {
    let shared = Arc::new(Shared::new(cluster, Limits::default(), 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let stream = listener.accept().await.unwrap().0;
    let options = ListenerOptions::at(address);
    let session = Session::new(
        Socket::new(stream),
        Peer::Tcp(address),
        0,
        Arc::new(options),
        shared,
    );
    (session, client)
}
