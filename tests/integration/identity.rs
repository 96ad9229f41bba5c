//! `[upstream] comment = "identity"` and `app_name`: what the nodes learn of who asks, in their profiler and in `currentOp`.

use std::time::Duration;

use bson::{Bson, Document, doc};

use crate::support::{
    Client as Application, Proxy,
    client::{batch, eventually},
    shared_set,
};

const DB: &str = "identity_upstream";
const LIMIT: Duration = Duration::from_secs(20);

/// What the profiler of the primary has of the operations on a collection, in their order.
async fn profiled(direct: &mut Application, collection: &str) -> Vec<Document> {
    let find = doc! {
        "find": "system.profile", "filter": { "ns": format!("{DB}.{collection}") }, "sort": { "ts": 1 }, "batchSize": 100,
    };
    batch(&direct.succeed(DB, find).await).0
}

#[tokio::test]
async fn the_profiler_and_current_op_show_who_asks() {
    let set = shared_set();
    let upstream = "comment = \"identity\"\napp_name = \"the gate\"";
    let proxy = Proxy::start_with(&set.uri(), upstream, "", "");
    let mut client = Application::connect(proxy.address).await;
    // Once a write has passed the primary is known.
    let first = doc! { "insert": "first", "documents": [{ "n": 1 }] };
    client.succeed(DB, first).await;
    let primary = proxy.status()["topology"]["primary"].as_str().unwrap().to_owned();
    let mut direct = Application::connect(&*primary).await;
    direct.succeed(DB, doc! { "profile": 2 }).await;

    let about = doc! {
        "application": { "name": "checkout" }, "driver": { "name": "d", "version": "1" }, "os": { "type": "Linux" },
    };
    let hello = client
        .succeed("admin", doc! { "hello": 1, "client": about })
        .await;
    let documents: Vec<_> = (0..5).map(|n| doc! { "n": n }).collect();
    client
        .succeed(DB, doc! { "insert": "c", "documents": documents })
        .await;
    let opened = client.succeed(DB, doc! { "find": "c", "batchSize": 2 }).await;
    let more = doc! { "getMore": batch(&opened).1, "collection": "c" };
    client.succeed(DB, more).await;
    let update = doc! { "update": "c", "updates": [{ "q": { "n": 1 }, "u": { "$set": { "m": 1 } } }] };
    client.succeed(DB, update).await;
    client.succeed(DB, doc! { "count": "c" }).await;
    client.succeed(DB, doc! { "distinct": "c", "key": "n" }).await;
    client
        .succeed(
            DB,
            doc! { "findAndModify": "c", "query": { "n": 2 }, "update": { "$set": { "m": 2 } } },
        )
        .await;
    client
        .succeed(
            DB,
            doc! { "aggregate": "c", "pipeline": [], "cursor": {}, "comment": "its own" },
        )
        .await;
    client
        .succeed(DB, doc! { "find": "c", "apiVersion": "1", "apiStrict": true })
        .await;
    let deleted = doc! { "delete": "c", "deletes": [{ "q": { "n": 3 }, "limit": 1 }] };
    client.succeed(DB, deleted).await;
    for command in [
        doc! { "createIndexes": "c", "indexes": [{ "key": { "n": 1 }, "name": "n" }] },
        doc! { "listIndexes": "c", "cursor": {} },
        doc! { "listCollections": 1, "cursor": {} },
        doc! { "collMod": "c", "validationLevel": "moderate" },
        doc! { "dropIndexes": "c", "index": "n" },
        doc! { "create": "other" },
        doc! { "drop": "other" },
    ] {
        client.succeed(DB, command).await;
    }
    for command in [
        doc! { "listDatabases": 1 },
        doc! { "renameCollection": format!("{DB}.nothing"), "to": format!("{DB}.more") },
    ] {
        let reply = client.run("admin", command).await;
        assert_ne!(
            reply.get("code"),
            Some(&Bson::Int32(40415)),
            "an unknown field: {reply}"
        );
    }

    let expected = Bson::from(doc! {
        "application": "checkout",
        "client": client.local().to_string(),
        "connection": hello.get_i32("connectionId").unwrap(),
    });
    let operations = profiled(&mut direct, "c").await;
    let mut seen = 0;
    for operation in &operations {
        let command = operation.get_document("command").unwrap();
        let name = command.keys().next().unwrap().as_str();
        let comment = command.get("comment").cloned();
        match name {
            "aggregate" => assert_eq!(comment, Some("its own".into()), "{operation}"),
            // It has that of the command that opened its cursor.
            "getMore" => {
                let origin = operation.get_document("originatingCommand").unwrap();
                assert_eq!(origin.get("comment"), Some(&expected), "{operation}");
                seen += 1;
            }
            // The statements of a write are told without what stands around them.
            "q" => {}
            _ => {
                assert_eq!(comment, Some(expected.clone()), "{operation}");
                seen += 1;
            }
        }
        assert_eq!(
            operation.get_str("appName").unwrap_or_default(),
            "the gate",
            "{operation}"
        );
    }
    assert!(seen >= 7, "{operations:#?}");

    let slow = doc! { "find": "c", "filter": { "$where": "sleep(2000) || true" }, "limit": 1 };
    client.send(DB, slow).await.unwrap();
    eventually("currentOp shows whose it is", LIMIT, async || {
        let current = doc! {
            "aggregate": 1, "cursor": {},
            "pipeline": [{ "$currentOp": {} }, { "$match": { "command.comment.application": "checkout" } }],
        };
        let (found, _) = batch(&direct.succeed("admin", current).await);
        found.iter().any(|found| {
            let comment = found.get_document("command").unwrap().get("comment");
            comment == Some(&expected)
        })
    })
    .await;
    client.reply().await.unwrap();
    direct.succeed(DB, doc! { "profile": 0 }).await;
}
