//! Chaos: clients of many kinds write and read through a proxy, and directly, while a replica set and the network around it meet
//! one fault after the other; afterwards what the clients were told is compared with what the database holds.
//!
//! `run` does it by a plan: `fault` inflicts, `crew` keeps the clients (`raw`, `worker.py`, `worker.js`), which leave
//! `operation`s, `judge` compares, `pause` measures how long clients stood still. The long form is `cargo bench --bench chaos`.

pub(crate) mod crew;
pub(crate) mod fault;
pub(crate) mod judge;
mod legacy;
pub(crate) mod operation;
pub(crate) mod pause;
mod raw;
pub(crate) mod run;
mod secure;
pub(crate) mod verdict;

pub(crate) use fault::{Class, Inflicted};
pub(crate) use judge::{Finding, Row};
pub(crate) use operation::{Operation, Workload};
pub(crate) use run::{DIRECT_CLIENTS, Outcome, PACED, PACED_W1, Plan, run};

/// The database of all workloads.
pub(crate) const DATABASE: &str = "chaos";
/// What the comment of each read begins with, before the operation's id.
pub(crate) const COMMENT: &str = "operation ";
/// What the application name of every client of the nodes begins with; relays know the connections to break by it.
pub(crate) const MARKER: &str = "chaos-";
/// What follows the marker for the proxy's connections, and for those of direct clients.
pub(crate) const PROXIED: &str = "proxied";
pub(crate) const DIRECT: &str = "direct";
/// Accounts between which money is transferred, and what each has at first.
pub(crate) const ACCOUNTS: i32 = 10;
pub(crate) const BALANCE: i64 = 1000;
/// Documents or statements of a bulk write.
pub(crate) const BULK: i32 = 1000;

/// Seconds since 1970: clients, servers' logs and this program share the machine's clock.
pub(crate) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
