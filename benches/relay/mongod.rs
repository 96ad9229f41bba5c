//! The run on real nodes: a replica set whose nodes share a core with the load, and the proxy on the other.

use std::process::ExitCode;

use tidegate::sandbox::Options;

use crate::children::Core;
use crate::measure::{Case, OTHER_CORE, Work, measure};
use crate::peers::{Peer, Tidegate};
use crate::target::Target;
use crate::{Cli, Outcome, goals, report, results};

/// Clients that share few connections, and those.
const SHARED: (usize, usize) = (1_000, 10);
/// The peer that has so few.
const SHARED_NAME: &str = "Tidegate, 10 connections";

/// Measures finds by `_id` beside no proxy, HAProxy and what else was named.
pub(crate) fn run(cli: &Cli) -> Outcome<ExitCode> {
    let tidegate = Tidegate::new(&cli.binary()?);
    let mut peers = vec![Peer::Direct, Peer::Haproxy, Peer::Tidegate(tidegate.clone())];
    peers.extend(cli.peer.iter().cloned().map(Peer::Other));
    let shared = Peer::Tidegate(Tidegate {
        max_size: SHARED.1,
        ..tidegate.named(SHARED_NAME)
    });
    let counts = cli.clients.clone().unwrap_or_else(|| vec![1, 16, 64, 256, 1_000]);
    let mut cases = Vec::new();
    for count in counts {
        cases.extend(peers.iter().map(|peer| Case::new(peer, Work::Find, count)));
        if count == SHARED.0 {
            cases.push(Case::new(&shared, Work::Find, count));
        }
    }
    let plan = cli.plan(cases);
    let about = format!(
        "{} {} rounds of {} s.",
        results::provenance()?,
        plan.rounds,
        plan.window_ms / 1000
    );
    let target = cli.nodes(OTHER_CORE)?;
    let folder = results::folder()?;
    let cases = measure(plan, &target, folder.path())?;
    let rows = report::rows(&cases);
    let goals = report::goals(&cases, true, Some(SHARED_NAME));
    println!("{}\n{}", report::table(&rows), goals::table(&goals));
    results::write_json("mongod", &report::as_json(&rows, &goals, &about))?;
    let chart = report::picture("Finds by _id, mongod 6.0.5", &rows);
    results::write_chart("mongod", &chart)?;
    if cli.is_kept() {
        results::keep_page("mongod", &page(&rows, &goals, &about))?;
        results::keep_chart("mongod", &chart)?;
    }
    Ok(cli.judge(&goals))
}

fn page(rows: &[report::Row<'_>], goals: &[goals::Goal], about: &str) -> String {
    format!(
        "# Side by side on real nodes\n\n\
         Written by `cargo bench --bench relay -- --mongod`; edits are lost. {about}\n\n\
         {}\n![The same as a chart](mongod.svg)\n\n{}\n\
         Each client is a socket with one find by `_id` outstanding, of one of {} documents of some 200 bytes. The sandbox's replica \
         set of three nodes and the load share core {}; the proxy has the other to itself. So the primary is what limits op/s, and a \
         proxy that keeps its clients waiting in its own queue can serve more of them than the node does alone. Tidegate has one \
         thread and a pool of 64, or of {} where it says so; HAProxy runs in TCP mode with one thread, in front of the primary. \
         Figures are medians over the rounds, and ratios are the medians of each round's ratio.\n",
        report::table(rows),
        goals::table(goals),
        crate::target::DOCUMENTS,
        OTHER_CORE.0,
        SHARED.1,
    )
}

impl Cli {
    /// The nodes that were named, or a replica set of the sandbox on `core`.
    pub(crate) fn nodes(&self, core: Core) -> Outcome<Target> {
        match &self.set {
            Some(uri) => Target::running(uri),
            None => Target::set(core, Options::default()),
        }
    }
}
