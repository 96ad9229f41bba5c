//! Sessions and nodes for the tests of this module.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use bytes::BytesMut;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    task::JoinSet,
};

use super::{
    Limits, ListenerOptions, Listening, Logins, Settings, Shared, Source, options::Peer, relay,
    session::Session,
};
use crate::{
    audit::Audit,
    auth::{self, UserName, UsersFile, users_file::Entry},
    net::Socket,
    pool::Pool,
    shutdown::Shutdown,
    upstream::{self, Cluster},
    wire::{Compressor, RawDoc, op_msg},
};

/// Stands for the address that will be found.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A session whose client has already left, with a cluster that has no nodes.
pub(super) async fn departed(shutdown: &Shutdown) -> Session {
    connected(shutdown).await.0
}

/// A session and its client, with a cluster that has no nodes.
pub(super) async fn connected(shutdown: &Shutdown) -> (Session, TcpStream) {
    without_nodes(upstream::Options::default(), shutdown).await
}

/// As [`connected`], where requests may go to the nodes compressed.
pub(super) async fn compressing(shutdown: &Shutdown) -> (Session, TcpStream) {
    let options = upstream::Options {
        compressors: vec![Compressor::Zlib],
        ..upstream::Options::default()
    };
    without_nodes(options, shutdown).await
}

async fn without_nodes(options: upstream::Options, shutdown: &Shutdown) -> (Session, TcpStream) {
    let cluster = Cluster::start(options, shutdown, |_| unreachable!("there are no seeds"));
    session(cluster).await
}

/// A session and its client, with a cluster of one node, which is not there before the socket listens.
pub(super) async fn unreachable_node(shutdown: &Shutdown) -> (Session, TcpStream, TcpSocket) {
    let node = TcpSocket::new_v4().unwrap();
    node.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let seed = node.local_addr().unwrap().to_string().parse().unwrap();
    let options = upstream::Options {
        seeds: vec![seed],
        ..upstream::Options::default()
    };
    let (session, client) = pooled(options, crate::pool::Options::default(), shutdown).await;
    (session, client, node)
}

/// The same where the client must log in, as one of these users of the users file.
pub(super) async fn judging(
    users: BTreeMap<UserName, Entry>,
    shutdown: &Shutdown,
) -> (Session, TcpStream, TcpSocket) {
    let (session, _, node) = unreachable_node(shutdown).await;
    let source = Source { users, backend: None };
    let (cluster, upstream) = (Arc::clone(&session.shared.cluster), Arc::default());
    let logins = Logins::new(auth::Options::default(), source, upstream, UsersFile::default());
    let options = ListenerOptions {
        demands_login: true,
        ..ListenerOptions::at(ANY)
    };
    let logins = Some(Arc::new(logins.unwrap()));
    let (session, client) = session_of(cluster, Limits::default(), options, logins).await;
    (session, client, node)
}

/// A session and its client, with a cluster whose nodes have such pools.
pub(super) async fn pooled(
    options: upstream::Options,
    pools: crate::pool::Options,
    shutdown: &Shutdown,
) -> (Session, TcpStream) {
    let tasks = shutdown.clone();
    let cluster = Cluster::start(options.clone(), shutdown, move |address| {
        Pool::new(
            address.clone(),
            pools.clone(),
            Arc::new(options.clone()),
            [Handle::current()].into(),
            &tasks,
        )
    });
    session(cluster).await
}

/// A node that says that it is a standalone server, and gives `answer` to everything else.
pub(super) async fn serve(listener: TcpListener, answer: RawDocumentBuf) {
    play(listener, PlayedNode::standalone(move |_| Some(answer.clone()))).await;
}

/// What a played node says.
#[derive(Clone)]
pub(super) struct PlayedNode {
    hello: RawDocumentBuf,
    answer: Arc<Answers>,
}

