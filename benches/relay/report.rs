//! Medians, ratios, the table, the goals of the side-by-side runs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::chart::{self, Panel};
use crate::goals::Goal;
use crate::load::Measured;
use crate::measure::Case;
use crate::peers::Peer;

/// A proxy that copies bytes without looking at them is the yardstick; what is measured twice differs by 3%.
const CPU_RATIO: f64 = 1.03;
/// On real nodes, whose pace differs from round to round.
const CPU_RATIO_ON_NODES: f64 = 1.15;
/// Request and reply each come in and go out once, and a few of them find nothing or come in two parts.
const CALLS_PER_OP: f64 = 4.1;
/// Of HAProxy's throughput.
const OPS_RATIO: f64 = 0.95;
/// Of the throughput without a proxy, where many clients share few connections.
const OPS_RATIO_TO_DIRECT: f64 = 0.9;
/// Of HAProxy's latencies.
const LATENCY_RATIO: f64 = 1.1;
/// The numbers of clients at which latencies are judged: none waits for another's connection there.
const LATENCY_CLIENTS: [usize; 2] = [1, 64];

/// The name of the Tidegate that cargo builds without a profile: its figures are printed only.
pub(crate) const UNJUDGED: &str = "Tidegate, plain build";

/// The medians of one case.
pub(crate) struct Row<'a> {
    pub(crate) case: &'a Case,
    pub(crate) cpu_us: Option<f64>,
    /// Median over the rounds of this peer's CPU per operation divided by HAProxy's in the same round.
    cpu_ratio: Option<f64>,
    pub(crate) ops_per_second: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    resident_kib: Option<f64>,
}

/// One row per case, in the order of the cases.
pub(crate) fn rows(cases: &[Case]) -> Vec<Row<'_>> {
    let row = |case| Row {
        case,
        cpu_us: over(case, Measured::cpu_us_per_op),
        cpu_ratio: yardstick(cases, case).and_then(|haproxy| ratio(case, haproxy, Measured::cpu_us_per_op)),
        ops_per_second: over(case, Measured::ops_per_second),
        p50_us: over(case, |run| Some(run.p50_us)),
        p99_us: over(case, |run| Some(run.p99_us)),
        resident_kib: over(case, |run| run.resident_kib.map(|kib| kib as f64)),
    };
    cases.iter().map(row).collect()
}

/// HAProxy's case beside this one.
fn yardstick<'a>(cases: &'a [Case], case: &Case) -> Option<&'a Case> {
    beside(cases, case, &Peer::Haproxy)
}

fn beside<'a>(cases: &'a [Case], case: &Case, peer: &Peer) -> Option<&'a Case> {
    cases
        .iter()
        .find(|c| c.peer == *peer && c.clients == case.clients)
}

/// The median of a figure over the rounds.
pub(crate) fn over(case: &Case, field: fn(&Measured) -> Option<f64>) -> Option<f64> {
    median(case.runs.iter().filter_map(field).collect())
}

/// The median over the rounds of a figure of `a` divided by that of `b` in the same round.
pub(crate) fn ratio(a: &Case, b: &Case, field: fn(&Measured) -> Option<f64>) -> Option<f64> {
    let pairs = a.runs.iter().zip(&b.runs);
    median(pairs.filter_map(|(a, b)| Some(field(a)? / field(b)?)).collect())
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (
        values.get(values.len().checked_sub(1)? / 2)?,
        values.get(values.len() / 2)?,
    );
    Some((low + high) / 2.0)
}

