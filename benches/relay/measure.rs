//! The order of measurements: rounds interleave the peers, so that a slow minute of the machine hits all of them.

use std::path::Path;

use crate::Outcome;
use crate::calls::{Calls, Tracer};
use crate::children::{Core, Running};
use crate::load::Measured;
use crate::peers::Peer;

/// The proxy has this core to itself.
const PROXY_CORE: Core = Core(0);
/// Load, backend and tracer share this one.
const OTHER_CORE: Core = Core(1);
/// Operations of a counting pass: strace slows a proxy some thirty times, so this takes a second or two.
const COUNTED_OPS: usize = 4_000;

/// How to measure.
pub(crate) struct Plan {
    pub(crate) peers: Vec<Peer>,
    pub(crate) clients: Vec<usize>,
    /// What is done; each with every peer and number of clients.
    pub(crate) works: Vec<Work>,
    pub(crate) rounds: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) window_ms: u64,
}

/// What a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// A find by OP_MSG.
    Find,
    /// An update by OP_MSG.
    Update,
    /// The same find by OP_QUERY.
    LegacyFind,
    /// The same update by OP_UPDATE, and `getlasterror`.
    LegacyUpdate,
}

impl Work {
    fn argument(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Update => "update",
            Self::LegacyFind => "legacy-find",
            Self::LegacyUpdate => "legacy-update",
        }
    }
}

/// All that was measured of one peer at one number of clients.
pub(crate) struct Case {
    pub(crate) peer: Peer,
    pub(crate) work: Work,
    pub(crate) clients: usize,
    /// One entry per round.
    pub(crate) runs: Vec<Measured>,
    /// None for a peer without a process.
    pub(crate) calls: Option<Calls>,
}

/// The fixed-answer backend.
struct Backend {
    port: u16,
    _process: Running,
}

/// Carries out the plan; temporary files go to `folder`.
pub(crate) fn measure(plan: &Plan, folder: &Path) -> Outcome<Vec<Case>> {
    let mut process = Running::start_own(OTHER_CORE, &["backend"])?;
    let backend = Backend {
        port: process.line()?.parse()?,
        _process: process,
    };
    let mut cases: Vec<Case> = plan
        .clients
        .iter()
        .flat_map(|&clients| plan.peers.iter().map(move |peer| (clients, peer.clone())))
        .flat_map(|case| plan.works.iter().map(move |work| (case.clone(), *work)))
        .map(|((clients, peer), work)| Case {
            peer,
            work,
            clients,
            runs: Vec::new(),
            calls: None,
        })
        .collect();
    for round in 1..=plan.rounds {
        for case in &mut cases {
            let name = case.peer.name();
            let context = |e| format!("round {round}, {name}, {} clients: {e}", case.clients);
            let run = timed(case, plan, &backend, folder).map_err(context)?;
            eprintln!(
                "round {round}: {name:>13} {:>13} {:>5} clients: {}",
                case.work.argument(),
                case.clients,
                run.line()
            );
            case.runs.push(run);
        }
    }
    for case in &mut cases {
        let name = case.peer.name();
        let context = |e| format!("counting calls, {name}, {} clients: {e}", case.clients);
        case.calls = counted(case, &backend, folder).map_err(context)?;
    }
    Ok(cases)
}

fn timed(case: &Case, plan: &Plan, backend: &Backend, folder: &Path) -> Outcome<Measured> {
    let started = case.peer.start(PROXY_CORE, backend.port, case.clients, folder)?;
    let (warm_up, window) = (plan.warm_up_ms.to_string(), plan.window_ms.to_string());
    let more = ["--warm-up-ms", &warm_up, "--window-ms", &window];
    let mut load = start_load(case, started.port, started.pid(), &more)?;
    load.tell("go")?;
    Ok(serde_json::from_str(&load.line()?)?)
}

fn counted(case: &Case, backend: &Backend, folder: &Path) -> Outcome<Option<Calls>> {
    let started = case.peer.start(PROXY_CORE, backend.port, case.clients, folder)?;
    let Some(pid) = started.pid() else { return Ok(None) };
    let ops = (COUNTED_OPS / case.clients).max(4).to_string();
    let more = ["--ops-per-client", &ops];
    let mut load = start_load(case, started.port, Some(pid), &more)?;
    let tracer = Tracer::attach(pid, OTHER_CORE, folder)?;
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
fn start_load(case: &Case, port: u16, watch: Option<u32>, more: &[&str]) -> Outcome<Running> {
    let (clients, port) = (case.clients.to_string(), port.to_string());
    let watched = watch.map(|pid| pid.to_string());
    let mut arguments = vec!["load", "--clients", &clients, "--port", &port];
    if let Some(pid) = &watched {
        arguments.extend(["--watch", pid]);
    }
    arguments.extend(["--work", case.work.argument()]);
    arguments.extend(more);
    let mut load = Running::start_own(OTHER_CORE, &arguments)?;
    match load.line()?.as_str() {
        "ready" => Ok(load),
        other => Err(format!("the load said {other:?} instead of ready").into()),
    }
}

impl Measured {
    /// CPU time of the watched process per operation, in microseconds.
    pub(crate) fn cpu_us_per_op(&self) -> Option<f64> {
        Some(self.cpu_seconds? * 1e6 / self.ops as f64)
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
