//! What clients cost while they do nothing, and what slow readers of large documents cost.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::certificates::Authority;
use crate::children::{Running, wait_until};
use crate::goals::{self, Goal};
use crate::idle::{self, Read};
use crate::measure::{Doing, OTHER_CORE, PROXY_CORE, Work, ready};
use crate::peers::{Peer, Started, Tidegate};
use crate::target::Target;
use crate::{Cli, Outcome, procfs, results};

/// Idle clients, and the connections to the node that they share.
const CLIENTS: usize = 5_000;
const CONNECTIONS: usize = 10;
/// A monitor has two connections of its own to each node.
const MONITORING: usize = 2;
/// How often the clients come and leave.
const WAVES: usize = 3;
/// KiB per idle client; what is measured is printed, and TLS sessions need their keys and buffers.
const PLAIN_KIB: f64 = 4.0;
const TLS_KIB: f64 = 10.0;
/// Of the first wave's memory, what the last may take.
const FLAT: f64 = 1.05;
/// From the last client's find to the reading, and from the last client's end.
const SETTLE: Duration = Duration::from_secs(2);

/// Slow readers, the bytes that each takes per second, and the pool that they share.
const READERS: usize = 300;
const RATE: usize = 4 << 20;
const READERS_POOL: usize = 40;
/// Readers beside them that stop reading, and for how long: longer than one may who keeps others waiting.
const STALLED: usize = 10;
const STALL_MS: u64 = 25_000;
/// `[limits] buffer_bytes`, in MiB: the least that is allowed.
const BUFFER_MIB: usize = 128;

/// What one peer took, in KiB of resident memory.
#[derive(Serialize)]
struct Idle {
    peer: String,
    clients: usize,
    /// Before the first client.
    empty: u64,
    /// Each time they were there, and each time they had left.
    full: Vec<u64>,
    left: Vec<u64>,
    /// Connections to the node while they were there.
    connections: usize,
}

impl Idle {
    fn per_client(&self) -> Option<f64> {
        let first = *self.full.first()?;
        Some((first as f64 - self.empty as f64) / self.clients as f64)
    }

    fn growth(&self) -> Option<f64> {
        Some(*self.full.last()? as f64 / *self.full.first()? as f64)
    }
}

/// What the slow readers took.
#[derive(Serialize)]
struct Readers {
    clients: usize,
    before_kib: u64,
    peak_kib: u64,
    after_kib: u64,
    read: Read,
    stalled: Read,
}

/// Measures both.
pub(crate) fn run(cli: &Cli) -> Outcome<ExitCode> {
    let target = Target::fixed(OTHER_CORE, cli.backend_port)?;
    let folder = results::folder()?;
    let authority = Authority::in_folder(folder.path().to_owned());
    let small = Tidegate {
        max_size: CONNECTIONS,
        ..Tidegate::new(&cli.binary()?)
    };
    let tls = small.clone().named("Tidegate, TLS").with_tls(&authority);
    let count = cli.clients.as_ref().map_or(CLIENTS, |counts| counts[0]);
    let mut measured = Vec::new();
    for (peer, secure) in [
        (Peer::Haproxy, false),
        (Peer::Tidegate(small.clone()), false),
        (Peer::Tidegate(tls), true),
    ] {
        let doing = Doing {
            tls: secure.then(|| authority.ca()),
            ..Work::Find.into()
        };
        let idle = idle(&peer, &doing, count, &target, folder.path())
            .map_err(|error| format!("{}: {error}", peer.name()))?;
        eprintln!("{}", serde_json::to_string(&idle)?);
        measured.push(idle);
    }
    let readers = slow_readers(cli, &small, &target, folder.path())?;
    eprintln!("{}", serde_json::to_string(&readers)?);
    let goals = goals_of(&measured, &readers);
    let about = results::provenance(cli.built()?)?;
    println!(
        "{}\n{}\n{}",
        table(&measured),
        sentence(&readers),
        goals::table(&goals)
    );
    results::write_json(
        "memory",
        &json!({ "about": about, "idle": measured, "readers": readers, "goals": goals }),
    )?;
    if cli.is_kept() {
        results::keep_page("memory", &page(&measured, &readers, &goals, &about))?;
    }
    Ok(cli.judge(&goals))
}

fn idle(peer: &Peer, doing: &Doing, count: usize, target: &Target, folder: &Path) -> Outcome<Idle> {
    let started = peer.start(PROXY_CORE, target, count, folder)?;
    let pid = started.pid().ok_or("a peer without a process")?;
    std::thread::sleep(SETTLE);
    let mut idle = Idle {
        peer: peer.name().to_owned(),
        clients: count,
        empty: procfs::resident_kib(pid)?,
        full: Vec::new(),
        left: Vec::new(),
        connections: 0,
    };
    for _ in 0..WAVES {
        let clients = wave(doing, count, &started)?;
        std::thread::sleep(SETTLE);
        idle.full.push(procfs::resident_kib(pid)?);
        idle.connections = idle.connections.max(procfs::connections_to(target.port)?);
        drop(clients);
        wait_until(Duration::from_secs(30), "the clients to leave", || {
            Ok(procfs::connections_to(started.port)? == 0)
        })?;
        std::thread::sleep(SETTLE);
        idle.left.push(procfs::resident_kib(pid)?);
    }
    Ok(idle)
}

