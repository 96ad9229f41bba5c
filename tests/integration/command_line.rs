//! The program as it is called: arguments, exit codes, messages, signals.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bson::doc;
use tempfile::TempDir;
use tidegate::sandbox::free_ports;

use crate::support::{
    Client, Output, Proxy,
    client::{batch, eventually},
    run, shared_proxy, shared_set,
};

const LIMIT: Duration = Duration::from_secs(30);

/// `tidegate` with these arguments, in a folder of its own and without settings from the environment.
fn tidegate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    run(command.args(arguments).current_dir(folder), LIMIT)
}

/// A folder with a `proxy.toml`.
fn configured(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("proxy.toml"), text).unwrap();
    folder
}

/// A configuration for `uri` on free ports, and the port of the listener.
fn configuration(uri: &str) -> (String, u16) {
    let ports = free_ports(2).unwrap();
    let text = format!(
        "[upstream]\nuri = {uri:?}\n\n[[listener]]\naddress = \"127.0.0.1:{}\"\n\n[admin]\naddress = \"127.0.0.1:{}\"\n",
        ports[0], ports[1]
    );
    (text, ports[0])
}

/// Panics unless the program failed as it should, with all of `parts` on standard error.
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:#?}");
    for part in parts {
        assert!(output.stderr.contains(part), "{part:?} is not in {output:#?}");
    }
}

#[test]
fn every_help_names_examples_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["run", "check", "sandbox", "status"] {
        let output = tidegate(folder.path(), &[command, "--help"]);
        assert!(output.status.success(), "{output:#?}");
        for part in [
            &format!("Usage: tidegate {command}"),
            "Options:",
            "Examples:",
            "Exit codes:",
        ] {
            assert!(
                output.stdout.contains(part),
                "{part:?} is not in {}",
                output.stdout
            );
        }
    }
    let output = tidegate(folder.path(), &["--help"]);
    for part in ["run", "check", "sandbox", "status", "TIDEGATE_CONFIG"] {
        assert!(
            output.stdout.contains(part),
            "{part:?} is not in {}",
            output.stdout
        );
    }
    assert_fails(&tidegate(folder.path(), &["run", "--no-such"]), 2, &["--no-such"]);
}

#[test]
fn without_a_usable_configuration_nothing_runs() {
    let empty = tempfile::tempdir().unwrap();
    for command in ["run", "check"] {
        assert_fails(
            &tidegate(empty.path(), &[command]),
            1,
            &["no configuration", "--config", "proxy.toml"],
        );
        assert_fails(
            &tidegate(empty.path(), &[command, "--config", "missing.toml"]),
            1,
            &["missing.toml"],
        );
        let wrong = configured(
            "[upstream]\nuri = \"mongodb://127.0.0.1:1\"\n\n[pool]\nmax_size = \"many\"\nmin_sice = 3\n\
             wait_timeout = 5\n",
        );
        let output = tidegate(wrong.path(), &[command, "--config", "proxy.toml"]);
        assert_fails(
            &output,
            1,
            &[
                "proxy.toml:5: pool.max_size",
                "proxy.toml:6: pool.min_sice",
                "proxy.toml:7: pool.wait_timeout",
                "3 mistakes",
            ],
        );
        let broken = configured("[upstream\n");
        assert_fails(&tidegate(broken.path(), &[command]), 1, &["proxy.toml:1"]);
    }
}

#[test]
fn check_shows_what_a_good_configuration_means_and_starts_nothing() {
    let (text, port) = configuration("mongodb://127.0.0.1:1/?replicaSet=rs0");
    let folder = configured(&text);
    let output = tidegate(folder.path(), &["check"]);
    assert!(output.status.success(), "{output:#?}");
    for part in [
        "ok: proxy.toml",
        "127.0.0.1:1",
        "rs0",
        &format!("127.0.0.1:{port}"),
    ] {
        assert!(output.stdout.contains(part), "{part:?} is not in {output:#?}");
    }
}

#[test]
fn check_connect_tries_the_nodes() {
    let set = shared_set();
    let folder = configured(&configuration(&set.uri()).0);
    let output = tidegate(folder.path(), &["check", "--connect"]);
    assert!(output.status.success(), "{output:#?}");
    for address in set.addresses() {
        assert!(
            output.stdout.contains(&address),
            "{address} is not in {output:#?}"
        );
    }
    let dead = free_ports(1).unwrap()[0];
    let uri = format!("mongodb://127.0.0.1:{dead}/?serverSelectionTimeoutMS=2000");
    let folder = configured(&configuration(&uri).0);
    let output = tidegate(folder.path(), &["check", "--connect"]);
    assert_fails(&output, 1, &[&format!("127.0.0.1:{dead}"), "refused"]);
    let elsewhere = set.uri().replace("replicaSet=sandbox", "replicaSet=elsewhere");
    let folder = configured(&configuration(&elsewhere).0);
    let output = tidegate(folder.path(), &["check", "--connect"]);
    assert_fails(&output, 1, &["elsewhere", "sandbox"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (text, port) = configuration("mongodb://127.0.0.1:1");
    let folder = configured(&text.replace(&format!("127.0.0.1:{port}"), &address));
    let output = tidegate(folder.path(), &["run"]);
    assert_fails(&output, 1, &[&address, "in use"]);
}

#[test]
fn status_shows_a_running_proxy_and_says_when_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let admin = shared_proxy().admin.to_string();
    let output = tidegate(folder.path(), &["status", "--admin", &admin]);
    assert!(output.status.success(), "{output:#?}");
    for address in shared_set().addresses() {
        assert!(
            output.stdout.contains(&address),
            "{address} is not in {}",
            output.stdout
        );
    }
    let output = tidegate(folder.path(), &["status", "--json", "--admin", &admin]);
    let status: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["topology"]["nodes"].as_array().unwrap().len(), 3);

    let nobody = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let output = tidegate(folder.path(), &["status", "--admin", &nobody]);
    assert_fails(&output, 1, &[&nobody, "is it running?"]);
}

#[tokio::test]
async fn sigint_lets_commands_in_flight_finish_and_ends_idle_clients_at_once() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let (mut busy, mut idle) = (
        Client::connect(proxy.address).await,
        Client::connect(proxy.address).await,
    );
    let insert = doc! { "insert": "sigint", "documents": [{ "_id": 1 }] };
    idle.succeed("command_line", insert).await;
    let slow = doc! { "find": "sigint", "filter": { "$where": "sleep(2000) || true" } };
    busy.send("command_line", slow).await.unwrap();
    eventually("the command is on its way", LIMIT, async || {
        let status = proxy.status();
        let nodes = status["topology"]["nodes"].as_array().unwrap();
        nodes.iter().any(|node| node["pool"]["in_use"] == 1)
    })
    .await;

    let started = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || proxy.stop());
    idle.closed().await;
    let ended = started.elapsed();
    assert!(
        !stopping.is_finished(),
        "the busy client's command is still running"
    );
    let (documents, _) = batch(&busy.reply().await.unwrap());
    assert_eq!(documents, [doc! { "_id": 1 }]);
    busy.closed().await;
    let (status, log) = stopping.await.unwrap();
    println!(
        "idle clients were let go after {ended:?}, all ended after {:?}",
        started.elapsed()
    );
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("SIGINT") && log.contains("stopped"), "{log}");
}
