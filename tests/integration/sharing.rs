//! Many clients over few connections: the bound holds as the nodes count it, the queue is fair, and nobody's place is lost.

use std::time::Duration;

use bson::{Document, doc};
use tidegate::sandbox::ReplicaSet;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok, labels, number, prefer},
    shared_set,
};

const CLIENTS: usize = 1000;
const POOL: usize = 10;
/// Beside its pool a proxy has one connection for the monitor and one for round trips on each node. Nodes cannot tell the
/// three apart by metadata, so they are counted together.
pub(super) const MONITORING: usize = 2;
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A proxy whose connections the nodes know by `app`.
pub(super) fn proxy(app: &str, sections: &str) -> Proxy {
    Proxy::start(&format!("{}&appName={app}", shared_set().uri()), sections)
}

/// How many connections of the proxy called `app` a node has, by the node's own list.
pub(super) async fn connections(set: &ReplicaSet, node: usize, app: &str) -> usize {
    let listing = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "allUsers": true, "idleConnections": true } },
            { "$match": { "appName": app, "clientMetadata.driver.name": "tidegate" } },
            { "$count": "connections" },
        ],
        "cursor": {},
    };
    let reply = set
        .command(node, prefer("secondaryPreferred", listing))
        .await
        .unwrap();
    let (found, _) = batch(&reply);
    found
        .first()
        .map_or(0, |count| number(count, "connections").unwrap() as usize)
}

pub(super) async fn primary() -> usize {
    shared_set().primary().await.unwrap()
}

/// A number of the primary's pool, as `/status` shows it.
pub(super) fn pool_of_primary(proxy: &Proxy, key: &str) -> u64 {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let primary = nodes.iter().find(|node| node["state"] == "primary").unwrap();
    primary["pool"][key].as_u64().unwrap()
}

/// Waits until the only connection to the primary is in use.
async fn taken(proxy: &Proxy) {
    eventually("the connection is taken", LIMIT, async || {
        pool_of_primary(proxy, "in_use") == 1
    })
    .await;
}

/// Puts a single document into a collection of the test's own.
pub(super) async fn collection(client: &mut Client, name: &str) {
    let document = doc! { "_id": 0, "n": 0 };
    let insert = doc! { "insert": name, "documents": [document], "writeConcern": { "w": 3 } };
    client.succeed("sharing", insert).await;
}

/// Occupies one connection to the primary: `client` waits for a document that comes with [`release`]. It is an ordinary one
/// where awaits have no share of their own.
pub(super) async fn occupy(client: &mut Client, name: &str) {
    let capped = format!("{name}-capped");
    let create = doc! { "create": &capped, "capped": true, "size": 100_000 };
    if is_ok(&client.run("sharing", create).await) {
        // A tailable cursor over nothing is dead at once.
        let insert = doc! { "insert": &capped, "documents": [{}] };
        client.succeed("sharing", insert).await;
    }
    let tail = doc! { "find": &capped, "tailable": true, "awaitData": true };
    let (_, cursor) = batch(&client.succeed("sharing", tail).await);
    let wait = doc! { "getMore": cursor, "collection": capped, "maxTimeMS": 120_000 };
    client.send("sharing", wait).await.unwrap();
}

/// Ends what [`occupy`] began with this name, past the proxy.
pub(super) async fn release(name: &str) {
    let insert = doc! { "insert": format!("{name}-capped"), "documents": [{}], "$db": "sharing" };
    shared_set().command(primary().await, insert).await.unwrap();
}

/// Takes the next number from the collection's document.
fn next_number(collection: &str) -> Document {
    doc! { "findAndModify": collection, "query": { "_id": 0 }, "update": { "$inc": { "n": 1 } }, "new": true }
}

/// A client's work until `end`: it writes documents of its own, and reads its first back from a secondary.
async fn work(mut client: Client, number: usize, end: Instant) -> u32 {
    let own = number as i32;
    let mut done = 0;
    while Instant::now() < end {
        let written = doc! { "insert": "written", "documents": [{ "client": own, "at": done }] };
        let reply = client.succeed("sharing", written).await;
        assert_eq!(reply.get_i32("n").unwrap(), 1);
        let find = doc! { "find": "tokens", "filter": { "_id": own } };
        let reply = client.succeed("sharing", prefer("secondary", find)).await;
        let expected = doc! { "_id": own, "token": format!("token of {own}") };
        assert_eq!(batch(&reply), (vec![expected], 0));
        done += 1;
    }
    done
}

