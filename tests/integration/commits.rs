//! Commits whose connection breaks: they go again, so that only a majority's word counts.

use std::{fs, time::Duration};

use bson::{Document, doc};
use tidegate::sandbox::Options;

use crate::support::{
    Proxy,
    client::{Client, batch, eventually, number},
    start_set,
};

const DB: &str = "commits";
const LIMIT: Duration = Duration::from_secs(30);

/// A statement of transaction `number` in the test's session, or its end.
fn statement(number: i64, mut command: Document) -> Document {
    let uuid = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![3; 16],
    };
    command.insert("lsid", doc! { "id": uuid });
    command.insert("txnNumber", number);
    command.insert("autocommit", false);
    command
}

#[tokio::test]
async fn a_commit_whose_connection_breaks_goes_again_with_majority() {
    let set = start_set(Options {
        nodes: 1,
        mongod_arguments: ["--setParameter", "enableTestCommands=1"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::default()
    });
    let proxy = Proxy::start(&set.uri(), "");
    let primary = set.primary().await.unwrap();
    let verbose = doc! { "setParameter": 1, "logComponentVerbosity": { "command": { "verbosity": 2 } } };
    set.command(primary, verbose).await.unwrap();
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "create": "tides" }).await;
    for (txn, failure) in [
        doc! { "closeConnection": true },
        doc! { "errorCode": 189 },
        doc! { "writeConcernError": { "code": 91, "errmsg": "shutting down" } },
    ]
    .into_iter()
    .enumerate()
    {
        let txn = txn as i64 + 1;
        let mut insert = statement(txn, doc! { "insert": "tides", "documents": [{ "_id": txn }] });
        insert.insert("startTransaction", true);
        client.succeed(DB, insert).await;
        let mut data = doc! { "failCommands": ["commitTransaction"] };
        data.extend(failure.clone());
        let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
        set.command(primary, point).await.unwrap();
        let commit = doc! { "commitTransaction": 1, "writeConcern": { "w": 1, "j": false } };
        let reply = client.run("admin", statement(txn, commit)).await;
        assert_eq!(number(&reply, "ok"), Some(1), "{failure}: {reply}");
        assert!(!reply.contains_key("writeConcernError"), "{failure}: {reply}");
    }
    let sent_again = ["writes_sent_again", "writes_sent_again_after_error"]
        .map(|name| proxy.metric(&format!("tidegate_{name}_total")));
    assert_eq!(sent_again, [1.0, 2.0]);
    let found = client.succeed(DB, doc! { "find": "tides" }).await;
    assert_eq!(batch(&found).0.len(), 3);

    // The node's own account of what it was asked.
    let log = set.folder().join(format!("node-{primary}/mongod.log"));
    eventually(
        "the node has written down three commits with majority",
        LIMIT,
        async || {
            let text = fs::read_to_string(&log).unwrap();
            let commits = text
                .lines()
                .filter(|line| line.contains("About to run the command"));
            let commits = commits.filter(|line| line.contains("\"commitTransaction\":1"));
            let again = commits
                .filter(|line| line.contains("\"w\":\"majority\"") && line.contains("\"wtimeout\":10000"));
            again.count() == 3
        },
    )
    .await;
}
