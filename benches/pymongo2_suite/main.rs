//! PyMongo 2's own test suite, directly on MongoDB 4.2 and through Tidegate on the current version.
//!
//! `cargo bench --bench pymongo2_suite -- [options]`. Needs a Python 2.7 with pip: `TIDEGATE_PYTHON2`, else `python2.7` on PATH,
//! else one of pyenv. Each run has a replica set of its own; every failure of a test that does not fail directly must have
//! a reason (`reasons`). Whole runs write `docs/results/pymongo2_suite.md`. Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

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
};

use clap::{Parser, ValueEnum};

use crate::{report::Comparison, suite::Mode};

const RESULTS: &str = "docs/results/pymongo2_suite.md";

/// Runs PyMongo 2's own test suite and compares what happens through Tidegate with what happens directly on MongoDB 4.2.
///
/// Exits with 1 when a test fails through Tidegate alone without a known reason, or fewer pass than directly. What was said
/// is kept in target/pymongo2_suite.
#[derive(Parser)]
#[command(name = "pymongo2_suite")]
struct Cli {
    /// What to run; "both" also writes the results page.
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    mode: Choice,
    /// Only these: modules, classes or methods, such as test.test_cursor.TestCursor.test_hint. May be repeated.
    #[arg(long, value_name = "TEST")]
    tests: Vec<String>,
    /// Runs nothing: judges what the last runs recorded.
    #[arg(long)]
    recorded: bool,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Direct,
    Proxied,
    Both,
}

impl Choice {
    fn modes(self) -> &'static [Mode] {
        match self {
            Self::Direct => &[Mode::Direct],
            Self::Proxied => &[Mode::Proxied],
            Self::Both => &[Mode::Direct, Mode::Proxied],
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let folder = folder(!cli.tests.is_empty());
    if !cli.recorded {
        for mode in cli.mode.modes() {
            if let Err(missing) = suite::run(*mode, &cli.tests, &folder) {
                eprintln!("pymongo2_suite: {missing}");
                return ExitCode::FAILURE;
            }
        }
    }
    let [direct, proxied] = [Mode::Direct, Mode::Proxied].map(|mode| suite::recorded(&folder, mode));
    let (Some(direct), Some(proxied)) = (direct, proxied) else {
        println!("the other mode has not run yet");
        return ExitCode::SUCCESS;
    };
    let comparison = Comparison::of(&direct, &proxied);
    let page = comparison.page(&support::provenance(RESULTS));
    if cli.mode == Choice::Both && cli.tests.is_empty() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS), &page).unwrap();
    }
    println!("{page}");
    let complaints = comparison.complaints();
    for complaint in &complaints {
        eprintln!("pymongo2_suite: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

/// Partial runs leave the records of whole ones alone.
fn folder(partial: bool) -> PathBuf {
    let name = if partial {
        "pymongo2_suite-partial"
    } else {
        "pymongo2_suite"
    };
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name)
}
