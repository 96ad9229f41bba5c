//! What a `mongos` answers and a member of a replica set does not: shards, and the tokens of transactions.

use bson::{Bson, Document, doc, uuid::Uuid};
use serde_json::Value;

use crate::support::{
    Client,
    client::{batch, is_ok, number},
    run_mongosh, run_python, shared_proxy, shared_set,
};

async fn client() -> Client {
    Client::connect(shared_proxy().address).await
}

/// The host of the one shard: what tools dial next, so it must be the proxy.
fn shard_host() -> String {
    format!("{}/{}", shared_set().options().set_name, shared_proxy().address)
}

#[tokio::test]
async fn the_set_is_the_one_shard_and_its_host_is_the_proxy() {
    let mut client = client().await;
    let name = shared_set().options().set_name.as_str();
    let shard = doc! { "_id": name, "host": shard_host(), "state": 1 };
    let find = |filter: Document| doc! { "find": "shards", "filter": filter };
    for (filter, expected) in [
        (doc! {}, vec![shard.clone()]),
        (doc! { "_id": name }, vec![shard.clone()]),
        (doc! { "_id": "another" }, vec![]),
    ] {
        let reply = client.succeed("config", find(filter)).await;
        assert_eq!(batch(&reply), (expected, 0));
    }
    let count = client.succeed("config", doc! { "count": "shards" }).await;
    assert_eq!(number(&count, "n"), Some(1));
    let pipeline = vec![doc! { "$match": { "state": 1 } }, doc! { "$count": "shards" }];
    let counting = doc! { "aggregate": "shards", "pipeline": pipeline, "cursor": {} };
    let reply = client.succeed("config", counting).await;
    assert_eq!(batch(&reply).0, [doc! { "shards": 1 }]);
    let reply = client.succeed("admin", doc! { "listShards": 1 }).await;
    assert_eq!(reply.get_array("shards").unwrap(), &[Bson::Document(shard)]);
    let reply = client.succeed("admin", doc! { "getShardMap": 1 }).await;
    let map = reply.get_document("map").unwrap();
    assert_eq!(map.get_str(name).unwrap(), shard_host());

    let shown = format!("{reply}{}", client.succeed("config", find(doc! {})).await);
    for node in shared_set().addresses() {
        assert!(!shown.contains(&node), "{node} would be dialled: {shown}");
    }
    // The collection of that name in another database is the application's.
    client
        .succeed(
            "mongos_a",
            doc! { "insert": "shards", "documents": [{ "_id": 7 }] },
        )
        .await;
    let reply = client.succeed("mongos_a", doc! { "find": "shards" }).await;
    assert_eq!(batch(&reply).0, [doc! { "_id": 7 }]);
    // What of `config` the set really has stays readable.
    client
        .succeed("config", doc! { "find": "transactions", "limit": 1 })
        .await;
}

#[tokio::test]
async fn what_needs_a_sharded_cluster_is_refused() {
    let mut client = client().await;
    let refusals = [
        ("admin", doc! { "shardCollection": "d.c", "key": { "a": 1 } }, 115),
        ("admin", doc! { "enableSharding": "d" }, 115),
        ("admin", doc! { "balancerStart": 1 }, 115),
        ("admin", doc! { "flushRouterConfig": 1 }, 115),
        ("admin", doc! { "addShard": "rs/host:1" }, 115),
        // As a `mongos` words it.
        ("d", doc! { "listShards": 1 }, 13),
        ("d", doc! { "shardCollection": "d.c", "key": { "a": 1 } }, 13),
        // None of these is in API version 1.
        (
            "admin",
            doc! { "listShards": 1, "apiVersion": "1", "apiStrict": true },
            323,
        ),
        ("admin", doc! { "isdbgrid": 1, "apiVersion": "2" }, 322),
        ("config", doc! { "find": "shards", "apiStrict": true }, 4_886_600),
    ];
    for (db, command, code) in refusals {
        let reply = client.run(db, command.clone()).await;
        assert!(
            !is_ok(&reply) && number(&reply, "code") == Some(code),
            "{command}: {reply}"
        );
    }
    let reply = client.run("d", doc! { "listShards": 1 }).await;
    assert_eq!(
        reply.get_str("errmsg").unwrap(),
        "listShards may only be run against the admin database."
    );
    for (command, field, value) in [
        (doc! { "balancerStatus": 1 }, "mode", Bson::from("off")),
        (doc! { "isdbgrid": 1 }, "isdbgrid", Bson::from(1)),
        (
            doc! { "isdbgrid": 1, "apiVersion": "1" },
            "hostname",
            Bson::from(shared_proxy().address.to_string()),
        ),
    ] {
        let reply = client.succeed("admin", command).await;
        assert_eq!(reply.get(field), Some(&value), "{reply}");
    }
    let strictly = doc! { "find": "shards", "apiVersion": "1", "apiStrict": true };
    let reply = client.succeed("config", strictly).await;
    assert_eq!(batch(&reply).0.len(), 1);
}

