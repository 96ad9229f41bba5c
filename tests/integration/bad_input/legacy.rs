//! Malformed messages of the legacy opcodes: refused, by an error if they have a reply, else by closing the connection, and the
//! log says why; nobody else notices.

use bson::{Document, doc};
use fastrand::Rng;

use super::{Outcome, abuse, logged, proxy, send, send_and_end};
use crate::support::{
    legacy_client::{
        self as legacy, OP_DELETE, OP_GET_MORE, OP_INSERT, OP_KILL_CURSORS, OP_QUERY, OP_UPDATE, Query,
    },
    raw::{Raw, body_section, frame, msg},
};

/// The code of documents that cannot be read; an OP_QUERY can be told so.
const INVALID_BSON: i64 = 22;
const DAMAGED: u32 = 1500;
const AT_ONCE: u32 = 8;

fn find(flags: i32, namespace: &str) -> Vec<u8> {
    Query {
        flags,
        namespace: namespace.to_owned(),
        skip: 0,
        to_return: 1,
        query: doc! {"a": 1},
        fields: Some(doc! {"a": 1}),
    }
    .payload()
}

/// One valid payload of each opcode that has one.
fn valid() -> Vec<(&'static str, i32, Vec<u8>)> {
    let (one, change) = (doc! {"_id": 1, "a": "text"}, doc! {"$set": {"a": 2}});
    vec![
        ("OP_QUERY", OP_QUERY, find(0, "bad.legacy")),
        (
            "OP_QUERY command",
            OP_QUERY,
            Query::command("bad", doc! {"count": "legacy"}).payload(),
        ),
        ("OP_GET_MORE", OP_GET_MORE, legacy::get_more("bad.legacy", 2, 99)),
        (
            "OP_KILL_CURSORS",
            OP_KILL_CURSORS,
            legacy::kill_cursors(2, &[98, 99]),
        ),
        (
            "OP_INSERT",
            OP_INSERT,
            legacy::insert(0, "bad.legacy", &[one.clone(), doc! {}]),
        ),
        (
            "OP_UPDATE",
            OP_UPDATE,
            legacy::update(1, "bad.legacy", &one, &change),
        ),
        ("OP_DELETE", OP_DELETE, legacy::delete(1, "bad.legacy", &one)),
    ]
}

/// A document whose length is overwritten.
fn lying(length: i32) -> Vec<u8> {
    let mut document = doc! {"a": 1}.to_vec().unwrap();
    document[..4].copy_from_slice(&length.to_le_bytes());
    document
}

fn start(number: i32, namespace: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes(), namespace].concat()
}

fn malformed() -> Vec<(String, i32, Vec<u8>)> {
    let mut cases = Vec::new();
    let mut add = |name: &str, op_code, payload: Vec<u8>| cases.push((name.to_owned(), op_code, payload));
    for bit in [0, 8, 31] {
        add(
            &format!("OP_QUERY flag bit {bit}"),
            OP_QUERY,
            find(1 << bit, "bad.legacy"),
        );
    }
    let one = doc! {"a": 1};
    for bit in [1, 31] {
        let flags = 1 << bit;
        add(
            &format!("OP_INSERT flag bit {bit}"),
            OP_INSERT,
            legacy::insert(flags, "bad.legacy", std::slice::from_ref(&one)),
        );
        add(
            &format!("OP_DELETE flag bit {bit}"),
            OP_DELETE,
            legacy::delete(flags, "bad.legacy", &one),
        );
    }
    add(
        "OP_UPDATE flag bit 2",
        OP_UPDATE,
        legacy::update(1 << 2, "bad.legacy", &one, &one),
    );
    for (name, namespace) in [
        ("without an end", &b"bad.legacy"[..]),
        ("without a dot", b"bad\0"),
        ("not UTF-8", b"bad.\xff\xfe\0"),
    ] {
        let numbers = [0; 8];
        let body = one.to_vec().unwrap();
        for (op_code, rest) in [
            (OP_QUERY, [&numbers[..], &body].concat()),
            (OP_INSERT, body.clone()),
            (OP_UPDATE, [&numbers[..4], &body, &body].concat()),
            (OP_DELETE, [&numbers[..4], &body].concat()),
            (OP_GET_MORE, vec![0; 12]),
        ] {
            // What follows must not end the name for it.
            let rest = if namespace.ends_with(&[0]) {
                rest
            } else {
                Vec::new()
            };
            add(
                &format!("opcode {op_code}, namespace {name}"),
                op_code,
                [start(0, namespace), rest].concat(),
            );
        }
    }
    for length in [0, 4, -1, i32::MIN, 11, 13, 100, i32::MAX] {
        let head = |flags: usize| [start(0, b"bad.legacy\0"), vec![0; flags]].concat();
        for (op_code, flags) in [(OP_QUERY, 8), (OP_INSERT, 0), (OP_DELETE, 4)] {
            add(
                &format!("opcode {op_code}, document of length {length}"),
                op_code,
                [head(flags), lying(length)].concat(),
            );
        }
        let documents = [one.to_vec().unwrap(), lying(length)].concat();
        add(
            &format!("OP_INSERT, second document of length {length}"),
            OP_INSERT,
            [head(0), documents.clone()].concat(),
        );
        add(
            &format!("OP_UPDATE, second document of length {length}"),
            OP_UPDATE,
            [head(4), documents].concat(),
        );
    }
    cases
}

