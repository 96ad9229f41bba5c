//! No reply ever reaches the wrong client, whatever breaks between clients, proxy and nodes.
//!
//! 500 clients share ten connections to each node and ask for unique tokens in every way that takes a path of its own
//! through the proxy. Meanwhile relays between proxy and nodes close, reset, slice, slow down and freeze its connections, and
//! clients vanish in mid-command and mid-reply. A command may fail with an error that says so; it may never be answered
//! with a byte that belongs to another, nor be applied twice, nor lose its client's connection.
//!
//! `ISOLATION_SEED` and `ISOLATION_SECONDS` make other and longer runs.

mod client;
mod echo;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use bson::doc;
use fastrand::Rng;
use serde_json::Value;
use tidegate::sandbox::Options;

use self::client::{Client, Crowd};
use crate::support::{
    Proxy,
    raw::Raw,
    relay::{Cut, Faults, RelayedSet},
};

const CLIENTS: u64 = 500;
const MAX_SIZE: u64 = 10;
/// `[limits] stream_above`: the only replies that may cost a client its connection are larger.
const STREAM_ABOVE: usize = 64 << 10;
const DATABASE: &str = "isolation";
/// A healthy run on two busy cores echoes some 20 times as much.
const FEWEST_ECHOES_PER_SECOND: u64 = 50;
const RECOVERY: Duration = Duration::from_secs(30);
/// What the proxy's handshake names as its driver.
const MARKER: &str = "tidegate";
const FAULTS: Faults = Faults {
    close: 40,
    reset: 40,
    slice: 400,
    delay: 100,
    hold: 3,
};

#[test]
fn no_reply_reaches_the_wrong_client_while_connections_are_killed_reset_and_sliced() {
    let variable = |name, default| std::env::var(name).map_or(default, |v: String| v.parse().unwrap());
    let seed = variable("ISOLATION_SEED", 20_260_711);
    let seconds = variable("ISOLATION_SECONDS", 10);
    println!("seed {seed}");
    tidegate::cli::raise_file_limit();
    let nodes = RelayedSet::start(Options::default(), MARKER, seed);
    let sections = format!(
        "[pool]\nmax_size = {MAX_SIZE}\n[limits]\nstream_above = \"{}KiB\"\n",
        STREAM_ABOVE >> 10
    );
    let proxy = Proxy::start(&nodes.uri(), &sections);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(prepare(&proxy));

    let crowd = Arc::new(Crowd::default());
    let pools = thread::scope(|scope| {
        let breaker =
            scope.spawn(|| break_things(&nodes, &proxy, seed, Duration::from_secs(seconds), &crowd));
        runtime.block_on(async {
            let clients = (0..CLIENTS).map(|number| {
                let client = Client::new(&proxy, &crowd, seed, number);
                tokio::spawn(client.run())
            });
            let clients: Vec<_> = clients.collect();
            let mut idle = Vec::new();
            for client in clients {
                idle.push(client.await.unwrap());
            }
            settle(&proxy, seed, idle.len());
        });
        breaker.join().unwrap()
    });

    let (echoed, refused, broken, vanished) = crowd.counts();
    println!("echoed {echoed}, refused {refused}, broken off {broken}, vanished {vanished}");
    let violations = crowd.violations.lock().unwrap();
    assert!(
        violations.is_empty(),
        "seed {seed}: {violations:#?}\n{}",
        proxy.log()
    );
    assert!(pools <= MAX_SIZE, "seed {seed}: a pool held {pools} connections");
    assert!(
        echoed >= FEWEST_ECHOES_PER_SECOND * seconds,
        "seed {seed}: only {echoed} echoes, {refused} refused\n{}",
        proxy.log()
    );
    for relay in &nodes.relays {
        let done = relay.done();
        println!("{done:?}");
        let happened = done.closed > 0 && done.reset > 0 && done.sliced > 0 && done.delayed > 0;
        assert!(happened, "seed {seed}: a relay broke nothing: {done:?}");
    }
    wait_for("clients to be gone", seed, || {
        proxy.status()["clients"]["connected"] == 0
    });
    let (status, log) = proxy.stop();
    assert!(
        status.success() && !log.contains("panicked"),
        "seed {seed}: {status}\n{log}"
    );
}

async fn prepare(proxy: &Proxy) {
    let mut client = Raw::connect(proxy.address.to_string()).await.unwrap();
    let insert = doc! {"insert": "one", "documents": [{"_id": 1}], "writeConcern": {"w": 3}, "$db": DATABASE};
    let reply = client.command(&insert).await.unwrap();
    assert!(reply.ok(), "{reply:?}");
}

/// Breaks what the random faults do not, watches the pools' sizes, and returns the largest that was seen.
fn break_things(nodes: &RelayedSet, proxy: &Proxy, seed: u64, how_long: Duration, crowd: &Crowd) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let until = Instant::now() + how_long;
    let mut most = 0;
    nodes.relays.iter().for_each(|relay| relay.set_faults(FAULTS));
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(rng.u64(200..600)));
        let relay = &nodes.relays[rng.usize(..nodes.relays.len())];
        match rng.u32(..4) {
            0 => relay.cut_all(Cut::Close),
            1 => relay.cut_all(Cut::Reset),
            2 => {
                relay.set_frozen(true);
                thread::sleep(Duration::from_millis(rng.u64(100..500)));
                relay.set_frozen(false);
            }
            _ => {}
        }
        most = most.max(largest_pool(&proxy.status()));
    }
    nodes
        .relays
        .iter()
        .for_each(|relay| relay.set_faults(Faults::default()));
    // What is under way may still meet a connection that was broken.
    thread::sleep(Duration::from_secs(1));
    crowd.calm.store(true, Relaxed);
    most
}

fn largest_pool(status: &Value) -> u64 {
    let count = |pool: &Value| {
        ["in_use", "idle", "connecting"]
            .iter()
            .map(|key| pool[key].as_u64().unwrap())
            .sum()
    };
    pools(status).map(count).max().unwrap_or_default()
}

fn pools(status: &Value) -> impl Iterator<Item = &Value> {
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| &node["pool"])
}

/// With all clients connected and silent, nothing is in use.
fn settle(proxy: &Proxy, seed: u64, connected: usize) {
    wait_for("connections to be given back", seed, || {
        let status = proxy.status();
        let quiet = pools(&status).all(|pool| pool["in_use"] == 0 && pool["waiting"] == 0);
        quiet && status["clients"]["connected"] == connected && largest_pool(&status) <= MAX_SIZE
    });
    let status = proxy.status();
    for direction in ["requests", "replies"] {
        assert_eq!(
            status["buffers"][direction]["used_bytes"], 0,
            "seed {seed}: {status:#}"
        );
    }
}

fn wait_for(what: &str, seed: u64, arrived: impl Fn() -> bool) {
    let deadline = Instant::now() + RECOVERY;
    while !arrived() {
        assert!(
            Instant::now() < deadline,
            "seed {seed}: waited {RECOVERY:?} for {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
