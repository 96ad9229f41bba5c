//! Upstreams that are no replica set of three: several `mongos`, a single node, IPv6.
//!
//! The `mongos` are Tidegates that present themselves as such in front of one replica set: nothing else that speaks as one
//! is at hand. A third Tidegate has both as its upstream; the counters of the two tell what went where.

use std::time::Duration;

use bson::{Document, doc, uuid::Uuid};
use tidegate::sandbox::Options;

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok, labels, number},
    http_get,
    relay::{Cut, Relay},
    shared_set, start_set,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A proxy in front of two presented `mongos`.
struct Cascade {
    routers: [Proxy; 2],
    front: Proxy,
}

impl Cascade {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(listener: &str) -> Self {
        let routers = [(); 2].map(|()| Proxy::start(&shared_set().uri(), ""));
        let uri = Self::uri(&routers);
        let front = Proxy::start_with(&uri, "", listener, "");
        Self { routers, front }
    }

    fn uri(routers: &[Proxy; 2]) -> String {
        // A wide window: on a busy machine one may seem far away.
        format!(
            "mongodb://{},{}/?localThresholdMS=10000",
            routers[0].address, routers[1].address
        )
    }

    async fn client(&self) -> Client {
        let mut client = Client::connect(self.front.address).await;
        // Both routers are known once either can be asked.
        eventually("both routers are up", LIMIT, async || self.mongos() == 2).await;
        client.succeed("admin", doc! { "ping": 1 }).await;
        client
    }

    fn mongos(&self) -> usize {
        let status = self.front.status();
        let nodes = status["topology"]["nodes"].as_array().unwrap();
        nodes.iter().filter(|node| node["state"] == "mongos").count()
    }

    /// Commands that each router has passed on; monitoring is not among them.
    fn passed_on(&self) -> [u64; 2] {
        [0, 1].map(|router| passed_on(&self.routers[router]))
    }
}

fn passed_on(router: &Proxy) -> u64 {
    let commands = router.metric("tidegate_commands_total") - router.metric("tidegate_commands_local_total");
    commands as u64
}

/// Which router got the `count` commands that lie between two looks at the counters.
fn only_one(before: [u64; 2], after: [u64; 2], count: u64) -> usize {
    let grown = [0, 1].map(|router| after[router] - before[router]);
    assert!(
        grown == [count, 0] || grown == [0, count],
        "{count} commands went to {grown:?}"
    );
    usize::from(grown[0] == 0)
}

fn of_transaction(mut command: Document, session: &Document, number: i64) -> Document {
    command.extend(doc! { "lsid": session.clone(), "txnNumber": number, "autocommit": false });
    command
}

fn begin(collection: &str, id: i32) -> Document {
    doc! { "insert": collection, "documents": [{ "_id": id }], "startTransaction": true }
}

async fn count(client: &mut Client, db: &str, collection: &str) -> i64 {
    // Without a query a node answers from a statistic, in which open transactions count.
    let count = doc! { "count": collection, "query": { "_id": { "$exists": true } } };
    number(&client.succeed(db, count).await, "n").unwrap()
}

