//! What the figures are held against.

use std::{fmt::Write as _, process::ExitCode};

use serde::Serialize;

/// The most or the least that a figure may be.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Limit {
    Most(f64),
    Least(f64),
}

/// One figure, and its limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Goal {
    /// What it is, with its unit.
    pub(crate) what: String,
    /// `None`: it could not be measured, which is no success.
    pub(crate) figure: Option<f64>,
    pub(crate) limit: Limit,
}

impl Goal {
    pub(crate) fn most(what: impl Into<String>, figure: Option<f64>, limit: f64) -> Self {
        Self {
            what: what.into(),
            figure,
            limit: Limit::Most(limit),
        }
    }

    pub(crate) fn least(what: impl Into<String>, figure: Option<f64>, limit: f64) -> Self {
        Self {
            what: what.into(),
            figure,
            limit: Limit::Least(limit),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.figure.is_some_and(|figure| match self.limit {
            Limit::Most(most) => figure <= most,
            Limit::Least(least) => figure >= least,
        })
    }
}

/// All of them in markdown, those that do not hold in bold.
pub(crate) fn table(goals: &[Goal]) -> String {
    let mut out = String::from("| goal | measured | limit | |\n|---|---:|---:|---|\n");
    for goal in goals {
        let figure = goal.figure.map_or_else(|| "-".to_owned(), short);
        let limit = match goal.limit {
            Limit::Most(most) => format!("at most {}", short(most)),
            Limit::Least(least) => format!("at least {}", short(least)),
        };
        let verdict = if goal.holds() {
            "holds"
        } else {
            "**does not hold**"
        };
        let _infallible = writeln!(out, "| {} | {figure} | {limit} | {verdict} |", goal.what);
    }
    out
}

/// Says which do not hold; the program's exit code.
pub(crate) fn judge(goals: &[Goal]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for goal in goals.iter().filter(|goal| !goal.holds()) {
        let figure = goal.figure.map_or_else(|| "not measured".to_owned(), short);
        eprintln!("relay: does not hold: {}: {figure}, {:?}", goal.what, goal.limit);
        code = ExitCode::FAILURE;
    }
    code
}

/// Digits that mean something.
fn short(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}
