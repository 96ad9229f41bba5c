//! Who belongs to the replica set, and serves what: seeds, set names, hidden members, arbiters, reconfigurations, a
//! listener's read preference.

use std::{collections::BTreeSet, time::Instant};

use bson::{Bson, doc};
use tidegate::sandbox::{MemberOptions, Options, free_ports};

use crate::{
    support::{
        Client, Proxy,
        client::{batch, eventually, number, prefer},
        http_get, shared_set, start_set,
    },
    topology::{DB, HEARTBEAT, LIMIT, counts_of, insert, proxy, restless_set, since, states, with_heartbeat},
};

#[tokio::test]
async fn a_member_that_is_removed_and_added_again_is_followed() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "");
    let mut client = Client::connect(proxy.address).await;
    let primary = set.primary().await.unwrap();
    let removed = set.address((primary + 1) % 3).to_owned();
    // `replSetReconfig` goes through the proxy too.
    let reply = client.succeed("admin", doc! { "replSetGetConfig": 1 }).await;
    let mut config = reply.get_document("config").unwrap().clone();
    let members = config.get_array("members").unwrap().clone();
    let others = members.iter().filter(|member| {
        let host = member.as_document().unwrap().get_str("host").unwrap();
        host != removed
    });
    let others: Vec<Bson> = others.cloned().collect();
    for (members, nodes) in [(others, 2), (members, 3)] {
        let version = number(&config, "version").unwrap();
        config.insert("version", version as i32 + 1);
        config.insert("members", members);
        client
            .succeed("admin", doc! { "replSetReconfig": config.clone() })
            .await;
        let took = eventually("the change is followed", 2 * HEARTBEAT, async || {
            let known = states(&proxy);
            known.len() == nodes && known.iter().any(|(address, _)| *address == removed) == (nodes == 3)
        })
        .await;
        println!("{nodes} members: followed after {took:?}");
        client.succeed(DB, insert("reconfig")).await;
    }
    set.wait_ready().await.unwrap();
    eventually("the new member is used", LIMIT, async || {
        states(&proxy).contains(&(removed.clone(), "secondary".to_owned()))
    })
    .await;
}

#[tokio::test]
async fn any_one_live_seed_is_enough() {
    let set = shared_set();
    let primary = set.primary().await.unwrap();
    let secondary = set.address((primary + 1) % 3);
    let dead = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let all: BTreeSet<_> = set.addresses().into_iter().collect();
    for seeds in [
        format!("mongodb://{secondary}/?replicaSet=sandbox"),
        format!("mongodb://{dead},{secondary}/?replicaSet=sandbox"),
        format!("mongodb://{secondary}/?appName=unnamed"),
    ] {
        let proxy = proxy(&seeds, "");
        let mut client = Client::connect(proxy.address).await;
        client.succeed("topology_seeds", insert("seeds")).await;
        let known = || {
            states(&proxy)
                .into_iter()
                .map(|(address, _)| address)
                .collect::<BTreeSet<_>>()
        };
        eventually(
            &format!("{seeds} leads to all members, and to no other"),
            LIMIT,
            async || known() == all,
        )
        .await;
    }
}

#[tokio::test]
async fn a_wrong_set_name_is_told_and_the_proxy_is_not_ready() {
    let set = shared_set();
    let uri = set.uri().replace("replicaSet=sandbox", "replicaSet=elsewhere");
    let proxy = Proxy::start_unready(&with_heartbeat(&uri, "&serverSelectionTimeoutMS=1000"), "");
    let mut client = Client::connect(proxy.address).await;
    let reply = client.run(DB, insert("nowhere")).await;
    assert_eq!(number(&reply, "code"), Some(6), "{reply}");
    let message = reply.get_str("errmsg").unwrap();
    assert!(message.contains("replicaSet=elsewhere"), "{message}");
    let (code, body) = http_get(proxy.admin, "/readyz").unwrap();
    assert_eq!(code, 503, "{body}");
    let log = proxy.log();
    let names_both = |text: &str| text.contains("elsewhere") && text.contains("sandbox");
    assert!(log.lines().any(names_both), "{log}");
}

