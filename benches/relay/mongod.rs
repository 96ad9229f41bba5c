//! The run on real nodes: a replica set whose nodes share a core with the load, and the proxy on the other.

use std::process::ExitCode;

use tidegate::sandbox::Options;

use crate::children::Core;
use crate::driver;
use crate::measure::{Case, OTHER_CORE, Plan, Work, measure};
use crate::peers::{Peer, Tidegate};
use crate::target::Target;
use crate::{Cli, Outcome, goals, report, results};

/// Clients that share few connections, and those.
const SHARED: (usize, usize) = (1_000, 10);
/// The peer that has so few.
const SHARED_NAME: &str = "Tidegate, 10 connections";

/// Measures finds by `_id` beside no proxy, HAProxy and what else was named.
pub(crate) fn run(cli: &Cli, by_driver: bool) -> Outcome<ExitCode> {
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
    let plan = Plan {
        driver: by_driver.then(driver::build).transpose()?,
        ..cli.plan(cases)
    };
    let name = if by_driver { "driver" } else { "mongod" };
    let about = cli.about(&plan)?;
    let target = cli.nodes(OTHER_CORE)?;
    let folder = results::folder()?;
    let cases = measure(plan, &target, folder.path())?;
    let rows = report::rows(&cases);
    let goals = report::goals(&cases, true, Some(SHARED_NAME));
    println!("{}\n{}", report::table(&rows), goals::table(&goals));
    results::write_json(name, &report::as_json(&rows, &goals, &about))?;
    let title = if by_driver {
        "Finds by _id with the Rust driver, real replica set"
    } else {
        "Finds by _id, real replica set"
    };
    let chart = report::picture(title, &rows);
    results::write_chart(name, &chart)?;
    if cli.is_kept() {
        results::keep_page(name, &page(by_driver, &rows, &goals, &about))?;
        results::keep_chart(name, &chart)?;
    }
    Ok(cli.judge(&goals))
}

fn page(by_driver: bool, rows: &[report::Row<'_>], goals: &[goals::Goal], about: &str) -> String {
    let (title, option, name, client) = if by_driver {
        (
            "Side by side on real nodes, with the Rust driver",
            "--mongod --driver",
            "driver",
            "Each client is a task with one find by `_id` outstanding, all of them on one client of the official Rust driver, whose pool has \
             a connection for each; it takes more of the core that it shares with the nodes than plain sockets do",
        )
    } else {
        (
            "Side by side on real nodes",
            "--mongod",
            "mongod",
            "Each client is a socket with one find by `_id` outstanding",
        )
    };
    format!(
        "# {title}\n\n\
         Written by `cargo bench --bench relay -- {option}`; edits are lost. {about}\n\n\
         {}\n![The same as a chart]({name}.svg)\n\n{}\n\
         {client}, of one of {} documents of some 200 bytes. The sandbox's replica \
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
