//! What `/status` answers: the fields, their units, and nothing else.
//!
//! Each field's unit is in its name or its description. What is not known is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::telemetry::Timed;

/// The state of a proxy at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of Tidegate.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in UTC (RFC 3339).
    pub started: String,
    /// How long ago that is.
    pub uptime_seconds: f64,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Whether it was told to stop and finishes what is in flight.
    pub stopping: bool,
    /// How far the drain is; `null` if none is under way.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// The configuration and its reloads; `null` where none can be reloaded.
    #[serde(default)]
    pub config: Option<Config>,
    /// Where clients are served.
    pub listeners: Vec<Listener>,
    /// The certificates that are presented to clients and nodes.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// The replica set.
    pub topology: Topology,
    /// Commands that wait for a node that can take them.
    pub gate: Gate,
    /// The applications' connections.
    pub clients: Clients,
    /// Cursors whose node is remembered.
    pub cursors_pinned: usize,
    /// The proxy's own server sessions, under which writes go out that come without a number.
    pub server_sessions: ServerSessions,
    /// Memory that large messages hold.
    pub buffers: Buffers,
    /// The commands that nodes were asked for, by name.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// What happened since the start, summed over all cores; `/metrics` explains each.
    pub counters: BTreeMap<String, u64>,
}

/// The configuration that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its file; `null` if it comes from environment variables alone.
    pub file: Option<String>,
    /// The SHA-256 digest of the file that is in force, as far as that needs no restart.
    pub hash: Option<String>,
    /// When it was loaded, in UTC (RFC 3339).
    pub loaded_at: String,
    /// The same in seconds since 1970.
    pub loaded_at_seconds: f64,
    /// Whether the last reload could use what it found; `true` before the first.
    pub last_reload_succeeded: bool,
    /// When that was; `null` before the first.
    pub last_reload_at: Option<String>,
    /// What was wrong with what it found.
    pub mistakes: Vec<String>,
    /// Keys whose values in the file differ from those in force until the next start.
    pub wait_for_restart: Vec<String>,
    /// How the reloads ended.
    pub reloads: Reloads,
}

/// How many reloads ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// Something had changed.
    pub applied: u64,
    /// Nothing had changed.
    pub unchanged: u64,
    /// The configuration could not be used, and changed nothing.
    pub invalid: u64,
}

/// What became of the commands of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its name on the wire; `(other)` for all that Tidegate's table does not have.
    pub name: String,
    /// How often and how long.
    #[serde(flatten)]
    pub took: Took,
}

/// How long commands took since the start, from request to reply in hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Took {
    /// How many were timed: all but `getMore`s that await new documents.
    pub count: u64,
    /// How many ended with an error, a node's or the proxy's.
    pub errors: u64,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
}

impl From<&Timed> for Took {
    fn from(timed: &Timed) -> Self {
        let quantile = |part| timed.durations.quantile_ms(part);
        Self {
            count: timed.durations.count(),
            errors: timed.errors,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

/// Where commands wait while no node can take them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// `open`; `holding` while commands wait; `paused` while it is closed by hand.
    pub state: String,
    /// Commands that wait now.
    pub commands: usize,
    /// Most commands that may (`[failover] hold_commands`).
    pub max_commands: usize,
    /// Bytes of the messages of those that wait.
    pub bytes: usize,
    /// Most bytes (`[failover] hold_bytes`).
    pub max_bytes: usize,
    /// How long each may wait in sum (`[failover] hold`).
    pub hold_seconds: f64,
    /// How long the one has waited that came first; `null` if none waits.
    pub oldest_seconds: Option<f64>,
    /// For how long it has been closed by hand; `null` if it is not.
    pub paused_seconds: Option<f64>,
}

/// A drain that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// `announced` while new clients are still taken; `closing` while those are closed that pause; `hurrying` while those are closed, too,
    /// that do not; `stopping` once the deadline is over.
    pub stage: String,
    /// How long ago it began.
    pub elapsed_seconds: f64,
    /// How long it may take (`[drain] deadline`).
    pub deadline_seconds: f64,
    /// Clients that are still connected.
    pub clients_left: usize,
    /// Those of them that stay because of a transaction or an open cursor, as far as they were looked at.
    pub clients_tied: usize,
}

/// What became of the proxy's own server sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSessions {
    /// Those that wait for the next write.
    pub idle: usize,
    /// Made since the start.
    pub created: u64,
    /// Given up since the start because the outcome of their write was not known.
    pub discarded: u64,
    /// Given up since the start because they were idle for too long.
    pub expired: u64,
}