#[tokio::test]
async fn hidden_members_and_arbiters_serve_nobody() {
    let member = |hidden, priority| MemberOptions {
        hidden,
        priority,
        ..MemberOptions::default()
    };
    let set = start_set(Options {
        arbiters: 1,
        members: vec![member(false, None), member(true, None), member(false, Some(0.0))],
        ..Options::default()
    });
    // The URI names the hidden member, as one that was hidden later would be.
    let proxy = proxy(&set.uri(), "");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(
            DB,
            doc! { "insert": "served", "documents": [{}], "writeConcern": { "w": 3 } },
        )
        .await;
    let shown = |node: usize, state: &str| (set.address(node).to_owned(), state.to_owned());
    let expected: BTreeSet<_> = [shown(0, "primary"), shown(2, "secondary"), shown(3, "arbiter")].into();
    eventually(
        "members that clients may use are known, and the arbiter as such",
        LIMIT,
        async || states(&proxy).into_iter().collect::<BTreeSet<_>>() == expected,
    )
    .await;
    let before = counts_of(&set, "distinct").await;
    let modes = ["secondary", "secondaryPreferred", "nearest"];
    for mode in modes {
        for _ in 0..20 {
            client
                .succeed(DB, prefer(mode, doc! { "distinct": "served", "key": "x" }))
                .await;
        }
    }
    let counts = since(&set, "distinct", &before).await;
    println!("{counts:?} reads by node");
    assert_eq!(counts[1], 0, "the hidden member was read from");
    assert!(counts[2] >= 40 && counts[0] + counts[2] == 60, "{counts:?}");
    // To all data-bearing nodes: an arbiter would refuse it.
    client.succeed("admin", doc! { "killAllSessions": [] }).await;
}

#[tokio::test]
async fn a_set_is_initiated_through_the_proxy_which_then_serves_it() {
    let set = start_set(Options {
        initiate: false,
        ..Options::default()
    });
    let proxy = Proxy::start_unready(&with_heartbeat(&set.uri(), ""), "");
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(
        http_get(proxy.admin, "/readyz").unwrap().0,
        503,
        "no node holds data"
    );
    client
        .succeed("admin", doc! { "replSetInitiate": set.configuration() })
        .await;
    let initiated = Instant::now();
    client.succeed(DB, insert("initiated")).await;
    println!(
        "a write was acknowledged {:?} after replSetInitiate",
        initiated.elapsed()
    );
    let (found, _) = batch(&client.succeed(DB, doc! { "find": "initiated" }).await);
    assert_eq!(found.len(), 1);
    assert_eq!(http_get(proxy.admin, "/readyz").unwrap().0, 200);
    set.wait_ready().await.unwrap();
    eventually("all members are known", 2 * HEARTBEAT, async || {
        states(&proxy)
            .iter()
            .filter(|(_, state)| state == "secondary")
            .count()
            == 2
    })
    .await;
}

#[tokio::test]
async fn a_listeners_read_preference_moves_plain_reads_and_nothing_else() {
    let set = restless_set().await;
    let listener = "read_preference = \"secondary\"";
    let proxy = Proxy::start_with(&with_heartbeat(&set.uri(), ""), "", listener, "");
    let primary = set.primary().await.unwrap();
    let mut client = Client::connect(proxy.address).await;
    let insert = doc! { "insert": "plain", "documents": [{ "x": 1 }], "writeConcern": { "w": 3 } };
    client.succeed(DB, insert).await;
    let distinct = doc! { "distinct": "plain", "key": "x" };
    let bytes = (0..16).map(|_| fastrand::u8(..)).collect();
    let uuid = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes,
    };
    let transaction = doc! { "lsid": { "id": uuid }, "txnNumber": 1_i64, "autocommit": false };

    let before = counts_of(&set, "distinct").await;
    for _ in 0..40 {
        let reply = client.succeed(DB, distinct.clone()).await;
        assert_eq!(reply.get_array("values").unwrap(), &vec![Bson::Int32(1)]);
    }
    let mut counts = since(&set, "distinct", &before).await;
    assert_eq!(counts[primary], 0, "{counts:?}");
    assert_eq!(counts.iter().sum::<i64>(), 40);
    counts.remove(primary);
    assert!(
        counts.iter().all(|count| *count > 0),
        "both secondaries serve: {counts:?}"
    );

    let before = counts_of(&set, "distinct").await;
    let mut first = distinct.clone();
    first.extend(transaction.clone());
    first.insert("startTransaction", true);
    let mut second = distinct.clone();
    second.extend(transaction.clone());
    client.succeed(DB, first).await;
    client.succeed(DB, second).await;
    let mut commit = doc! { "commitTransaction": 1 };
    commit.extend(transaction);
    client.succeed("admin", commit).await;
    client
        .succeed("local", doc! { "distinct": "startup_log", "key": "pid" })
        .await;
    client.succeed(DB, prefer("primary", distinct.clone())).await;
    let linearizable = doc! { "distinct": "plain", "key": "x", "readConcern": { "level": "linearizable" } };
    client.succeed(DB, linearizable).await;
    let mut expected = vec![0; 3];
    expected[primary] = 5;
    assert_eq!(
        since(&set, "distinct", &before).await,
        expected,
        "all of these are for the primary"
    );
}
