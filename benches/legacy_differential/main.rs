//! Random messages of the legacy opcodes, to MongoDB 4.2 directly and to the current version through Tidegate.
//!
//! `cargo bench --bench legacy_differential -- --cases N`. The short form is a test of its own (`tests/integration/legacy_differential.rs`).
//! Runs of enough cases write `docs/results/legacy_differential.md`. Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;

use std::{fmt::Write as _, fs, path::Path, process::ExitCode, time::Instant};

use clap::Parser;

use crate::support::legacy_differential::{DIFFERENCES_OF_VERSIONS, NORMALISATIONS, Report, Servers, run};

const RESULTS: &str = "docs/results/legacy_differential.md";
/// A run of fewer cases leaves the results page alone.
const FULL: u64 = 5000;

/// Sends random legacy messages to MongoDB 4.2 and, through Tidegate, to the current version, and compares the answers.
///
/// Exits with 1 when they differ; each difference is told by the shortest sequence that makes it.
#[derive(Parser)]
#[command(name = "legacy_differential")]
struct Cli {
    /// How many sequences.
    #[arg(long, default_value_t = 5000)]
    cases: u64,
    /// The number of the first one.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Makes other sequences.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after so many differences.
    #[arg(long, default_value_t = 20)]
    most: usize,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let servers = Servers::start();
    let start = Instant::now();
    let report = run(
        &servers.pair("bench"),
        cli.seed,
        cli.first..cli.first + cli.cases,
        cli.most,
    );
    println!("{:.1} s", start.elapsed().as_secs_f64());
    for difference in &report.differences {
        eprintln!("{difference}");
    }
    let page = page(&cli, &report);
    println!("{page}");
    if cli.cases >= FULL {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS), &page).unwrap();
    }
    ExitCode::from(u8::from(!report.differences.is_empty()))
}

fn page(cli: &Cli, report: &Report) -> String {
    let mut page = format!(
        "# Legacy messages, compared with MongoDB 4.2\n\nWritten by `cargo bench --bench legacy_differential`; edits are lost. {}\n\n\
         Random sequences of OP_INSERT, OP_UPDATE, OP_DELETE, OP_QUERY, OP_GET_MORE, OP_KILL_CURSORS and commands by OP_QUERY \
         (`getLastError` above all) went to a `mongod` 4.2.6 and, through Tidegate, to a 6.0.5; every reply and all documents in \
         the end were compared.\n\n\
         | sequences | messages | seed | differences |\n|---:|---:|---:|---:|\n| {} | {} | {} | {} |\n\n\
         Made alike before:\n\n",
        support::provenance(RESULTS),
        report.cases,
        report.steps,
        cli.seed,
        report.differences.len()
    );
    for normalisation in NORMALISATIONS {
        let _ = writeln!(page, "- {}: {}", normalisation.what, normalisation.why);
    }
    page.push_str("\nNot sent, because the versions themselves differ:\n\n");
    for difference in DIFFERENCES_OF_VERSIONS {
        let _ = writeln!(page, "- {difference}");
    }
    page
}
