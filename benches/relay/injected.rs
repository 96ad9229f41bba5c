//! What the session costs that is added to a write: the same load with `exactly_once` off and on, side by side.

use std::fmt::Write as _;

use crate::{
    load::Measured,
    measure::Case,
    report::{cell, median},
};

/// The table in markdown, and the cost in a sentence.
pub(crate) fn summary(cases: &[Case]) -> String {
    let mut out = String::from(
        "| exactly_once | CPU µs/op | sends + receives/op | op/s | p50 µs | p99 µs |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for case in cases {
        let over = |field: fn(&Measured) -> Option<f64>| median(case.runs.iter().filter_map(field).collect());
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            setting(case),
            cell(over(Measured::cpu_us_per_op), 2),
            cell(case.calls.as_ref().map(|calls| calls.moving), 2),
            cell(over(|run| Some(run.ops as f64 / run.seconds)), 0),
            cell(over(|run| Some(run.p50_us)), 0),
            cell(over(|run| Some(run.p99_us)), 0),
        );
    }
    let cost = cost(cases).map_or_else(
        || "The cost could not be measured.".to_owned(),
        |(us, of)| {
            format!(
                "The happy-path cost of the injected session: {us:.2} µs of CPU per write, {:.1} %.",
                of * 100.0
            )
        },
    );
    format!("{out}\n{cost}")
}

/// The name of the peer that adds no sessions.
pub(crate) const OFF: &str = "Tidegate, off";

fn setting(case: &Case) -> &'static str {
    if case.peer.name() == OFF { "off" } else { "auto" }
}

/// How much more CPU time a write takes, in microseconds and as a part of what it takes without: the medians of what each round
/// found, so that a slow minute of the machine hits both sides.
fn cost(cases: &[Case]) -> Option<(f64, f64)> {
    let runs = |of: &str| {
        cases
            .iter()
            .find(|case| setting(case) == of)
            .map(|case| &case.runs)
    };
    let pairs: Vec<_> = runs("off")?
        .iter()
        .zip(runs("auto")?)
        .filter_map(|(off, auto)| Some((off.cpu_us_per_op()?, auto.cpu_us_per_op()?)))
        .collect();
    let more = median(pairs.iter().map(|(off, auto)| auto - off).collect())?;
    let of = median(pairs.iter().map(|(off, auto)| auto / off - 1.0).collect())?;
    Some((more, of))
}

/// The page that is kept in the repository.
pub(crate) fn page(cases: &[Case], about: &str) -> String {
    let clients = cases.first().map_or(0, |case| case.clients);
    format!(
        "# What the injected session costs\n\n\
         Written by `cargo bench --bench relay -- --writes`; edits are lost. {about}\n\n\
         {}\n\n\
         {clients} clients, each a socket with one update by `_id` outstanding, sent as a driver without retryable writes sends it: with \
         a session, without a number. With `exactly_once = \"auto\"` it goes out under a session and number of the proxy's own. A \
         fixed-answer backend replies, so what a server does for it (a record in `config.transactions` per write) is not in it. \
         Figures are medians over the rounds, the cost the median of each round's difference; see [relay.md](relay.md) for the \
         rest.\n",
        summary(cases)
    )
}
