//! What a service has to outlive: reloads of its configuration, upgrades on one host, rolling restarts of a fleet; all under load, and without an error for
//! a client.
//!
//! `cargo bench --bench service -- --reloads 1000 --upgrades 20 --restarts 50`. Each part writes a page of its own under `docs/results/` when it is run in
//! full size. The short forms are tests (`tests/integration/reload.rs` and `upgrade.rs`). Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

mod reloads;
mod rolling;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;
mod upgrades;

use std::{fs, path::Path, process::ExitCode};

use clap::Parser;
use tidegate::sandbox::{Options, ReplicaSet};

use crate::support::start_set;

/// Has a proxy reloaded, upgraded and restarted under load.
#[derive(Parser)]
#[command(name = "service")]
struct Cli {
    /// Reloads of one proxy, some of them of a configuration with mistakes.
    #[arg(long, default_value_t = 0)]
    reloads: usize,
    /// Upgrades of one proxy.
    #[arg(long, default_value_t = 0)]
    upgrades: usize,
    /// Restarts of two proxies behind HAProxy, one after the other.
    #[arg(long, default_value_t = 0)]
    restarts: usize,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// From so many on a run is one of full size, and its page is kept.
const FULL: [usize; 3] = [1000, 20, 50];

fn main() -> ExitCode {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let [reloads, upgrades, restarts] = FULL;
    let mut faults = 0;
    if cli.reloads > 0 {
        let result = runtime.block_on(reloads::run(&fresh_set(), cli.reloads));
        faults += result.keep(reloads::RESULTS, cli.reloads >= reloads);
    }
    if cli.upgrades > 0 {
        let result = runtime.block_on(upgrades::run(&fresh_set(), cli.upgrades));
        faults += result.keep(upgrades::RESULTS, cli.upgrades >= upgrades);
    }
    if cli.restarts > 0 {
        let result = runtime.block_on(rolling::run(&fresh_set(), cli.restarts));
        faults += result.keep(rolling::RESULTS, cli.restarts >= restarts);
    }
    if faults > 0 {
        eprintln!(
            "service: {faults} errors were seen, or connections closed without need; there must be none"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What a run came to.
pub(crate) struct Outcome {
    page: String,
    /// Errors that clients saw, and pools and connections that were touched without need.
    faults: u64,
}

impl Outcome {
    /// Prints the page, and keeps it if the run was of full size.
    fn keep(&self, file: &str, is_full: bool) -> u64 {
        println!("{}", self.page);
        if is_full {
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), &self.page).unwrap();
        }
        self.faults
    }
}

/// Each run has its own: clients of two runs number their documents alike.
fn fresh_set() -> ReplicaSet {
    start_set(Options::default())
}
