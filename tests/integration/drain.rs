//! A proxy that is asked to go: who is served until when.

use std::{
    io,
    process::Command,
    time::{Duration, Instant},
};

use bson::{Document, Uuid, doc};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{
    Proxy,
    client::{Client, batch, eventually},
    http_get, run, shared_set,
};

const DB: &str = "drain";
const LIMIT: Duration = Duration::from_secs(20);

fn in_transaction(mut command: Document, lsid: &Document, starts: bool) -> Document {
    command.insert("lsid", lsid.clone());
    command.insert("txnNumber", 1_i64);
    if starts {
        command.insert("startTransaction", true);
    }
    command.insert("autocommit", false);
    command
}

fn insert() -> Document {
    doc! { "insert": "c", "documents": [{ "n": 1 }] }
}

/// Opens a cursor of three documents in batches of one.
async fn open_cursor(client: &mut Client, collection: &str) -> i64 {
    let documents = [doc! { "n": 1 }, doc! { "n": 2 }, doc! { "n": 3 }];
    client
        .succeed(DB, doc! { "insert": collection, "documents": documents })
        .await;
    let opened = client
        .succeed(DB, doc! { "find": collection, "batchSize": 1 })
        .await;
    batch(&opened).1
}

async fn until_left(proxy: &Proxy, clients: u64, tied: u64) {
    let what = format!("{clients} clients are left, {tied} of them tied");
    eventually(&what, LIMIT, async || {
        let drain = &proxy.status()["drain"];
        drain["clients_left"] == clients && drain["clients_tied"] == tied
    })
    .await;
}

/// `tidegate` with this command for a proxy; what it prints.
fn tell(proxy: &Proxy, command: &[&str]) -> String {
    let admin = proxy.admin.to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(program.args(command).args(["--admin", &admin]), LIMIT);
    assert!(output.status.success(), "{output:#?}");
    output.stdout
}

#[tokio::test]
async fn idle_clients_go_first_then_those_that_ended_their_transactions_and_cursors() {
    let set = shared_set();
    let proxy = Proxy::start(&set.uri(), "[drain]\ngrace = \"1s\"\ndeadline = \"60s\"");
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(proxy.address).await);
    }
    let [mut idle, mut transaction, mut elsewhere, mut reader, mut monitor] =
        <[Client; 5]>::try_from(clients).ok().unwrap();
    idle.succeed(DB, insert()).await;
    let lsids = [(); 2].map(|()| doc! { "id": Uuid::new() });
    transaction
        .succeed(DB, in_transaction(insert(), &lsids[0], true))
        .await;
    elsewhere
        .succeed(DB, in_transaction(insert(), &lsids[1], true))
        .await;
    let cursor = open_cursor(&mut reader, "read").await;
    let version = monitor.succeed("admin", doc! { "hello": 1 }).await;
    let version = version.get_document("topologyVersion").unwrap().clone();
    let waiting = doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 60_000 };
    monitor.send("admin", waiting).await.unwrap();

    assert_eq!(http_get(proxy.admin, "/readyz").unwrap().0, 200);
    proxy.signal(Signal::TERM);
    eventually("readiness fails", LIMIT, async || {
        http_get(proxy.admin, "/readyz").unwrap().0 == 503
    })
    .await;
    let why = http_get(proxy.admin, "/readyz").unwrap().1;
    assert!(why.contains("draining"), "{why}");
    let mut late = Client::connect(proxy.address).await;
    late.succeed(DB, insert()).await;

    idle.closed().await;
    late.closed().await;
    // Whoever came between was accepted or refused, and none reset.
    eventually(
        "new clients are refused",
        LIMIT,
        async || match TcpStream::connect(proxy.address).await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                true
            }
        },
    )
    .await;
    until_left(&proxy, 4, 3).await;
    let metrics = ["draining", "clients", "clients_tied", "clients_drained_total"];
    let metrics = metrics.map(|name| proxy.metric(&format!("tidegate_{name}")));
    assert_eq!(metrics, [1.0, 4.0, 3.0, 2.0]);

    transaction
        .succeed(DB, in_transaction(insert(), &lsids[0], false))
        .await;
    let commit = |number: usize| in_transaction(doc! { "commitTransaction": 1 }, &lsids[number], false);
    // A driver ends its transactions on any of its connections.
    transaction.succeed("admin", commit(1)).await;
    elsewhere.closed().await;
    transaction.succeed("admin", commit(0)).await;
    transaction.closed().await;
    let mut left = cursor;
    while left != 0 {
        // Its driver's monitor stays with it.
        until_left(&proxy, 2, 1).await;
        let more = doc! { "getMore": left, "collection": "read", "batchSize": 1 };
        left = batch(&reader.succeed(DB, more).await).1;
    }
    reader.closed().await;
    monitor.closed().await;
    let (status, log) = proxy.ended();
    assert!(status.success() && log.contains("stopped"), "{status}\n{log}");
}

#[tokio::test]
async fn the_deadline_ends_open_cursors_too() {
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[drain]\ngrace = \"off\"\ndeadline = \"700ms\"",
    );
    let mut reader = Client::connect(proxy.address).await;
    assert_ne!(open_cursor(&mut reader, "deadline").await, 0);
    let began = Instant::now();
    let answer: Value = serde_json::from_str(&tell(&proxy, &["drain", "--json"])).unwrap();
    assert_eq!(answer, json!({ "draining": true, "changed": true, "clients": 1 }));
    reader.closed().await;
    assert!(
        began.elapsed() >= Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
    let (status, log) = proxy.ended();
    assert!(
        status.success() && log.contains("the deadline is over"),
        "{status}\n{log}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[drain]\ngrace = \"30s\"\ndeadline = \"60s\"",
    );
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, insert()).await;
    assert!(tell(&proxy, &["pause"]).contains("commands wait now"));
    assert!(tell(&proxy, &["resume"]).contains("commands go on"));
    proxy.signal(Signal::TERM);
    eventually("the drain has begun", LIMIT, async || {
        proxy.log().contains("draining: SIGTERM")
    })
    .await;
    let began = Instant::now();
    proxy.signal(Signal::TERM);
    let (status, log) = proxy.ended();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(
        status.success() && log.contains("ended at once"),
        "{status}\n{log}"
    );
}

#[tokio::test]
async fn a_sigterm_after_a_drain_was_asked_for_takes_nothing_from_it() {
    let proxy = Proxy::start(&shared_set().uri(), "[drain]\ngrace = 'off'\ndeadline = '60s'\n");
    let mut client = Client::connect(proxy.address).await;
    let cursor = open_cursor(&mut client, "asked").await;
    tell(&proxy, &["drain"]);
    until_left(&proxy, 1, 1).await;
    // As a service manager does that stops what somebody has begun to drain.
    proxy.signal(Signal::TERM);
    eventually("it is heard", LIMIT, async || {
        proxy.log().contains("SIGTERM: it drains already")
    })
    .await;
    client
        .succeed(
            DB,
            doc! { "getMore": cursor, "collection": "asked", "batchSize": 1 },
        )
        .await;
    proxy.signal(Signal::TERM);
    let (status, log) = proxy.ended();
    assert!(
        status.success() && log.contains("ended at once: SIGTERM"),
        "{log}"
    );
}
