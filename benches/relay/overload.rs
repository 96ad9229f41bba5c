//! More clients than the pool serves at once, and a client that asks for more than its part.
//!
//! Nothing is pinned here: the node has all cores, as it would.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::children::ANY_CORE;
use crate::goals::{self, Goal};
use crate::load::Measured;
use crate::measure::{Case, Cores, Plan, Work, measure, start_load};
use crate::peers::{Peer, Tidegate};
use crate::report::{cell, median, over, ratio};
use crate::target::Target;
use crate::{Cli, Outcome, results};

/// Connections to the node.
const POOL: usize = 10;
/// Numbers of clients, as multiples of it.
const TIMES: [usize; 4] = [1, 2, 5, 10];
/// Of the best throughput at any number of clients, what is left at the highest.
const THROUGHPUT: f64 = 0.9;
/// How much longer than the median the slowest hundredth waits, first come first served.
const SPREAD: f64 = 3.0;
/// How many times its solo p99 a light client may have beside a greedy one.
const LIGHT: f64 = 2.0;
const FREE: Cores = Cores {
    proxy: ANY_CORE,
    other: ANY_CORE,
};

/// What a greedy client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Greedy {
    Absent,
    BigFinds,
    Connections,
}

impl Greedy {
    fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::BigFinds => "one connection, finds of 4,000 documents",
            Self::Connections => "100 connections, finds by `_id`",
        }
    }

    /// Its connections and what they do.
    fn load(self) -> Option<(usize, Work)> {
        match self {
            Self::Absent => None,
            Self::BigFinds => Some((1, Work::BigFind)),
            Self::Connections => Some((100, Work::Find)),
        }
    }
}

const GREEDY: [Greedy; 3] = [Greedy::Absent, Greedy::BigFinds, Greedy::Connections];

/// What a light client met beside a greedy one.
#[derive(Serialize)]
struct Beside {
    peer: String,
    greedy: Greedy,
    runs: Vec<Measured>,
}

/// Measures both.
pub(crate) fn run(cli: &Cli) -> Outcome<ExitCode> {
    let tidegate = Peer::Tidegate(Tidegate {
        max_size: POOL,
        ..Tidegate::new(&cli.binary()?)
    });
    let peers = [Peer::Direct, tidegate];
    let pairs = TIMES
        .iter()
        .flat_map(|times| peers.iter().map(move |peer| (POOL * times, peer)));
    let plan = Plan {
        cores: FREE,
        ..cli.plan(
            pairs
                .map(|(clients, peer)| Case::new(peer, Work::Find, clients))
                .collect(),
        )
    };
    let (rounds, windows) = (plan.rounds, [plan.warm_up_ms, plan.window_ms]);
    let about = cli.about(&plan)?;
    let target = cli.nodes(ANY_CORE)?;
    let folder = results::folder()?;
    let cases = measure(plan, &target, folder.path())?;
    let beside = light_and_greedy(&peers, rounds, windows, &target, folder.path())?;
    let goals = [goals_of_many(&cases), goals_of_light(&beside)].concat();
    let tables = format!(
        "{}\n{}\n{}",
        table_of_many(&cases),
        table_of_light(&beside),
        goals::table(&goals)
    );
    println!("{tables}");
    let many = cases
        .iter()
        .map(|case| json!({ "peer": case.peer.name(), "clients": case.clients, "rounds": case.runs }));
    let many: Vec<_> = many.collect();
    results::write_json(
        "overload",
        &json!({ "about": about, "goals": goals, "many": many, "light": beside }),
    )?;
    if cli.is_kept() {
        results::keep_page("overload", &page(&tables, &about))?;
    }
    Ok(cli.judge(&goals))
}

fn light_and_greedy(
    peers: &[Peer],
    rounds: usize,
    [warm_up, window]: [u64; 2],
    target: &Target,
    folder: &Path,
) -> Outcome<Vec<Beside>> {
    let mut all: Vec<Beside> = peers
        .iter()
        .flat_map(|peer| {
            GREEDY.map(|greedy| Beside {
                peer: peer.name().to_owned(),
                greedy,
                runs: Vec::new(),
            })
        })
        .collect();
    let (warm_up, window) = (warm_up.to_string(), window.to_string());
    let timed = ["--warm-up-ms", &warm_up, "--window-ms", &window];
    for round in 1..=rounds {
        let mut next = all.iter_mut();
        for peer in peers {
            for beside in next.by_ref().take(GREEDY.len()) {
                let started = peer.start(FREE.proxy, target, 200, folder)?;
                // Goes on until it is dropped.
                let greedy = beside.greedy.load().map(|(clients, work)| {
                    let forever = ["--window-ms", "3600000"];
                    let mut greedy = start_load(FREE.other, &work.into(), clients, &started, &forever)?;
                    greedy.tell("go")?;
                    Outcome::Ok(greedy)
                });
                let _greedy = greedy.transpose()?;
                let mut light = start_load(FREE.other, &Work::Find.into(), 1, &started, &timed)?;
                light.tell("go")?;
                let run: Measured = serde_json::from_str(&light.line()?)?;
                eprintln!(
                    "round {round}: {:>10}, a light client beside {}: p50 {:.0} µs, p99 {:.0} µs",
                    beside.peer,
                    beside.greedy.name(),
                    run.p50_us,
                    run.p99_us
                );
                beside.runs.push(run);
            }
        }
    }
    Ok(all)
}

