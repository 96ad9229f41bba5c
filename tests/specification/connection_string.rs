//! The tests of the Connection String and URI Options specifications, and of the connection strings in the Read and Write
//! Concern specification.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tidegate::config::uri::{self, ConnectionString, Host, Options, Secret, Value};

use super::report::run_cases;

#[test]
fn connection_string() {
    run_cases("connection_string", &[], |_, case| judge(case));
}

#[test]
fn uri_options() {
    run_cases("uri_options", &[], |_, case| judge(case));
}

/// Whether a string is taken, whether there is a warning, and what was read; `null` asserts nothing.
fn judge(case: &Json) {
    let text = case["uri"].as_str().unwrap();
    let parsed = match (uri::parse(text), case["valid"] == true) {
        (Ok(parsed), true) => parsed,
        (Err(_), false) => return,
        (Ok(_), false) => panic!("{text} was taken"),
        (Err(errors), true) => panic!("{text} was refused: {errors:?}"),
    };
    if let Some(expected) = case["warning"].as_bool() {
        assert_eq!(
            !parsed.warnings.is_empty(),
            expected,
            "{text}: {:?}",
            parsed.warnings
        );
    }
    if let Some(expected) = case["hosts"].as_array() {
        assert_eq!(parsed.hosts.len(), expected.len(), "{text}");
        let pairs = parsed.hosts.iter().zip(expected);
        pairs.for_each(|(host, expected)| judge_host(host, expected));
    }
    judge_user(&parsed, &case["auth"]);
    judge_options(&parsed.options, &case["options"]);
}

fn judge_host(host: &Host, expected: &Json) {
    let (kind, name, port) = match host {
        Host::Unix(path) => ("unix", path.as_str(), None),
        Host::Tcp(address) => {
            let name = address.host();
            let kind = match name.parse::<std::net::IpAddr>() {
                Ok(ip) if ip.is_ipv4() => "ipv4",
                Ok(_) => "ip_literal",
                Err(_) => "hostname",
            };
            (kind, name, Some(address.port()))
        }
    };
    assert_eq!(expected["host"], name);
    // To tell a socket without a folder from a host name is up to us: it ends in .sock.
    if !name.ends_with(".sock") || name.contains('/') {
        assert_eq!(expected["type"], kind, "{name}");
    }
    if !expected["port"].is_null() {
        assert_eq!(
            Some(expected["port"].as_u64().unwrap()),
            port.map(u64::from),
            "{name}"
        );
    }
}

fn judge_user(parsed: &ConnectionString, expected: &Json) {
    if expected.is_null() {
        return;
    }
    let user = parsed.user.as_ref();
    let shown = |secret: &Secret| secret.expose().to_owned();
    let found = [
        ("username", user.map(|user| shown(&user.username))),
        (
            "password",
            user.and_then(|user| user.password.as_ref().map(shown)),
        ),
        ("db", parsed.database.clone()),
    ];
    for (name, found) in found {
        assert_eq!(expected[name].as_str(), found.as_deref(), "{name}");
    }
}

/// Each expected option, under its name in whatever case.
pub(crate) fn judge_options(options: &Options, expected: &Json) {
    let mut found: BTreeMap<String, Json> = options
        .iter()
        .map(|(name, value)| (name.to_lowercase(), json_of(value)))
        .collect();
    if let Some(tls) = found.get("tls").cloned() {
        found.insert("ssl".to_owned(), tls);
    }
    for (name, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(found.get(&name.to_lowercase()), Some(value), "{name}");
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Secret(secret) => json!(secret.expose()),
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::List(names) => json!(names),
        Value::Properties(pairs) => pairs
            .iter()
            .map(|(name, value)| (name.clone(), json!(value.expose())))
            .collect(),
        Value::TagSets(sets) => sets
            .iter()
            .map(|set| {
                set.0
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)))
                    .collect::<Json>()
            })
            .collect(),
    }
}
