//! 200 users at once over pools of 4 connections, while clients go away in mid-command and nodes fail over.
//!
//! `cargo bench --bench many_users -- --users N --steps N --faults N`. The short form is a test of its own
//! (`tests/integration/many_users.rs`). A run of full size writes `docs/results/many_users.md`. Everything is on 127.0.0.1 and ends with
//! this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;

use std::{
    fs,
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use clap::Parser;
use tidegate::sandbox::ReplicaSet;

use crate::support::{
    Proxy,
    many_users::{self, Tally},
    provenance,
    users::{shared_auth_set, uri_as},
};

const RESULTS: &str = "docs/results/many_users.md";
/// A run of fewer users leaves the results page alone.
const FULL: usize = 200;

/// Has many users send commands through one proxy, each of which must be itself in every reply.
#[derive(Parser)]
#[command(name = "many_users")]
struct Cli {
    /// How many users.
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// How many steps each takes, of three commands.
    #[arg(long, default_value_t = 50)]
    steps: u64,
    /// How often the primary steps down or is killed meanwhile.
    #[arg(long, default_value_t = 6)]
    faults: usize,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let set = shared_auth_set();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let page = runtime.block_on(run(&cli, set));
    println!("{page}");
    if cli.users >= FULL {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS), &page).unwrap();
    }
}

async fn run(cli: &Cli, set: &'static ReplicaSet) -> String {
    many_users::create(set, cli.users).await;
    let uri = uri_as(set, "tidegate", "tidegate's password", "admin", "");
    let proxy = Proxy::start(&uri, "[pool]\nmax_size = 4\nmax_awaiting = 0\n");
    let started = Instant::now();
    let commands = async {
        let tally = many_users::run(proxy.address, cli.users, cli.steps, true).await;
        (tally, started.elapsed())
    };
    let faults = async {
        break_nodes(set, cli.faults).await;
        started.elapsed()
    };
    let ((tally, elapsed), broken) = tokio::join!(commands, faults);
    let struck = broken <= elapsed;
    assert!(!proxy.log().contains("panicked"));
    page(cli, &tally, elapsed, struck)
}

/// Steps the primary down and kills it, by turns.
async fn break_nodes(set: &'static ReplicaSet, faults: usize) {
    for fault in 0..faults {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let primary = set.primary().await.unwrap();
        if fault.is_multiple_of(2) {
            set.step_down().await.unwrap();
        } else {
            set.kill(primary).unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            set.restart(primary).await.unwrap();
        }
        set.wait_ready().await.unwrap();
    }
}

fn page(cli: &Cli, tally: &Tally, elapsed: Duration, struck: bool) -> String {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
    let all = if struck {
        ""
    } else {
        " (not all of them before the last command)"
    };
    format!(
        "# Many users over few connections\n\n\
         Written by `cargo bench --bench many_users`; edits are lost. {}\n\n\
         {} users at once, each over a connection of its own, on one proxy with `max_size = 4` and `max_awaiting = 0`, for each of three \
         nodes, in {:.0} s; the primary stepped down or was killed {} times meanwhile{all}. Each step of a user is `connectionStatus`, an \
         insert into its own database, and a read of another user's, which the node must refuse.\n\n\
         | | |\n|---|---:|\n\
         | commands answered | {} |\n\
         | `connectionStatus` that named the user itself alone | {} |\n\
         | replies that were another user's, or showed another user's data | 0 (one ends the run) |\n\
         | reads of others' data refused by the node (13) | {} |\n\
         | connections that clients left in the middle of a command | {} |\n\
         | logins | {} |\n\
         | steps that ended with an error that says that no node could take a command, or a broken connection | {} |\n",
        provenance(RESULTS),
        cli.users,
        elapsed.as_secs_f64(),
        cli.faults,
        of(&tally.answered),
        of(&tally.own),
        of(&tally.refused),
        of(&tally.cut),
        of(&tally.logins),
        of(&tally.unserved),
    )
}