fn goals_of_many(cases: &[Case]) -> Vec<Goal> {
    let ours = |case: &&Case| matches!(case.peer, Peer::Tidegate(_));
    let Some(most) = cases.iter().filter(ours).max_by_key(|case| case.clients) else {
        return Vec::new();
    };
    let clients = most.clients;
    vec![
        Goal::least(
            format!("{clients} clients over {POOL} connections: operations per second, of the peak"),
            of_peak(cases, most),
            THROUGHPUT,
        ),
        Goal::most(
            format!("{clients} clients over {POOL} connections: p99, of p50"),
            over(most, |run| Some(run.p99_us / run.p50_us)),
            SPREAD,
        ),
    ]
}

/// The throughput of `case`, of that at the number of clients at which its peer does most: that of the highest median, for the best of
/// each round is the luckiest of several figures, which alone takes a sixth off on a machine whose rounds differ by a fifth.
fn of_peak(cases: &[Case], case: &Case) -> Option<f64> {
    let throughput = |case: &Case| over(case, Measured::ops_per_second).unwrap_or_default();
    let peak = cases
        .iter()
        .filter(|other| other.peer == case.peer)
        .max_by(|a, b| throughput(a).total_cmp(&throughput(b)))?;
    ratio(case, peak, Measured::ops_per_second)
}

/// The median of each round's p99 divided by that of the light client alone.
fn to_solo(all: &[Beside], beside: &Beside) -> Option<f64> {
    let solo = all
        .iter()
        .find(|other| other.peer == beside.peer && other.greedy == Greedy::Absent)?;
    let pairs = beside.runs.iter().zip(&solo.runs);
    median(pairs.map(|(run, solo)| run.p99_us / solo.p99_us).collect())
}

/// The goal is about one greedy client, which is one connection. A hundred are as many clients, of which each gets its turn: they
/// fill the nodes, with or without a proxy, and are shown beside.
fn goals_of_light(all: &[Beside]) -> Vec<Goal> {
    let ours = all
        .iter()
        .filter(|beside| beside.peer == "Tidegate" && beside.greedy == Greedy::BigFinds);
    ours.map(|beside| {
        let what = format!(
            "p99 of a light client beside {}, of its solo figure",
            beside.greedy.name()
        );
        Goal::most(what, to_solo(all, beside), LIGHT)
    })
    .collect()
}

fn table_of_many(cases: &[Case]) -> String {
    let mut out = String::from(
        "| clients | peer | op/s | of the peak | p50 µs | p99 µs | p99 of p50 |\n|---:|---|---:|---:|---:|---:|---:|\n",
    );
    for case in cases {
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            case.clients,
            case.peer.name(),
            cell(over(case, Measured::ops_per_second), 0),
            cell(of_peak(cases, case), 2),
            cell(over(case, |run| Some(run.p50_us)), 0),
            cell(over(case, |run| Some(run.p99_us)), 0),
            cell(over(case, |run| Some(run.p99_us / run.p50_us)), 2),
        );
    }
    out
}

fn table_of_light(all: &[Beside]) -> String {
    let mut out = String::from(
        "| a light client beside | peer | p50 µs | p99 µs | p99 of solo |\n|---|---|---:|---:|---:|\n",
    );
    for beside in all {
        let of = |field: fn(&Measured) -> f64| median(beside.runs.iter().map(field).collect());
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            beside.greedy.name(),
            beside.peer,
            cell(of(|run| run.p50_us), 0),
            cell(of(|run| run.p99_us), 0),
            cell(to_solo(all, beside), 2),
        );
    }
    out
}

fn page(tables: &str, about: &str) -> String {
    format!(
        "# More clients than connections\n\n\
         Written by `cargo bench --bench relay -- --overload`; edits are lost. {about}\n\n\
         {tables}\n\
         Each client is a socket with one find by `_id` outstanding, on the sandbox's replica set of three nodes, directly or through Tidegate \
         with a pool of {POOL}. A light client is one such socket; a greedy one sends what is said as fast as it is answered. One greedy connection is held against \
         the goal; a hundred are as many clients, each of which is served in its turn, and keep the nodes busy without a proxy, too. Nothing is \
         pinned: nodes, load and proxy share all cores, so a greedy client slows a light one down without a proxy, too. Figures are medians \
         over the rounds, and ratios the medians of each round's ratio.\n"
    )
}