/// Clients that have each done a find; they leave when this is dropped.
fn wave(doing: &Doing, count: usize, started: &Started) -> Outcome<Running> {
    let (clients, port) = (count.to_string(), started.port.to_string());
    let tls = doing.tls.as_ref().map(|path| path.display().to_string());
    let mut arguments = vec!["idle", "--clients", &clients, "--port", &port, "--work", "find"];
    if let Some(tls) = &tls {
        arguments.extend(["--tls", tls]);
    }
    ready(Running::start_own(OTHER_CORE, &arguments)?)
}

fn slow_readers(cli: &Cli, small: &Tidegate, target: &Target, folder: &Path) -> Outcome<Readers> {
    let peer = Peer::Tidegate(Tidegate {
        max_size: READERS_POOL,
        sections: format!("wait_timeout = \"10m\"\n[limits]\nbuffer_bytes = \"{BUFFER_MIB}MiB\""),
        ..small.clone()
    });
    let count = if cli.quick { READERS / 5 } else { READERS };
    let started = peer.start(PROXY_CORE, target, count, folder)?;
    let pid = started.pid().ok_or("a peer without a process")?;
    let before_kib = procfs::resident_kib(pid)?;
    let start =
        |clients, rate, stall: &[&str]| idle::start_slow(OTHER_CORE, started.port, clients, rate, stall);
    let stall = STALL_MS.to_string();
    let mut stalled = start(STALLED, 16 * RATE, &["--stall-ms", &stall])?;
    // The others come when these have what they hold.
    std::thread::sleep(SETTLE);
    let mut readers = start(count, RATE, &[])?;
    Ok(Readers {
        clients: count,
        before_kib,
        read: serde_json::from_str(&readers.line()?)?,
        stalled: serde_json::from_str(&stalled.line()?)?,
        peak_kib: procfs::peak_kib(pid)?,
        after_kib: procfs::resident_kib(pid)?,
    })
}

fn goals_of(measured: &[Idle], readers: &Readers) -> Vec<Goal> {
    let mut goals = Vec::new();
    for idle in measured.iter().filter(|idle| idle.peer.starts_with("Tidegate")) {
        let name = &idle.peer;
        let most = if name.ends_with("TLS") { TLS_KIB } else { PLAIN_KIB };
        goals.push(Goal::most(
            format!("{name}: KiB per idle client"),
            idle.per_client(),
            most,
        ));
        goals.push(Goal::most(
            format!("{name}: memory when the clients are there for the last time, of that at the first"),
            idle.growth(),
            FLAT,
        ));
        goals.push(Goal::most(
            format!("{name}: connections to the node, {MONITORING} of them for monitoring"),
            Some(idle.connections as f64),
            (CONNECTIONS + MONITORING) as f64,
        ));
    }
    let grown = (readers.peak_kib - readers.before_kib) as f64 / 1024.0;
    goals.push(Goal::most(
        format!(
            "{} slow readers of 16 MB: MiB at the peak, above what the proxy takes without them",
            readers.clients
        ),
        Some(grown),
        BUFFER_MIB as f64,
    ));
    goals.push(Goal::least(
        "slow readers who had all of their document, of all",
        Some(readers.read.whole as f64 / readers.clients as f64),
        1.0,
    ));
    goals.push(Goal::least(
        "readers who stopped while others waited and were disconnected, of all",
        Some(readers.stalled.closed as f64 / STALLED as f64),
        1.0,
    ));
    goals
}

fn table(measured: &[Idle]) -> String {
    let mut out = String::from(
        "| peer | clients | empty, MiB | full, MiB | left, MiB | KiB per client | connections to the node |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let mib = |all: &[u64]| {
        let all: Vec<String> = all
            .iter()
            .map(|kib| format!("{:.1}", *kib as f64 / 1024.0))
            .collect();
        all.join(", ")
    };
    for idle in measured {
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.2} | {} |",
            idle.peer,
            idle.clients,
            mib(&[idle.empty]),
            mib(&idle.full),
            mib(&idle.left),
            idle.per_client().unwrap_or_default(),
            idle.connections
        );
    }
    out
}

fn sentence(readers: &Readers) -> String {
    format!(
        "{} clients read a document of 16 MB each, at {} MiB/s, over {READERS_POOL} connections with `buffer_bytes = \"{BUFFER_MIB}MiB\"`: \
         the proxy took {:.1} MiB before, {:.1} MiB at the peak, {:.1} MiB afterwards; the last had its document after {:.0} s. {STALLED} more \
         took a part first and then nothing for {} s: {} of them were disconnected.\n",
        readers.clients,
        RATE >> 20,
        readers.before_kib as f64 / 1024.0,
        readers.peak_kib as f64 / 1024.0,
        readers.after_kib as f64 / 1024.0,
        readers.read.seconds,
        STALL_MS / 1_000,
        readers.stalled.closed
    )
}

fn page(measured: &[Idle], readers: &Readers, goals: &[Goal], about: &str) -> String {
    format!(
        "# What clients cost in memory\n\n\
         Written by `cargo bench --bench relay -- --memory`; edits are lost. {about}\n\n\
         {}\n{}\n{}\n\
         Each idle client has done `hello` and a find by `_id`. They come, leave and come again, {WAVES} times; memory is resident memory \
         (`VmRSS`), per client that of the first time less that of the empty proxy. A fixed-answer backend stands for the node. Tidegate \
         has one thread and a pool of {CONNECTIONS}; HAProxy, in TCP mode with one thread, has a connection to the node for each client. \
         Slow readers have sockets that hold little, so that what they have not read is with the proxy or the node.\n",
        table(measured),
        sentence(readers),
        goals::table(goals)
    )
}
