//! What programs of an operator watch: `/events` and `/slow`, and who gets the page of the dashboard.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bson::doc;
use serde_json::Value;

use crate::support::{Client, Proxy, http_get, shared_proxy, shared_set};

/// Asks, and leaves the connection to the reader.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The head of the answer, in lower case.
fn head(answer: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut head).unwrap(), 0, "{head}");
    }
    head.to_lowercase()
}

/// The next message of this kind, within the read timeout.
fn next(events: &mut impl BufRead, kind: &str) -> Value {
    let mut is_it = false;
    loop {
        let mut line = String::new();
        assert_ne!(events.read_line(&mut line).unwrap(), 0, "the stream ended");
        if let Some(found) = line.strip_prefix("event: ") {
            is_it = found.trim_end() == kind;
        } else if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
            return serde_json::from_str(data).unwrap();
        }
    }
}

fn next_of_gate(events: &mut impl BufRead) -> Value {
    loop {
        let event = next(events, "happened");
        if event["kind"] == "gate" {
            return event;
        }
    }
}

#[test]
fn events_tell_the_state_each_second_and_what_happens_at_once_and_listeners_are_bounded() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut events = ask(proxy.admin, "GET", "/events", "");
    let told = head(&mut events);
    assert!(
        told.starts_with("http/1.1 200") && told.contains("content-type: text/event-stream"),
        "{told}"
    );
    // On a connection that is old already the next stream would end at once, and the one after that.
    assert!(told.contains("connection: close"), "{told}");
    let mut status = next(&mut events, "status");
    while !status["primary_since"].is_string() {
        status = next(&mut events, "status");
    }
    assert_eq!(
        status["topology"]["nodes"].as_array().unwrap().len(),
        3,
        "{status:#}"
    );
    assert!(status["rates"]["all"].is_object(), "{status:#}");
    head(&mut ask(proxy.admin, "POST", "/pause", ""));
    let paused = next_of_gate(&mut events);
    assert_eq!(paused["text"], "the gate was closed by hand: commands wait");
    assert_eq!(next(&mut events, "status")["gate"]["state"], "paused");

    // Who comes later hears of it, too, unless it has seen it.
    let mut later = ask(proxy.admin, "GET", "/events", "");
    assert_eq!(next(&mut later, "happened")["id"], 1);
    let seen = format!("Last-Event-ID: {}\r\n", paused["id"]);
    let mut resumed = ask(proxy.admin, "GET", "/events", &seen);
    head(&mut ask(proxy.admin, "POST", "/resume", ""));
    assert_eq!(next_of_gate(&mut resumed)["text"], "the gate was opened again");

    let mut more: Vec<_> = (0..13).map(|_| ask(proxy.admin, "GET", "/events", "")).collect();
    for listener in &mut more {
        assert!(head(listener).starts_with("http/1.1 200"));
    }
    let refused = head(&mut ask(proxy.admin, "GET", "/events", ""));
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    // A stop waits for no listener.
    assert!(proxy.stop().0.success());
}

#[test]
fn browsers_get_the_page_which_may_load_nothing_and_programs_the_list() {
    let address = shared_proxy().admin;
    let mut page = ask(address, "GET", "/", "Accept: text/html\r\n");
    let told = head(&mut page);
    let mut body = String::new();
    page.read_to_string(&mut body).unwrap();
    assert!(
        told.contains("content-type: text/html") && body.starts_with("<!doctype html>"),
        "{told}"
    );
    assert!(
        told.contains("content-security-policy: default-src 'none'"),
        "{told}"
    );
    let list = head(&mut ask(address, "GET", "/", "Accept: */*\r\n"));
    assert!(list.contains("content-type: application/json"), "{list}");
    let events = head(&mut ask(address, "GET", "/events", ""));
    for told in [told, list, events] {
        for header in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(told.contains(header), "{header}: {told}");
        }
    }
}

#[tokio::test]
async fn slow_commands_are_logged_with_the_shape_of_their_filter_and_no_value() {
    let proxy = Proxy::start(&shared_set().uri(), "[log]\nslow = \"1us\"\n");
    let mut client = Client::connect(proxy.address).await;
    let hello = doc! {
        "hello": 1,
        "client": { "application": { "name": "till" }, "driver": { "name": "d", "version": "1" }, "os": { "type": "x" } },
    };
    client.succeed("admin", hello).await;
    let find = doc! { "find": "orders", "filter": { "card": "4111-1111", "total": { "$gt": 1234567 } } };
    client.succeed("shop", find).await;
    let (_, body) = http_get(proxy.admin, "/slow").unwrap();
    let slow: Value = serde_json::from_str(&body).unwrap();
    let told = &slow[0];
    assert_eq!(told["filter"], "{card: ?, total: {$gt: ?}}", "{slow:#}");
    assert_eq!(
        (&told["namespace"], &told["application"]),
        (&"shop.orders".into(), &"till".into())
    );
    assert!(
        told["node"].is_string() && told["took_ms"].as_f64() > Some(0.0),
        "{slow:#}"
    );
    assert_eq!(proxy.metric("tidegate_commands_slow_total"), 1.0);
    let (_, metrics) = http_get(proxy.admin, "/metrics").unwrap();
    for sample in [
        "tidegate_namespace_commands_total{namespace=\"shop.orders\"} 1",
        "tidegate_application_commands_total{application=\"till\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample}");
    }
    let (_, log) = proxy.stop();
    assert!(
        log.contains("slow command") && log.contains("shop.orders"),
        "{log}"
    );
    assert!(!log.contains("4111") && !log.contains("1234567"), "{log}");
}
