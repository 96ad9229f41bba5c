//! The configuration by tables and properties.

mod auth;
mod changes;
mod default_file;
mod documentation;
mod listeners;
mod mistakes;
mod properties;
mod shown;
mod tls;
mod uri;
mod variables;

use std::{path::Path, time::Duration};

use super::*;
use crate::{
    command::Policy,
    failover,
    topology::{Mode, TagSet},
    wire::Compressor,
};

const URI: &str = "[upstream]\nuri = 'mongodb://a'\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Loader::new()
        .text(Path::new("proxy.toml"), text)
        .variables(variables)
        .load()
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load(text, variables)
        .unwrap_err()
        .iter()
        .map(Mistake::to_string)
        .collect()
}

#[test]
fn only_the_uri_must_be_given() {
    let config = load(URI, &[]).unwrap();
    let upstream = upstream::Options {
        seeds: vec!["a:27017".parse().unwrap()],
        ..Default::default()
    };
    assert_eq!(config.upstream, upstream);
    assert_eq!(config.pool, pool::Options::default());
    assert_eq!(config.limits, client::Limits::default());
    assert_eq!(config.drain, client::drain::Options::default());
    assert_eq!(config.log, log::Options::default());
    assert_eq!(config.admin.unwrap().address, "127.0.0.1:9218".parse().unwrap());
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:27018");
    assert_eq!(config.listeners[0].read_preference.mode, Mode::Primary);
    assert!(config.warnings.is_empty());
    assert_eq!(
        mistakes("", &[]),
        [
            "upstream.uri: is missing: write uri = \"mongodb://host1:27017,host2:27017/?replicaSet=NAME\" in [upstream]"
        ]
    );
}

