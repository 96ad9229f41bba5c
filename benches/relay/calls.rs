//! Counting a proxy's system calls: strace(1) stays attached while the load runs a fixed number of operations.
//!
//! Counts are exact, times under strace mean nothing and are thrown away. Attaching starts after the warm-up and
//! ends before any socket is closed, so that connects and closes are not in the counts. A proxy's monitors are: they
//! make a few calls per second.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Outcome;
use crate::children::{Core, Running, wait_until};

/// The calls that move bytes. Waiting (`epoll_wait`) and waking (`futex`, eventfd writes by `write`) are apart;
/// an eventfd `write` can't be told from a socket's here and counts as moving.
const MOVING: [&str; 12] = [
    "read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg", "sendmmsg",
    "splice", "sendfile",
];

/// System calls per operation.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Calls {
    /// Sends and receives, those that failed with EAGAIN included.
    pub(crate) moving: f64,
    /// All calls.
    pub(crate) all: f64,
    /// Each call by name.
    pub(crate) by_name: BTreeMap<String, f64>,
}

/// A strace that is attached to a process.
pub(crate) struct Tracer {
    strace: Running,
    summary: std::path::PathBuf,
}

impl Tracer {
    /// Attaches to `pid` and all its threads; strace runs on `core`.
    pub(crate) fn attach(pid: u32, core: Core, folder: &Path) -> Outcome<Self> {
        let summary = folder.join("strace.summary");
        let log = folder.join("strace.log");
        let pid = pid.to_string();
        let arguments: Vec<&OsStr> = [
            OsStr::new("-f"),
            OsStr::new("-c"),
            OsStr::new("-o"),
            summary.as_os_str(),
        ]
        .into_iter()
        .chain([OsStr::new("-p"), OsStr::new(&pid)])
        .collect();
        let mut strace = Running::start(core, OsStr::new("strace"), &arguments, Some(File::create(&log)?))?;
        wait_until(Duration::from_secs(10), "strace to attach", || {
            let text = std::fs::read_to_string(&log)?;
            if !strace.is_alive() {
                return Err(format!("strace could not attach to the proxy: {}", text.trim()).into());
            }
            Ok(text.contains("attached"))
        })?;
        Ok(Self { strace, summary })
    }

    /// Detaches and divides the counts by `ops`.
    pub(crate) fn detach(self, ops: u64) -> Outcome<Calls> {
        self.strace.interrupt()?;
        let counts = parse(&std::fs::read_to_string(&self.summary)?);
        if counts.is_empty() {
            return Err("strace counted nothing".into());
        }
        let by_name: BTreeMap<String, f64> = counts
            .into_iter()
            .map(|(name, count)| (name, count as f64 / ops as f64))
            .collect();
        let moving = by_name
            .iter()
            .filter(|(name, _)| MOVING.contains(&name.as_str()))
            .map(|(_, n)| n)
            .sum();
        Ok(Calls {
            moving,
            all: by_name.values().sum(),
            by_name,
        })
    }
}

/// Reads strace's table: `% time, seconds, usecs/call, calls, [errors,] syscall`, rules and a total.
fn parse(summary: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = *fields.last()?;
        let count = fields.get(3)?.parse().ok()?;
        (fields.len() >= 5 && name != "total").then(|| (name.to_owned(), count))
    };
    summary.lines().filter_map(row).collect()
}
