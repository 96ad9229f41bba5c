//! A node on loopback that answers by a script, for the tests of what watches it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::pace::MIN_HEARTBEAT;
use crate::{
    topology::Address,
    wire::{RawDoc, op_msg},
};

/// What a node does when it is asked to answer at its next change of state.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WhenAwaited {
    Waits,
    ClosesLater,
}

/// A node that answers each command with its `hello`; while it has none, it hangs. It ends with this value.
pub(crate) struct Node {
    pub(crate) address: Address,
    connections: Arc<AtomicUsize>,
    hello: watch::Sender<Option<Document>>,
    task: JoinSet<()>,
}

impl Node {
    pub(crate) async fn start(hello: Document, when_awaited: WhenAwaited) -> Self {
        Self::serving(Some(hello), when_awaited).await
    }

    /// A node that hangs until it [says](Self::say) something.
    pub(crate) async fn silent() -> Self {
        Self::serving(None, WhenAwaited::Waits).await
    }

    /// A node at this address that is not there until it [arrives](Self::arrive).
    pub(crate) fn absent(address: SocketAddr) -> Self {
        Self {
            address: address.to_string().parse().unwrap(),
            connections: Arc::default(),
            hello: watch::channel(None).0,
            task: JoinSet::new(),
        }
    }

    /// Answers on this listener from now on.
    pub(crate) fn arrive(&mut self, listener: TcpListener, hello: Document) {
        self.say(hello);
        self.serve(listener, WhenAwaited::Waits);
    }

    async fn serving(hello: Option<Document>, when_awaited: WhenAwaited) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut node = Self::absent(listener.local_addr().unwrap());
        node.hello.send_replace(hello);
        node.serve(listener, when_awaited);
        node
    }

    fn serve(&mut self, listener: TcpListener, when_awaited: WhenAwaited) {
        let (told, connections) = (self.hello.subscribe(), Arc::clone(&self.connections));
        self.task.spawn(serve(listener, told, when_awaited, connections));
    }

    /// How many connections there were so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Answers with this from now on, those who wait for a change, too.
    pub(crate) fn say(&self, hello: Document) {
        self.hello.send_replace(Some(hello));
    }

    /// Answers nothing from now on.
    pub(crate) fn hang(&self) {
        self.hello.send_replace(None);
    }
}

async fn serve(
    listener: TcpListener,
    hello: watch::Receiver<Option<Document>>,
    when_awaited: WhenAwaited,
    connections: Arc<AtomicUsize>,
) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, SeqCst);
        clients.spawn(answer(stream, hello.clone(), when_awaited));
    }
}

/// Answers until the connection ends; an awaiting command is answered when there is something new to say.
async fn answer(
    mut stream: TcpStream,
    mut hello: watch::Receiver<Option<Document>>,
    when_awaited: WhenAwaited,
) -> Option<()> {
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.ok()?;
        let length = i32::from_le_bytes(*head.first_chunk().unwrap()) as usize;
        let mut message = head.to_vec();
        message.resize(length, 0);
        stream.read_exact(&mut message[16..]).await.ok()?;
        let body = op_msg::Layout::parse(&message).unwrap().body(&message).unwrap();
        if body.get("topologyVersion").unwrap().is_some() {
            if when_awaited == WhenAwaited::ClosesLater {
                sleep(MIN_HEARTBEAT).await;
                return None;
            }
            hello.changed().await.ok()?;
        }
        let said = hello.wait_for(Option::is_some).await.ok()?.clone()?;
        let reply = RawDocumentBuf::try_from(&said).unwrap();
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

pub(crate) fn standalone() -> Document {
    doc! { "ok": 1, "isWritablePrimary": true, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 8 }
}

pub(crate) fn streaming() -> Document {
    let mut hello = standalone();
    hello.insert("topologyVersion", next_version());
    hello
}

/// What a member of the set `hosts` says that streams: as the primary of this election, or as a secondary.
pub(crate) fn member(hosts: &[&Address], me: &Address, election: Option<u8>) -> Document {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut hello = doc! {
        "ok": 1, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 17, "setName": "rs", "setVersion": 1,
        "hosts": hosts, "me": me.to_string(), "isWritablePrimary": election.is_some(), "secondary": election.is_none(),
        "topologyVersion": next_version(),
    };
    if let Some(election) = election {
        hello.insert("electionId", ObjectId::from_bytes([election; 12]));
    }
    hello
}

/// Each is newer than those before, of one process.
fn next_version() -> Document {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let counter = COUNT.fetch_add(1, SeqCst) as i64;
    doc! { "processId": ObjectId::from_bytes([7; 12]), "counter": counter }
}