#[tokio::test]
async fn every_statement_of_a_transaction_reaches_the_mongos_that_began_it() {
    let cascade = Cascade::start();
    let mut client = cascade.client().await;
    // Drivers send the statements of one transaction on any of their connections.
    let mut another = cascade.client().await;
    client.run("kinds_a", doc! { "create": "tides" }).await;
    let mut used = [0; 2];
    for id in 0..24 {
        let session = doc! { "id": Uuid::new() };
        let before = cascade.passed_on();
        let begun = client
            .succeed("kinds_a", of_transaction(begin("tides", id), &session, 1))
            .await;
        let find = doc! { "find": "tides", "filter": { "_id": id }, "batchSize": 0 };
        let (_, cursor) = batch(
            &another
                .succeed("kinds_a", of_transaction(find, &session, 1))
                .await,
        );
        let more = doc! { "getMore": cursor, "collection": "tides" };
        let more = client.succeed("kinds_a", of_transaction(more, &session, 1)).await;
        assert_eq!(batch(&more).0.len(), 1);
        let token = begun.get_document("recoveryToken").unwrap();
        assert_eq!(
            token.get_str("recoveryShardId").unwrap(),
            shared_set().options().set_name
        );
        let commit = doc! { "commitTransaction": 1, "recoveryToken": token.clone() };
        another
            .succeed("admin", of_transaction(commit.clone(), &session, 1))
            .await;
        // As drivers do that lost the first answer.
        client.succeed("admin", of_transaction(commit, &session, 1)).await;
        used[only_one(before, cascade.passed_on(), 5)] += 1;
    }
    assert!(
        used.iter().all(|count| *count > 0),
        "one mongos got all transactions: {used:?}"
    );
    assert_eq!(count(&mut client, "kinds_a", "tides").await, 24);

    // The next transaction of a session may begin elsewhere, and is pinned anew.
    let (session, mut used) = (doc! { "id": Uuid::new() }, [0; 2]);
    for number in 1..=24 {
        let before = cascade.passed_on();
        let begin = begin("tides", 100 + number);
        client
            .succeed("kinds_a", of_transaction(begin, &session, number.into()))
            .await;
        let abort = of_transaction(doc! { "abortTransaction": 1 }, &session, number.into());
        another.succeed("admin", abort).await;
        used[only_one(before, cascade.passed_on(), 2)] += 1;
    }
    assert!(used.iter().all(|count| *count > 0), "{used:?}");
    assert_eq!(count(&mut client, "kinds_a", "tides").await, 24);
}

#[tokio::test]
async fn cursors_stay_on_their_mongos_and_commands_spread_over_both() {
    let cascade = Cascade::start();
    let mut client = cascade.client().await;
    let documents: Vec<Document> = (0..10).map(|id| doc! { "_id": id }).collect();
    client
        .succeed("kinds_b", doc! { "insert": "tides", "documents": documents })
        .await;
    let mut used = [0; 2];
    for _ in 0..24 {
        let before = cascade.passed_on();
        let (mut found, mut cursor) = batch(
            &client
                .succeed("kinds_b", doc! { "find": "tides", "batchSize": 4 })
                .await,
        );
        while cursor != 0 {
            let more = doc! { "getMore": cursor, "collection": "tides", "batchSize": 4 };
            let (more, next) = batch(&client.succeed("kinds_b", more).await);
            found.extend(more);
            cursor = next;
        }
        assert_eq!(found.len(), 10);
        used[only_one(before, cascade.passed_on(), 3)] += 1;
    }
    assert!(
        used.iter().all(|count| *count > 0),
        "one mongos got all reads: {used:?}"
    );

    // Another proxy of the same routers finds a cursor that it never saw, and ends it.
    let second = Proxy::start(&Cascade::uri(&cascade.routers), "");
    let mut stranger = Client::connect(second.address).await;
    let (_, cursor) = batch(
        &client
            .succeed("kinds_b", doc! { "find": "tides", "batchSize": 4 })
            .await,
    );
    let more = doc! { "getMore": cursor, "collection": "tides", "batchSize": 4 };
    let (more, cursor) = batch(&stranger.succeed("kinds_b", more).await);
    assert_eq!((more.len(), cursor != 0), (4, true));
    let kill = doc! { "killCursors": "tides", "cursors": [cursor] };
    let killed = client.succeed("kinds_b", kill).await;
    assert_eq!(killed.get_array("cursorsKilled").unwrap().len(), 1, "{killed}");
    client
        .succeed("admin", doc! { "killSessions": [{ "id": Uuid::new() }] })
        .await;
}

