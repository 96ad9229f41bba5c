//! What strangers and clients may do: networks, denied commands, listeners that only read, the admin endpoint's tokens, and
//! what the audit log tells of all that.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use serde_json::Value;

use crate::support::{
    Client, Proxy, SecretsScan,
    client::{is_ok, number},
    legacy_client::{LegacyClient, insert},
    run, run_python, shared_set,
};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "full-Zk3x9Qp7Lw5v";
const READ_TOKEN: &str = "read-Hn8c2Vt6Yb1m";

/// A code that tells drivers that a right is missing.
const UNAUTHORIZED: i64 = 13;

fn code(reply: &Document) -> Option<i64> {
    (!is_ok(reply)).then(|| number(reply, "code").unwrap())
}

/// Sends a request and returns the status line's code and the body.
fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The events of an audit log, as soon as there are as many.
fn events(file: &std::path::Path, kind: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let all = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found: Vec<_> = all.filter(|event| event["event"] == kind).collect();
        if found.len() >= count || Instant::now() >= deadline {
            assert_eq!(found.len(), count, "{kind}: {text}");
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn rules_of_a_listener_hold_for_every_client_and_opcode_and_are_audited() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rotated) = (folder.path().join("audit"), folder.path().join("audit.1"));
    let sections = format!(
        "[audit]\nfile = {file:?}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ndeny_commands = [\"dropIndexes\", \"delete\", \"count\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nallow_networks = [\"10.0.0.0/8\"]\n"
    );
    let uri = shared_set().uri();
    let proxy = Proxy::start_with(&uri, "", "read_only = true", &sections);
    let listeners = proxy.status()["listeners"].clone();
    let [denying, elsewhere]: [SocketAddr; 2] =
        [1, 2].map(|at| listeners[at]["address"].as_str().unwrap().parse().unwrap());
    let db = "access_rules";

    // A listener that only reads.
    let mut client = Client::connect(proxy.address).await;
    let out = doc! {"aggregate": "c", "pipeline": [{"$out": "d"}], "cursor": {}};
    for command in [
        doc! {"insert": "c", "documents": [{"_id": 1}]},
        doc! {"findandmodify": "c", "remove": true},
        out.clone(),
        doc! {"explain": out},
        doc! {"createUser": "u", "pwd": "never-logged-Xy7w", "roles": []},
    ] {
        assert_eq!(
            code(&client.run(db, command.clone()).await),
            Some(UNAUTHORIZED),
            "{command}"
        );
    }
    for command in [
        doc! {"find": "c"},
        doc! {"aggregate": "c", "pipeline": [], "cursor": {}},
        doc! {"explain": {"find": "c"}},
        doc! {"endSessions": []},
        doc! {"hello": 1},
    ] {
        assert!(is_ok(&client.run(db, command.clone()).await), "{command}");
    }
    let denied = events(&file, "command denied", 5);
    assert_eq!(denied[0]["command"], "insert");
    assert_eq!(
        (&denied[0]["on"], &denied[0]["rule"]),
        (&db.into(), &"read_only".into())
    );
    let mut old = LegacyClient::connect(proxy.address).unwrap();
    old.send(2002, &insert(0, &format!("{db}.c"), &[doc! {"_id": 1}]))
        .unwrap();
    let error = old.get_last_error(db).unwrap();
    assert_eq!(number(&error, "code"), Some(UNAUTHORIZED), "{error}");
    assert_eq!(
        number(&old.command(db, doc! {"drop": "c"}).unwrap(), "code"),
        Some(UNAUTHORIZED)
    );
    events(&file, "command denied", 7);

    // A listener that denies some; the log's file is renamed meanwhile.
    fs::rename(&file, &rotated).unwrap();
    let mut client = Client::connect(denying).await;
    for command in [
        doc! {"deleteIndexes": "c", "index": "*"},
        doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1}]},
        doc! {"explain": {"count": "c"}},
    ] {
        assert_eq!(
            code(&client.run(db, command.clone()).await),
            Some(UNAUTHORIZED),
            "{command}"
        );
    }
    client
        .succeed(db, doc! {"insert": "c", "documents": [{"_id": 1}]})
        .await;
    let mut old = LegacyClient::connect(denying).unwrap();
    for command in [doc! {"count": "c"}, doc! {"count": "system.indexes"}] {
        let reply = old.command(db, command.clone()).unwrap();
        assert_eq!(number(&reply, "code"), Some(UNAUTHORIZED), "{command}: {reply}");
    }
    client.succeed(db, doc! {"dropDatabase": 1}).await;
    events(&file, "command denied", 5);
    events(&rotated, "command denied", 7);

    // A listener for other networks.
    Client::connect(elsewhere).await.closed().await;
    let refused = events(&file, "connection refused", 1);
    assert!(refused[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(refused[0]["listener"], elsewhere.to_string());
    assert_eq!(proxy.metric("tidegate_commands_denied_total"), 12.0);
    assert_eq!(proxy.metric("tidegate_clients_outside_networks_total"), 1.0);
    let found = SecretsScan::new()
        .forbid("a password", "never-logged-Xy7w")
        .in_output(&proxy);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_driver_is_told_that_it_has_no_right_and_does_not_try_again() {
    let proxy = Proxy::start_with(&shared_set().uri(), "", "read_only = true", "");
    let script = "import json, sys, pymongo\n\
                  client = pymongo.MongoClient(sys.argv[1])\n\
                  list(client.access_driver.c.find())\n\
                  try:\n    client.access_driver.c.insert_one({})\n    print(json.dumps('written'))\n\
                  except pymongo.errors.OperationFailure as error:\n    print(json.dumps([error.code, error.details.get('codeName')]))\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("denied.py");
    fs::write(&file, script).unwrap();
    let told = run_python(&file, &[&proxy.uri()]);
    assert_eq!(told, serde_json::json!([13, "Unauthorized"]));
    assert_eq!(proxy.metric("tidegate_commands_denied_total"), 1.0);
}

#[test]
fn tokens_of_the_admin_endpoint_separate_reading_from_acting() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, file) = (folder.path().join("audit"), folder.path().join("token"));
    fs::write(&file, format!("{READ_TOKEN}\n")).unwrap();
    // The section of the admin endpoint is open where these stand.
    let sections = format!("token = {TOKEN:?}\nread_token_file = {file:?}\n[audit]\nfile = {audit:?}\n");
    let proxy = Proxy::start(&shared_set().uri(), &sections);
    for (method, path, headers, expected) in [
        ("GET", "/livez", String::new(), 200),
        ("GET", "/metrics", String::new(), 401),
        ("GET", "/metrics", bearer(READ_TOKEN), 200),
        ("GET", "/status", bearer(TOKEN), 200),
        ("GET", "/status", bearer("another-token-of-nobody"), 401),
        ("POST", "/resume", bearer(READ_TOKEN), 403),
        ("POST", "/resume", bearer(TOKEN), 200),
        (
            "POST",
            "/resume",
            bearer(TOKEN) + "Origin: https://page.example\r\n",
            403,
        ),
    ] {
        let (code, body) = request(proxy.admin, method, path, &headers);
        assert_eq!(code, expected, "{method} {path} {headers}: {body}");
    }
    events(&audit, "admin refused", 4);
    events(&audit, "admin action", 1);
    let status = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(["status", "--admin", &proxy.admin.to_string()])
            .args(arguments);
        variable.map(|token| command.env("TIDEGATE_TOKEN", token));
        run(&mut command, LIMIT)
    };
    assert!(!status(&[], None).status.success());
    assert!(status(&[], Some(TOKEN)).status.success());
    assert!(
        status(&["--token-file", file.to_str().unwrap()], None)
            .status
            .success()
    );
    let scan = SecretsScan::new()
        .forbid("the token", TOKEN)
        .forbid("the read token", READ_TOKEN);
    let mut found = scan.in_output(&proxy);
    let (_, body) = request(proxy.admin, "GET", "/status", &bearer(TOKEN));
    found.extend(scan.in_text("/status", body));
    found.extend(scan.in_text("the audit log", fs::read(&audit).unwrap()));
    assert!(found.is_empty(), "{found:?}");
}
