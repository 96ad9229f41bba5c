//! What is wrong is reported at its place.

use super::{super::schema::SECTIONS, *};

/// Holds that `text` after the three lines of a connection string has this one mistake, on line `line` of the whole.
fn holds_one_mistake(text: &str, line: usize, key: &str, says: &str) {
    let found = mistakes(&format!("{URI}\n{text}"), &[]);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    let place = format!("proxy.toml:{line}: {key}: ");
    assert!(
        found[0].starts_with(&place) && found[0].contains(says),
        "{text}: {} does not say {place}{says}",
        found[0]
    );
}

#[test]
fn mistakes_have_their_line_and_key_and_say_what_would_be_right() {
    for (text, line, key, says) in [
        (
            "[pool]\nmax_size = 'many'",
            5,
            "pool.max_size",
            "must be a number from 1 to 1000000, not \"many\"",
        ),
        (
            "[pool]\n\n# why\nmax_size = 0",
            7,
            "pool.max_size",
            "0 is out of range; it must be from 1 to 1000000",
        ),
        (
            "[pool]\nmax_size = 99999999999999999999",
            5,
            "pool.max_size",
            "out of range",
        ),
        (
            "[pool]\nmax_connecting = 0",
            5,
            "pool.max_connecting",
            "from 1 to",
        ),
        (
            "[pool]\nmax_awaiting = 'off'",
            5,
            "pool.max_awaiting",
            "must be a number from 0 to 1000000, not \"off\"",
        ),
        (
            "[pool]\nmin_size = 200",
            5,
            "pool.min_size",
            "200 is more than max_size (100)",
        ),
        (
            "[pool]\nwait_timeout = 5",
            5,
            "pool.wait_timeout",
            "\"5\" has no unit; write it as \"5s\"",
        ),
        (
            "[pool]\nwait_timeout = 'off'",
            5,
            "pool.wait_timeout",
            "must have an end",
        ),
        (
            "[drain]\ndeadline = 'off'",
            5,
            "drain.deadline",
            "must have an end",
        ),
        (
            "[drain]\ngrace = '40s'\ndeadline = '30s'",
            6,
            "drain.deadline",
            "deadline (30s) must be longer than grace (40s)",
        ),
        (
            "[drain]\ngrace = '40s'",
            5,
            "drain.grace",
            "must be longer than grace",
        ),
        (
            "[pool]\nidle_timeout = '0s'",
            5,
            "pool.idle_timeout",
            "longer than nothing, or \"off\"",
        ),
        (
            "[pool]\nmax_lifetime = 1.5",
            5,
            "pool.max_lifetime",
            "not a number with a fraction",
        ),
        (
            "[[listener]]\ncompressors = ['zstd', 'gzip']",
            5,
            "listener[0].compressors",
            "\"gzip\" is no compressor; there are snappy, zlib, zstd",
        ),
        (
            "[[listener]]\ncompressors = ['zstdd']",
            5,
            "listener[0].compressors",
            "did you mean zstd?",
        ),
        (
            "[[listener]]\ncompressors = ['zlib', 'zlib']",
            5,
            "listener[0].compressors",
            "zlib is listed twice",
        ),
        (
            "[[listener]]\ncompressors = 'zlib'",
            5,
            "listener[0].compressors",
            "must be \"all\", a list such as",
        ),
        (
            "[[listener]]\ncompressors = [1]",
            5,
            "listener[0].compressors",
            "must be \"all\", a list such as",
        ),
        ("[pool]\nmaxsize = 5", 5, "pool.maxsize", "did you mean max_size?"),
        (
            "[pool]\nmax_clients = 5",
            5,
            "pool.max_clients",
            "did you mean max_clients in [limits]?",
        ),
        (
            "[pool]\ncolour = 5",
            5,
            "pool.colour",
            "the keys here are max_size, max_awaiting, max_per_user",
        ),
        ("[[pool]]\nmax_size = 5", 4, "pool", "written [pool]"),
        ("[pol]\nmax_size = 5", 4, "pol", "did you mean [pool]?"),
        (
            "[limits]\nbuffer_bytes = '64MiB'",
            5,
            "limits.buffer_bytes",
            "64MiB is out of range; it must be from 128MiB",
        ),
        (
            "[limits]\nbuffer_bytes = -1",
            5,
            "limits.buffer_bytes",
            "-1 is not a size",
        ),
        (
            "[limits]\nstream_above = '1 parsec'",
            5,
            "limits.stream_above",
            "\"1 parsec\" is not a size",
        ),
        (
            "[limits]\nstream_above = '64MB'",
            5,
            "limits.stream_above",
            "out of range",
        ),
        (
            "[limits]\nmax_clients_per_address = 0",
            5,
            "limits.max_clients_per_address",
            "from 1 to",
        ),
        (
            "[limits]\nhandshake_timeout = true",
            5,
            "limits.handshake_timeout",
            "not true or false",
        ),
        (
            "[listener]\naddress = '127.0.0.1:1'",
            4,
            "listener",
            "written [[listener]]",
        ),
        (
            "[[listener]]\naddress = 'localhost:1'",
            5,
            "listener[0].address",
            "is not an IP address and port",
        ),
        (
            "[[listener]]\naddress = 27018",
            5,
            "listener[0].address",
            "must be an address such as",
        ),
        (
            "[[listener]]\npresents_as = 'mongod'",
            5,
            "listener[0].presents_as",
            "did you mean \"mongos\"?",
        ),
        (
            "[[listener]]\nallow_networks = ['10.0.0.1/8']",
            5,
            "listener[0].allow_networks",
            "write 10.0.0.0/8 for the network",
        ),
        (
            "[[listener]]\nallow_networks = '10.0.0.0/8'",
            5,
            "listener[0].allow_networks",
            "must be a list such as",
        ),
        (
            "[[listener]]\nallow_networks = ['10.0.0.0/8', '10.0.0.0/8']",
            5,
            "listener[0].allow_networks",
            "is listed twice",
        ),
        (
            "[[listener]]\ndeny_commands = ['drop it']",
            5,
            "listener[0].deny_commands",
            "is no name of a command",
        ),
        (
            "[[listener]]\ndeny_commands = ['isMaster']",
            5,
            "listener[0].deny_commands",
            "no driver can connect",
        ),
        (
            "[[listener]]\nread_only = 'yes'",
            5,
            "listener[0].read_only",
            "must be true or false",
        ),
        (
            "[limits]\nmax_clients = 10\nmax_unauthenticated = 10",
            6,
            "limits.max_unauthenticated",
            "must be below max_clients (10)",
        ),
        (
            "[limits]\nlogin_timeout = 'off'",
            5,
            "limits.login_timeout",
            "must have an end",
        ),
        (
            "[[listener]]\nlegacy = 'translates'",
            5,
            "listener[0].legacy",
            "did you mean \"translate\"?",
        ),
        (
            "[[listener]]\nmax_wire_version = -1",
            5,
            "listener[0].max_wire_version",
            "must be",
        ),
        (
            "[[listener]]\nfail_points = 'yes'",
            5,
            "listener[0].fail_points",
            "must be",
        ),
        (
            "[[listener]]\nread_preference = 'Secondary'",
            5,
            "listener[0].read_preference",
            "did you mean secondary?",
        ),
        (
            "[[listener]]\nread_preference = 1",
            5,
            "listener[0].read_preference",
            "must be a mode",
        ),
        (
            "[[listener]]\nread_preference.mod = 'nearest'",
            5,
            "listener[0].read_preference",
            "mod: there is no such key; did you mean mode?",
        ),
        (
            "[[listener]]\nread_preference = { max_staleness = '120s' }",
            5,
            "listener[0].read_preference",
            "other than primary",
        ),
        (
            "[[listener]]\nread_preference = { tags = [{ a = 'b' }] }",
            5,
            "listener[0].read_preference",
            "other than primary",
        ),
        (
            "[[listener]]\nread_preference = { mode = 'nearest', tags = ['a'] }",
            5,
            "listener[0].read_preference",
            "tags: must be a list",
        ),
        (
            "[[listener]]\nread_preference = { mode = 'nearest', tags = [{ \"a\\u0000\" = 'b' }] }",
            5,
            "listener[0].read_preference",
            "tags: must be a list",
        ),
        (
            "[[listener]]\nread_preference = { mode = 'nearest', max_staleness = '89s' }",
            5,
            "listener[0].read_preference",
            "at least 1m 30s",
        ),
        (
            "[[listener]]\nread_preference = { mode = 'nearest', max_staleness = '90500ms' }",
            5,
            "listener[0].read_preference",
            "whole seconds",
        ),
        (
            "[[listener]]\n[[listener]]\naddress = '127.0.0.1:27018'",
            6,
            "listener[1].address",
            "taken by listener[0]",
        ),
        (
            "[[listener]]\naddress = '127.0.0.1:1'\n[[listener]]\naddress = '0.0.0.0:1'",
            7,
            "listener[1].address",
            "taken by listener[0]",
        ),
        (
            "[admin]\naddress = '127.0.0.1:27018'",
            5,
            "admin.address",
            "taken by the listener on 127.0.0.1:27018",
        ),
        (
            "[admin]\naddress = '0.0.0.0:9218'",
            5,
            "admin.address",
            "name a file with a bearer token as token_file",
        ),
        (
            "[admin]\naddress = '0.0.0.0:9218'\n[admin.tls]",
            5,
            "admin.address",
            "nothing says who may ask and act there",
        ),
        (
            "[admin.tls]\nclient_ca = '/nonexistent/ca.pem'",
            4,
            "admin.tls.certificate",
            "is missing",
        ),
        (
            "[admin.tls]\ncertificate = '/nonexistent/server.pem'",
            5,
            "admin.tls.certificate",
            "cannot be read",
        ),
        (
            "[admin]\ntoken = 'short'",
            5,
            "admin.token",
            "at least 16 characters",
        ),
        (
            "[admin]\ntoken_file = '/nonexistent/token'",
            5,
            "admin.token_file",
            "cannot read /nonexistent/token",
        ),
        (
            "[admin]\ntoken = 'sixteen-letters-and-more'\ntoken_file = '/x'",
            6,
            "admin.token_file",
            "token is given too",
        ),
        (
            "[admin]\ntoken = 'sixteen-letters-and-more'\nread_token = 'sixteen-letters-and-more'",
            6,
            "admin.read_token",
            "is the same as the token",
        ),
        ("[admin]\naddress = 'on'", 5, "admin.address", "or \"off\""),
        ("[log]\nlevel = 'inof'", 5, "log.level", "\"inof\" is no level"),
        (
            "[log]\nformat = 'xml'",
            5,
            "log.format",
            "must be \"auto\" or \"text\" or \"json\"",
        ),
    ] {
        holds_one_mistake(text, line, key, says);
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[upstream]\nuri = 'mongodb://a:0,b:x/?tls=true'\n[pool]\nmax_size = 'x'\nmin_size = 200\n[admin]\naddres = 'off'\n";
    let found = mistakes(text, &[("TIDEGATE_POOL__MAX_CONNECTING", "none")]);
    let heads: Vec<_> = found
        .iter()
        .map(|mistake| mistake.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        heads,
        [
            "proxy.toml:2: upstream.uri",
            "proxy.toml:2: upstream.uri",
            "proxy.toml:4: pool.max_size",
            "proxy.toml:7: admin.addres",
            "TIDEGATE_POOL__MAX_CONNECTING: must be a number from 1 to 1000000, not \"none\"",
        ]
    );
}

#[test]
fn faults_of_syntax_have_their_line_and_do_not_hide_other_mistakes() {
    let found = mistakes(
        "[upstream]\nuri = 'mongodb://a'\n[pool]\nmax_size = = 5\nmin_size = 'x'\n[log]\nlevel = 'loud'\nlevel = 'info'",
        &[],
    );
    let lines: Vec<_> = found
        .iter()
        .map(|mistake| mistake.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["4", "5", "7", "8"], "{found:?}");
}

#[test]
fn every_known_key_is_read_and_its_type_checked() {
    for section in SECTIONS {
        let header = if section.name == "listener.tls" {
            "[[listener]]\n[listener.tls]".to_owned()
        } else if section.repeated {
            format!("[[{}]]", section.name)
        } else {
            format!("[{}]", section.name)
        };
        for key in section.keys {
            let before = match (section.name, *key) {
                ("upstream", "uri" | "uri_file") => format!("{header}\n"),
                ("upstream", _) => URI.to_owned(),
                _ => format!("{URI}{header}\n"),
            };
            let found = mistakes(&format!("{before}{key} = 1979-05-27"), &[]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains(key) && !found[0].contains("no such key"),
                "{found:?}"
            );
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let error = Loader::new().file(&missing).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read ") && error.contains("missing.toml"),
        "{error}"
    );
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"[pool]\nmax_size = 5 # \xff").unwrap();
    let error = Loader::new().file(&binary).unwrap_err().to_string();
    assert!(error.ends_with("binary.toml:2: is not valid UTF-8"), "{error}");
}
