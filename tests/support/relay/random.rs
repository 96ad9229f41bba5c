//! Faults that meet chunks of bytes at random, wherever in a message they may be.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::sleep,
};

use super::Cut;

/// How far into a chunk it is cut to pieces: the header and the first fields are where a reader errs.
const SLICED: usize = 80;

/// Of every 10,000 chunks that pass in either direction, as many as a field says meet that fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Part of the chunk passes, then the connection is closed.
    pub(crate) close: u32,
    /// Part of the chunk passes, then the connection is reset.
    pub(crate) reset: u32,
    /// The chunk passes in small pieces with pauses.
    pub(crate) slice: u32,
    /// The chunk waits for up to 20 ms.
    pub(crate) delay: u32,
    /// The chunk waits for 100 to 400 ms, as if the network were gone for a moment.
    pub(crate) hold: u32,
}

/// What a relay did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) closed: u64,
    pub(crate) reset: u64,
    pub(crate) sliced: u64,
    pub(crate) delayed: u64,
    pub(crate) held: u64,
}

/// Counts for [`Done`], in its order.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; 5]);

impl Counts {
    pub(super) fn done(&self) -> Done {
        let [closed, reset, sliced, delayed, held] =
            [0, 1, 2, 3, 4].map(|fault: usize| self.0[fault].load(Relaxed));
        Done {
            closed,
            reset,
            sliced,
            delayed,
            held,
        }
    }
}

/// Writes a chunk, or meets a fault.
pub(super) async fn pass(
    to: &mut (impl AsyncWrite + Unpin),
    chunk: &[u8],
    faults: Faults,
    counts: &Counts,
    rng: &mut Rng,
) -> Result<(), Cut> {
    let mut draw = rng.u32(..10_000);
    let mut hits = |fault: usize, share: u32| {
        let hit = draw < share;
        draw = draw.wrapping_sub(share);
        if hit {
            counts.0[fault].fetch_add(1, Relaxed);
            draw = u32::MAX;
        }
        hit
    };
    if hits(0, faults.close) {
        let _ = to.write_all(&chunk[..rng.usize(..=chunk.len())]).await;
        return Err(Cut::Close);
    }
    if hits(1, faults.reset) {
        let _ = to.write_all(&chunk[..rng.usize(..=chunk.len())]).await;
        return Err(Cut::Reset);
    }
    if hits(2, faults.slice) {
        return slice(to, chunk, rng).await.map_err(|_| Cut::Reset);
    }
    if hits(3, faults.delay) {
        sleep(Duration::from_millis(rng.u64(1..=20))).await;
    }
    if hits(4, faults.hold) {
        sleep(Duration::from_millis(rng.u64(100..=400))).await;
    }
    to.write_all(chunk).await.map_err(|_| Cut::Reset)
}

/// Writes the beginning in pieces of 1 to 16 bytes, each a segment of its own, and then the rest.
async fn slice(to: &mut (impl AsyncWrite + Unpin), mut chunk: &[u8], rng: &mut Rng) -> std::io::Result<()> {
    let mut left = SLICED;
    while !chunk.is_empty() && left > 0 {
        let count = rng.usize(1..=16).min(chunk.len());
        to.write_all(&chunk[..count]).await?;
        chunk = &chunk[count..];
        left = left.saturating_sub(count);
        if rng.bool() {
            sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    to.write_all(chunk).await
}
