//! Users of the cluster log in through Tidegate, which judges them itself: drivers, conversations as no driver has them, users that
//! change meanwhile, certificates, and what is shown of all that.

mod certificates;
mod changes;
mod conversations;
mod shown;

use std::{path::Path, process::Command, sync::OnceLock, time::Duration};

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::auth::{UserName, scram::Hash};

use crate::support::{
    self, Client, Proxy,
    client::is_ok,
    login::log_in,
    run, run_mongosh, run_python,
    users::{create_user, shared_auth_set, uri_as},
};

const LIMIT: Duration = Duration::from_secs(60);
/// What every user of these tests has, unless the test is about it.
const PASSWORD: &str = "Sesame-77-open";
/// Failed logins come from one address by the dozen, and changes made past the proxy are to be seen soon.
const SETTINGS: &str = "[auth]\ncredential_ttl = '1s'\n[limits]\nlogin_delay_max = 'off'\n";

/// The connection string with the service user.
fn service_uri() -> String {
    uri_as(shared_auth_set(), "tidegate", "tidegate's password", "admin", "")
}

/// What the tests share that need no settings of their own.
fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| Proxy::start(&service_uri(), SETTINGS))
}

/// Makes a user with these roles at its own database.
async fn user(db: &str, name: &str, roles: &[&str]) -> UserName {
    create_user(shared_auth_set(), db, name, PASSWORD, roles, &[]).await;
    UserName::new(db, name)
}

/// A client that has logged in.
async fn client_of(proxy: &Proxy, user: &UserName) -> Client {
    let mut client = Client::connect(proxy.address).await;
    let last = log_in(&mut client, Hash::Sha256, user, PASSWORD).await;
    assert!(is_ok(&last), "{user}: {last}");
    client
}

fn code(reply: &Document) -> i32 {
    reply
        .get_i32("code")
        .unwrap_or_else(|_| panic!("no error: {reply}"))
}

/// A connection string for applications.
fn uri_of(user: &UserName, password: &str, more: &str) -> String {
    let address = proxy().address;
    format!(
        "mongodb://{}:{password}@{address}/?authSource={}{more}",
        user.name, user.db
    )
}

/// A user that may only read, as a driver shows it: who it is, what it may not do, and how a wrong password and a wrong name are refused.
async fn told_to(name: &str, mechanism: Option<&str>, told: impl FnOnce([&str; 3]) -> Value) {
    let user = user("shore", name, &["read"]).await;
    let more = mechanism.map_or_else(String::new, |name| format!("&authMechanism={name}"));
    let nobody = UserName::new("shore", "nobody");
    let uris = [
        uri_of(&user, PASSWORD, &more),
        uri_of(&user, "another-password", &more),
        uri_of(&nobody, PASSWORD, &more),
    ];
    assert_may_read_only(name, &told([&uris[0], &uris[1], &uris[2]]));
}

/// What a driver tells that has logged in as a user of `shore` who may only read there, and twice as somebody who is refused.
fn assert_may_read_only(name: &str, told: &Value) {
    assert_eq!(told["users"], json!([{ "user": name, "db": "shore" }]), "{told}");
    assert_eq!(
        told["roles"],
        json!([{ "role": "read", "db": "shore" }]),
        "{told}"
    );
    assert_eq!(told["found"], 0, "{told}");
    assert_eq!(told["denied"][0], 13, "{told}");
    let message = told["denied"][1].as_str().unwrap();
    let of_the_node = "not authorized on shore to execute command { insert: \"birds\"";
    assert!(message.contains(of_the_node), "{told}");
    for refused in ["wrong", "unknown"] {
        assert_eq!(told[refused][0], 18, "{told}");
        let message = told[refused][1].as_str().unwrap();
        // The Rust driver has a full stop after SCRAM's alone.
        let message = message.trim_end_matches('.');
        assert!(message.ends_with("Authentication failed"), "{told}");
    }
    assert_eq!(told["wrong"], told["unknown"]);
}

#[tokio::test]
async fn pymongo_by_either_mechanism() {
    for (name, mechanism) in [("heron", "SCRAM-SHA-256"), ("egret", "SCRAM-SHA-1")] {
        told_to(name, Some(mechanism), by_pymongo).await;
    }
}

fn by_pymongo(uris: [&str; 3]) -> Value {
    run_python("clients/python/login.py", &uris)
}

fn by_node(uris: [&str; 3]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/login.js");
    let mut node = Command::new("node");
    node.env("NODE_PATH", support::node_modules()).arg(script);
    run(node.args(uris), LIMIT).json()
}

fn by_rust(uris: [&str; 3]) -> Value {
    run(
        Command::new(support::rust_client()).arg("login").args(uris),
        LIMIT,
    )
    .json()
}

fn by_shell([right, wrong, unknown]: [&str; 3]) -> Value {
    let variables = format!("const wrong = {wrong:?}, unknown = {unknown:?};\n");
    run_mongosh(right, &(variables + include_str!("../mongosh/login.js")))
}

#[tokio::test]
async fn the_node_driver() {
    told_to("plover", None, by_node).await;
}

#[tokio::test]
async fn the_rust_driver() {
    told_to("curlew", None, by_rust).await;
}

#[tokio::test]
async fn the_shell() {
    told_to("dunlin", Some("SCRAM-SHA-1"), by_shell).await;
}

#[tokio::test]
async fn the_roles_of_another_database_count_and_nobody_else_is_let_in_before_the_login() {
    let keeper = user("quay", "keeper", &["readWrite"]).await;
    let mut client = Client::connect(proxy().address).await;
    let find = || doc! { "find": "tides" };
    let early = client.run("quay", find()).await;
    assert_eq!(code(&early), 13);
    assert_eq!(
        early.get_str("errmsg").unwrap(),
        "command find requires authentication"
    );
    // A user of this name is kept in one database only.
    let elsewhere = UserName::new("admin", "keeper");
    let refused = log_in(&mut client, Hash::Sha256, &elsewhere, PASSWORD).await;
    assert_eq!(code(&refused), 18);
    let last = log_in(&mut client, Hash::Sha256, &keeper, PASSWORD).await;
    assert!(is_ok(&last), "{last}");
    client
        .succeed("quay", doc! { "insert": "tides", "documents": [{ "_id": 1 }] })
        .await;
    client.succeed("quay", find()).await;
    assert_eq!(code(&client.run("shore", find()).await), 13);
}