#[tokio::test]
async fn a_thousand_clients_share_ten_connections_fairly() {
    let (set, app) = (shared_set(), "sharing-load");
    let proxy = proxy(app, &format!("[pool]\nmax_size = {POOL}\nwait_timeout = \"30s\""));
    let mut first = Client::connect(proxy.address).await;
    let tokens = (0..CLIENTS as i32).map(|own| doc! { "_id": own, "token": format!("token of {own}") });
    let insert =
        doc! { "insert": "tokens", "documents": tokens.collect::<Vec<_>>(), "writeConcern": { "w": 3 } };
    first.succeed("sharing", insert).await;

    let mut clients = JoinSet::new();
    let mut ready = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        ready.push(Client::connect(proxy.address).await);
    }
    let started = Instant::now();
    let end = started + Duration::from_secs(5);
    for (number, client) in ready.into_iter().enumerate() {
        clients.spawn(work(client, number, end));
    }
    let (mut looks, mut most) = (0, vec![0; 3]);
    while Instant::now() < end {
        for (node, most) in most.iter_mut().enumerate() {
            *most = connections(set, node, app).await.max(*most);
        }
        looks += 1;
        sleep(Duration::from_millis(200)).await;
    }
    let done = clients.join_all().await;
    let (least, greatest) = (*done.iter().min().unwrap(), *done.iter().max().unwrap());
    let all: u32 = done.iter().sum();
    println!(
        "{all} rounds in {:?}, {least} to {greatest} a client; connections {most:?} in {looks} looks",
        started.elapsed()
    );

    assert!(
        looks >= 3,
        "the connections were counted during the load: {looks}"
    );
    for (node, most) in most.into_iter().enumerate() {
        assert!(most <= POOL + MONITORING, "{most} connections on node {node}");
    }
    assert_eq!(
        connections(set, primary().await, app).await,
        POOL + MONITORING,
        "the load fills the pool"
    );
    assert_eq!(
        pool_of_primary(&proxy, "opened"),
        POOL as u64,
        "and none is wasted"
    );
    assert!(
        least >= 1 && greatest <= 2 * least + 2,
        "{least} to {greatest} rounds a client"
    );
    let count = doc! { "count": "written" };
    let written = first.succeed("sharing", count).await;
    assert_eq!(
        written.get_i32("n").unwrap(),
        all as i32,
        "each write is there once"
    );
    assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);
}

#[tokio::test]
async fn clients_that_come_for_one_command_and_leave_cost_no_connection() {
    let (set, app) = (shared_set(), "sharing-comers");
    let proxy = proxy(app, "[pool]\nmax_size = 5");
    for round in 0..2 {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let address = proxy.address;
            clients.spawn(async move {
                let mut client = Client::connect(address).await;
                let find = doc! { "find": "nothing", "filter": { "_id": number as i32 } };
                assert_eq!(batch(&client.succeed("sharing", find).await), (vec![], 0));
            });
        }
        clients.join_all().await;
        eventually(
            &format!("all clients of round {round} are gone"),
            LIMIT,
            async || proxy.status()["clients"]["connected"] == 0,
        )
        .await;
    }
    assert!(connections(set, primary().await, app).await <= 5 + MONITORING);
    let opened = pool_of_primary(&proxy, "opened");
    assert!(opened <= 5, "{opened} connections for clients that left");
    assert_eq!(proxy.status()["clients"]["accepted"], 2 * CLIENTS);
}