/// One address that clients dial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// The IP address and port, or the path of a Unix domain socket.
    pub address: String,
    /// What it looks like to drivers: `mongos` or `replica_set`; `node` as the one member that it reaches.
    pub presents_as: String,
    /// What its commands reach: `cluster`, `secondaries`, or the address of one member.
    pub reaches: String,
    /// By which address drivers are told to find it, if that is configured.
    pub advertise: Option<String>,
    /// For reads of clients that send no read preference, as options of a connection string.
    pub read_preference: String,
}

/// A certificate that is presented to peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Who presents it: `listener` and its address, or `upstream`.
    pub used_by: String,
    /// Its file.
    pub file: String,
    /// Its subject, in MongoDB's form.
    pub subject: String,
    /// Until when it, and all of its chain, is valid, in UTC (RFC 3339).
    pub expires: String,
    /// The same in seconds since 1970.
    pub expires_at_seconds: f64,
}

/// Clients of one driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// The driver's name, as it gives it in `hello`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many of its connections there are now.
    pub connected: usize,
}

/// Clients of one kind that use legacy opcodes, and so depend on their being translated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegacyClient {
    /// What the application calls itself in `hello`.
    pub application: Option<String>,
    /// The driver's name, as it gives it in `hello`; drivers do so since 2016.
    pub driver: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The IP address, of clients that tell nothing of themselves.
    pub address: Option<String>,
    /// The opcodes that they used.
    pub opcodes: Vec<String>,
    /// Connections on which they did, since the start.
    pub connections: u64,
    /// How long ago one of these connections last used an opcode for the first time.
    pub last_seconds_ago: f64,
}

/// The replica set as the proxy sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The topology type of the Server Discovery and Monitoring specification.
    pub kind: String,
    /// The replica set's name.
    pub set_name: Option<String>,
    /// The primary's address.
    pub primary: Option<String>,
    /// Why no command can be served, if a node speaks no wire version that is understood.
    pub compatibility_error: Option<String>,
    /// All members that are known, by address.
    pub nodes: Vec<Node>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Host and port as they are dialled.
    pub address: String,
    /// The server type of the Server Discovery and Monitoring specification.
    pub kind: String,
    /// The same in a word: `primary`, `secondary`, `arbiter`, `other`, `ghost`, `standalone`, `mongos` or `unknown`.
    pub state: String,
    /// The average round trip time, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// For a secondary: how far it may be behind, by the Max Staleness specification, heartbeat interval included.
    pub staleness_seconds: Option<f64>,
    /// The wall clock of the newest write that it has, in UTC (RFC 3339).
    pub last_write: Option<String>,
    /// How long ago it last answered a check.
    pub last_update_age_seconds: Option<f64>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The lowest wire version that it speaks.
    pub min_wire_version: i32,
    /// The highest wire version that it speaks.
    pub max_wire_version: i32,
    /// For how long reads still pass it over, because somebody said so (`POST /nodes/{node}/avoid`); `null` if they do not.
    #[serde(default)]
    pub avoided_seconds: Option<f64>,
    /// Whether it is kept from clients.
    pub hidden: bool,
    /// Whether it has priority zero.
    pub passive: bool,
    /// Why its last check failed, if it did.
    pub error: Option<String>,
    /// How long it took for commands, waits within the proxy left out; errors are its replies that carry one, and exchanges that broke.
    #[serde(default)]
    pub took: Took,
    /// The proxy's connections to it, monitoring left out.
    pub pool: Pool,
    /// The connections that it has left, beside what the pool may take.
    pub connections: Connections,
}