#[tokio::test]
async fn a_mongos_that_stops_takes_only_its_open_transactions_along() {
    let cascade = Cascade::start();
    let mut client = cascade.client().await;
    client.run("kinds_c", doc! { "create": "tides" }).await;
    // Transactions on each router, until the first has two.
    let mut open = [vec![], vec![]];
    for id in 0.. {
        let session = doc! { "id": Uuid::new() };
        let before = cascade.passed_on();
        client
            .succeed("kinds_c", of_transaction(begin("tides", id), &session, 1))
            .await;
        open[only_one(before, cascade.passed_on(), 1)].push(session);
        if open[0].len() > 1 && !open[1].is_empty() {
            break;
        }
    }
    let change_stream = |options: Document| {
        let pipeline = vec![doc! { "$changeStream": options }];
        doc! { "aggregate": "events", "pipeline": pipeline, "cursor": {} }
    };
    let (mut stream, mut token);
    loop {
        let before = cascade.passed_on();
        let reply = client.succeed("kinds_c", change_stream(doc! {})).await;
        stream = batch(&reply).1;
        token = reply
            .get_document("cursor")
            .unwrap()
            .get_document("postBatchResumeToken")
            .unwrap()
            .clone();
        if only_one(before, cascade.passed_on(), 1) == 0 {
            break;
        }
    }
    let Cascade {
        routers: [gone, left],
        front,
    } = cascade;
    gone.stop();

    // Ordinary commands go on at once.
    for id in 0..5 {
        client
            .succeed(
                "kinds_c",
                doc! { "insert": "events", "documents": [{ "_id": id }] },
            )
            .await;
    }
    // A statement of a lost transaction: the application may run it again.
    let find = doc! { "find": "tides" };
    let reply = client
        .run("kinds_c", of_transaction(find.clone(), &open[0][0], 1))
        .await;
    assert_eq!(number(&reply, "code"), Some(251), "{reply}");
    assert_eq!(labels(&reply), ["TransientTransactionError"]);
    client
        .succeed("kinds_c", of_transaction(begin("tides", 1000), &open[0][0], 2))
        .await;
    let end = doc! { "abortTransaction": 1 };
    client.succeed("admin", of_transaction(end, &open[0][0], 2)).await;
    // The end of one goes to another router, which asks the shard that the token names.
    let commit = doc! { "commitTransaction": 1, "recoveryToken": { "recoveryShardId": "sandbox" } };
    client
        .succeed("admin", of_transaction(commit.clone(), &open[0][1], 1))
        .await;
    // What runs on the router that is left is not touched.
    client
        .succeed("kinds_c", of_transaction(find, &open[1][0], 1))
        .await;
    client
        .succeed("admin", of_transaction(commit, &open[1][0], 1))
        .await;
    assert_eq!(count(&mut client, "kinds_c", "tides").await, 2);
    for session in open[0].iter().skip(2).chain(&open[1][1..]).chain(&open[0][..1]) {
        client
            .run(
                "admin",
                of_transaction(doc! { "abortTransaction": 1 }, session, 1),
            )
            .await;
    }
    assert_eq!(front.metric("tidegate_transactions_lost_total"), 1.0);

    // A change stream says that it may be resumed, and is resumed without a gap.
    let more = doc! { "getMore": stream, "collection": "events" };
    let reply = client.run("kinds_c", more).await;
    assert!(
        !is_ok(&reply) && labels(&reply).contains(&"ResumableChangeStreamError"),
        "{reply}"
    );
    let resumed = client
        .succeed("kinds_c", change_stream(doc! { "resumeAfter": token }))
        .await;
    let (mut events, stream) = batch(&resumed);
    while events.len() < 5 {
        let more = doc! { "getMore": stream, "collection": "events" };
        events.extend(batch(&client.succeed("kinds_c", more).await).0);
    }
    drop(left);
}

