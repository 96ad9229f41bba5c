//! The form of each line.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::event::*;

fn told(event: &Event<'_>) -> Value {
    let line = event.line(UNIX_EPOCH + Duration::from_millis(1_000_000_000_250));
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let mut value: Value = serde_json::from_slice(&line).unwrap();
    let time = value.as_object_mut().unwrap().remove("time").unwrap();
    assert_eq!(time, "2001-09-09T01:46:40.250Z");
    value
}

fn origin() -> Origin<'static> {
    Origin {
        address: Some("10.0.0.9:4711".parse().unwrap()),
        listener: &"127.0.0.1:27018",
    }
}

#[test]
fn every_event_is_one_line_of_json() {
    let user = User::new("ann", "admin");
    let from = json!({"address": "10.0.0.9:4711", "listener": "127.0.0.1:27018"});
    let with = |fields: Value| {
        let mut all = from.clone();
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        all
    };
    let table = [
        (
            Event::Login {
                origin: origin(),
                user,
                mechanism: "SCRAM-SHA-256".into(),
            },
            with(json!({"event": "login", "user": "ann", "database": "admin", "mechanism": "SCRAM-SHA-256"})),
        ),
        (
            Event::LoginRefused {
                origin: origin(),
                user: None,
                mechanism: "X".into(),
                reason: LoginRefusal::Mechanism,
            },
            with(
                json!({"event": "login refused", "user": null, "database": null, "mechanism": "X", "reason": "mechanism"}),
            ),
        ),
        (
            Event::Logout {
                origin: origin(),
                user,
            },
            with(json!({"event": "logout", "user": "ann", "database": "admin"})),
        ),
        (
            Event::CommandDenied {
                origin: origin(),
                user: Some(user),
                command: b"insert"[..].into(),
                database: b"shop"[..].into(),
                rule: Rule::ReadOnly,
            },
            with(
                json!({"event": "command denied", "user": "ann", "database": "admin", "command": "insert", "on": "shop",
                        "rule": "read_only"}),
            ),
        ),
        (
            Event::ConnectionRefused { origin: origin() },
            with(json!({"event": "connection refused", "rule": "allow_networks"})),
        ),
        (
            Event::AdminAction {
                address: None,
                action: "/pause",
                subject: None,
                changed: true,
            },
            json!({"event": "admin action", "address": "unix", "action": "/pause", "changed": true}),
        ),
        (
            Event::AdminAction {
                address: None,
                action: "/clients/{id}/kill",
                subject: Some("7"),
                changed: true,
            },
            json!({
                "event": "admin action", "address": "unix", "action": "/clients/{id}/kill", "subject": "7", "changed": true
            }),
        ),
        (
            Event::AdminRefused {
                address: None,
                path: "/x".into(),
                reason: AdminRefusal::WrongToken,
            },
            json!({"event": "admin refused", "address": "unix", "path": "/x", "reason": "wrong token"}),
        ),
    ];
    for (event, expected) in table {
        assert_eq!(told(&event), expected);
    }
}

#[test]
fn a_clock_that_is_far_off_is_no_reason_to_fail() {
    for now in [
        UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 1000),
        UNIX_EPOCH - Duration::from_secs(5),
    ] {
        assert_eq!(time(now), "1970-01-01T00:00:00.000Z");
    }
}

proptest! {
    #[test]
    fn names_are_bounded_and_cannot_break_a_line(name in prop::collection::vec(any::<u8>(), 0..2000)) {
        let shown = Name::from(&name[..]).to_string();
        prop_assert!(shown.chars().all(|character| !character.is_control()));
        prop_assert!(shown.len() <= 128 * 10 + 3);
        let event = Event::AdminRefused { address: None, path: name[..].into(), reason: AdminRefusal::NoToken };
        let told = told(&event);
        prop_assert_eq!(told["path"].as_str(), Some(&*shown));
    }
}
