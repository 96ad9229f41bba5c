//! PyMongo's own test suite, directly and through Tidegate in each of its presentations.
//!
//! `cargo bench --bench pymongo_suite -- [options]`. Each mode runs against a replica set and a proxy of its own, several at
//! a time; every difference from the direct run must have a reason (`reasons`). All modes together write
//! `docs/results/pymongo_suite.md`. Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

mod compare;
#[path = "../../tests/specification/fetch.rs"]
mod fetch;
mod reasons;
mod report;
mod suite;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
};

use clap::{Parser, ValueEnum};

use crate::{
    compare::{Comparison, Counts, compare},
    suite::{Mode, Outcomes},
};

const RESULTS: &str = "docs/results/pymongo_suite.md";
const PROXIED: [Mode; 3] = [Mode::Mongos, Mode::ReplicaSet, Mode::LoadBalanced];

/// Runs PyMongo's own test suite and compares what happens through Tidegate with what happens directly.
///
/// Exits with 1 when a test fails without a known reason, or fewer pass than by a proxy that only relays. What was said is
/// kept in target/pymongo_suite.
#[derive(Parser)]
#[command(name = "pymongo_suite")]
struct Cli {
    /// What to run; "all" also writes the results page.
    #[arg(long, value_enum, default_value_t = Choice::All)]
    mode: Choice,
    /// Only these tests: files, classes or methods as pytest names them. May be repeated.
    #[arg(long, value_name = "TEST")]
    tests: Vec<String>,
    /// Modes that run at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    jobs: u8,
    /// Runs nothing: judges what the last runs recorded.
    #[arg(long)]
    recorded: bool,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Choice {
    Direct,
    Mongos,
    ReplicaSet,
    LoadBalanced,
    All,
}

impl Choice {
    fn modes(self) -> Vec<Mode> {
        match self {
            Self::Direct => vec![Mode::Direct],
            Self::Mongos => vec![Mode::Mongos],
            Self::ReplicaSet => vec![Mode::ReplicaSet],
            Self::LoadBalanced => vec![Mode::LoadBalanced],
            Self::All => [Mode::Direct].into_iter().chain(PROXIED).collect(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let folder = folder(!cli.tests.is_empty());
    let mut modes = cli.mode.modes();
    if !modes.contains(&Mode::Direct) && suite::recorded(&folder, Mode::Direct).is_none() {
        modes.insert(0, Mode::Direct);
    }
    if !cli.recorded {
        run_all(&modes, &cli.tests, &folder, cli.jobs);
    }
    judge(&cli, &modes, &folder)
}

/// Partial runs leave the records of whole ones alone.
fn folder(partial: bool) -> PathBuf {
    let name = if partial {
        "pymongo_suite-partial"
    } else {
        "pymongo_suite"
    };
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name)
}

/// Runs the modes, `jobs` at a time, each with a replica set of its own.
fn run_all(modes: &[Mode], tests: &[String], folder: &Path, jobs: u8) {
    let waiting = Mutex::new(modes.iter().rev().copied().collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let Some(mode) = waiting.lock().unwrap().pop() else {
                        return;
                    };
                    run(mode, tests, folder);
                }
            });
        }
    });
}

fn run(mode: Mode, tests: &[String], folder: &Path) {
    println!("{}: running", mode.name());
    let set = suite::start_set(3);
    let outcomes = suite::run(mode, &set, tests, folder, |_| false);
    println!("{}: {:?}", mode.name(), Counts::of(&outcomes));
}

fn judge(cli: &Cli, modes: &[Mode], folder: &Path) -> ExitCode {
    let read = |mode: Mode| {
        let outcomes = suite::recorded(folder, mode);
        outcomes.unwrap_or_else(|| panic!("{} has not run yet", mode.name()))
    };
    let direct = read(Mode::Direct);
    let counts = Counts::of(&direct);
    let proxied: Vec<(Mode, Outcomes)> = modes
        .iter()
        .filter(|mode| PROXIED.contains(mode))
        .map(|mode| (*mode, read(*mode)))
        .collect();
    let comparisons: Vec<_> = proxied
        .iter()
        .map(|(mode, outcomes)| compare(*mode, &direct, outcomes))
        .collect();
    let whole = cli.tests.is_empty();
    let page = report::page(&crate::support::provenance(RESULTS), counts, &comparisons);
    if cli.mode == Choice::All && whole {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS), &page).unwrap();
    }
    println!("{page}");
    for unneeded in comparisons.iter().flat_map(|c| &c.unneeded).filter(|_| whole) {
        println!("this reason is not needed any more: {unneeded}");
    }
    let complaints: Vec<String> = comparisons.iter().flat_map(Comparison::complaints).collect();
    for complaint in &complaints {
        eprintln!("pymongo_suite: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}
