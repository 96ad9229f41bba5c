//! The admin endpoint of a proxy in front of a real replica set, and the commands that report on both.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Output, Proxy, http_get, run, shared_proxy, shared_set};

const LIMIT: Duration = Duration::from_secs(30);

/// The status as soon as it fulfils `holds`: a proxy is ready when the first node has answered, and learns the rest soon after.
fn status_when(proxy: &Proxy, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = proxy.status();
        if holds(&status) {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "not within {LIMIT:?}: {what}: {status:#}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

fn nodes(status: &Value) -> &Vec<Value> {
    status["topology"]["nodes"].as_array().unwrap()
}

fn in_state(status: &Value, state: &str) -> usize {
    nodes(status).iter().filter(|node| node["state"] == state).count()
}

fn complete(status: &Value) -> bool {
    in_state(status, "primary") == 1 && in_state(status, "secondary") == 2
}

/// Sends a request and returns head and body.
fn request(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn tidegate(arguments: &[&str]) -> Output {
    run(
        Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments),
        LIMIT,
    )
}

#[test]
fn the_status_shows_every_node_and_what_it_has_left() {
    let proxy = shared_proxy();
    let status = status_when(proxy, "three nodes with known connections", |status| {
        complete(status)
            && nodes(status)
                .iter()
                .all(|node| node["connections"]["available"].is_u64())
    });
    assert_eq!(status["ready"], true);
    assert_eq!(status["topology"]["kind"], "ReplicaSetWithPrimary");
    assert_eq!(status["listeners"][0]["address"], proxy.address.to_string());
    for node in nodes(&status) {
        let address = node["address"].as_str().unwrap();
        assert!(shared_set().uri().contains(address), "{address}");
        assert!(
            node["tags"]["dc"].is_string() && node["error"].is_null(),
            "{node:#}"
        );
        assert_eq!(
            node["staleness_seconds"].is_null(),
            node["state"] == "primary",
            "{node:#}"
        );
        let connections = &node["connections"];
        let of = |field: &str| connections[field].as_u64().unwrap();
        let pool = |key: &str| node["pool"][key].as_u64().unwrap();
        let awaits = node["pool"]["awaits"]["max"].as_u64().unwrap();
        assert_eq!(of("per_proxy"), pool("max_size") + awaits + 2);
        let fit = of("proxies_that_fit") * of("per_proxy");
        assert!(
            fit + of("per_proxy") > of("available") && fit <= of("available") + 2 * of("per_proxy"),
            "{node:#}"
        );
        assert!(of("current") >= 2, "monitoring alone takes two: {node:#}");
    }
}

#[test]
fn the_metrics_are_complete_and_agree_with_the_status() {
    let proxy = shared_proxy();
    status_when(proxy, "three nodes", complete);
    let (head, body) = request(proxy.admin, "GET", "/metrics");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.starts_with("tidegate_") || name == "process_start_time_seconds",
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(proxy.metric("tidegate_ready"), 1.0);
    assert_eq!(
        proxy.metric("tidegate_node_state"),
        3.0,
        "each node is in one state"
    );
    assert_eq!(proxy.metric("tidegate_build_info"), 1.0);
}

#[test]
fn paths_and_methods_that_are_not_served_are_refused_with_what_is() {
    let admin = shared_proxy().admin;
    assert_eq!(http_get(admin, "/livez").unwrap(), (200, "ok\n".to_owned()));
    for (method, path, code) in [
        ("GET", "/stats", "404"),
        ("POST", "/status", "405"),
        ("DELETE", "/nothing", "404"),
    ] {
        let (head, body) = request(admin, method, path);
        assert!(
            head.starts_with(&format!("http/1.1 {code}")),
            "{method} {path}: {head}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(
            body["paths"]["/status"].is_string() && body["error"].is_string(),
            "{body:#}"
        );
    }
}

#[test]
fn head_answers_as_get_does_without_the_body() {
    let admin = shared_proxy().admin;
    let (head, body) = request(admin, "HEAD", "/livez");
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-length: 3"),
        "{head}"
    );
    assert_eq!(body, "");
}

#[test]
fn the_status_command_prints_a_table_or_json() {
    let proxy = shared_proxy();
    let status = status_when(proxy, "three nodes", complete);
    let admin = proxy.admin.to_string();
    let printed = tidegate(&["status", "--admin", &admin]);
    assert!(printed.status.success(), "{printed:#?}");
    for node in nodes(&status) {
        let address = node["address"].as_str().unwrap();
        let line = printed
            .stdout
            .lines()
            .find(|line| line.starts_with(address))
            .unwrap();
        assert!(line.contains(node["state"].as_str().unwrap()), "{line}");
    }
    assert!(
        printed.stdout.starts_with("tidegate ") && printed.stdout.contains("  ready, pid "),
        "{}",
        printed.stdout
    );
    let json = tidegate(&["status", "--admin", &format!("http://{admin}/"), "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(nodes(&json).len(), 3);
}

#[test]
fn the_status_command_says_what_to_do_where_no_proxy_is() {
    // The listener for applications speaks another protocol.
    let failed = tidegate(&["status", "--admin", &shared_proxy().address.to_string()]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        failed.stderr.contains("--admin") && failed.stdout.is_empty(),
        "{failed:#?}"
    );
}

#[test]
fn check_connect_compares_the_pools_with_the_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    let check = |uri: &str, pool: &str| {
        std::fs::write(&file, format!("[upstream]\nuri = {uri:?}\n{pool}\n")).unwrap();
        tidegate(&["check", "--connect", "--config", file.to_str().unwrap()])
    };
    let uri = shared_set().uri();
    let report = check(&uri, "");
    assert!(report.status.success(), "{report:#?}");
    let lines: Vec<_> = report
        .stdout
        .lines()
        .filter(|line| line.starts_with("node 127.0.0.1:"))
        .collect();
    assert_eq!(lines.len(), 3, "{report:#?}");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("RSPrimary, MongoDB "))
            .count(),
        1,
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .all(|line| line.contains("more proxies of up to 202 each")),
        "{lines:#?}"
    );

    let huge = check(&uri, "[pool]\nmax_size = 900000");
    assert!(huge.stdout.contains("lower max_size"), "{huge:#?}");

    let (hosts, _) = uri.split_once('?').unwrap();
    let wrong = check(&format!("{hosts}?replicaSet=another"), "");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("not in \"another\""), "{wrong:#?}");

    let nobody = check("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=2000", "");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        nobody.stderr.contains("no node that holds data answers"),
        "{nobody:#?}"
    );
}
