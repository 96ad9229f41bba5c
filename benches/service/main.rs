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

use std::{fs, path::Path};

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

fn main() {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let set = start_set(Options::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let [reloads, upgrades, restarts] = FULL;
    if cli.reloads > 0 {
        let page = runtime.block_on(reloads::run(&set, cli.reloads));
        keep(reloads::RESULTS, &page, cli.reloads >= reloads);
    }
    if cli.upgrades > 0 {
        let page = runtime.block_on(upgrades::run(&set, cli.upgrades));
        keep(upgrades::RESULTS, &page, cli.upgrades >= upgrades);
    }
    if cli.restarts > 0 {
        let page = runtime.block_on(rolling::run(&set, cli.restarts));
        keep(rolling::RESULTS, &page, cli.restarts >= restarts);
    }
    drop::<ReplicaSet>(set);
}

fn keep(file: &str, page: &str, is_full: bool) {
    println!("{page}");
    if is_full {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), page).unwrap();
    }
}
