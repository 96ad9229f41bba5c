//! A node on loopback that answers by a script, for the tests of what watches it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bson::{Document, RawDocumentBuf, doc};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::monitor::MIN_HEARTBEAT;
use crate::{
    topology::Address,
    wire::{RawDoc, op_msg},
};

/// What a node does when it is asked to answer at its next change of state.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum WhenAwaited {
    Waits,
    ClosesLater,
}

/// A node that answers each command with its `hello`. It ends with this value.
pub(super) struct Node {
    pub(super) address: Address,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Node {
    pub(super) async fn start(hello: Document, when_awaited: WhenAwaited) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, hello, when_awaited, Arc::clone(&connections)));
        Self {
            address,
            connections,
            _task: task,
        }
    }

    /// How many connections there were so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn serve(
    listener: TcpListener,
    hello: Document,
    when_awaited: WhenAwaited,
    connections: Arc<AtomicUsize>,
) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, SeqCst);
        clients.spawn(answer(stream, hello.clone(), when_awaited));
    }
}

/// Answers until the connection ends; an awaiting `hello` gets no answer.
async fn answer(mut stream: TcpStream, hello: Document, when_awaited: WhenAwaited) -> Option<()> {
    let reply = RawDocumentBuf::try_from(&hello).unwrap();
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.ok()?;
        let length = i32::from_le_bytes(*head.first_chunk().unwrap()) as usize;
        let mut message = head.to_vec();
        message.resize(length, 0);
        stream.read_exact(&mut message[16..]).await.ok()?;
        let body = op_msg::Layout::parse(&message).unwrap().body(&message).unwrap();
        if body.get("topologyVersion").unwrap().is_some() {
            match when_awaited {
                WhenAwaited::Waits => std::future::pending::<()>().await,
                WhenAwaited::ClosesLater => sleep(MIN_HEARTBEAT).await,
            }
            return None;
        }
        let request_id = i32::from_le_bytes(*head[4..].first_chunk().unwrap());
        let mut out = BytesMut::new();
        op_msg::encode(
            RawDoc::prefix(reply.as_bytes()).unwrap(),
            1,
            request_id,
            0,
            &mut out,
        );
        stream.write_all(&out).await.ok()?;
    }
}

pub(super) fn standalone() -> Document {
    doc! { "ok": 1, "isWritablePrimary": true, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 8 }
}

pub(super) fn streaming() -> Document {
    let version = doc! { "processId": bson::oid::ObjectId::new(), "counter": 1_i64 };
    let mut hello = standalone();
    hello.insert("topologyVersion", version);
    hello
}