#[tokio::test]
async fn the_queue_is_served_in_order_and_who_leaves_it_frees_the_place() {
    let proxy = proxy(
        "sharing-queue",
        "[pool]\nmax_size = 1\nmax_awaiting = 0\nwait_timeout = \"60s\"",
    );
    let mut slow = Client::connect(proxy.address).await;
    collection(&mut slow, "queue").await;
    occupy(&mut slow, "queue").await;
    taken(&proxy).await;
    let mut waiters = Vec::new();
    for number in 0..20_u64 {
        let mut client = Client::connect(proxy.address).await;
        // Those with odd numbers will leave: a read that nobody waits for is not run.
        let command = if number % 2 == 0 {
            next_number("queue")
        } else {
            doc! { "find": "queue" }
        };
        client.send("sharing", command).await.unwrap();
        eventually("it stands in the queue", LIMIT, async || {
            pool_of_primary(&proxy, "waiting") == number + 1
        })
        .await;
        waiters.push(client);
    }
    let mut stay = Vec::new();
    for (number, client) in waiters.into_iter().enumerate() {
        if number % 2 == 0 {
            stay.push(client);
        }
    }
    eventually("ten have left the queue", LIMIT, async || {
        pool_of_primary(&proxy, "waiting") == 10
    })
    .await;
    release("queue").await;
    slow.reply().await.unwrap();
    for (place, client) in stay.iter_mut().enumerate() {
        let reply = client.reply().await.unwrap();
        let value = reply.get_document("value").unwrap();
        assert_eq!(
            number(value, "n"),
            Some(place as i64 + 1),
            "first come, first served"
        );
    }
    assert_eq!(pool_of_primary(&proxy, "opened"), 1);
    assert_eq!(proxy.status()["clients"]["connected"], 11);
}

#[tokio::test]
async fn a_full_pool_answers_overload_in_time_and_the_client_goes_on() {
    let proxy = proxy(
        "sharing-overload",
        "[pool]\nmax_size = 1\nmax_awaiting = 0\nwait_timeout = \"300ms\"",
    );
    let mut slow = Client::connect(proxy.address).await;
    collection(&mut slow, "overload").await;
    occupy(&mut slow, "overload").await;
    taken(&proxy).await;

    let mut client = Client::connect(proxy.address).await;
    for command in [doc! { "find": "overload" }, next_number("overload")] {
        let asked = Instant::now();
        let reply = client.run("sharing", command).await;
        let waited = asked.elapsed();
        assert_eq!(number(&reply, "code"), Some(6), "{reply}");
        assert_eq!(reply.get_str("codeName").unwrap(), "HostUnreachable");
        assert_eq!(labels(&reply), ["SystemOverloadedError", "RetryableError"]);
        assert!(
            waited >= Duration::from_millis(300) && waited < Duration::from_secs(5),
            "{waited:?}"
        );
    }
    assert_eq!(proxy.metric("tidegate_commands_overloaded_total"), 2.0);

    release("overload").await;
    slow.reply().await.unwrap();
    let reply = client.succeed("sharing", next_number("overload")).await;
    let value = reply.get_document("value").unwrap();
    assert_eq!(
        number(value, "n"),
        Some(1),
        "what was answered with overload was not run"
    );
}

#[tokio::test]
async fn what_is_left_of_max_time_goes_along_after_a_wait() {
    let set = shared_set();
    let proxy = proxy("sharing-time", "[pool]\nmax_size = 1\nmax_awaiting = 0");
    let mut slow = Client::connect(proxy.address).await;
    collection(&mut slow, "time").await;
    occupy(&mut slow, "time").await;
    taken(&proxy).await;

    let mut short = Client::connect(proxy.address).await;
    let reply = short
        .run("sharing", doc! { "find": "time", "maxTimeMS": 200 })
        .await;
    assert_eq!(number(&reply, "code"), Some(50), "{reply}");

    let command = doc! {
        "find": "time",
        "filter": { "$where": "sleep(1000) || true" },
        "maxTimeMS": 20_000,
        "comment": "with what is left",
    };
    let sent = Instant::now();
    short.send("sharing", command).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    release("time").await;
    let listing = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "allUsers": true } },
            { "$match": { "command.comment": "with what is left", "command.find": "time" } },
        ],
        "cursor": {},
    };
    let primary = primary().await;
    let seen = async {
        loop {
            let reply = set.command(primary, listing.clone()).await.unwrap();
            let (found, _) = batch(&reply);
            if let Some(operation) = found.first() {
                return number(operation.get_document("command").unwrap(), "maxTimeMS").unwrap();
            }
        }
    };
    let left = timeout(LIMIT, seen).await.unwrap();
    let held = 20_000 - left;
    println!("{held} ms of maxTimeMS were spent in the queue");
    // The time is taken before the bytes leave this process, and rounded to whole milliseconds.
    let most = sent.elapsed().as_millis() as i64;
    assert!(held >= 290 && held <= most, "{held} of {most} ms");
    slow.reply().await.unwrap();
    short.reply().await.unwrap();
}
