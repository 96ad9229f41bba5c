//! A listener is closed.

use bson::rawdoc;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    client::{ListenerOptions, Stage, testing},
    shutdown::Shutdown,
    wire::{RawDoc, op_msg},
};

/// A listener that is bound, its address, and a future that closes it from the first on.
async fn closing(shutdown: &Shutdown) -> (SocketAddr, impl Future<Output = ()> + use<>) {
    let (session, _) = testing::connected(shutdown).await;
    let shared = Arc::clone(&session.shared);
    // Its clients stay.
    shared.drain.advance(Stage::Announced);
    let options = ListenerOptions::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let bound = Bound::bind(&options).unwrap();
    let address = bound.address().unwrap().tcp().unwrap();
    let acceptor = Acceptor::new(bound).unwrap();
    let doors = Shutdown::new();
    doors.begin();
    let cores = [Core::new(Handle::current())].into();
    let listening = Listening::new(options, shared.settings(), &doors, shutdown);
    (address, accept(acceptor, Arc::new(listening), shared, cores))
}

/// Has a ping answered.
async fn ping(client: &mut TcpStream) -> io::Result<()> {
    let ping = rawdoc! { "ping": 1, "$db": "admin" };
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(ping.as_bytes()).unwrap(), 1, 0, 0, &mut message);
    client.write_all(&message).await?;
    client.read_exact(&mut [0; 16]).await.map(drop)
}

#[tokio::test]
async fn who_came_before_the_close_is_served_and_nobody_after_it() {
    let shutdown = Shutdown::new();
    let (address, closed) = closing(&shutdown).await;
    let mut queued = Vec::new();
    for _ in 0..50 {
        queued.push(TcpStream::connect(address).await.unwrap());
    }
    closed.await;
    for client in &mut queued {
        ping(client).await.unwrap();
    }
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    shutdown.begin();
}

#[tokio::test]
async fn who_comes_while_it_closes_is_served_or_refused_but_not_reset() {
    let shutdown = Shutdown::new();
    let (address, closed) = closing(&shutdown).await;
    let closed = tokio::spawn(closed);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(tokio::spawn(TcpStream::connect(address)));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    closed.await.unwrap();
    let mut refused = 0;
    for client in clients {
        match client.await.unwrap() {
            Ok(mut client) => ping(&mut client).await.unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "it was never closed");
    shutdown.begin();
}

#[tokio::test]
async fn a_socket_file_is_gone_while_those_are_served_who_came_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let options = ListenerOptions::at(ListenAddress::Unix(path.clone()));
    let mut acceptor = Acceptor::new(Bound::bind(&options).unwrap()).unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    acceptor.turn_away();
    assert!(!path.exists());
    assert!(matches!(
        acceptor.next().await.unwrap(),
        (Accepted::Unix(_), Peer::Unix)
    ));
}