/// One node's pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Connections that commands use now, those that await new documents left out.
    pub in_use: usize,
    /// Connections that are free.
    pub idle: usize,
    /// Connections that are being made.
    pub connecting: usize,
    /// Commands that wait for a connection now, those that await new documents left out.
    pub waiting: usize,
    /// Most connections (`[pool] max_size`).
    pub max_size: usize,
    /// The share of `getMore`s that await new documents.
    pub awaits: Awaits,
    /// Connections kept warm (`[pool] min_size`).
    pub min_size: usize,
    /// How often the pool was cleared because the node failed.
    pub generation: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections closed since the start, for whatever reason.
    pub closed: u64,
    /// Attempts to connect that failed since the start.
    pub connect_failures: u64,
    /// Commands that had to wait for a connection since the start.
    pub waits: u64,
    /// How long they waited in sum.
    pub wait_seconds: f64,
    /// How long one of them waited on average, in milliseconds; `null` if none had to.
    pub average_wait_ms: Option<f64>,
    /// Commands that waited in vain since the start.
    pub wait_timeouts: u64,
}

/// The share of one node's pool that is lent to `getMore`s of change streams and tailable cursors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Awaits {
    /// Connections on which new documents are awaited now.
    pub in_use: usize,
    /// `getMore`s that wait for such a connection now.
    pub waiting: usize,
    /// Most connections beyond `max_size` (`[pool] max_awaiting`).
    pub max: usize,
}

impl Pool {
    /// Connections that the node counts: in use and idle.
    #[must_use]
    pub fn open(&self) -> usize {
        self.in_use + self.awaits.in_use + self.idle
    }

    /// Most connections that the node may count.
    #[must_use]
    pub fn most(&self) -> usize {
        self.max_size.saturating_add(self.awaits.max)
    }
}

/// A node's own count of connections (`connections` of `serverStatus`), beside what a proxy may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections that the node has, of whomever.
    pub current: Option<u64>,
    /// Connections that it could still take.
    pub available: Option<u64>,
    /// The most that a proxy of this configuration takes: `max_size`, `max_awaiting`, and two for monitoring.
    pub per_proxy: u64,
    /// How many such proxies the node could serve, this one counted, if all else that is connected stays.
    pub proxies_that_fit: Option<u64>,
    /// How long ago the node was asked.
    pub age_seconds: Option<f64>,
    /// Why the counts are not known, if they are not.
    pub unknown_because: Option<String>,
}

/// The applications' connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Connected now.
    pub connected: usize,
    /// Accepted since the start.
    pub accepted: u64,
    /// Refused since the start because a limit was reached.
    pub refused: u64,
    /// Most at once (`[limits] max_clients`).
    pub max_clients: usize,
    /// Most at once from one IP address (`[limits] max_clients_per_address`); `null` sets no bound.
    pub max_clients_per_address: Option<usize>,
    /// Connected now, for each core.
    pub per_core: Vec<usize>,
    /// Those that have described themselves, by driver; beyond a hundred different ones all others together.
    pub drivers: Vec<Driver>,
    /// Those that use legacy opcodes, since the start; beyond two hundred different ones all others together, without a name.
    pub legacy: Vec<LegacyClient>,
}

/// Memory that large messages hold (`[limits] buffer_bytes`, half of it for each direction).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Buffers {
    /// Requests.
    pub requests: Buffer,
    /// Replies.
    pub replies: Buffer,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Bytes in use.
    pub used_bytes: usize,
    /// Bytes in all.
    pub total_bytes: usize,
}
