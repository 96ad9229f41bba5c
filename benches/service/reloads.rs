//! Reloads of one proxy under load.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate::sandbox::ReplicaSet;

use crate::Outcome;
use crate::support::{
    Proxy, provenance,
    steady::{Seen, Steady},
};

pub(crate) const RESULTS: &str = "docs/results/reload.md";
const STAYING: usize = 24;
const VISITING: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);
/// Between two reloads.
const BETWEEN: Duration = Duration::from_millis(50);
/// A look at the file would come before the request now and then.
const BY_HAND: &str = "[reload]\nwatch = 'off'\n";

/// Further keys of the listener, sections, and whether that is a configuration.
type Version = (&'static str, String, bool);

fn version(number: usize) -> Version {
    let seconds = 20 + number % 7;
    match number % 8 {
        0 => (
            "",
            format!("[limits]\nmax_clients = {}\n", 500 + number % 50),
            true,
        ),
        1 => (
            "read_preference = 'nearest'",
            format!("[failover]\nhold = '{seconds}s'\n"),
            true,
        ),
        2 => ("read_only = maybe", String::new(), false),
        3 => (
            "",
            format!("[pool]\nwait_timeout = '{seconds}s'\nmax_lifetime = '{seconds}m'\n"),
            true,
        ),
        4 => (
            "",
            "[pool]\nmax_size = 0\n[limits]\nmax_clients = 'many'\n".to_owned(),
            false,
        ),
        5 => (
            "legacy = 'refuse'\ndeny_commands = ['dropDatabase']",
            format!(
                "[limits]\nbuffer_bytes = '{}MiB'\nidle_timeout = '{seconds}m'\n",
                256 + number % 64
            ),
            true,
        ),
        6 => (
            "compressors = ['zlib']",
            "[log]\nlevel = 'warn'\n[drain]\ngrace = '2s'\n".to_owned(),
            true,
        ),
        _ => ("this is no TOML", String::new(), false),
    }
}

pub(crate) async fn run(set: &ReplicaSet, reloads: usize) -> Outcome {
    let proxy = Proxy::start(&set.uri(), BY_HAND);
    let load = Steady::start(proxy.address, STAYING, VISITING, PAUSE);
    while load.commands() < 5000 {
        tokio::time::sleep(BETWEEN).await;
    }
    let (before, connected) = (pools(&proxy), Instant::now());
    let (mut invalid, mut slowest) = (0, Duration::ZERO);
    for number in 0..reloads {
        let (listener, sections, is_valid) = version(number);
        proxy.configure(&set.uri(), listener, &format!("{BY_HAND}{sections}"));
        let asked = Instant::now();
        let (code, body) = proxy.post("/reload");
        slowest = slowest.max(asked.elapsed());
        assert_eq!(code, if is_valid { 200 } else { 422 }, "{body}");
        invalid += usize::from(!is_valid);
        tokio::time::sleep(BETWEEN).await;
    }
    let (after, elapsed) = (pools(&proxy), connected.elapsed());
    let told = proxy.status()["config"]["reloads"].clone();
    let seen = load.stop();
    assert_eq!(told["invalid"], json!(invalid), "{told}");
    assert!(!proxy.log().contains("panicked"));
    println!("{seen:?}");
    let touched = (after.cleared - before.cleared) + (after.closed - before.closed);
    Outcome {
        page: page(reloads, invalid, elapsed, slowest, &seen, [before, after]),
        faults: seen.failed + touched,
    }
}

/// What the pools have done so far, all nodes together.
#[derive(Clone, Copy)]
struct Pools {
    cleared: u64,
    closed: u64,
    opened: u64,
}

fn pools(proxy: &Proxy) -> Pools {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let sum = |key: &str| nodes.iter().filter_map(|node| node["pool"][key].as_u64()).sum();
    Pools {
        cleared: sum("generation"),
        closed: sum("closed"),
        opened: sum("opened"),
    }
}

fn page(
    reloads: usize,
    invalid: usize,
    elapsed: Duration,
    slowest: Duration,
    seen: &Seen,
    [before, after]: [Pools; 2],
) -> String {
    format!(
        "# Reloads under load\n\n\
         Written by `cargo bench --bench service -- --reloads {reloads}`; edits are lost. {}\n\n\
         One proxy in front of three nodes, reloaded by `POST /reload` every {} ms or so, for {:.0} s, with a configuration that differs from the last \
         in limits, failover, pool, log, drain, read preference, rules, legacy opcodes or compressors, or that has mistakes. {STAYING} clients stay connected \
         and {VISITING} come and go; they write and read by turns, without retries.\n\n\
         | | |\n|---|---:|\n\
         | reloads | {reloads} |\n\
         | of these with mistakes, which changed nothing | {invalid} |\n\
         | the slowest answer to a reload | {:.0} ms |\n\
         | commands answered | {} |\n\
         | connections that clients made and ended | {} |\n\
         | errors that clients saw | {} |\n\
         | pools that were cleared | {} |\n\
         | connections to nodes that were closed | {} |\n\
         | connections to nodes that were opened | {} |\n",
        provenance(RESULTS),
        BETWEEN.as_millis(),
        elapsed.as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        seen.commands,
        seen.visits,
        seen.failed,
        after.cleared - before.cleared,
        after.closed - before.closed,
        after.opened - before.opened,
    )
}
