//! Medians, ratios, the table, the verdict.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::load::Measured;
use crate::measure::Case;
use crate::peers::Peer;

/// Most CPU per operation at [`JUDGED_CLIENTS`], as a multiple of HAProxy's: HAProxy copies bytes without looking at
/// them, so 15% more is what reading messages and sharing a pool may cost.
const MAX_CPU_RATIO: f64 = 1.15;
/// Most sends and receives per operation at [`JUDGED_CLIENTS`]: request and reply each come in and go out once, and
/// 5% of them may find nothing or come in two parts.
const MAX_CALLS_PER_OP: f64 = 4.2;
/// Enough clients to keep the proxy's core busy, few enough that no one waits for a pooled connection.
pub(crate) const JUDGED_CLIENTS: usize = 64;

/// The medians of one case.
pub(crate) struct Row<'a> {
    case: &'a Case,
    cpu_us: Option<f64>,
    /// Median over the rounds of this peer's CPU per operation divided by HAProxy's in the same round.
    cpu_ratio: Option<f64>,
    ops_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    resident_kib: Option<f64>,
}

/// One row per case, in the order of the cases.
pub(crate) fn rows(cases: &[Case]) -> Vec<Row<'_>> {
    let yardstick = |clients| {
        cases
            .iter()
            .find(|c| c.peer == Peer::Haproxy && c.clients == clients)
    };
    cases
        .iter()
        .map(|case| {
            let over =
                |field: fn(&Measured) -> Option<f64>| median(case.runs.iter().filter_map(field).collect());
            let ratios = yardstick(case.clients).map(|haproxy| {
                let pairs = case.runs.iter().zip(&haproxy.runs);
                pairs
                    .filter_map(|(a, b)| Some(a.cpu_us_per_op()? / b.cpu_us_per_op()?))
                    .collect()
            });
            Row {
                case,
                cpu_us: over(Measured::cpu_us_per_op),
                cpu_ratio: ratios.and_then(median),
                ops_per_second: over(|run| Some(run.ops as f64 / run.seconds)).unwrap_or_default(),
                p50_us: over(|run| Some(run.p50_us)).unwrap_or_default(),
                p99_us: over(|run| Some(run.p99_us)).unwrap_or_default(),
                resident_kib: over(|run| run.resident_kib.map(|kib| kib as f64)),
            }
        })
        .collect()
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

/// What is wrong with the judged figures; empty when nothing is.
pub(crate) fn complaints(rows: &[Row<'_>]) -> Vec<String> {
    let judged = rows
        .iter()
        .find(|r| matches!(r.case.peer, Peer::Tidegate(_)) && r.case.clients == JUDGED_CLIENTS);
    let Some(row) = judged else {
        return vec![format!("Tidegate was not measured at {JUDGED_CLIENTS} clients")];
    };
    let calls = row.case.calls.as_ref().map(|calls| calls.moving);
    let checks = [
        ("CPU time relative to HAProxy's", row.cpu_ratio, MAX_CPU_RATIO),
        ("sends and receives per operation", calls, MAX_CALLS_PER_OP),
    ];
    checks
        .into_iter()
        .filter_map(|(what, value, limit)| match value {
            Some(value) if value <= limit => None,
            Some(value) => Some(format!("{what}: {value:.2}, at most {limit} is allowed")),
            None => Some(format!("{what} could not be measured")),
        })
        .collect()
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
            "| {} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {} |",
            row.case.clients,
            row.case.peer.name(),
            cell(row.cpu_us, 1),
            cell(row.cpu_ratio, 2),
            cell(calls.map(|c| c.moving), 2),
            cell(calls.map(|c| c.all), 2),
            row.ops_per_second,
            row.p50_us,
            row.p99_us,
            cell(row.resident_kib.map(|kib| kib / 1024.0), 1),
        );
    }
    out
}

pub(crate) fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// All figures, each round's included.
pub(crate) fn as_json(rows: &[Row<'_>], date: &str, commit: &str) -> Value {
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
    json!({ "date": date, "commit": commit, "cases": rows.iter().map(row).collect::<Vec<_>>() })
}

/// The page that is kept in the repository.
pub(crate) fn page(rows: &[Row<'_>], complaints: &[String], about: &str) -> String {
    let verdict = if complaints.is_empty() {
        format!(
            "Within the limits at {JUDGED_CLIENTS} clients: CPU at most {MAX_CPU_RATIO} times HAProxy's, at most \
             {MAX_CALLS_PER_OP} sends and receives per operation."
        )
    } else {
        format!(
            "Outside the limits at {JUDGED_CLIENTS} clients: {}.",
            complaints.join("; ")
        )
    };
    format!(
        "# What relaying costs\n\n\
         Written by `cargo bench --bench relay`; edits are lost. {about}\n\n\
         {}\n{verdict}\n\n\
         Each client is a socket with one find by `_id` outstanding; a fixed-answer backend replies with one document \
         of some 200 bytes. The proxy runs alone on core 0; load and backend share core 1, which is busy before the \
         proxy is, so op/s compares the peers but is no proxy's limit. Tidegate has one thread and a pool of 64; \
         HAProxy runs in TCP mode with one thread. CPU time is user and system time of the proxy's process. Figures \
         are medians over the rounds, and the ratio is the median of each round's ratio. Calls are counted in a pass \
         of their own, by strace, failed ones included; sends and receives leave out waiting (`epoll_wait`).\n",
        table(rows)
    )
}
