//! The order of measurements: rounds interleave the peers, so that a slow minute of the machine hits all of them.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::calls::{Calls, Tracer};
use crate::children::{Core, Running};
use crate::driver;
use crate::load::Measured;
use crate::peers::{Peer, Started};
use crate::target::Target;
use crate::transport::Compressor;

/// The proxy has this core to itself.
pub(crate) const PROXY_CORE: Core = Core(0);
/// Load, backend or nodes, and tracer share this one.
pub(crate) const OTHER_CORE: Core = Core(1);
/// Where things run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The proxy.
    pub(crate) proxy: Core,
    /// Load and tracer.
    pub(crate) other: Core,
}

impl Cores {
    /// Whether all share one.
    pub(crate) fn is_one(self) -> bool {
        self.proxy == self.other
    }
}

/// The proxy alone on a core.
pub(crate) const PINNED: Cores = Cores {
    proxy: PROXY_CORE,
    other: OTHER_CORE,
};

/// Operations of a counting pass: strace slows a proxy some thirty times, so this takes a second or two.
const COUNTED_OPS: usize = 4_000;

/// How to measure.
pub(crate) struct Plan {
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) window_ms: u64,
    /// Whether system calls are counted, too.
    pub(crate) counts_calls: bool,
    pub(crate) cores: Cores,
    /// The program that drives the load in place of this one's sockets.
    pub(crate) driver: Option<PathBuf>,
}

/// What a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// A find by OP_MSG.
    Find,
    /// One of a document of 4 KiB.
    Text,
    /// One of 4,000 documents.
    BigFind,
    /// An update by OP_MSG.
    Update,
    /// A find by OP_QUERY.
    LegacyFind,
    /// An update by OP_UPDATE, and `getlasterror`.
    LegacyUpdate,
}

impl Work {
    fn argument(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Text => "text",
            Self::BigFind => "big-find",
            Self::Update => "update",
            Self::LegacyFind => "legacy-find",
            Self::LegacyUpdate => "legacy-update",
        }
    }
}

/// What a client does, and how it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doing {
    pub(crate) work: Work,
    /// Over TLS, with what this authority has certified.
    pub(crate) tls: Option<PathBuf>,
    pub(crate) compressor: Option<Compressor>,
    /// Logged in.
    pub(crate) login: bool,
}

impl From<Work> for Doing {
    fn from(work: Work) -> Self {
        Self {
            work,
            tls: None,
            compressor: None,
            login: false,
        }
    }
}

/// All that was measured of one peer at one number of clients.
pub(crate) struct Case {
    pub(crate) peer: Peer,
    pub(crate) doing: Doing,
    pub(crate) clients: usize,
    /// One entry per round.
    pub(crate) runs: Vec<Measured>,
    /// None for a peer without a process, and where calls are not counted.
    pub(crate) calls: Option<Calls>,
}

impl Case {
    pub(crate) fn new(peer: &Peer, doing: impl Into<Doing>, clients: usize) -> Self {
        Self {
            peer: peer.clone(),
            doing: doing.into(),
            clients,
            runs: Vec::new(),
            calls: None,
        }
    }
}

/// Carries out the plan; temporary files go to `folder`.
pub(crate) fn measure(mut plan: Plan, target: &Target, folder: &Path) -> Outcome<Vec<Case>> {
    let mut cases = std::mem::take(&mut plan.cases);
    for round in 1..=plan.rounds {
        for case in &mut cases {
            let name = case.peer.name().to_owned();
            let context = |e| format!("round {round}, {name}, {} clients: {e}", case.clients);
            let run = timed(case, &plan, target, folder).map_err(context)?;
            eprintln!(
                "round {round}: {name:>24} {:>13} {:>5} clients: {}",
                case.doing.work.argument(),
                case.clients,
                run.line()
            );
            case.runs.push(run);
        }
    }
    for case in cases.iter_mut().filter(|_| plan.counts_calls) {
        let name = case.peer.name();
        let context = |e| format!("counting calls, {name}, {} clients: {e}", case.clients);
        case.calls = counted(case, plan.cores, target, folder).map_err(context)?;
    }
    Ok(cases)
}

