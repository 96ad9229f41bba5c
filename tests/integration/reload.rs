//! The configuration is reloaded while clients are connected.

use std::time::Duration;

use bson::doc;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Proxy,
    client::{Client, eventually, is_ok},
    http_get_with, shared_set,
    steady::Steady,
};

const DB: &str = "reload";
const LIMIT: Duration = Duration::from_secs(20);

/// Exchanges the configuration, and has it reloaded: the code and the answer.
fn reload(proxy: &Proxy, listener: &str, sections: &str) -> (u16, Value) {
    proxy.configure(&shared_set().uri(), listener, sections);
    let (code, body) = proxy.post("/reload");
    (code, serde_json::from_str(&body).unwrap())
}

/// Reloads by `POST` alone: a look at the file would come first now and then.
const BY_HAND: &str = "[reload]\nwatch = 'off'\n";

fn pools(proxy: &Proxy) -> Vec<Value> {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let told = |node: &Value| {
        let pool = &node["pool"];
        // More may have been opened: for more commands at a time than before.
        json!([
            node["address"],
            pool["generation"],
            pool["closed"],
            pool["connect_failures"]
        ])
    };
    nodes.iter().map(told).collect()
}

#[tokio::test]
async fn reloads_under_load_disturb_no_client_and_no_pool() {
    let proxy = Proxy::start(&shared_set().uri(), BY_HAND);
    let load = Steady::start(proxy.address, 6, 2, Duration::from_millis(2));
    eventually("the clients are at work", LIMIT, async || load.commands() > 500).await;
    let before = pools(&proxy);
    let mut codes = Vec::new();
    for number in 0..30 {
        let (listener, section) = match number % 5 {
            0 => (
                "",
                "[limits]\nmax_clients = 500\n[log]\nlevel = 'debug'\n".to_owned(),
            ),
            1 => (
                "read_preference = 'primaryPreferred'",
                format!("[failover]\nhold = '{}s'\n", 20 + number),
            ),
            2 => ("read_only = maybe", String::new()),
            3 => ("", "[pool]\nmax_size = 0\n".to_owned()),
            _ => (
                "legacy = 'refuse'",
                format!("[pool]\nwait_timeout = '{}s'\n", 20 + number),
            ),
        };
        let (code, answer) = reload(&proxy, listener, &format!("{BY_HAND}{section}"));
        assert_eq!(code == 422, matches!(number % 5, 2 | 3), "{answer}");
        codes.push(code);
        let served = load.commands();
        eventually("commands go on", LIMIT, async || load.commands() > served + 10).await;
    }
    let after = pools(&proxy);
    let seen = load.stop();
    assert_eq!((seen.failed, &seen.errors), (0, &Vec::new()), "{seen:?}");
    assert!(seen.visits > 10, "{seen:?}");
    assert_eq!(before, after, "a pool was disturbed");
    let config = &proxy.status()["config"];
    assert_eq!(
        config["reloads"],
        json!({ "applied": 18, "unchanged": 0, "invalid": 12 }),
        "{config}"
    );
    assert_eq!(proxy.metric("tidegate_config_reloads_total"), 30.0);
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_says_why_wherever_that_is_asked() {
    let proxy = Proxy::start(&shared_set().uri(), BY_HAND);
    let before = proxy.status()["config"].clone();
    let wrong =
        format!("{BY_HAND}[limits]\nmax_clients = 'many'\nidle_timeout = '5s'\n[pool]\nmax_sise = 3\n");
    let (code, answer) = reload(&proxy, "", &wrong);
    assert_eq!((code, &answer["result"]), (422, &json!("invalid")));
    let mistakes = answer["mistakes"].to_string();
    assert!(
        mistakes.contains("limits.max_clients") && mistakes.contains("did you mean max_size?"),
        "{mistakes}"
    );
    let told = proxy.status()["config"].clone();
    assert_eq!(
        (&told["hash"], &told["loaded_at"]),
        (&before["hash"], &before["loaded_at"])
    );
    assert_eq!(
        (&told["mistakes"], &told["last_reload_succeeded"]),
        (&answer["mistakes"], &json!(false))
    );
    assert_eq!(proxy.metric("tidegate_config_last_reload_success"), 0.0);
    assert!(proxy.log().contains("limits.max_clients"), "{}", proxy.log());
    assert_eq!(proxy.status()["clients"]["max_clients"], 10_000);
    // SIGHUP does the same.
    proxy.configure(
        &shared_set().uri(),
        "",
        &format!("{BY_HAND}[limits]\nmax_clients = 77\n"),
    );
    proxy.signal(Signal::HUP);
    eventually("it is reloaded", LIMIT, async || {
        proxy.status()["clients"]["max_clients"] == 77
    })
    .await;
    let told = proxy.status()["config"].clone();
    assert!(
        told["hash"] != before["hash"] && told["mistakes"] == json!([]),
        "{told}"
    );
    assert_eq!(proxy.metric("tidegate_config_last_reload_success"), 1.0);
}

#[tokio::test]
async fn a_change_of_the_file_is_seen_without_being_told() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    proxy.configure(&shared_set().uri(), "", "[limits]\nmax_clients = 88\n");
    eventually("it is seen", LIMIT, async || {
        proxy.status()["clients"]["max_clients"] == 88
    })
    .await;
    assert!(proxy.log().contains("its file has changed"), "{}", proxy.log());
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_does_not_hold_the_way_down_up() {
    let proxy = Proxy::start_unready("mongodb://127.0.0.1:1", "");
    // Whoever opens it waits for a writer, as for a file system that hangs.
    proxy.block_configuration();
    std::thread::sleep(Duration::from_secs(3));
    proxy.signal(Signal::TERM);
    let (status, log) = proxy.ended();
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn clients_that_are_connected_go_by_the_new_rules_at_their_next_command() {
    let proxy = Proxy::start(&shared_set().uri(), BY_HAND);
    let mut client = Client::connect(proxy.address).await;
    let insert = || doc! { "insert": "c", "documents": [{ "n": 1 }] };
    client.succeed(DB, insert()).await;
    let (code, answer) = reload(
        &proxy,
        "read_only = true",
        &format!("{BY_HAND}[log]\nformat = 'json'\n"),
    );
    let key = format!("listener[{}].deny_commands", proxy.address);
    assert_eq!((code, &answer["at_once"]), (200, &json!([key])), "{answer}");
    assert_eq!(answer["wait_for_restart"], json!(["log.format"]));
    assert!(!is_ok(&client.run(DB, insert()).await));
    client.succeed(DB, doc! { "find": "c" }).await;
    let (_, answer) = reload(
        &proxy,
        "",
        &format!("{BY_HAND}[limits]\nidle_timeout = '1s'\n[pool]\nmax_size = 1\nmax_awaiting = 0\n"),
    );
    assert_eq!(answer["wait_for_restart"], json!([]), "{answer}");
    client.succeed(DB, insert()).await;
    let status = proxy.status();
    for node in status["topology"]["nodes"].as_array().unwrap() {
        assert_eq!(node["pool"]["max_size"], 1, "{node}");
    }
    client.closed().await;
}

#[tokio::test]
async fn listeners_come_and_go_and_the_others_are_not_touched() {
    let proxy = Proxy::start(&shared_set().uri(), BY_HAND);
    let mut stays = Client::connect(proxy.address).await;
    stays.succeed(DB, doc! { "ping": 1 }).await;
    let second = tidegate::sandbox::free_ports(1).unwrap()[0];
    let with_second = format!(
        "[[listener]]\naddress = '127.0.0.1:{second}'\n{BY_HAND}[drain]\ndeadline = '4s'\ngrace = 'off'\n"
    );
    let (code, answer) = reload(&proxy, "", &with_second);
    assert_eq!(code, 200, "{answer}");
    let mut goes = Client::connect(("127.0.0.1", second)).await;
    goes.succeed(DB, doc! { "ping": 1 }).await;
    assert_eq!(proxy.status()["listeners"].as_array().unwrap().len(), 2);
    // A place that is taken: nothing is half done.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "[[listener]]\naddress = '{}'\n{with_second}[limits]\nmax_clients = 66\n",
        taken.local_addr().unwrap()
    );
    let (code, answer) = reload(&proxy, "", &taken);
    assert_eq!(code, 422, "{answer}");
    assert!(
        answer["mistakes"].to_string().contains("cannot listen on"),
        "{answer}"
    );
    assert_eq!(proxy.status()["clients"]["max_clients"], 10_000);
    // The same port on all addresses, which the one that goes still has.
    let wider = with_second.replace("127.0.0.1", "0.0.0.0");
    let (code, answer) = reload(&proxy, "", &wider);
    let mistakes = answer["mistakes"].to_string();
    assert!(
        code == 422 && mistakes.contains(&format!("while 127.0.0.1:{second} is still listened on")),
        "{answer}"
    );
    let (code, answer) = reload(&proxy, "", BY_HAND);
    assert_eq!(code, 200, "{answer}");
    assert_eq!(proxy.status()["listeners"].as_array().unwrap().len(), 1);
    goes.closed().await;
    let refused = tokio::net::TcpStream::connect(("127.0.0.1", second)).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    // It comes again, and again as soon as it has gone.
    for sections in [&*with_second, BY_HAND, &*with_second] {
        let (code, answer) = reload(&proxy, "", sections);
        assert_eq!(code, 200, "{answer}");
    }
    let mut comes = Client::connect(("127.0.0.1", second)).await;
    comes.succeed(DB, doc! { "ping": 1 }).await;
    stays.succeed(DB, doc! { "ping": 1 }).await;
    assert_eq!(proxy.status()["ready"], true);
}

#[tokio::test]
async fn a_token_that_was_exchanged_opens_at_once_and_the_former_no_more() {
    let [former, next] = ["former-0123456789abcdef", "next-0123456789abcdef"];
    let sections = |token| format!("token = '{token}'\n{BY_HAND}");
    let uri = shared_set().uri();
    let proxy = Proxy::start(&uri, &sections(former));
    let code = |token| {
        let header = format!("Authorization: Bearer {token}\r\n");
        http_get_with(proxy.admin, "/status", &header).unwrap().0
    };
    assert_eq!(code(former), 200);
    proxy.configure(&uri, "", &sections(next));
    proxy.signal(Signal::HUP);
    eventually("the next token opens", LIMIT, async || code(next) == 200).await;
    assert_eq!(code(former), 401);
}