#[test]
fn every_setting_reaches_its_option() {
    let text = r#"
        [upstream]
        uri = "mongodb://a,b:1/?replicaSet=rs&appName=x&connectTimeoutMS=1&heartbeatFrequencyMS=500&serverSelectionTimeoutMS=3&localThresholdMS=4&compressors=zstd,snappy&zlibCompressionLevel=9"
        nameserver = "10.0.0.2"
        [[listener]]
        address = "127.0.0.2:1"
        presents_as = "mongos"
        read_preference = "nearest"
        compressors = ["zlib"]
        legacy = "refuse"
        max_wire_version = 3
        [[listener]]
        address = "[::1]:2"
        fail_points = "on"
        read_preference = { mode = "secondary", tags = [{ dc = "ams", rack = "1" }, {}], max_staleness = "2m" }
        [pool]
        max_size = 9
        max_awaiting = 0
        max_per_user = 6
        min_per_user = 2
        min_size = 8
        max_connecting = 7
        wait_timeout = "6s"
        idle_timeout = "off"
        max_lifetime = "4s"
        [failover]
        hold = "8s"
        hold_commands = 70
        hold_bytes = "64MiB"
        exactly_once = "off"
        [drain]
        grace = "off"
        deadline = "11s"
        [limits]
        max_clients = 90
        max_clients_per_address = 80
        login_timeout = "9s"
        login_delay_max = "off"
        handshake_timeout = "7s"
        idle_timeout = "6s"
        buffer_bytes = "1GiB"
        stream_above = 100_000
        min_read_rate = "1MiB"
        [admin]
        address = "off"
        [log]
        level = "debug"
        format = "json"
    "#;
    let config = load(text, &[]).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(
        config.upstream,
        upstream::Options {
            seeds: vec!["a".parse().unwrap(), "b:1".parse().unwrap()],
            srv: None,
            nameserver: Some("10.0.0.2:53".parse().unwrap()),
            set_name: Some("rs".to_owned()),
            direct: false,
            app_name: "x".to_owned(),
            connect_timeout: Duration::from_millis(1),
            heartbeat: Duration::from_millis(500),
            server_selection_timeout: Duration::from_millis(3),
            local_threshold: Duration::from_millis(4),
            tls: None,
            compressors: vec![Compressor::Zstd, Compressor::Snappy],
            zlib_level: 9,
            service: None,
        }
    );
    assert_eq!(
        config.pool,
        pool::Options {
            max_size: 9,
            max_awaiting: 0,
            max_per_user: Some(6),
            min_per_user: 2,
            min_size: 8,
            max_connecting: 7,
            wait_timeout: seconds(6),
            idle_timeout: None,
            max_lifetime: Some(seconds(4)),
        }
    );
    assert_eq!(
        config.failover,
        failover::Options {
            hold: seconds(8),
            hold_commands: 70,
            hold_bytes: 64 << 20,
            exactly_once: false,
        }
    );
    assert_eq!(
        config.drain,
        client::drain::Options {
            grace: Duration::ZERO,
            deadline: seconds(11),
        }
    );
    assert_eq!(
        config.limits,
        client::Limits {
            max_clients: 90,
            max_clients_per_address: Some(80),
            max_unauthenticated: 45,
            login_timeout: seconds(9),
            login_delay_max: Duration::ZERO,
            handshake_timeout: seconds(7),
            idle_timeout: Some(seconds(6)),
            buffer_bytes: 1 << 30,
            stream_above: 100_000,
            min_read_rate: 1 << 20,
        }
    );
    let permit: Vec<_> = config.listeners.iter().map(|l| l.fail_points).collect();
    assert_eq!(permit, [false, true]);
    let addresses: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    assert_eq!(addresses, ["127.0.0.2:1", "[::1]:2"]);
    assert_eq!(config.listeners[0].read_preference.mode, Mode::Nearest);
    assert_eq!(config.listeners[0].compressors, Some(vec![Compressor::Zlib]));
    assert_eq!(config.listeners[1].compressors, None);
    let legacy = config
        .listeners
        .iter()
        .map(|l| (l.translates, l.max_wire_version));
    assert_eq!(legacy.collect::<Vec<_>>(), [(false, Some(3)), (true, None)]);
    let second = &config.listeners[1].read_preference;
    let tags = [("dc", "ams"), ("rack", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(second.tag_sets, [TagSet(tags.to_vec()), TagSet(vec![])]);
    assert_eq!(
        (second.mode, second.max_staleness),
        (Mode::Secondary, Some(seconds(120)))
    );
    assert_eq!(config.admin, None);
    assert_eq!(
        config.log,
        log::Options {
            level: "debug".parse().unwrap(),
            format: log::Format::Json,
            ..log::Options::default()
        }
    );
}

#[test]
fn commands_are_held_for_as_long_as_drivers_wait_for_a_node_unless_told_otherwise() {
    let hold = |options: &str, section: &str| {
        let text = format!("[upstream]\nuri = 'mongodb://a/?{options}'\n[[listener]]\n[failover]\n{section}");
        load(&text, &[]).unwrap().failover.hold
    };
    assert_eq!(hold("", ""), Duration::from_secs(30));
    assert_eq!(hold("serverSelectionTimeoutMS=5000", ""), Duration::from_secs(5));
    assert_eq!(
        hold("serverSelectionTimeoutMS=5000", "hold = '1m'"),
        Duration::from_secs(60)
    );
    assert_eq!(hold("", "hold = 'off'"), Duration::ZERO);
}

#[test]
fn warnings_have_their_place_too() {
    let text = "[upstream]\nuri = 'mongodb://a/?w=1'\n[[listener]]\naddress = '0.0.0.0:1'\n[limits]\nmax_clients = 5\nmax_clients_per_address = 6\n[failover]\nhold_bytes = '1GiB'";
    let config = load(text, &[]).unwrap();
    let heads: Vec<_> = config
        .warnings
        .iter()
        .map(|warning| warning.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        heads,
        [
            "upstream.uri",
            "listener[0].address",
            "limits.max_clients_per_address",
            "failover.hold_bytes"
        ]
    );
    assert!(
        config.warnings[0].starts_with("proxy.toml:2: "),
        "{:?}",
        config.warnings
    );
}

#[test]
fn tokens_of_the_admin_endpoint_come_from_the_file_or_files_of_their_own_and_are_not_shown() {
    let (full, reading) = ("sixteen-letters-and-more", "sixteen-letters-to-read");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{reading}\n")).unwrap();
    let text = format!(
        "{URI}[admin]\naddress = '0.0.0.0:9218'\ntoken = '{full}'\nread_token_file = '{}'",
        file.display()
    );
    let config = load(&text, &[]).unwrap();
    let token = |text: &str| Some(admin::Token::new(text.to_owned()).unwrap());
    let access = &config.admin.as_ref().unwrap().access;
    assert_eq!(
        (&access.token, &access.read_token),
        (&token(full), &token(reading))
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains(full) && !shown.contains(reading), "{shown}");
    let variables = [("TIDEGATE_ADMIN__TOKEN_FILE", file.to_str().unwrap())];
    let config = load(&format!("{URI}[admin]\ntoken = '{full}'"), &variables).unwrap();
    assert_eq!(config.admin.unwrap().access.token, token(reading));
    let found = mistakes(
        &format!("{URI}[admin]\ntoken = 'not a token'\nread_token = 5"),
        &[],
    );
    assert!(
        found.len() == 2 && !found.concat().contains("not a token"),
        "{found:?}"
    );
}

#[test]
fn listeners_have_rules() {
    let text = format!(
        "{URI}[[listener]]\nread_only = true\ndeny_commands = ['find']\nallow_networks = ['10.0.0.0/8', '::1']\n[[listener]]\naddress = '127.0.0.1:1'"
    );
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    let [first, second] = &config.listeners[..] else {
        panic!("{config:?}")
    };
    assert_eq!(first.policy, Policy::new(&["find"], true));
    let networks: Vec<_> = first.allow_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    assert_eq!((&second.policy, &second.allow_networks[..]), (&None, &[][..]));
    let variables = [
        ("TIDEGATE_LISTENER__0__READ_ONLY", "true"),
        ("TIDEGATE_LISTENER__0__ALLOW_NETWORKS", "['10.0.0.1']"),
    ];
    let config = load(URI, &variables).unwrap();
    assert_eq!(config.listeners[0].policy, Policy::new::<&str>(&[], true));
    assert_eq!(config.listeners[0].allow_networks.len(), 1);
}

#[test]
fn rules_that_may_not_be_meant_are_warned_of() {
    let warnings = |keys: &str| load(&format!("{URI}[[listener]]\n{keys}"), &[]).unwrap().warnings;
    let found = warnings("deny_commands = ['finds', 'killOp']");
    assert!(
        found.len() == 1 && found[0].contains("did you mean \"find\"?"),
        "{found:?}"
    );
    let found = warnings("address = '/x'\nallow_networks = ['10.0.0.1']");
    assert!(found.len() == 1 && found[0].contains("unix_mode"), "{found:?}");
}

#[test]
fn the_audit_log_goes_to_a_file_or_a_standard_stream() {
    let target = |file: &str| {
        load(&format!("{URI}[audit]\nfile = '{file}'"), &[])
            .unwrap()
            .audit
    };
    assert_eq!(load(URI, &[]).unwrap().audit, None);
    assert_eq!(target("off"), None);
    assert_eq!(target("stdout"), Some(audit::Target::Stdout));
    assert_eq!(target("stderr"), Some(audit::Target::Stderr));
    assert_eq!(target("/a/b"), Some(audit::Target::File("/a/b".into())));
    // The file itself is `proxy.toml`, in the working directory.
    assert_eq!(target("b"), Some(audit::Target::File("b".into())));
    assert!(mistakes(&format!("{URI}[audit]\nfile = ''"), &[])[0].contains("write \"off\""));
}

#[test]
fn free_ports_collide_with_nothing() {
    let text = format!(
        "{URI}[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = '127.0.0.1:0'\n[admin]\naddress = '127.0.0.1:0'"
    );
    assert_eq!(load(&text, &[]).unwrap().listeners.len(), 2);
}
