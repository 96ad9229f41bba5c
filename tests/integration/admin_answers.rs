//! The admin endpoint's lists and actions in front of a real replica set: what they answer, and what they do.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use bson::{Uuid, doc};
use serde_json::Value;

use crate::support::{
    Output, Proxy,
    client::{Client, batch, eventually, is_ok, prefer},
    run, schema, shared_proxy, shared_set,
};

const DB: &str = "admin_answers";
const LIMIT: Duration = Duration::from_secs(20);

/// Status and body.
fn ask(admin: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

fn told(proxy: &Proxy, method: &str, path: &str) -> Value {
    let (code, body) = ask(proxy.admin, method, path);
    assert_eq!(code, 200, "{method} {path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

fn tidegate(proxy: &Proxy, arguments: &[&str]) -> Output {
    let admin = proxy.admin.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--admin", &admin]);
    run(&mut command, LIMIT)
}

/// A client that says who it is.
async fn client(proxy: &Proxy, application: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    let about = doc! {
        "application": { "name": application },
        "driver": { "name": "a-driver", "version": "7.8" },
        "os": { "type": "Linux" },
    };
    client
        .succeed("admin", doc! { "hello": 1, "client": about })
        .await;
    client
}

/// A client with an open cursor and an open transaction.
async fn tied(proxy: &Proxy, application: &str) -> Client {
    let mut client = client(proxy, application).await;
    let documents = [doc! { "n": 1 }, doc! { "n": 2 }, doc! { "n": 3 }];
    client
        .succeed(DB, doc! { "insert": application, "documents": documents })
        .await;
    let opened = client
        .succeed(DB, doc! { "find": application, "batchSize": 1 })
        .await;
    assert!(batch(&opened).1 != 0);
    let lsid = doc! { "id": Uuid::new() };
    client
        .succeed(
            DB,
            doc! {
                "insert": application, "documents": [{ "n": 4 }], "lsid": lsid, "txnNumber": 1_i64,
                "startTransaction": true, "autocommit": false,
            },
        )
        .await;
    client
}

fn only(proxy: &Proxy, application: &str) -> Value {
    let list = told(proxy, "GET", &format!("/clients?application={application}"));
    assert_eq!(list["matching"], 1, "{list:#}");
    list["clients"][0].clone()
}

#[tokio::test]
async fn every_answer_is_as_the_description_says() {
    let proxy = Proxy::start(&shared_set().uri(), "[pool]\nmin_size = 1");
    let _tied = tied(&proxy, "answers").await;
    let description = told(&proxy, "GET", "/openapi.json");
    let mut seen = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get") else {
            continue;
        };
        let Some(schema) = operation["responses"]["200"]["content"].get("application/json") else {
            continue;
        };
        let answer = told(&proxy, "GET", path);
        let mistakes = schema::mistakes(&description, &schema["schema"], &answer);
        assert!(mistakes.is_empty(), "{path}: {mistakes:#?}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
    let node = told(&proxy, "GET", "/topology")["nodes"][0]["address"].clone();
    let node = node.as_str().unwrap();
    for (path, code) in [
        ("/pause".to_owned(), 200),
        ("/resume".to_owned(), 200),
        (format!("/pools/{node}/reconnect"), 200),
        ("/pools/nowhere:1/reconnect".to_owned(), 404),
        (format!("/nodes/{node}/avoid?for=1s"), 200),
        (format!("/nodes/{node}/avoid?off"), 200),
        (format!("/nodes/{node}/avoid?for=25h"), 400),
        (format!("/nodes/{node}/avoid?until=1s"), 400),
        ("/nodes/nowhere:1/avoid".to_owned(), 404),
        ("/log-level?level=info".to_owned(), 200),
        ("/log-level?level=loud".to_owned(), 400),
        ("/log-level".to_owned(), 400),
        ("/clients/0/kill".to_owned(), 404),
        ("/clients/none/kill".to_owned(), 404),
        (format!("/clients/{}/kill", only(&proxy, "answers")["id"]), 200),
        ("/drain".to_owned(), 200),
    ] {
        let (answered, body) = ask(proxy.admin, "POST", &path);
        assert_eq!(answered, code, "{path}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let bare = path.split('?').next().unwrap();
        let parts: Vec<_> = bare.split('/').collect();
        let known = description["paths"].as_object().unwrap();
        let fits = |pattern: &str| {
            let pattern: Vec<_> = pattern.split('/').collect();
            let same = |(one, other): (&&str, &&str)| one.starts_with('{') || one == other;
            pattern.len() == parts.len() && pattern.iter().zip(&parts).all(same)
        };
        let (_, item) = known.iter().find(|(pattern, _)| fits(pattern)).unwrap();
        let mut response = &item["post"]["responses"][code.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = description.pointer(&reference[1..]).unwrap();
        }
        let schema = &response["content"]["application/json"]["schema"];
        assert!(
            schema.is_object(),
            "{path} answers {code}, which is not described"
        );
        let mistakes = schema::mistakes(&description, schema, &body);
        assert!(mistakes.is_empty(), "{path}: {mistakes:#?}");
    }
}

#[tokio::test]
async fn clients_are_told_with_what_they_are_at_and_can_be_closed() {
    let proxy = shared_proxy();
    let mut victim = tied(proxy, "clients-tied").await;
    // A command is over when its reply has gone out, which the client may see a moment earlier.
    eventually("its command is over", LIMIT, async || {
        only(proxy, "clients-tied")["state"] == "in_transaction"
    })
    .await;
    let seen = only(proxy, "clients-tied");
    assert_eq!(
        (&seen["driver"], &seen["driver_version"]),
        (&"a-driver".into(), &"7.8".into())
    );
    assert_eq!(seen["command"], "insert");
    assert_eq!(
        (&seen["in_transaction"], seen["cursors"].as_array().unwrap().len()),
        (&true.into(), 1)
    );
    let cursors = told(proxy, "GET", "/cursors?limit=10000");
    let pinned: Vec<_> = cursors["cursors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cursor| &cursor["id"])
        .collect();
    assert!(pinned.contains(&&seen["cursors"][0]), "{cursors:#}");

    let mut sleeper = client(proxy, "clients-busy").await;
    let slow = doc! { "find": "clients-tied", "filter": { "$where": "sleep(5000) || true" }, "limit": 1 };
    sleeper.send(DB, slow).await.unwrap();
    // Just after its reply, it may be in its hello still.
    eventually("it is in its find", LIMIT, async || {
        let seen = only(proxy, "clients-busy");
        seen["state"] == "in_command" && seen["command"] == "find"
    })
    .await;
    let shown = tidegate(proxy, &["clients", "--application", "clients-busy"]);
    assert!(
        shown.stdout.contains("a-driver 7.8") && shown.stdout.contains("in_command"),
        "{shown:#?}"
    );

    // In mid-command, too.
    let busy = only(proxy, "clients-busy")["id"].to_string();
    let killed = tidegate(proxy, &["kill", &busy]);
    assert!(
        killed.status.success() && killed.stdout.contains(&busy),
        "{killed:#?}"
    );
    sleeper.closed().await;
    told(proxy, "POST", &format!("/clients/{}/kill", seen["id"]));
    victim.closed().await;
    let (code, body) = ask(proxy.admin, "GET", "/clients?state=asleep");
    assert!(code == 400 && body.contains("in_command"), "{body}");
    let again = tidegate(proxy, &["kill", &busy]);
    assert!(
        again.status.code() == Some(1) && again.stderr.contains("there is no client"),
        "{again:#?}"
    );
}

/// The hosts that serve reads from secondaries, as they name themselves.
async fn readers(client: &mut Client) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for _ in 0..40 {
        let command = prefer("secondary", doc! { "serverStatus": 1, "repl": 0, "metrics": 0 });
        let status = client.succeed("admin", command).await;
        hosts.insert(status.get_str("host").unwrap().to_owned());
    }
    hosts
}

#[tokio::test]
async fn reads_pass_an_avoided_node_over_while_another_fits() {
    let proxy = Proxy::start_with(
        &format!("{}&localThresholdMS=10000", shared_set().uri()),
        "",
        "",
        "",
    );
    let mut client = Client::connect(proxy.address).await;
    eventually("both secondaries serve reads", LIMIT, async || {
        readers(&mut client).await.len() == 2
    })
    .await;
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let secondaries: Vec<_> = nodes
        .iter()
        .filter(|node| node["state"] == "secondary")
        .map(|node| node["address"].as_str().unwrap().to_owned())
        .collect();
    let [first, second] = &secondaries[..] else {
        panic!("{status:#}")
    };

    let avoided = tidegate(&proxy, &["avoid", first, "--for", "1h"]);
    assert!(avoided.stdout.contains("for 1h"), "{avoided:#?}");
    let left = readers(&mut client).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(second.ends_with(left.first().unwrap().rsplit(':').next().unwrap()));
    let node = told(&proxy, "GET", &format!("/topology?node={first}"))["nodes"][0].clone();
    assert!(node["avoided_seconds"].as_f64().unwrap() > 3000.0, "{node:#}");
    // Where no other fits, an avoided one does.
    told(&proxy, "POST", &format!("/nodes/{second}/avoid"));
    assert!(!readers(&mut client).await.is_empty());
    let primary = status["topology"]["primary"].as_str().unwrap();
    told(&proxy, "POST", &format!("/nodes/{primary}/avoid"));
    client
        .succeed(DB, doc! { "insert": "avoid", "documents": [{ "n": 1 }] })
        .await;
    let read = client.succeed(DB, doc! { "find": "avoid", "limit": 1 }).await;
    assert!(is_ok(&read));
    for node in [first, second] {
        tidegate(&proxy, &["avoid", node, "--off"]);
    }
    assert_eq!(readers(&mut client).await.len(), 2);
}

#[tokio::test]
async fn a_pool_is_made_anew_without_an_error() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "find": "none", "limit": 1 }).await;
    let primary = proxy.status()["topology"]["primary"].as_str().unwrap().to_owned();
    let pool = || told(&proxy, "GET", &format!("/pools?node={primary}"))["pools"][0].clone();
    let before = pool();
    assert_eq!(before["identities"][0]["kind"], "service", "{before:#}");
    for round in 1..=3 {
        let done = tidegate(&proxy, &["reconnect", &primary]);
        assert!(done.stdout.contains("are made anew"), "{done:#?}");
        client.succeed(DB, doc! { "find": "none", "limit": 1 }).await;
        let generation = |pool: &Value| pool["pool"]["generation"].as_u64().unwrap();
        assert_eq!(generation(&pool()), generation(&before) + round);
    }
    let opened = |pool: &Value| pool["pool"]["opened"].as_u64().unwrap();
    assert!(opened(&pool()) >= opened(&before) + 3);
}

#[tokio::test]
async fn what_a_listener_for_one_node_reaches_is_listed_and_made_anew_too() {
    let set = shared_set();
    let secondary = (set.primary().await.unwrap() + 1) % 3;
    let node = set.address(secondary).to_owned();
    let sections = format!("[[listener]]\naddress = \"127.0.0.1:0\"\nnode = {node:?}\n");
    let proxy = Proxy::start(&set.uri(), &sections);
    let listener = proxy.status()["listeners"][1]["address"].clone();
    let listener = listener.as_str().unwrap();
    let mut writer = Client::connect(proxy.address).await;
    let documents: Vec<_> = (0..5).map(|n| doc! { "n": n }).collect();
    let insert = doc! { "insert": "one", "documents": documents, "writeConcern": { "w": 3 } };
    writer.succeed(DB, insert).await;
    let mut reader = Client::connect(listener.parse::<SocketAddr>().unwrap()).await;
    let opened = reader
        .succeed(DB, prefer("nearest", doc! { "find": "one", "batchSize": 1 }))
        .await;
    let id = batch(&opened).1;

    let list = told(&proxy, "GET", "/cursors");
    assert_eq!((&list["pinned"], &list["note"]), (&1.into(), &Value::Null));
    let cursor = &list["cursors"][0];
    assert_eq!(
        (&cursor["id"], &cursor["namespace"], &cursor["node"]),
        (&id.into(), &format!("{DB}.one").into(), &node.as_str().into())
    );
    assert_eq!(proxy.metric("tidegate_cursors_pinned"), 1.0);
    let shown = tidegate(&proxy, &["cursors"]);
    assert!(shown.stdout.contains(&format!("{DB}.one")), "{shown:#?}");

    let own = || {
        let pools = told(&proxy, "GET", &format!("/pools?node={}", node.to_uppercase()));
        let pools = pools["pools"].as_array().unwrap().clone();
        let own = pools.into_iter().find(|pool| pool["listener"] == listener);
        own.unwrap()["pool"].clone()
    };
    let before = own();
    let renewed = told(&proxy, "POST", &format!("/pools/{node}/reconnect"));
    assert!(renewed["closed"].as_u64().unwrap() >= 1, "{renewed:#}");
    reader
        .succeed(DB, doc! { "getMore": id, "collection": "one" })
        .await;
    let after = own();
    for count in ["generation", "opened"] {
        let count = |pool: &Value| pool[count].as_u64().unwrap();
        assert!(count(&after) > count(&before), "{before:#} {after:#}");
    }
    assert_eq!(told(&proxy, "GET", "/cursors")["pinned"], 0);
}

#[test]
fn the_log_says_more_for_a_while() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let set = tidegate(&proxy, &["log-level", "trace", "--for", "2s"]);
    assert_eq!(
        set.stdout, "the log's level is trace, and info again in 2s\n",
        "{set:#?}"
    );
    // A client that comes and goes is worth a line of debug.
    drop(TcpStream::connect(proxy.address).unwrap());
    let deadline = std::time::Instant::now() + LIMIT;
    while told(&proxy, "GET", "/log-level")["level"] != "info" {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = proxy.log();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "{log}");
}

#[test]
fn commands_show_what_the_endpoint_tells_and_say_whether_the_proxy_is_ready() {
    let proxy = shared_proxy();
    for command in ["topology", "pools", "clients", "cursors", "config"] {
        let table = tidegate(proxy, &[command]);
        assert!(
            table.status.success() && table.stdout.lines().count() > 1,
            "{table:#?}"
        );
        let json = tidegate(proxy, &[command, "--json"]);
        serde_json::from_str::<Value>(&json.stdout).unwrap();
    }
    let config = tidegate(proxy, &["config"]);
    assert!(
        config.stdout.contains("pool.max_size") && config.stdout.contains("proxy.toml:"),
        "{config:#?}"
    );
    let ready = tidegate(proxy, &["status", "--ready"]);
    assert!(ready.status.success() && ready.stdout.is_empty(), "{ready:#?}");
    let unready = Proxy::start_unready("mongodb://127.0.0.1:1/?replicaSet=none", "");
    let not = tidegate(&unready, &["status", "--ready"]);
    assert!(
        not.status.code() == Some(1) && not.stderr.contains("not ready: no node"),
        "{not:#?}"
    );
}