#[test]
fn a_malformed_legacy_message_is_refused() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let refuse = async |name: &str, op_code: i32, payload: &[u8]| {
            let (outcome, client) = send(&address, &frame(7, op_code, payload)).await;
            match outcome {
                Outcome::Closed => logged(&proxy, client, "protocol").await,
                Outcome::Replied(reply) => assert!(
                    op_code == OP_QUERY && !reply.ok() && reply.code() == INVALID_BSON,
                    "{name}: {reply:?}"
                ),
                Outcome::Ignored => panic!("{name} is overlooked"),
            }
        };
        for (name, op_code, payload) in malformed() {
            refuse(&name, op_code, &payload).await;
        }
        // Cut off anywhere, in a frame that is whole; or with something behind it.
        for (name, op_code, payload) in valid() {
            if op_code == OP_KILL_CURSORS {
                continue;
            }
            for length in (0..payload.len()).step_by(3) {
                refuse(&format!("{length} bytes of {name}"), op_code, &payload[..length]).await;
            }
            refuse(
                &format!("{name} and a byte"),
                op_code,
                &[&payload[..], &[1]].concat(),
            )
            .await;
        }
        for op_code in [0, 1000, 2003, 2008, 2009, 2014, i32::MAX, i32::MIN] {
            refuse(&format!("opcode {op_code}"), op_code, &find(0, "bad.legacy")).await;
        }
    });
}

#[test]
fn cursors_that_do_not_add_up_are_overlooked() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let table = [
            (0, 0),
            (0, 1),
            (1, 0),
            (2, 1),
            (1, 2),
            (-1, 1),
            (i32::MAX, 1),
            (i32::MIN, 0),
        ];
        for (count, held) in table {
            let payload = legacy::kill_cursors(count, &[7, 8][..held]);
            for cut in 0..4 {
                let (outcome, _) = send(
                    &address,
                    &frame(7, OP_KILL_CURSORS, &payload[..payload.len() - cut]),
                )
                .await;
                assert_eq!(
                    outcome,
                    Outcome::Ignored,
                    "{count} that are {held}, {cut} bytes short"
                );
            }
        }
    });
}

#[test]
fn a_legacy_message_that_breaks_off_is_not_executed() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let insert = legacy::insert(0, "bad.broken_off", &[doc! {"_id": 1}, doc! {"_id": 2}]);
        let message = frame(7, OP_INSERT, &insert);
        for sent in [16, 20, message.len() / 2, message.len() - 1] {
            let (outcome, client) = send_and_end(&address, &message[..sent]).await;
            assert_eq!(outcome, Outcome::Closed, "{sent} bytes");
            logged(&proxy, client, "truncated").await;
        }
        let count = msg(7, 0, &[body_section(&doc! {"count": "broken_off", "$db": "bad"})]);
        let (outcome, _) = send(&address, &count).await;
        assert_eq!(outcome.reply().body.get_i32("n").ok(), Some(0), "{outcome:?}");
    });
}

/// What a damaged insert wrote could be anything, but the connection that comes next is served.
#[test]
fn damaged_legacy_messages_harm_nobody_else() {
    let seed = std::env::var("MUTATION_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let proxy = proxy("");
    let (alive, closed) = abuse(&proxy, async {
        let address = proxy.address.to_string();
        let tasks = (0..AT_ONCE).map(|task| {
            let address = address.clone();
            tokio::spawn(async move {
                let mut alive = 0;
                let mut rng = Rng::with_seed(seed + u64::from(task));
                for number in 0..DAMAGED / AT_ONCE {
                    let message = damaged(&mut rng);
                    let lives = survives(&address, &message).await;
                    let lives =
                        lives.unwrap_or_else(|e| panic!("seed {seed}, {task}.{number}: {e}: {message:02x?}"));
                    alive += u32::from(lives);
                }
                alive
            })
        });
        let mut alive = 0;
        for task in tasks.collect::<Vec<_>>() {
            alive += task.await.unwrap();
        }
        (alive, DAMAGED - alive)
    });
    println!("{alive} alive, {closed} closed");
    assert!(
        alive > DAMAGED / 20 && closed > DAMAGED / 20,
        "seed {seed}: the damage is one-sided"
    );
    let status = proxy.status();
    for node in status["topology"]["nodes"].as_array().unwrap() {
        assert_eq!(node["pool"]["in_use"], 0, "seed {seed}: {status:#}");
    }
}

/// Whether the connection still answers after the message, whose frame is whole.
async fn survives(address: &str, message: &[u8]) -> std::io::Result<bool> {
    const PROBE: i32 = 0x7fff_0001;
    let ping: Document = doc! {"ping": 1, "$db": "admin"};
    let mut raw = Raw::connect(address).await?;
    // A peer that closes early may reset what is still on its way.
    let _ = raw
        .send(&[message, &msg(PROBE, 0, &[body_section(&ping)])].concat())
        .await;
    loop {
        match raw.receive_any().await {
            Ok(Some(response_to)) if response_to == PROBE => return Ok(true),
            // The answer to the message itself.
            Ok(Some(_)) => {}
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// A valid message, a few bytes of which are others, in a frame that is whole.
fn damaged(rng: &mut Rng) -> Vec<u8> {
    let all = valid();
    let (_, op_code, mut payload) = all[rng.usize(..all.len())].clone();
    for _ in 0..rng.usize(1..3) {
        let at = rng.usize(..payload.len());
        match rng.u32(..8) {
            0..=2 => payload[at] = rng.u8(..),
            3 => payload[at] ^= 1 << rng.u32(..8),
            4 => drop(payload.drain(at..(at + rng.usize(1..6)).min(payload.len()))),
            5 => payload.insert(at, rng.u8(..)),
            6 => {
                let end = (at + 4).min(payload.len());
                let value = rng.choice([0, -1, 4, 5, i32::MAX, i32::MIN]).unwrap();
                payload[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            _ => payload.truncate(at),
        }
        if payload.is_empty() {
            break;
        }
    }
    frame(0x0a0b_0c0d, op_code, &payload)
}
