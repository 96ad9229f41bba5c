//! Compressed messages that lie: they cost their sender its connection, and nobody any memory.

use std::fs;

use bson::doc;

use super::{Outcome, abuse, logged, ping, proxy, send};
use crate::support::{
    Proxy,
    compressed::{NOOP, OP_COMPRESSED, SNAPPY, ZLIB, ZSTD, compress, wrap, wrap_as},
    raw::{body_section, frame, msg},
};

/// The most bytes that the payload of a message may take.
const LARGEST: i32 = 48_000_000 - 16;

#[test]
fn a_message_that_does_not_inflate_as_announced_closes_the_connection_and_the_log_says_why() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        for (name, bytes, why) in lies() {
            let (outcome, client) = send(&address, &bytes).await;
            assert_eq!(outcome, Outcome::Closed, "{name}");
            logged(&proxy, client, why).await;
        }
    });
}

/// What is refused, and what the log says of it.
fn lies() -> Vec<(String, Vec<u8>, &'static str)> {
    let good = msg(
        7,
        0,
        &[body_section(
            &doc! {"ping": 1, "tide": "~".repeat(100_000), "$db": "admin"},
        )],
    );
    let payload = &good[16..];
    let size = payload.len() as i32;
    let mut lies = vec![
        (
            "unknown compressor".to_owned(),
            wrap_as(4, &good, size, payload),
            "unknown compressor 4",
        ),
        (
            "last compressor".to_owned(),
            wrap_as(255, &good, size, payload),
            "unknown compressor 255",
        ),
        ("noop".to_owned(), wrap(NOOP, &good), "noop are not taken here"),
    ];
    for compressor in [SNAPPY, ZLIB, ZSTD] {
        let wrapped = wrap(compressor, &good);
        let compressed = compress(compressor, payload);
        let cut_off = &compressed[..compressed.len() - 5];
        let mut opcode = wrapped.clone();
        opcode[16..20].copy_from_slice(&2014_i32.to_le_bytes());
        let table = [
            (
                "nested",
                wrap(compressor, &wrapped),
                "OP_COMPRESSED within OP_COMPRESSED",
            ),
            ("unknown opcode", opcode, "unknown opcode 2014"),
            ("only an envelope", wrapped[..25].to_vec(), "announces"),
            (
                "cut in its envelope",
                frame(7, OP_COMPRESSED, &wrapped[16..24]),
                "truncated in OP_COMPRESSED",
            ),
            (
                "negative size",
                wrap_as(compressor, &good, -1, &compressed),
                "announces -1",
            ),
            (
                "above the limit",
                wrap_as(compressor, &good, LARGEST + 1, &compressed),
                "announces 47999985",
            ),
            (
                "largest size",
                wrap_as(compressor, &good, i32::MAX, &compressed),
                "announces 2147483647",
            ),
            (
                "one byte more",
                wrap_as(compressor, &good, size + 1, &compressed),
                "does not inflate to",
            ),
            (
                "one byte less",
                wrap_as(compressor, &good, size - 1, &compressed),
                "does not inflate to",
            ),
            (
                "no size",
                wrap_as(compressor, &good, 0, &compressed),
                "does not inflate to",
            ),
            (
                "cut off",
                wrap_as(compressor, &good, size, cut_off),
                "does not inflate to",
            ),
            (
                "noise",
                wrap_as(compressor, &good, 4000, &[0xa5; 3000]),
                "does not inflate to",
            ),
        ];
        lies.extend(table.map(|(name, bytes, why)| {
            let mut bytes = bytes;
            let length = bytes.len() as i32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            (format!("{compressor}: {name}"), bytes, why)
        }));
    }
    lies
}

#[test]
fn bombs_take_no_memory_beyond_what_they_announce() {
    let proxy = proxy("");
    let good = msg(7, 0, &[body_section(&ping())]);
    let sea = vec![0; LARGEST as usize];
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let before = peak(&proxy);
        for compressor in [SNAPPY, ZLIB, ZSTD] {
            let bomb = compress(compressor, &sea);
            assert!(bomb.len() < 3_000_000, "{}", bomb.len());
            for announced in [100, 1 << 20] {
                let (outcome, _) = send(&address, &wrap_as(compressor, &good, announced, &bomb)).await;
                assert_eq!(outcome, Outcome::Closed, "{compressor}: {announced}");
            }
        }
        // Little that claims to be much is not even read on; of zstd it might be true.
        for (compressor, why) in [
            (SNAPPY, "announces 47999984"),
            (ZLIB, "announces 47999984"),
            (ZSTD, "does not inflate to"),
        ] {
            let little = compress(compressor, &[0xa5; 1000]);
            let little = little.repeat(2000 / little.len() + 1);
            let (outcome, client) = send(&address, &wrap_as(compressor, &good, LARGEST, &little)).await;
            assert_eq!(outcome, Outcome::Closed, "{compressor}");
            logged(&proxy, client, why).await;
        }
        let grown = peak(&proxy) - before;
        assert!(grown < 24 << 20, "{grown} bytes");
    });
}

/// The most memory that the proxy has had so far, in bytes.
fn peak(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}
