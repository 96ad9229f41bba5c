//! Valid messages with random damage: whatever comes back is well-formed and answers what was sent.
//!
//! `MUTATION_SEED` and `MUTATIONS` make other and longer runs.

use std::{io, sync::Arc};

use bson::{Document, doc};
use fastrand::Rng;
use tokio::io::AsyncWriteExt;

use super::{abuse, ping, proxy};
use crate::support::{
    Proxy,
    compressed::{SNAPPY, ZLIB, ZSTD, wrap},
    raw::{CHECKSUM_PRESENT, MORE_TO_COME, Raw, Reply, body_section, msg, query, sequence_section},
};

const AT_ONCE: u64 = 16;
const ID: i32 = 0x0a0b_0c0d;
const PROBE: i32 = 0x7fff_0001;

#[test]
fn damaged_messages_harm_nobody_else() {
    let variable = |name, default| std::env::var(name).map_or(default, |v: String| v.parse().unwrap());
    let seed: u64 = variable("MUTATION_SEED", 20_261_107);
    let count: u64 = variable("MUTATIONS", 4000);
    println!("seed {seed}");
    let proxy = proxy("");
    let (replied, closed) = abuse(&proxy, run(&proxy, seed, count));
    println!("{replied} replied, {closed} closed");
    assert!(
        replied > count / 10 && closed > count / 100,
        "seed {seed}: the damage is one-sided"
    );
    let status = proxy.status();
    for node in status["topology"]["nodes"].as_array().unwrap() {
        assert_eq!(node["pool"]["in_use"], 0, "seed {seed}: {status:#}");
    }
    let (status, log) = proxy.stop();
    assert!(
        status.success() && !log.contains("panicked"),
        "seed {seed}: {status}\n{log}"
    );
}

async fn run(proxy: &Proxy, seed: u64, count: u64) -> (u64, u64) {
    let address: Arc<str> = proxy.address.to_string().into();
    let tasks = (0..AT_ONCE).map(|task| {
        let address = Arc::clone(&address);
        tokio::spawn(async move {
            let mut counts = (0, 0);
            for number in (task..count).step_by(AT_ONCE as usize) {
                let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
                let message = damaged(&mut rng);
                match judge(&address, &message).await {
                    Ok(true) => counts.0 += 1,
                    Ok(false) => counts.1 += 1,
                    Err(error) => panic!("seed {seed}, number {number}: {error}\n{message:02x?}"),
                }
            }
            counts
        })
    });
    let mut sum = (0, 0);
    for task in tasks.collect::<Vec<_>>() {
        let counts: (u64, u64) = task.await.unwrap();
        sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    sum
}

/// Sends a message and a ping behind it, and checks all that comes back; whether the ping was answered.
async fn judge(address: &str, message: &[u8]) -> io::Result<bool> {
    let mut raw = Raw::connect(address).await?;
    let claimed = message.first_chunk().map_or(0, |raw| i32::from_le_bytes(*raw));
    let framed = usize::try_from(claimed).is_ok_and(|claimed| claimed == message.len());
    let sent = raw
        .send(&[message, &msg(PROBE, 0, &[body_section(&ping())])].concat())
        .await;
    if !framed && sent.is_ok() {
        // What is behind a wrong length may be a message that never ends.
        let _ = raw.stream.shutdown().await;
    }
    let id = message
        .get(4..8)
        .map_or(ID, |id| i32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    let mut replies: Vec<Reply> = Vec::new();
    loop {
        match raw.receive().await {
            Ok(Some(reply)) if reply.response_to == PROBE && framed => return Ok(true),
            Ok(Some(reply)) if framed && (reply.response_to != id || !replies.is_empty()) => {
                return Err(io::Error::other(format!(
                    "an unasked reply: {reply:?} {replies:?}"
                )));
            }
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn damaged(rng: &mut Rng) -> Vec<u8> {
    let message = valid(rng);
    let mut message = wrapped(rng, message);
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..message.len());
        match rng.u32(..10) {
            0..=4 => message[at] = rng.u8(..),
            5 => message[at] ^= 1 << rng.u32(..8),
            6 => {
                let end = (at + rng.usize(1..8)).min(message.len());
                message.drain(at..end);
            }
            7 => message.insert(at, rng.u8(..)),
            8 => {
                let value = rng.choice([0, -1, 4, 5, i32::MAX, i32::MIN, 48_000_001]).unwrap();
                let end = (at + 4).min(message.len());
                message[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            _ => message.truncate(at.max(16).min(message.len())),
        }
        if message.is_empty() {
            return message;
        }
    }
    // Most get their frame back, so that the damage reaches further in.
    if rng.u32(..10) != 0 && message.len() >= 16 {
        let length = message.len() as i32;
        message[..4].copy_from_slice(&length.to_le_bytes());
        if rng.bool() {
            message[12..16].copy_from_slice(&2013i32.to_le_bytes());
        }
    }
    wrapped(rng, message)
}

fn valid(rng: &mut Rng) -> Vec<u8> {
    let commands = [
        doc! {"find": "c", "filter": {"a": {"$gt": 1}, "b": "x"}, "limit": 1, "maxTimeMS": 1000, "$db": "bad"},
        doc! {"aggregate": "c", "pipeline": [{"$match": {"a": 1}}], "cursor": {}, "$db": "bad",
        "$readPreference": {"mode": "nearest", "tags": [{}]}, "readConcern": {"level": "local"}},
        doc! {"getMore": 77i64, "collection": "c", "$db": "bad"},
        doc! {"killCursors": "c", "cursors": [5i64, 6i64], "$db": "bad"},
        doc! {"hello": 1, "helloOk": true, "client": {"driver": {"name": "d", "version": "1"}}, "$db": "admin"},
        doc! {"update": "c", "updates": [{"q": {"_id": 1}, "u": {"$set": {"a": 1}}}], "$db": "bad",
        "lsid": {"id": bson::Uuid::from_bytes([7; 16])}},
    ];
    let command = rng.choice(&commands).unwrap();
    match rng.u32(..8) {
        0 => msg(ID, CHECKSUM_PRESENT, &[body_section(command)]),
        1 => msg(ID, MORE_TO_COME, &[body_section(command)]),
        2 => {
            let mut command: Document = command.clone();
            command.remove("$db");
            query(ID, "bad.$cmd", &command)
        }
        3 | 4 => {
            let documents = [doc! {"a": 1, "b": [1, 2]}, doc! {"c": "text"}];
            let body = doc! {"insert": "c", "ordered": false, "$db": "bad"};
            msg(
                ID,
                0,
                &[body_section(&body), sequence_section("documents", &documents)],
            )
        }
        _ => msg(ID, 0, &[body_section(command)]),
    }
}

/// A message as it is or by one of the compressors; damage hits it before that or after.
fn wrapped(rng: &mut Rng, message: Vec<u8>) -> Vec<u8> {
    match rng.u32(..6) {
        0 if message.len() > 16 => wrap(rng.choice([SNAPPY, ZLIB, ZSTD]).unwrap(), &message),
        _ => message,
    }
}
