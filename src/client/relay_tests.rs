//! Tests of asking a node, with one that reads slowly.

use std::sync::Arc;

use bson::{Binary, rawdoc, spec::BinarySubtype};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Handle,
};

use super::*;
use crate::{
    client::{inbound::Inbound, testing},
    pool::{self, Pool},
    shutdown::Shutdown,
};

/// More than the buffers of both sides of a loopback connection hold.
const LARGE: usize = 15 << 20;

/// A node that answers the handshake, then reads nothing for `pause`, then everything; returns how many bytes that was.
async fn serve_slowly(listener: TcpListener, pause: Duration) -> usize {
    let mut stream = listener.accept().await.unwrap().0;
    let mut hello = vec![0; 4096];
    assert!(stream.read(&mut hello).await.unwrap() > 16);
    let id = i32::from_le_bytes(hello[4..8].try_into().unwrap());
    let body = rawdoc! { "ok": 1.0 };
    let mut reply = BytesMut::new();
    op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, id, 0, &mut reply);
    stream.write_all(&reply).await.unwrap();
    tokio::time::sleep(pause).await;
    let (mut total, mut part) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return total,
            Ok(count) => total += count,
        }
    }
}

fn large_insert() -> Inbound {
    let data = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; LARGE],
    };
    let body = rawdoc! { "insert": "tides", "documents": [{ "data": data }], "$db": "test" };
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 0, 0, &mut message);
    let mut inbound = Inbound::new(Frame::new(message).unwrap(), None);
    inbound.read().unwrap();
    inbound
}

#[tokio::test]
async fn a_write_whose_client_left_reaches_a_slow_node_whole() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let node = tokio::spawn(serve_slowly(listener, DRAIN + Duration::from_millis(500)));
    let cores = Arc::from([Handle::current()]);
    let pool = Pool::new(
        address,
        pool::Options::default(),
        Arc::default(),
        cores,
        &shutdown,
    );
    crate::upstream::NodeResource::ready(&*pool);
    let mut session = testing::departed(&shutdown).await;
    let mut inbound = large_insert();

    let mut lease = pool
        .wait(
            &pool::Identity::SERVICE,
            0,
            pool::Share::Ordinary,
            tokio::time::Instant::now(),
            None,
        )
        .await
        .unwrap();
    let outcome = ask(&mut session, &mut lease, &mut inbound).await;
    assert!(outcome.is_err(), "this node never answers");
    drop(lease);
    assert_eq!(node.await.unwrap(), inbound.frame.bytes().len());
    shutdown.begin();
}
