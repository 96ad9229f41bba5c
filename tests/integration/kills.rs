//! Clients that the operator closes: while they await new documents, at the closed gate, and while they log in.

use std::time::Duration;

use bson::doc;
use serde_json::Value;
use tidegate::auth::{UserName, scram::Hash};

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok},
    http_get,
    login::{begin, log_in},
    shared_set,
    users::{create_user, shared_auth_set, uri_as},
};

const DB: &str = "kills";
const LIMIT: Duration = Duration::from_secs(30);

fn told(proxy: &Proxy, path: &str) -> Value {
    let (code, body) = http_get(proxy.admin, path).unwrap();
    assert_eq!(code, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The client that says that it is this application.
fn seen(proxy: &Proxy, application: &str) -> Value {
    told(proxy, &format!("/clients?application={application}"))["clients"][0].clone()
}

fn kill(proxy: &Proxy, id: &Value) {
    let (code, answer) = proxy.post(&format!("/clients/{id}/kill"));
    assert_eq!(code, 200, "{answer}");
}

async fn client(proxy: &Proxy, application: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    let about = doc! {
        "application": { "name": application }, "driver": { "name": "d", "version": "1" }, "os": { "type": "x" },
    };
    client
        .succeed("admin", doc! { "hello": 1, "client": about })
        .await;
    client
}

#[tokio::test]
async fn who_awaits_new_documents_gives_its_connection_up() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut victim = client(&proxy, "awaits").await;
    let create = doc! { "create": "capped", "capped": true, "size": 4096 };
    victim.run(DB, create).await;
    let insert = doc! { "insert": "capped", "documents": [{ "n": 1 }] };
    victim.succeed(DB, insert).await;
    let find = doc! { "find": "capped", "tailable": true, "awaitData": true };
    let id = batch(&victim.succeed(DB, find).await).1;
    let more = || doc! { "getMore": id, "collection": "capped", "maxTimeMS": 600_000 };
    victim.send(DB, more()).await.unwrap();
    let awaiting = || {
        let pools = told(&proxy, "/pools")["pools"].as_array().unwrap().clone();
        let counts = pools
            .iter()
            .map(|pool| pool["pool"]["awaits"]["in_use"].as_u64().unwrap());
        counts.sum::<u64>()
    };
    eventually("it awaits", LIMIT, async || awaiting() == 1).await;
    kill(&proxy, &seen(&proxy, "awaits")["id"]);
    victim.closed().await;
    eventually("its connection is given up", LIMIT, async || awaiting() == 0).await;
    assert_eq!(proxy.metric("tidegate_clients_killed_total"), 1.0);
    assert_eq!(told(&proxy, "/clients")["connected"], 0);
}

#[tokio::test]
async fn what_waits_at_the_gate_is_not_executed_after_a_kill_nor_after_a_drain() {
    let proxy = Proxy::start(&shared_set().uri(), "[drain]\ngrace = 'off'\ndeadline = '2s'\n");
    let mut watch = client(&proxy, "watch").await;
    watch
        .succeed(
            DB,
            doc! { "delete": "gate", "deletes": [{ "q": {}, "limit": 0 }] },
        )
        .await;
    let insert = || doc! { "insert": "gate", "documents": [{ "n": 1 }] };
    let at_gate = async |application: &'static str| {
        let mut client = client(&proxy, application).await;
        client.send(DB, insert()).await.unwrap();
        eventually("it waits", LIMIT, async || {
            seen(&proxy, application)["state"] == "at_gate"
        })
        .await;
        client
    };
    proxy.post("/pause");
    let mut victim = at_gate("victim").await;
    kill(&proxy, &seen(&proxy, "victim")["id"]);
    victim.closed().await;
    eventually("its place is free", LIMIT, async || {
        proxy.status()["gate"]["commands"] == 0
    })
    .await;
    proxy.post("/resume");
    let count = doc! { "count": "gate" };
    assert_eq!(watch.succeed(DB, count).await.get_i32("n").unwrap(), 0);

    proxy.post("/pause");
    let mut late = at_gate("late").await;
    proxy.post("/drain");
    let refused = late.reply().await.unwrap();
    assert!(
        !is_ok(&refused) && refused.get_str("errmsg").unwrap().contains("not sent"),
        "{refused}"
    );
    let (status, log) = proxy.ended();
    assert!(status.success(), "{log}");
    let mut direct = Client::connect(shared_set().address(shared_set().primary().await.unwrap())).await;
    let count = doc! { "count": "gate" };
    assert_eq!(direct.succeed(DB, count).await.get_i32("n").unwrap(), 0);
}

#[tokio::test]
async fn who_is_closed_in_a_login_can_log_in_again() {
    let uri = uri_as(shared_auth_set(), "tidegate", "tidegate's password", "admin", "");
    let proxy = Proxy::start(&uri, "");
    let user = UserName::new(DB, "ann");
    create_user(shared_auth_set(), DB, "ann", "Sesame-77-open", &["read"], &[]).await;
    let mut victim = Client::connect(proxy.address).await;
    let (_conversation, start) = begin(Hash::Sha256, &user);
    assert!(is_ok(&victim.run(DB, start).await));
    let id = told(&proxy, "/clients")["clients"][0]["id"].clone();
    kill(&proxy, &id);
    victim.closed().await;
    let mut again = Client::connect(proxy.address).await;
    let last = log_in(&mut again, Hash::Sha256, &user, "Sesame-77-open").await;
    assert!(is_ok(&last), "{last}");
}
