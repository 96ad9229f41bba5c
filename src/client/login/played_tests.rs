//! Logins and look-ups where nodes are slow or not there, with nodes that are played by the test.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{Document, doc, raw::RawBsonRef};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;
use crate::{
    auth::{
        scram::{Secret, client::Conversation},
        users_file::Entry,
    },
    client::testing::{self, PlayedNode},
    pool::{self, Pool},
    shutdown::Shutdown,
    upstream::Cluster,
    wire::{RawDoc, op_msg},
};

const LIMIT: Duration = Duration::from_secs(20);
/// What a node that hangs costs at least who asks it.
const HANG: Duration = Duration::from_millis(1900);
/// A `scramSHA256IterationCount` that no server has by default.
const ITERATIONS: i32 = 23_456;

fn ann() -> UserName {
    UserName::new("shop", "ann")
}

/// What a cluster keeps of a user.
fn kept(name: &str) -> Document {
    let key = |length| BASE64_STANDARD.encode(vec![7; length]);
    let scram = doc! {
        "iterationCount": ITERATIONS, "salt": key(28), "storedKey": key(32), "serverKey": key(32),
    };
    doc! { "user": name, "db": "shop", "credentials": { "SCRAM-SHA-256": scram }, "roles": [] }
}

/// What a node tells that has the users ann and ben.
fn tell(command: &RawDocument) -> RawDocumentBuf {
    let filter = command.get_document("filter").unwrap();
    let users = match (command.get_str("find").unwrap(), filter.get("user").unwrap()) {
        ("system.users", None) => vec![kept("ann"), kept("ben")],
        ("system.users", Some(RawBsonRef::String(name))) if name != "nobody" => vec![kept(name)],
        _ => Vec::new(),
    };
    let cursor = doc! { "firstBatch": users, "id": 0_i64, "ns": "admin.system.users" };
    RawDocumentBuf::try_from(&doc! { "cursor": cursor, "ok": 1.0 }).unwrap()
}

