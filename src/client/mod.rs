//! The application's side: listeners, sessions, and the life of a command in `exchange`.

mod abandon;
mod account;
mod admission;
mod again;
mod alias;
mod attend;
mod awaits;
mod choose;
mod compression;
pub mod drain;
mod drivers;
mod exchange;
mod exhaust;
mod fail_point;
mod fan_out;
mod hello;
mod hold;
mod identify;
mod inbound;
mod legacy;
pub mod listener;
mod local;
mod login;
mod numbered;
mod old;
mod options;
mod pace;
mod pin;
mod relay;
mod roster;
mod search;
mod secure;
mod session;
mod shards;
mod shared;
#[cfg(test)]
mod size_tests;
mod slow;
mod stranger;
mod stream;
mod tell;
mod terms;
#[cfg(test)]
mod testing;
mod transaction;
pub mod unix;
pub mod upkeep;

pub use drain::{Drain, Stage};
pub use drivers::Drivers;
pub use legacy::{LegacyClient, LegacyClients, LegacyUse};
pub use listener::Core;
pub use login::{Backend, Logins, Source};
pub use options::{ListenAddress, ListenerOptions, Presentation, Reach, Twin, UNIX_MODE};
pub use roster::{Client, Entry, Roster, State};
pub use secure::ListenerTls;
pub use shared::{Process, Shared};
pub use slow::{SlowCommand, SlowLog};
pub use terms::{Listeners, Listening, Settings, Terms};

use std::time::Duration;

/// Bounds on what clients may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most client connections at once, over all listeners.
    pub max_clients: usize,
    /// Most client connections from one IP address; `None` sets no bound.
    pub max_clients_per_address: Option<usize>,
    /// Most client connections that have not logged in, over all listeners that demand a login.
    pub max_unauthenticated: usize,
    /// How long a client may take to log in at a listener that demands it, unless it does no more than a driver's monitor does.
    pub login_timeout: Duration,
    /// The longest delay of an answer to a login from an address from which others failed; zero for none.
    pub login_delay_max: Duration,
    /// How long a new connection may take to send its first whole message.
    pub handshake_timeout: Duration,
    /// A client that sends nothing for this long is closed; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// Bytes that held requests and replies may take together.
    pub buffer_bytes: usize,
    /// Replies above this many bytes are streamed where that is possible.
    pub stream_above: usize,
    /// The least that a client must take of a large reply while others wait for what it holds, in bytes per second.
    pub min_read_rate: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_clients_per_address: None,
            max_unauthenticated: 5_000,
            login_timeout: Duration::from_secs(30),
            login_delay_max: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: None,
            buffer_bytes: 512 << 20,
            stream_above: 1 << 20,
            min_read_rate: 64 << 10,
        }
    }
}
