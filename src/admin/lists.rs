//! What `/clients`, `/cursors`, `/pools`, `/config` and `/log-level` answer: the fields, their units, and nothing else.
//!
//! Each list is bounded; where it was cut, `note` says so. What is not known is `null`.

use serde::{Deserialize, Serialize};

use super::status::Pool;

/// What `/clients` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Connected now.
    pub connected: usize,
    /// Those of them that fit what was asked for.
    pub matching: usize,
    /// Says that the list was cut, if it was.
    pub note: Option<String>,
    /// Those that fit, in the order in which they connected.
    pub clients: Vec<Client>,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// The connection's number, as drivers know it (`connectionId` of `hello`).
    pub id: i32,
    /// The IP address and port, or `unix`.
    pub address: String,
    /// The listener that it dialled.
    pub listener: String,
    /// The user, as `name@database`, if it has logged in.
    pub user: Option<String>,
    /// What the application calls itself (`appName`).
    pub application: Option<String>,
    /// The driver's name, as it gives it in `hello`.
    pub driver: Option<String>,
    /// Its version.
    pub driver_version: Option<String>,
    /// `idle`; `in_transaction`: idle with a transaction open; `in_command`; `waiting_for_connection` and `at_gate`: in a command that waits;
    /// `monitoring`: in a `hello` that waits for news.
    pub state: String,
    /// The newest command: the one that it is in, else the last one; `null` if that is not known by name.
    pub command: Option<String>,
    /// How long ago that came.
    pub command_age_seconds: Option<f64>,
    /// How long it has been connected.
    pub age_seconds: f64,
    /// Whether the transaction that it last served is open.
    pub in_transaction: bool,
    /// Open cursors that it opened; of very many the first.
    pub cursors: Vec<i64>,
}

/// What `/cursors` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursors {
    /// Cursors whose node is remembered.
    pub pinned: usize,
    /// Says that the list was cut, if it was.
    pub note: Option<String>,
    /// All of them, or the oldest, the oldest first.
    pub cursors: Vec<Cursor>,
}

/// One cursor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The cursor's id.
    pub id: i64,
    /// What it reads: a database and a collection, as the node has told; `null` if it has not.
    pub namespace: Option<String>,
    /// The node that it lives on.
    pub node: String,
    /// Whether it waits for new documents, as a change stream does.
    pub awaits: bool,
    /// How long ago this proxy first heard of it.
    pub age_seconds: f64,
    /// How long ago it was last used.
    pub idle_seconds: f64,
}

/// What `/pools` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pools {
    /// Each node's pool, by address.
    pub pools: Vec<NodePool>,
}

/// One node's pool, and who holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePool {
    /// The node.
    pub node: String,
    /// The listener whose own pool this is, because it serves that node alone; `null` of the pool that all others share.
    pub listener: Option<String>,
    /// What it is in a word, as in `/topology`.
    pub state: String,
    /// Connections whose reply goes to its client as it comes.
    pub streaming: usize,
    /// The counts.
    pub pool: Pool,
    /// Those that have most of it.
    pub identities: Vec<Identity>,
    /// How many others have a part of it.
    pub other_identities: usize,
}

/// What one identity has of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The user, as `name@database`; `null` for the proxy itself and for clients that have not logged in.
    pub user: Option<String>,
    /// `user`; `service`: the proxy itself; `nobody`: clients that have not logged in.
    pub kind: String,
    /// Connections that commands use now, those that await new documents left out.
    pub in_use: usize,
    /// Connections on which new documents are awaited now.
    pub awaiting: usize,
    /// Connections that are free.
    pub idle: usize,
    /// Connections that are being made.
    pub connecting: usize,
    /// Commands that wait for one.
    pub waiting: usize,
}

/// What `/config` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Every setting, by section.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its key, as `pool.max_size` or `listener[0].address`.
    pub key: String,
    /// The value in force, as it would be written; of a secret only that it is set; `null` if there is none.
    pub value: Option<String>,
    /// Where it comes from: `FILE:LINE`, a variable's or argument's name, `upstream.uri` of what the connection string says, or `default`.
    pub source: String,
}

/// What `/log-level` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLevel {
    /// The level in force.
    pub level: String,
    /// The one that the log was started with.
    pub configured: String,
    /// Whether this request made a difference.
    pub changed: bool,
    /// When the configured one is in force again; `null` if that is not settled.
    pub returns_in_seconds: Option<f64>,
}
