//! Clients that go on and on and count what went wrong: some stay connected, some come and go, as short-lived processes do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bson::{Uuid, doc};
use tokio::{runtime::Builder, task::JoinSet};

use super::client::{Client, is_ok};

/// Commands of a client that comes and goes, each time that it is there.
const VISIT: usize = 5;
/// What is kept of errors.
const FIRST: usize = 20;
const DB: &str = "steady";

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    commands: AtomicU64,
    visits: AtomicU64,
    failed: AtomicU64,
    errors: Mutex<Vec<String>>,
}

/// What clients saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) commands: u64,
    /// Connections that were made and ended by clients that come and go.
    pub(crate) visits: u64,
    pub(crate) failed: u64,
    /// The first of what went wrong.
    pub(crate) errors: Vec<String>,
}

/// Clients at work, until they are stopped, on a thread of their own: whatever the test waits for, they go on. They write and read by turns, without
/// retries: each error counts.
#[derive(Debug)]
pub(crate) struct Steady {
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
}

impl Steady {
    /// Has `staying` clients stay connected, and as many as `visiting` come and go, with a pause after each command.
    pub(crate) fn start(address: SocketAddr, staying: usize, visiting: usize, pause: Duration) -> Self {
        let counts = Arc::new(Counts::default());
        let all = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for number in 0..staying + visiting {
                    let counts = Arc::clone(&all);
                    clients.spawn(async move {
                        let visit = if number < staying { usize::MAX } else { VISIT };
                        while !counts.stop.load(Relaxed) {
                            attend(address, number, visit, pause, &counts).await;
                        }
                    });
                }
                while let Some(ended) = clients.join_next().await {
                    ended.unwrap();
                }
            });
        });
        Self { counts, thread }
    }

    /// How many commands have been answered well.
    pub(crate) fn commands(&self) -> u64 {
        self.counts.commands.load(Relaxed)
    }

    /// Ends all clients between two commands.
    pub(crate) fn stop(self) -> Seen {
        self.counts.stop.store(true, Relaxed);
        self.thread.join().unwrap();
        Seen {
            commands: self.counts.commands.load(Relaxed),
            visits: self.counts.visits.load(Relaxed),
            failed: self.counts.failed.load(Relaxed),
            errors: std::mem::take(&mut self.counts.errors.lock().unwrap()),
        }
    }
}

/// One connection, for so many commands.
async fn attend(address: SocketAddr, number: usize, visit: usize, pause: Duration, counts: &Counts) {
    let mut client = match Client::try_connect(address).await {
        Ok(client) => client,
        Err(error) => {
            tokio::time::sleep(pause).await;
            return counts.failed("connecting", &error.to_string());
        }
    };
    // Two commands at a time would be two clients: a session of its own tells them apart.
    let lsid = doc! { "id": Uuid::new() };
    for turn in 0..visit {
        if counts.stop.load(Relaxed) {
            return;
        }
        let id = format!("{number}");
        let command = match turn % 2 {
            0 => {
                doc! { "update": "c", "updates": [{ "q": { "_id": &id }, "u": { "$inc": { "n": 1 } }, "upsert": true }], "lsid": lsid.clone() }
            }
            _ => doc! { "find": "c", "filter": { "_id": &id }, "lsid": lsid.clone() },
        };
        match client.try_run(DB, command).await {
            Ok(reply) if is_ok(&reply) && !reply.contains_key("writeErrors") => {
                counts.commands.fetch_add(1, Relaxed);
            }
            Ok(reply) => counts.failed("a command", &reply.to_string()),
            Err(error) => return counts.failed("a command", &error.to_string()),
        }
        tokio::time::sleep(pause).await;
    }
    counts.visits.fetch_add(1, Relaxed);
}

impl Counts {
    fn failed(&self, what: &str, error: &str) {
        self.failed.fetch_add(1, Relaxed);
        let mut errors = self.errors.lock().unwrap();
        if errors.len() < FIRST {
            errors.push(format!("{what}: {error}"));
        }
    }
}