#[tokio::test]
async fn a_transaction_outlives_the_connections_to_its_mongos() {
    let routers = [(); 2].map(|()| Proxy::start(&shared_set().uri(), ""));
    let relays = [0, 1].map(|router| Relay::start(&routers[router].address.to_string(), "", 7));
    let uri = format!("mongodb://{},{}/", relays[0].address(), relays[1].address());
    let front = Proxy::start(&uri, "");
    let mut client = Client::connect(front.address).await;
    client.run("kinds_e", doc! { "create": "tides" }).await;
    for id in 0..4 {
        let session = doc! { "id": Uuid::new() };
        client
            .succeed("kinds_e", of_transaction(begin("tides", id), &session, 1))
            .await;
        // The monitors' connections are among them, so that the routers seem to be down for a moment.
        relays.iter().for_each(|relay| relay.cut_all(Cut::Close));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let find = doc! { "find": "tides", "filter": { "_id": id } };
        let found = client.succeed("kinds_e", of_transaction(find, &session, 1)).await;
        assert_eq!(batch(&found).0.len(), 1);
        let commit = doc! { "commitTransaction": 1 };
        client.succeed("admin", of_transaction(commit, &session, 1)).await;
    }
    assert_eq!(count(&mut client, "kinds_e", "tides").await, 4);
    assert_eq!(front.metric("tidegate_transactions_lost_total"), 0.0);
}

#[tokio::test]
async fn a_mongos_is_told_the_read_preference_that_only_the_listener_has() {
    let cascade = Cascade::start_with("read_preference = \"secondary\"");
    let mut client = cascade.client().await;
    let served_by = doc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": {} }, { "$limit": 1 }, { "$project": { "host": 1 } }],
        "cursor": {},
    };
    let primary = shared_set()
        .address(shared_set().primary().await.unwrap())
        .to_owned();
    let host = |reply: &Document| batch(reply).0[0].get_str("host").unwrap().to_owned();
    assert_no_primary_is_missed(&cascade.front);
    let told = client.succeed("admin", served_by.clone()).await;
    assert_ne!(
        host(&told).rsplit_once(':').unwrap().1,
        primary.rsplit_once(':').unwrap().1
    );
    let mut explicit = served_by;
    explicit.insert("$readPreference", doc! { "mode": "primary" });
    let told = client.succeed("admin", explicit).await;
    assert_eq!(
        host(&told).rsplit_once(':').unwrap().1,
        primary.rsplit_once(':').unwrap().1
    );
}

#[tokio::test]
async fn a_listener_for_one_mongos_leaves_its_choice_of_nodes_alone() {
    let router = Proxy::start(&shared_set().uri(), "");
    let node = format!("node = \"{}\"", router.address);
    let front = Proxy::start_with(&format!("mongodb://{}/", router.address), "", &node, "");
    let mut client = Client::connect(front.address).await;
    let served_by = doc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": {} }, { "$limit": 1 }, { "$project": { "host": 1 } }],
        "cursor": {},
        "$readPreference": { "mode": "primary" },
    };
    let set = shared_set();
    let primary = set.address(set.primary().await.unwrap());
    let port = primary.rsplit_once(':').unwrap().1;
    for _ in 0..20 {
        let reply = client.succeed("admin", served_by.clone()).await;
        let host = batch(&reply).0[0].get_str("host").unwrap().to_owned();
        assert!(host.ends_with(&format!(":{port}")), "{host} is not the primary");
    }
}

/// What has no primary must not be told to have lost it: people are called for that.
fn assert_no_primary_is_missed(proxy: &Proxy) {
    let (_, metrics) = http_get(proxy.admin, "/metrics").unwrap();
    assert!(metrics.contains("\ntidegate_primary_known 1\n"), "{metrics}");
}