#[tokio::test]
async fn replies_in_transactions_carry_a_recovery_token_and_nodes_take_it_back() {
    let mut client = client().await;
    client.run("mongos_b", doc! { "create": "tokens" }).await;
    let expected = doc! { "recoveryShardId": shared_set().options().set_name.as_str() };
    for (number, api) in [doc! {}, doc! { "apiVersion": "1", "apiStrict": true }]
        .iter()
        .enumerate()
    {
        for end in ["commitTransaction", "abortTransaction"] {
            let of_transaction = |mut command: Document, session: &Document| {
                command.extend(doc! { "lsid": session.clone(), "txnNumber": 1i64, "autocommit": false });
                command.extend(api.clone());
                command
            };
            let session = doc! { "id": Uuid::new() };
            let id = format!("{end} {number}");
            let insert = doc! { "insert": "tokens", "documents": [{ "_id": &id }], "startTransaction": true };
            let reply = client.succeed("mongos_b", of_transaction(insert, &session)).await;
            assert_eq!(reply.get_document("recoveryToken").unwrap(), &expected);
            let find = doc! { "find": "tokens", "filter": { "_id": &id } };
            let reply = client.succeed("mongos_b", of_transaction(find, &session)).await;
            assert_eq!(batch(&reply).0.len(), 1);
            assert_eq!(reply.get_document("recoveryToken").unwrap(), &expected);
            let end = doc! { end: 1, "recoveryToken": expected.clone() };
            client.succeed("admin", of_transaction(end, &session)).await;
        }
        let reply = client.succeed("mongos_b", doc! { "find": "tokens" }).await;
        assert!(
            !reply.contains_key("recoveryToken"),
            "outside of transactions there is none"
        );
    }
    let found = client.succeed("mongos_b", doc! { "count": "tokens" }).await;
    assert_eq!(number_of(&found), 2, "committed twice, aborted twice");
}

fn number_of(counted: &Document) -> i64 {
    number(counted, "n").unwrap()
}

/// PyMongo pins its transactions as on a `mongos`, and echoes the token.
#[test]
fn drivers_run_their_sharded_transactions() {
    let uri = shared_proxy().uri();
    let seen = run_python("python/mongos_transactions.py", &[&uri]);
    assert_eq!(seen["committed"], 3, "{seen}");
    assert_eq!(seen["aborted"], 0, "{seen}");
    let token = seen["token"]["recoveryShardId"].as_str();
    assert_eq!(token, Some(shared_set().options().set_name.as_str()), "{seen}");
}

#[test]
fn the_shell_finds_the_proxy_as_the_shard() {
    let script = "({ shards: db.getSiblingDB('config').shards.find().toArray(), \
                  counted: db.getSiblingDB('config').shards.countDocuments({}), \
                  listed: db.adminCommand({ listShards: 1 }).shards.length, \
                  status: (() => { try { sh.status(); return 'shown' } catch (error) { return error.message } })() })";
    let seen: Value = run_mongosh(&shared_proxy().uri(), script);
    assert_eq!(seen["shards"][0]["host"], shard_host(), "{seen}");
    assert_eq!(
        (&seen["counted"], &seen["listed"]),
        (&1.into(), &1.into()),
        "{seen}"
    );
    let status = seen["status"].as_str().unwrap();
    assert!(status.contains("does not have sharding enabled"), "{seen}");
}
