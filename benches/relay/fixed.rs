//! The runs with the fixed-answer backend: finds beside HAProxy, writes with the injected session, legacy opcodes.

use std::process::ExitCode;

use crate::measure::{Case, OTHER_CORE, Plan, Work, measure};
use crate::peers::{Peer, Tidegate};
use crate::target::Target;
use crate::{Built, Cli, Outcome, goals, injected, legacy, report, results};

/// Enough clients to keep the proxy's core busy, few enough that no one waits for a pooled connection.
const CLIENTS: usize = 64;

/// Measures what relaying a find costs.
pub(crate) fn relay(cli: &Cli) -> Outcome<ExitCode> {
    let tidegate = Peer::Tidegate(Tidegate::new(&cli.binary()?));
    let mut peers = vec![Peer::Direct, Peer::Haproxy, tidegate];
    if cli.built()?.guided.is_some() {
        let plain = Tidegate::new(&Built::plain().path).named(report::UNJUDGED);
        peers.push(Peer::Tidegate(plain));
    }
    peers.extend(cli.peer.iter().cloned().map(Peer::Other));
    let counts = cli.clients.clone().unwrap_or_else(|| vec![1, 64, 1000, 5000]);
    let pairs = counts
        .iter()
        .flat_map(|count| peers.iter().map(move |peer| (*count, peer)));
    let plan = Plan {
        counts_calls: true,
        ..cli.plan(
            pairs
                .map(|(count, peer)| Case::new(peer, Work::Find, count))
                .collect(),
        )
    };
    let (cases, about) = carry_out(cli, plan)?;
    let (rows, goals) = (report::rows(&cases), report::goals(&cases, false, None));
    println!("{}\n{}", report::table(&rows), goals::table(&goals));
    results::write_json("relay", &report::as_json(&rows, &goals, &about))?;
    let chart = report::picture("Finds by _id, fixed-answer backend", &rows);
    results::write_chart("relay", &chart)?;
    if cli.is_kept() {
        results::keep_page("relay", &page(&rows, &goals, &about))?;
        results::keep_chart("relay", &chart)?;
    }
    Ok(cli.judge(&goals))
}

fn page(rows: &[report::Row<'_>], goals: &[goals::Goal], about: &str) -> String {
    format!(
        "# What relaying costs\n\n\
         Written by `cargo bench --bench relay -- --fixed`; edits are lost. {about}\n\n\
         {}\n![The same as a chart](relay.svg)\n\n{}\n\
         Each client is a socket with one find by `_id` outstanding; a fixed-answer backend replies with one document \
         of some 200 bytes. The proxy runs alone on core 0; load and backend share core 1, which is busy before the \
         proxy is, so op/s compares the peers but is no proxy's limit. Tidegate has one thread and a pool of 64; \
         HAProxy runs in TCP mode with one thread. The plain build is that of `cargo build --release`, without a profile; it is not judged. CPU time is user and system time of the proxy's process. Figures \
         are medians over the rounds, and ratios are the medians of each round's ratio. Calls are counted in a pass \
         of their own, by strace, failed ones included; sends and receives leave out waiting (`epoll_wait`).\n",
        report::table(rows),
        goals::table(goals)
    )
}

/// Measures what the session costs that is added to writes.
pub(crate) fn writes(cli: &Cli) -> Outcome<()> {
    let on = Tidegate::new(&cli.binary()?);
    let off = Tidegate {
        sections: "[failover]\nexactly_once = \"off\"".to_owned(),
        ..on.clone().named(injected::OFF)
    };
    let cases = [off, on].map(|peer| Case::new(&Peer::Tidegate(peer), Work::Update, CLIENTS));
    let plan = Plan {
        counts_calls: true,
        ..cli.plan(cases.into())
    };
    let (cases, about) = carry_out(cli, plan)?;
    println!("{}", injected::summary(&cases));
    if cli.is_kept() {
        results::keep_page("injected_session", &injected::page(&cases, &about))?;
    }
    Ok(())
}

/// Measures what translating legacy opcodes costs.
pub(crate) fn translation(cli: &Cli) -> Outcome<()> {
    let peer = Peer::Tidegate(Tidegate::new(&cli.binary()?));
    let works = [Work::Find, Work::LegacyFind, Work::Update, Work::LegacyUpdate];
    let plan = Plan {
        counts_calls: true,
        ..cli.plan(works.map(|work| Case::new(&peer, work, CLIENTS)).into())
    };
    let (cases, about) = carry_out(cli, plan)?;
    println!("{}", legacy::summary(&cases));
    if cli.is_kept() {
        results::keep_page("legacy_cost", &legacy::page(&cases, &about))?;
    }
    Ok(())
}

/// Carries out a plan; also says when and of what the figures are.
fn carry_out(cli: &Cli, plan: Plan) -> Outcome<(Vec<Case>, String)> {
    let about = cli.about(&plan)?;
    let target = Target::fixed(OTHER_CORE, cli.backend_port)?;
    let folder = results::folder()?;
    Ok((measure(plan, &target, folder.path())?, about))
}
