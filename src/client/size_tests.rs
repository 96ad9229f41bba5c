//! What an idle client costs: the size of its session's future.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::{ListenerOptions, Listening, Shared, options::Peer, session::Session};
use crate::{
    audit::Audit,
    net::Socket,
    shutdown::Shutdown,
    upstream::{self, Cluster},
};

/// Bytes that a session's future may take. What waits, fans out or streams is boxed to stay below.
const MAX_FUTURE: usize = 2048;

#[tokio::test]
async fn a_sessions_future_stays_small() {
    let shutdown = Shutdown::new();
    let cluster = Cluster::start(upstream::Options::default(), &shutdown, |_| {
        unreachable!("there are no seeds")
    });
    let shared = Arc::new(Shared::new(cluster, Arc::default(), Audit::off(), None, 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let options = ListenerOptions::at(address);
    let admitted = shared.admission.admit(None, false).unwrap();
    let mut session = Session::new(
        Socket::new(stream),
        Peer::Tcp(address),
        admitted,
        0,
        Arc::new(Listening::new(options, Arc::default(), &shutdown, &shutdown)),
        shared,
    );
    let size = size_of::<Session>() + size_of_val(&session.serve());
    println!("a session's future takes {size} bytes");
    assert!(size <= MAX_FUTURE, "{size} bytes");
    shutdown.begin();
}