/// The answer to a command; with none the node hangs.
type Answers = dyn Fn(&RawDocument) -> Option<RawDocumentBuf> + Send + Sync;

impl PlayedNode {
    /// One that says that it is a standalone server.
    pub(super) fn standalone(
        answer: impl Fn(&RawDocument) -> Option<RawDocumentBuf> + Send + Sync + 'static,
    ) -> Self {
        let hello = rawdoc! {
            "ok": 1.0, "helloOk": true, "isWritablePrimary": true, "ismaster": true, "maxBsonObjectSize": 16_777_216,
            "minWireVersion": 0, "maxWireVersion": 17,
        };
        let answer = Arc::new(answer);
        Self { hello, answer }
    }

    /// The same as a member of the set of these, the first of which is the primary.
    pub(super) fn in_set(mut self, own: usize, members: &[SocketAddr]) -> Self {
        let hosts: RawArrayBuf = members.iter().map(SocketAddr::to_string).collect();
        self.hello = rawdoc! {
            "ok": 1.0, "helloOk": true, "isWritablePrimary": own == 0, "ismaster": own == 0, "secondary": own != 0,
            "setName": "played", "setVersion": 1, "hosts": hosts, "me": members[own].to_string(),
            "primary": members[0].to_string(), "maxBsonObjectSize": 16_777_216, "minWireVersion": 0, "maxWireVersion": 17,
        };
        self
    }
}

/// Plays a node until it is cancelled.
pub(super) async fn play(listener: TcpListener, node: PlayedNode) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_one(Socket::new(stream), node.clone()));
    }
}

async fn serve_one(mut socket: Socket, node: PlayedNode) {
    while let Ok(1..) = socket.fill().await {
        while let Some(frame) = socket.take_frame().unwrap() {
            let request = relay::body(&frame).unwrap();
            let asks_hello = ["hello", "isMaster"]
                .iter()
                .any(|name| request.get(name).unwrap().is_some());
            let reply = if asks_hello {
                node.hello.clone()
            } else {
                match (node.answer)(RawDocument::from_bytes(request.bytes()).unwrap()) {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            };
            let mut message = BytesMut::new();
            let body = RawDoc::prefix(reply.as_bytes()).unwrap();
            op_msg::encode(body, 1, frame.header().request_id, 0, &mut message);
            if socket.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

/// A session that demands a login within this time, and its client.
pub(super) async fn demanding_login(within: Duration, shutdown: &Shutdown) -> (Session, TcpStream) {
    let cluster = Cluster::start(upstream::Options::default(), shutdown, |_| {
        unreachable!("there are no seeds")
    });
    let limits = Limits {
        login_timeout: within,
        ..Limits::default()
    };
    let options = ListenerOptions {
        demands_login: true,
        ..ListenerOptions::at(ANY)
    };
    session_of(cluster, limits, options, None).await
}

async fn session(cluster: Arc<Cluster<Pool>>) -> (Session, TcpStream) {
    let options = ListenerOptions::at(ANY);
    session_of(cluster, Limits::default(), options, None).await
}

async fn session_of(
    cluster: Arc<Cluster<Pool>>,
    limits: Limits,
    options: ListenerOptions,
    logins: Option<Arc<Logins>>,
) -> (Session, TcpStream) {
    let shared = Arc::new(Shared::new(
        cluster,
        Arc::new(Settings {
            limits,
            ..Settings::default()
        }),
        Audit::off(),
        logins,
        1,
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let stream = listener.accept().await.unwrap().0;
    let options = ListenerOptions {
        address: address.into(),
        ..options
    };
    let admitted = shared.admission.admit(None, options.demands_login).unwrap();
    let none = Shutdown::new();
    let listening = Listening::new(options, shared.settings(), &none, &none);
    let session = Session::new(
        Socket::new(stream),
        Peer::Tcp(address),
        admitted,
        0,
        Arc::new(listening),
        shared,
    );
    (session, client)
}