/// A backend that reads from these nodes.
fn backend(nodes: &[SocketAddr], shutdown: &Shutdown) -> (Backend, Arc<Cluster<Pool>>) {
    let options = upstream::Options {
        seeds: nodes
            .iter()
            .map(|node| node.to_string().parse().unwrap())
            .collect(),
        ..upstream::Options::default()
    };
    let (tasks, upstream) = (shutdown.clone(), Arc::new(options.clone()));
    let reached = Arc::clone(&upstream);
    let cluster = Cluster::start(options, shutdown, move |address| {
        let pools = pool::Options::default();
        Pool::new(
            address.clone(),
            pools,
            Arc::clone(&reached),
            [Handle::current()].into(),
            &tasks,
        )
    });
    let backend = Backend::start(&cluster, upstream, Duration::from_secs(600), shutdown);
    (backend, cluster)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A backend that has read of ann, and whose node answers nothing from then on, as long as the flag says so.
async fn knows_ann_and_hangs(
    shutdown: &Shutdown,
) -> (Arc<Backend>, Arc<Cluster<Pool>>, Arc<AtomicBool>, JoinHandle<()>) {
    let (socket, address) = listener().await;
    let hangs = Arc::new(AtomicBool::new(false));
    let stuck = Arc::clone(&hangs);
    let node = PlayedNode::standalone(move |command| (!stuck.load(Relaxed)).then(|| tell(command)));
    let node = tokio::spawn(testing::play(socket, node));
    let (backend, cluster) = backend(&[address], shutdown);
    let backend = Arc::new(backend);
    assert!(backend.find(&ann()).await.unwrap().is_some());
    hangs.store(true, Relaxed);
    (backend, cluster, hangs, node)
}

#[tokio::test]
async fn a_primary_that_hangs_does_not_hold_up_users_that_are_known_already() {
    let shutdown = Shutdown::new();
    let (backend, _cluster, _hangs, node) = knows_ann_and_hangs(&shutdown).await;
    let asking = Arc::clone(&backend);
    let other = tokio::spawn(async move { asking.find(&UserName::new("shop", "ben")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = Instant::now();
    assert!(backend.find(&ann()).await.unwrap().is_some());
    assert!(asked.elapsed() < HANG, "{:?}", asked.elapsed());
    assert!(!other.is_finished(), "the node does not hang");
    other.abort();
    node.abort();
    shutdown.begin();
}

#[tokio::test]
async fn names_that_strangers_invent_keep_no_known_user_from_being_read_again() {
    let shutdown = Shutdown::new();
    let (backend, _cluster, hangs, node) = knows_ann_and_hangs(&shutdown).await;
    let invented = |number: usize| {
        let asking = Arc::clone(&backend);
        tokio::spawn(async move {
            asking
                .find(&UserName::new("shop", &format!("nobody-{number}")))
                .await
        })
    };
    let asking: Vec<_> = (0..1100).map(invented).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = asking.iter().filter(|task| task.is_finished()).count();
    assert!(refused > 50, "the queue is not full: {refused}");
    // What is known of ann is believed no more, whoever has a hand in that.
    backend.forget_all();
    backend.doubt(&ann());
    hangs.store(false, Relaxed);
    let found = timeout(LIMIT, backend.find(&ann())).await.unwrap();
    assert!(found.unwrap().is_some());
    asking.iter().for_each(|task| task.abort());
    node.abort();
    shutdown.begin();
}

#[tokio::test]
async fn a_primary_that_hangs_is_asked_last() {
    let shutdown = Shutdown::new();
    let [(first, primary), (second, secondary)] = [listener().await, listener().await];
    let members = [primary, secondary];
    let stuck = PlayedNode::standalone(|_| None).in_set(0, &members);
    let other = PlayedNode::standalone(|command| Some(tell(command))).in_set(1, &members);
    let nodes = [(first, stuck), (second, other)].map(|(at, node)| tokio::spawn(testing::play(at, node)));
    let (backend, cluster) = backend(&members, &shutdown);
    while cluster.load().topology.data_bearing().count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = Instant::now();
    assert!(backend.find(&ann()).await.unwrap().is_some());
    assert!(asked.elapsed() >= HANG, "the primary is not asked first");
    let asked = Instant::now();
    for name in ["ben", "cat", "nobody"] {
        let found = backend.find(&UserName::new("shop", name)).await.unwrap();
        assert_eq!(found.is_some(), name != "nobody");
    }
    assert!(asked.elapsed() < HANG, "{:?}", asked.elapsed());
    nodes.iter().for_each(|node| node.abort());
    shutdown.begin();
}

#[tokio::test]
async fn what_stands_in_for_unknown_users_has_the_iterations_of_the_clusters_users() {
    let shutdown = Shutdown::new();
    let (socket, address) = listener().await;
    let node = tokio::spawn(testing::play(
        socket,
        PlayedNode::standalone(|command| Some(tell(command))),
    ));
    let (backend, _cluster) = backend(&[address], &shutdown);
    let source = Source {
        backend: Some(backend),
        ..Source::default()
    };
    let logins = Logins::new(
        auth::Options::default(),
        source,
        Arc::default(),
        UsersFile::default(),
    )
    .unwrap();
    let nobody = UserName::new("shop", "nobody");
    assert!(logins.source.find(&nobody).await.unwrap().is_none());
    for (hash, expected) in [(Hash::Sha256, 23_456), (Hash::Sha1, 10_000)] {
        let first = logins.stand_in(hash, &nobody);
        assert_eq!(first.iterations(), expected);
        assert_eq!(first, logins.stand_in(hash, &nobody));
    }
    node.abort();
    shutdown.begin();
}

#[test]
fn what_stands_in_for_unknown_users_has_the_iterations_of_the_users_file() {
    let verifier = Verifier::from_password(Hash::Sha1, &ann(), "pencil", b"salt", 4321).unwrap();
    let entry = Entry {
        scram_sha_1: Some(Arc::new(verifier)),
        ..Entry::default()
    };
    let file = UsersFile {
        users: BTreeMap::from([(ann(), entry)]),
        ..UsersFile::default()
    };
    let options = auth::Options::default();
    let logins = Logins::new(options, Source::default(), Arc::default(), file).unwrap();
    let nobody = UserName::new("shop", "nobody");
    assert_eq!(logins.stand_in(Hash::Sha1, &nobody).iterations(), 4321);
    assert_eq!(logins.stand_in(Hash::Sha256, &nobody).iterations(), 15_000);
}

async fn send(client: &mut TcpStream, command: &Document) {
    let command = RawDocumentBuf::try_from(command).unwrap();
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(command.as_bytes()).unwrap(), 1, 0, 0, &mut message);
    client.write_all(&message).await.unwrap();
}

async fn receive(client: &mut TcpStream) -> Document {
    let mut message = vec![0; 16];
    client.read_exact(&mut message).await.unwrap();
    let length = i32::from_le_bytes(*message.first_chunk().unwrap());
    message.resize(length.try_into().unwrap(), 0);
    client.read_exact(&mut message[16..]).await.unwrap();
    Document::from_reader(&message[21..]).unwrap()
}

/// What answers a command.
async fn ask(client: &mut TcpStream, command: &Document) -> Document {
    send(client, command).await;
    timeout(LIMIT, receive(client)).await.unwrap()
}

/// One who logs in by a password.
fn users() -> BTreeMap<UserName, Entry> {
    let verifier = Verifier::from_password(Hash::Sha256, &ann(), "pencil", b"salt", 4096).unwrap();
    let entry = Entry {
        scram_sha_256: Some(Arc::new(verifier)),
        ..Entry::default()
    };
    BTreeMap::from([(ann(), entry)])
}

fn binary(bytes: Vec<u8>) -> bson::Binary {
    let subtype = bson::spec::BinarySubtype::Generic;
    bson::Binary { subtype, bytes }
}

/// A conversation, and the `saslStart` without its database.
fn begin() -> (Conversation, Document) {
    let (conversation, payload) = Conversation::begin(Hash::Sha256, &ann(), "a client's nonce");
    let start = doc! {
        "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(payload),
        "options": { "skipEmptyExchange": true },
    };
    (conversation, start)
}

/// Begins a conversation by a command of its own; the answer to it.
async fn challenge(client: &mut TcpStream) -> (Conversation, Document) {
    let (conversation, mut start) = begin();
    start.insert("$db", "shop");
    let begun = ask(client, &start).await;
    (conversation, begun)
}

/// Answers a challenge; the code of the error, if the login fails.
async fn finish(
    client: &mut TcpStream,
    conversation: Conversation,
    begun: &Document,
    password: &str,
) -> Option<i32> {
    let secret = Secret::Password(password.to_owned().into());
    let challenge = begun.get_binary_generic("payload").unwrap();
    let (awaiting, proof) = conversation.respond(challenge, &secret).unwrap();
    let id = begun.get_i32("conversationId").unwrap();
    let go_on = doc! { "saslContinue": 1, "conversationId": id, "payload": binary(proof), "$db": "shop" };
    let last = ask(client, &go_on).await;
    if let Ok(payload) = last.get_binary_generic("payload") {
        awaiting.verify(payload).unwrap();
    }
    last.get_i32("code").ok()
}

/// How a client deals with a challenge.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It proves its password.
    Right,
    /// It fails to.
    Wrong,
    /// It begins anew.
    Again,
    /// It sends what belongs to no conversation.
    Stray,
}

#[tokio::test]
async fn logins_that_fail_and_those_that_are_given_up_slow_the_next_ones_and_right_ones_do_not() {
    for (way, slowed) in [(Way::Right, 0), (Way::Wrong, 1), (Way::Again, 1), (Way::Stray, 1)] {
        let shutdown = Shutdown::new();
        let (mut session, mut client, _node) = testing::judging(users(), &shutdown).await;
        let shared = Arc::clone(&session.shared);
        let served = tokio::spawn(async move { session.serve().await });
        for _ in 0..5 {
            let (conversation, begun) = challenge(&mut client).await;
            match way {
                Way::Right => assert_eq!(finish(&mut client, conversation, &begun, "pencil").await, None),
                Way::Wrong => assert_eq!(finish(&mut client, conversation, &begun, "pen").await, Some(18)),
                Way::Again => {}
                Way::Stray => {
                    let stray = doc! { "saslContinue": 1, "conversationId": 77, "$db": "shop" };
                    assert_eq!(ask(&mut client, &stray).await.get_i32("code").unwrap(), 17);
                }
            }
        }
        assert_eq!(shared.counters.core(0).logins_slowed.get(), slowed, "{way:?}");
        drop(client);
        served.await.unwrap();
        shutdown.begin();
    }
}

#[tokio::test]
async fn a_proof_waits_for_what_has_failed_since_its_challenge() {
    let shutdown = Shutdown::new();
    let (mut session, mut client, _node) = testing::judging(users(), &shutdown).await;
    let (shared, address) = (Arc::clone(&session.shared), session.peer.ip().unwrap());
    let served = tokio::spawn(async move { session.serve().await });
    let started = Instant::now();
    let (conversation, begun) = challenge(&mut client).await;
    shared.attempts.fail(address, 6);
    assert_eq!(finish(&mut client, conversation, &begun, "pencil").await, None);
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    drop(client);
    served.await.unwrap();
    shutdown.begin();
}

#[tokio::test]
async fn a_login_that_begins_in_a_hello_which_must_wait_for_a_node_is_not_lost() {
    let shutdown = Shutdown::new();
    let (mut session, mut client, node) = testing::judging(users(), &shutdown).await;
    let served = tokio::spawn(async move { session.serve().await });
    let (conversation, mut begin) = begin();
    begin.insert("db", "shop");
    let hello = doc! {
        "hello": 1, "saslSupportedMechs": "shop.ann", "speculativeAuthenticate": begin, "$db": "admin",
    };
    send(&mut client, &hello).await;
    let early = timeout(Duration::from_millis(200), client.readable()).await;
    assert!(early.is_err(), "no node has answered");
    let answer = |_: &RawDocument| Some(rawdoc! { "ok": 1.0 });
    let back = tokio::spawn(testing::play(
        node.listen(16).unwrap(),
        PlayedNode::standalone(answer),
    ));
    let reply = timeout(LIMIT, receive(&mut client)).await.unwrap();
    let mechanisms = reply.get_array("saslSupportedMechs").unwrap();
    assert_eq!(mechanisms, &["SCRAM-SHA-256".into()]);
    let begun = reply.get_document("speculativeAuthenticate").unwrap();
    assert_eq!(finish(&mut client, conversation, begun, "pencil").await, None);
    drop(client);
    served.await.unwrap();
    back.abort();
    shutdown.begin();
}