fn timed(case: &Case, plan: &Plan, target: &Target, folder: &Path) -> Outcome<Measured> {
    let cores = plan.cores;
    let started = case.peer.start(cores.proxy, target, case.clients, folder)?;
    let (warm_up, window) = (plan.warm_up_ms.to_string(), plan.window_ms.to_string());
    let more = ["--warm-up-ms", &warm_up, "--window-ms", &window];
    let mut load = match &plan.driver {
        Some(program) => {
            let peer = (&case.peer, &started);
            driver::start(program, cores.other, peer, case.clients, [&warm_up, &window])?
        }
        None => start_load(cores.other, &case.doing, case.clients, &started, &more)?,
    };
    load.tell("go")?;
    Ok(serde_json::from_str(&load.line()?)?)
}

fn counted(case: &Case, cores: Cores, target: &Target, folder: &Path) -> Outcome<Option<Calls>> {
    let started = case.peer.start(cores.proxy, target, case.clients, folder)?;
    let Some(pid) = started.pid() else { return Ok(None) };
    let ops = (COUNTED_OPS / case.clients).max(4).to_string();
    let more = ["--ops-per-client", &ops];
    let mut load = start_load(cores.other, &case.doing, case.clients, &started, &more)?;
    let tracer = Tracer::attach(pid, cores.other, folder)?;
    load.tell("go")?;
    load.line()?;
    let ops = ops.parse::<u64>()? * case.clients as u64;
    let calls = tracer.detach(ops)?;
    load.tell("end")?;
    let measured: Measured = serde_json::from_str(&load.line()?)?;
    if measured.ops != ops {
        return Err(format!("{ops} operations were asked, {} done", measured.ops).into());
    }
    Ok(Some(calls))
}

/// Starts the load and waits until it is warm.
pub(crate) fn start_load(
    core: Core,
    doing: &Doing,
    clients: usize,
    peer: &Started,
    more: &[&str],
) -> Outcome<Running> {
    let (clients, port) = (clients.to_string(), peer.port.to_string());
    let watched = peer.pid().map(|pid| pid.to_string());
    let tls = doing.tls.as_ref().map(|path| path.display().to_string());
    let mut arguments = vec!["load", "--clients", &clients, "--port", &port];
    if let Some(pid) = &watched {
        arguments.extend(["--watch", pid]);
    }
    if let Some(tls) = &tls {
        arguments.extend(["--tls", tls]);
    }
    if let Some(compressor) = doing.compressor {
        arguments.extend(["--compressor", compressor.name()]);
    }
    if doing.login {
        arguments.push("--login");
    }
    arguments.extend(["--work", doing.work.argument()]);
    arguments.extend(more);
    ready(Running::start_own(core, &arguments)?)
}

/// Waits until a child says that it is ready.
pub(crate) fn ready(mut child: Running) -> Outcome<Running> {
    match child.line()?.as_str() {
        "ready" => Ok(child),
        other => Err(format!("the load said {other:?} instead of ready").into()),
    }
}

impl Measured {
    /// CPU time of the watched process per operation, in microseconds.
    pub(crate) fn cpu_us_per_op(&self) -> Option<f64> {
        Some(self.cpu_seconds? * 1e6 / self.ops as f64)
    }

    /// That in its own code, without the kernel's.
    pub(crate) fn user_us_per_op(&self) -> Option<f64> {
        Some(self.user_seconds? * 1e6 / self.ops as f64)
    }

    /// Operations per second.
    pub(crate) fn ops_per_second(&self) -> Option<f64> {
        Some(self.ops as f64 / self.seconds)
    }

    fn line(&self) -> String {
        let cpu = self
            .cpu_us_per_op()
            .map(|us| format!(", {us:.1} µs CPU/op"))
            .unwrap_or_default();
        let ops = self.ops as f64 / self.seconds;
        format!(
            "{ops:.0} op/s{cpu}, p50 {:.0} µs, p99 {:.0} µs",
            self.p50_us, self.p99_us
        )
    }
}
