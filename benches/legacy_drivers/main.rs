//! The exercise of every old driver, directly on MongoDB 4.2 and through Tidegate in front of 6.0.
//!
//! `cargo bench --bench legacy_drivers -- [options]`. What is missing on this machine is named, with what to install. All
//! drivers together write `docs/results/legacy_drivers.md`. Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

mod report;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;

use std::{fs, path::Path, process::ExitCode};

use clap::Parser;

use crate::support::legacy::{Comparison, DRIVERS, Driver, Side, Sides, compare, outcomes};

const RESULTS: &str = "docs/results/legacy_drivers.md";

/// Runs the exercise of old drivers through Tidegate and compares it with MongoDB 4.2.
///
/// Exits with 1 when an outcome differs without a listed reason, or a driver is missing.
#[derive(Parser)]
#[command(name = "legacy_drivers")]
struct Cli {
    /// Only drivers whose names begin so, such as "pymongo 2" or "Node". May be repeated.
    #[arg(long, value_name = "NAME")]
    driver: Vec<String>,
    /// Goes on without the drivers that are missing on this machine.
    #[arg(long)]
    installed: bool,
    /// Caps the wire version that the listeners show; the results page is left as it is.
    #[arg(long, value_name = "VERSION")]
    max_wire_version: Option<u8>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What came of a driver: a comparison for each presentation, or what is missing to run it.
struct Tried {
    driver: &'static Driver,
    compared: Result<Vec<(Side, Comparison)>, String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen = |driver: &&Driver| {
        cli.driver.is_empty()
            || cli
                .driver
                .iter()
                .any(|start| driver.name.starts_with(start.as_str()))
    };
    let cap = cli
        .max_wire_version
        .map(|cap| format!("max_wire_version = {cap}"));
    let sides = Sides::start_with(&cap.unwrap_or_default());
    let tried: Vec<Tried> = DRIVERS
        .iter()
        .filter(chosen)
        .map(|driver| Tried {
            driver,
            compared: run(driver, &sides),
        })
        .collect();
    let page = report::page(&crate::support::provenance(RESULTS), &tried);
    let is_whole = cli.driver.is_empty() && cli.max_wire_version.is_none();
    if is_whole && tried.iter().all(|one| one.compared.is_ok()) {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS), &page).unwrap();
    }
    println!("{page}");
    let complaints: Vec<String> = tried
        .iter()
        .flat_map(|one| match &one.compared {
            Ok(compared) => compared.iter().flat_map(|(_, c)| c.faults.clone()).collect(),
            Err(missing) if !cli.installed => vec![format!("{} needs {missing}", one.driver.name)],
            Err(_) => Vec::new(),
        })
        .collect();
    for complaint in &complaints {
        eprintln!("legacy_drivers: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

fn run(driver: &'static Driver, sides: &Sides) -> Result<Vec<(Side, Comparison)>, String> {
    let mut compared = Vec::new();
    let direct = outcomes(driver, Side::Direct, sides)?;
    for side in driver.presentations() {
        let proxied = outcomes(driver, *side, sides)?;
        compared.push((*side, compare(driver, *side, &direct, &proxied)));
    }
    Ok(compared)
}