/// Writes, reads through a cursor, and errors, as on any upstream.
async fn serves(proxy: &Proxy) {
    let mut client = Client::connect(proxy.address).await;
    let documents: Vec<Document> = (0..10).map(|id| doc! { "_id": id }).collect();
    client
        .succeed("kinds", doc! { "insert": "tides", "documents": documents })
        .await;
    let find = doc! { "find": "tides", "batchSize": 6 };
    let (found, cursor) = batch(&client.succeed("kinds", find.clone()).await);
    let more = doc! { "getMore": cursor, "collection": "tides" };
    let (rest, end) = batch(&client.succeed("kinds", more).await);
    assert_eq!((found.len(), rest.len(), end), (6, 4, 0));
    let (_, cursor) = batch(&client.succeed("kinds", find).await);
    let kill = doc! { "killCursors": "tides", "cursors": [cursor, 77_i64] };
    let killed = client.succeed("kinds", kill).await;
    assert_eq!(killed.get_array("cursorsKilled").unwrap().len(), 1, "{killed}");
    assert_eq!(killed.get_array("cursorsNotFound").unwrap().len(), 1, "{killed}");
    let lost = client
        .run("kinds", doc! { "getMore": 77_i64, "collection": "tides" })
        .await;
    assert_eq!(number(&lost, "code"), Some(43));
    client.succeed("admin", doc! { "killSessions": [] }).await;
    client.succeed("admin", doc! { "buildInfo": 1 }).await;
}

#[tokio::test]
async fn a_standalone_serves_and_keeps_its_own_answers() {
    let node = start_set(Options {
        nodes: 1,
        standalone: true,
        ..Options::default()
    });
    let proxy = Proxy::start(&node.uri(), "");
    serves(&proxy).await;
    let mut client = Client::connect(proxy.address).await;
    assert_no_primary_is_missed(&proxy);
    // No shards are made up for what is no set.
    let reply = client.run("admin", doc! { "listShards": 1 }).await;
    assert_eq!(number(&reply, "code"), Some(59), "{reply}");
    let reply = client.succeed("config", doc! { "find": "shards" }).await;
    assert_eq!(batch(&reply).0.len(), 0);
    let begin = of_transaction(begin("tides", 100), &doc! { "id": Uuid::new() }, 1);
    let reply = client.run("kinds", begin).await;
    assert_eq!(number(&reply, "code"), Some(20), "{reply}");
}

#[tokio::test]
async fn a_secondary_that_is_named_directly_serves_reads_alone() {
    let set = shared_set();
    let primary = set.primary().await.unwrap();
    let mut writer = Client::connect(set.address(primary)).await;
    let concern = doc! { "w": 3 };
    let documents = vec![doc! { "_id": 1 }];
    writer
        .succeed(
            "kinds_d",
            doc! { "insert": "tides", "documents": documents, "writeConcern": concern },
        )
        .await;
    let secondary = set.address((primary + 1) % 3);
    let proxy = Proxy::start(&format!("mongodb://{secondary}/?directConnection=true"), "");
    let mut client = Client::connect(proxy.address).await;
    let find = doc! { "find": "tides" };
    assert_eq!(batch(&client.succeed("kinds_d", find.clone()).await).0.len(), 1);
    let write = doc! { "insert": "tides", "documents": [{ "_id": 2 }] };
    let refused = client.run("kinds_d", write).await;
    // Not in words by which a driver would give up the proxy.
    assert_eq!(number(&refused, "code"), Some(6), "{refused}");
    assert_eq!(
        batch(&client.succeed("kinds_d", find).await).0.len(),
        1,
        "reads go on"
    );
    // Reached in this way it is shown as a mongos like any other.
    let shards = client.succeed("admin", doc! { "listShards": 1 }).await;
    let shard = shards.get_array("shards").unwrap()[0].as_document().unwrap();
    assert_eq!(shard.get_str("_id").unwrap(), set.options().set_name);
}

#[tokio::test]
async fn nodes_are_reached_by_ipv6() {
    let set = start_set(Options {
        nodes: 1,
        ip: std::net::Ipv6Addr::LOCALHOST.into(),
        ..Options::default()
    });
    assert!(set.uri().starts_with("mongodb://[::1]:"), "{}", set.uri());
    serves(&Proxy::start(&set.uri(), "")).await;
    let direct = format!("mongodb://{}/?directConnection=true", set.address(0));
    let proxy = Proxy::start(&direct, "");
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(count(&mut client, "kinds", "tides").await, 10);
}
