//! What a reload changes, and what it leaves to the next start.

use std::collections::BTreeSet;

use super::{
    super::{changes::KEYS, schema::SECTIONS},
    *,
};

fn loaded(text: &str) -> Config {
    let text = format!("[upstream]\nuri = 'mongodb://a/'\n{text}");
    load(&text, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

fn between(old: &str, new: &str) -> Changes {
    Changes::between(&loaded(old), &loaded(new))
}

fn keys(changes: &Changes, when: Effect) -> Vec<&str> {
    changes.that_take_effect(when).collect()
}

#[test]
fn every_key_of_the_file_is_known_to_take_effect_at_some_time() {
    let in_schema = SECTIONS.iter().flat_map(|section| {
        let keys = section.keys.iter();
        keys.map(|key| format!("{}.{key}", section.name))
    });
    let in_table: BTreeSet<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(in_table, in_schema.collect());
    assert_eq!(in_table.len(), KEYS.len(), "a key stands there twice");
}

#[test]
fn each_key_tells_when_a_change_of_it_takes_effect() {
    use Effect::{AtOnce, NewConnections, Restart};
    for (text, key, when) in [
        ("app_name = 'x'", "upstream.app_name", Restart),
        ("comment = 'identity'", "upstream.comment", NewConnections),
        ("[pool]\nmax_size = 7", "pool.max_size", AtOnce),
        ("[pool]\nmax_awaiting = 7", "pool.max_awaiting", AtOnce),
        ("[pool]\nmax_per_user = 7", "pool.max_per_user", AtOnce),
        ("[pool]\nmin_per_user = 7", "pool.min_per_user", AtOnce),
        ("[pool]\nmin_size = 7", "pool.min_size", AtOnce),
        ("[pool]\nmax_connecting = 7", "pool.max_connecting", AtOnce),
        ("[pool]\nwait_timeout = '7s'", "pool.wait_timeout", AtOnce),
        ("[pool]\nidle_timeout = '7s'", "pool.idle_timeout", AtOnce),
        ("[pool]\nmax_lifetime = '7s'", "pool.max_lifetime", NewConnections),
        ("[failover]\nhold = '7s'", "failover.hold", AtOnce),
        ("[failover]\nhold_commands = 7", "failover.hold_commands", AtOnce),
        ("[failover]\nhold_bytes = '70MiB'", "failover.hold_bytes", AtOnce),
        (
            "[failover]\nexactly_once = 'off'",
            "failover.exactly_once",
            AtOnce,
        ),
        ("[drain]\ngrace = '7s'", "drain.grace", AtOnce),
        ("[drain]\ndeadline = '77s'", "drain.deadline", AtOnce),
        (
            "[limits]\nmax_clients_per_address = 7",
            "limits.max_clients_per_address",
            AtOnce,
        ),
        (
            "[limits]\nmax_unauthenticated = 7",
            "limits.max_unauthenticated",
            AtOnce,
        ),
        (
            "[limits]\nlogin_timeout = '7s'",
            "limits.login_timeout",
            NewConnections,
        ),
        (
            "[limits]\nlogin_delay_max = '7s'",
            "limits.login_delay_max",
            AtOnce,
        ),
        (
            "[limits]\nhandshake_timeout = '7s'",
            "limits.handshake_timeout",
            NewConnections,
        ),
        ("[limits]\nidle_timeout = '700s'", "limits.idle_timeout", AtOnce),
        ("[limits]\nbuffer_bytes = '700MiB'", "limits.buffer_bytes", AtOnce),
        ("[limits]\nstream_above = '7MiB'", "limits.stream_above", AtOnce),
        ("[limits]\nmin_read_rate = '7KiB'", "limits.min_read_rate", AtOnce),
        ("[admin]\naddress = '127.0.0.1:7'", "admin.address", Restart),
        ("[admin]\naddress = 'off'", "admin.address", Restart),
        ("[admin]\ntoken = 'a-token-of-some-length'", "admin.token", AtOnce),
        (
            "[admin]\nread_token = 'a-token-of-some-length'",
            "admin.read_token",
            AtOnce,
        ),
        ("[audit]\nfile = 'stdout'", "audit.file", AtOnce),
        ("[reload]\nwatch = 'off'", "reload.watch", AtOnce),
        ("[upgrade]\nsocket = '/run/x.sock'", "upgrade.socket", Restart),
        ("[log]\nlevel = 'debug'", "log.level", AtOnce),
        ("[log]\nformat = 'json'", "log.format", Restart),
        ("[log]\nslow = 'off'", "log.slow", AtOnce),
    ] {
        let changes = between("", text);
        assert_eq!(changes.changes.len(), 1, "{text}: {:?}", changes.changes);
        assert_eq!(keys(&changes, when), [key], "{text}");
        // Back again, as far as it could take effect.
        let back = Changes::between(&changes.effective, &loaded(""));
        assert_eq!(back.changes.len(), usize::from(when != Restart), "{text}");
    }
}

#[test]
fn listeners_are_compared_by_address_and_what_they_look_like_stays() {
    use Effect::{AtOnce, NewConnections, Restart};
    let listener = |port: u16, text: &str| format!("[[listener]]\naddress = '127.0.0.1:{port}'\n{text}\n");
    for (text, key, when) in [
        ("read_preference = 'nearest'", "read_preference", AtOnce),
        ("fail_points = 'on'", "fail_points", AtOnce),
        ("compressors = ['zlib']", "compressors", NewConnections),
        ("legacy = 'refuse'", "legacy", AtOnce),
        ("max_wire_version = 9", "max_wire_version", NewConnections),
        (
            "allow_networks = ['10.0.0.0/8']",
            "allow_networks",
            NewConnections,
        ),
        ("deny_commands = ['drop']", "deny_commands", AtOnce),
        ("read_only = true", "deny_commands", AtOnce),
        ("presents_as = 'replica_set'", "presents_as", Restart),
        ("advertise = 'b:7'", "advertise", Restart),
        ("node = 'b:7'", "node", Restart),
    ] {
        let changes = between(&listener(1, ""), &listener(1, text));
        let key = format!("listener[127.0.0.1:1].{key}");
        assert_eq!(keys(&changes, when), [key.as_str()], "{text}");
        assert_eq!(changes.changes.len(), 1, "{text}");
    }
    let old = listener(1, "") + &listener(2, "") + &listener(3, "");
    let new = listener(4, "") + &listener(3, "read_only = true\nnode = 'b:7'") + &listener(1, "");
    let changes = between(&old, &new);
    let at = |listeners: &[client::ListenerOptions]| {
        let addresses = listeners.iter().map(|options| options.address.to_string());
        addresses.collect::<Vec<_>>()
    };
    assert_eq!(at(&changes.opened), ["127.0.0.1:4"]);
    assert_eq!(at(&changes.closed), ["127.0.0.1:2"]);
    assert_eq!(
        keys(&changes, AtOnce),
        [
            "listener[127.0.0.1:3].deny_commands",
            "listener[127.0.0.1:4] opened",
            "listener[127.0.0.1:2] closed"
        ]
    );
    assert_eq!(keys(&changes, Restart), ["listener[127.0.0.1:3].node"]);
    let third = &changes.effective.listeners[1];
    assert!(third.policy.is_some() && third.reach == client::Reach::Cluster);
    // Two on ports that are still to be found.
    let free = listener(0, "") + &listener(0, "");
    assert!(between(&free, &free).changes.is_empty());
    assert_eq!(between(&free, &listener(0, "")).closed.len(), 1);
}

#[test]
fn what_waits_for_a_restart_is_told_each_time_and_holds_back_what_hangs_together_with_it() {
    let with = |uri: &str| load(&format!("[upstream]\nuri = '{uri}'"), &[]).unwrap();
    let running = with("mongodb://a/");
    let changes = Changes::between(&running, &with("mongodb://b/?maxPoolSize=7"));
    assert_eq!(keys(&changes, Effect::Restart), ["upstream.uri"]);
    assert_eq!(keys(&changes, Effect::AtOnce), ["pool.max_size"]);
    assert_eq!(changes.effective.upstream, running.upstream);
    let again = Changes::between(&changes.effective, &with("mongodb://b/?maxPoolSize=7"));
    assert_eq!(again.changes.len(), 1);
    assert!(!format!("{:?}", again.changes).contains("mongodb"));

    let off = loaded("[admin]\naddress = 'off'");
    let on = loaded("[admin]\ntoken = 'a-token-of-some-length'");
    let changes = Changes::between(&off, &on);
    assert_eq!(keys(&changes, Effect::Restart), ["admin.address"]);
    assert_eq!((changes.changes.len(), changes.effective.admin), (1, None));

    let changes = between(
        "",
        "[auth]\nsource = 'file'\nusers_file = '/u'\nmechanisms = ['SCRAM-SHA-1']",
    );
    assert_eq!(keys(&changes, Effect::Restart), ["auth.source"]);
    assert_eq!(changes.changes.len(), 1, "{:?}", changes.changes);
    assert!(!changes.effective.listeners[0].demands_login);
}

#[test]
fn what_was_kept_runs_on_with_what_has_changed() {
    let changes = between(
        "[log]\nformat = 'json'",
        "[log]\nformat = 'text'\nlevel = 'debug'",
    );
    assert_eq!(changes.effective.log.format, log::Format::Json);
    assert_eq!(changes.effective.log.level.to_string(), "debug");
}