/// What Tidegate's cases are held against. `shared` is the name of the peer whose clients share few connections.
pub(crate) fn goals(cases: &[Case], on_nodes: bool, shared: Option<&str>) -> Vec<Goal> {
    let mut goals = Vec::new();
    let is_judged = |peer: &Peer| matches!(peer, Peer::Tidegate(_)) && peer.name() != UNJUDGED;
    for case in cases.iter().filter(|case| is_judged(&case.peer)) {
        let at = format!("{}, {}", case.peer.name(), clients(case.clients));
        let to = |field: fn(&Measured) -> Option<f64>| {
            yardstick(cases, case).and_then(|haproxy| ratio(case, haproxy, field))
        };
        let most = if on_nodes { CPU_RATIO_ON_NODES } else { CPU_RATIO };
        goals.push(Goal::most(
            format!("{at}: CPU per operation, of HAProxy's"),
            to(Measured::cpu_us_per_op),
            most,
        ));
        if !on_nodes {
            let calls = case.calls.as_ref().map(|calls| calls.moving);
            goals.push(Goal::most(
                format!("{at}: sends and receives per operation"),
                calls,
                CALLS_PER_OP,
            ));
        }
        goals.push(Goal::least(
            format!("{at}: operations per second, of HAProxy's"),
            to(Measured::ops_per_second),
            OPS_RATIO,
        ));
        if shared == Some(case.peer.name()) {
            let direct = beside(cases, case, &Peer::Direct);
            goals.push(Goal::least(
                format!("{at}: operations per second, of those without a proxy"),
                direct.and_then(|direct| ratio(case, direct, Measured::ops_per_second)),
                OPS_RATIO_TO_DIRECT,
            ));
        } else if LATENCY_CLIENTS.contains(&case.clients) {
            let p50 = to(|run| Some(run.p50_us));
            let p99 = to(|run| Some(run.p99_us));
            for (name, ratio) in [("p50", p50), ("p99", p99)] {
                goals.push(Goal::most(
                    format!("{at}: {name}, of HAProxy's"),
                    ratio,
                    LATENCY_RATIO,
                ));
            }
        }
    }
    goals
}

/// The table in markdown.
pub(crate) fn table(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| clients | peer | CPU µs/op | of HAProxy's | sends + receives/op | all calls/op | op/s | p50 µs | p99 µs | RSS MiB |\n\
         |---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let calls = row.case.calls.as_ref();
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.case.clients,
            row.case.peer.name(),
            cell(row.cpu_us, 1),
            cell(row.cpu_ratio, 2),
            cell(calls.map(|c| c.moving), 2),
            cell(calls.map(|c| c.all), 2),
            cell(row.ops_per_second, 0),
            cell(row.p50_us, 0),
            cell(row.p99_us, 0),
            cell(row.resident_kib.map(|kib| kib / 1024.0), 1),
        );
    }
    out
}

pub(crate) fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// All figures, each round's included.
pub(crate) fn as_json(rows: &[Row<'_>], goals: &[Goal], about: &str) -> Value {
    let row = |row: &Row<'_>| {
        json!({
            "clients": row.case.clients,
            "peer": row.case.peer.name(),
            "cpu_us_per_op": row.cpu_us,
            "cpu_ratio_to_haproxy": row.cpu_ratio,
            "ops_per_second": row.ops_per_second,
            "p50_us": row.p50_us,
            "p99_us": row.p99_us,
            "resident_kib": row.resident_kib,
            "calls_per_op": row.case.calls,
            "rounds": row.case.runs,
        })
    };
    json!({ "about": about, "goals": goals, "cases": rows.iter().map(row).collect::<Vec<_>>() })
}

fn clients(count: usize) -> String {
    if count == 1 {
        "1 client".to_owned()
    } else {
        format!("{count} clients")
    }
}

/// The same figures as bars.
pub(crate) fn picture(title: &str, rows: &[Row<'_>]) -> String {
    let mut counts: Vec<usize> = rows.iter().map(|row| row.case.clients).collect();
    counts.dedup();
    let mut peers: Vec<String> = Vec::new();
    for row in rows {
        if !peers.iter().any(|peer| peer == row.case.peer.name()) {
            peers.push(row.case.peer.name().to_owned());
        }
    }
    let panel = |title, by_group, figure: fn(&Row<'_>) -> Option<f64>| {
        let at = |count: usize, peer: &str| {
            let mut found = rows.iter();
            let row = found.find(|row| row.case.clients == count && row.case.peer.name() == peer);
            row.and_then(figure)
        };
        let group = |count: &usize| peers.iter().map(|peer| at(*count, peer)).collect();
        Panel {
            title,
            by_group,
            figures: counts.iter().map(group).collect(),
        }
    };
    let panels = [
        panel(
            "CPU time of the proxy per operation, µs: less is better",
            false,
            |row| row.cpu_us,
        ),
        panel("operations per second: more is better", false, |row| {
            row.ops_per_second
        }),
        panel(
            "p50, ms: less is better; each number of clients to a scale of its own",
            true,
            |row| Some(row.p50_us? / 1e3),
        ),
        panel(
            "p99, ms: less is better; each number of clients to a scale of its own",
            true,
            |row| Some(row.p99_us? / 1e3),
        ),
    ];
    let groups: Vec<String> = counts.into_iter().map(clients).collect();
    chart::svg(title, &groups, &peers, &panels)
}
