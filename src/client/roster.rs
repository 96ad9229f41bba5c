//! Who is connected, and what each client is at: for the operator, who looks now and then.
//!
//! A session writes down what it does in atomics of its own, relaxed, without a lock; who looks puts the picture together. So what is shown
//! of a client may be a moment apart in its parts. As many are listed as are connected, which `max_clients` bounds.

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

use super::{ListenAddress, Shared, drain::Ties, drivers::Described, options::Peer};
use crate::command::{self, Row};

/// Parts with a lock of their own, so that cores seldom meet.
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<i32, Arc<Entry>>>;

/// All clients that are connected. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<[Shard; SHARDS]>);

/// A client's place in the list; given up on drop.
#[derive(Debug)]
pub(super) struct Listed {
    roster: Roster,
    entry: Arc<Entry>,
}

/// What a client is held up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldUpBy {
    /// The gate.
    Gate = 1,
    /// A connection to a node.
    Connection,
}

/// What is written down of one client. In this order, so that what each command touches lies together.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    /// Where the row of its newest command lies; 0 of one that has none.
    row: AtomicUsize,
    /// When that came, in milliseconds since the process started; 0 before the first.
    began: AtomicU64,
    /// A [`HeldUpBy`], or 0.
    waits: AtomicU8,
    killed: AtomicBool,
    id: i32,
    /// What would be lost if it were closed between two commands.
    pub(super) ties: Ties,
    peer: Peer,
    listener: ListenAddress,
    shared: Weak<Shared>,
    since: Instant,
    about: Mutex<About>,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug, Default)]
struct About {
    driver: Option<Arc<Described>>,
    user: Option<String>,
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Idle,
    /// Nothing just now, with a transaction open.
    InTransaction,
    /// A command.
    InCommand,
    /// A command, which waits for a connection to a node.
    WaitingForConnection,
    /// A command, which waits at the gate.
    AtGate,
    /// A `hello`, which waits for news of the topology.
    Monitoring,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::InTransaction,
        Self::InCommand,
        Self::WaitingForConnection,
        Self::AtGate,
        Self::Monitoring,
    ];

    /// A word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::InTransaction => "in_transaction",
            Self::InCommand => "in_command",
            Self::WaitingForConnection => "waiting_for_connection",
            Self::AtGate => "at_gate",
            Self::Monitoring => "monitoring",
        }
    }
}

/// A client at one moment.
#[derive(Debug, Clone)]
pub struct Client {
    /// The connection's number, as `hello` tells it.
    pub id: i32,
    /// Where it comes from.
    pub address: String,
    /// Where it came in.
    pub listener: String,
    /// The user that it has logged in as.
    pub user: Option<String>,
    /// What the application calls itself.
    pub application: Option<String>,
    /// Name and version of its driver.
    pub driver: Option<(String, String)>,
    /// How long it has been connected.
    pub age: Duration,
    /// What it is at.
    pub state: State,
    /// Its newest command; `None` of one that is not known by name, and before the first.
    pub command: Option<&'static str>,
    /// How long ago that came; `None` before the first.
    pub command_age: Option<Duration>,
    /// The transaction that it last served is open.
    pub in_transaction: bool,
    /// Cursors that it opened and that are open.
    pub cursors: Vec<i64>,
}

impl Roster {
    /// Lists a client.
    pub(super) fn list(&self, id: i32, peer: Peer, listener: &ListenAddress, shared: &Arc<Shared>) -> Listed {
        let entry = Arc::new(Entry {
            id,
            peer,
            listener: listener.clone(),
            shared: Arc::downgrade(shared),
            since: Instant::now(),
            ties: Ties::default(),
            row: AtomicUsize::new(0),
            began: AtomicU64::new(0),
            waits: AtomicU8::new(0),
            about: Mutex::default(),
            killed: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.shard(id).insert(id, Arc::clone(&entry));
        Listed {
            roster: self.clone(),
            entry,
        }
    }

    /// All clients, by number.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &*self.0 {
            entries.extend(lock(shard).values().cloned());
        }
        entries.sort_unstable_by_key(|entry| entry.id);
        entries
    }

    /// Closes a client's connection at once, whatever it is at; `false` if there is none of this number.
    pub fn kill(&self, id: i32) -> bool {
        let entry = self.shard(id).get(&id).cloned();
        entry.map(|entry| entry.kill()).is_some()
    }

    /// Closes the connections of all clients, whatever they are at.
    pub fn kill_all(&self) {
        for entry in self.entries() {
            entry.kill();
        }
    }

    fn shard(&self, id: i32) -> MutexGuard<'_, HashMap<i32, Arc<Entry>>> {
        lock(&self.0[id as usize % SHARDS])
    }
}

impl Deref for Listed {
    type Target = Arc<Entry>;

    fn deref(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.roster.shard(self.entry.id).remove(&self.entry.id);
    }
}

impl Entry {
    /// Takes note of the command that has come.
    #[inline]
    pub(super) fn note_command(&self, row: Option<&'static Row>) {
        self.row
            .store(row.map_or(0, |row| ptr::from_ref(row).addr()), Relaxed);
    }

    /// Takes note of when it came, `since_start` of the process.
    #[inline]
    pub(super) fn note_time(&self, since_start: Duration) {
        let millis = since_start.as_secs() * 1000 + u64::from(since_start.subsec_millis());
        self.began.store(millis.max(1), Relaxed);
    }

    /// Takes note that the client's command is held up, until what is returned is dropped.
    pub(super) fn wait(&self, by: HeldUpBy) -> Waiting<'_> {
        self.waits.store(by as u8, Relaxed);
        Waiting(self)
    }

    /// Takes note of how the client has described itself.
    pub(super) fn note_driver(&self, driver: Arc<Described>) {
        lock(&self.about).driver = Some(driver);
    }

    /// Takes note of who has logged in; `None` once that is over.
    pub(super) fn note_user(&self, user: Option<String>) {
        lock(&self.about).user = user;
    }

    /// Has its session woken by [`Entry::kill`].
    pub(super) fn woken_by(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    /// Whether its connection is to be closed at once.
    #[inline]
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    fn kill(&self) {
        self.killed.store(true, Relaxed);
        if let Some(waker) = lock(&self.waker).as_ref() {
            waker.wake_by_ref();
        }
    }

    /// The client as it is now.
    #[must_use]
    pub fn look(&self) -> Client {
        let (driver, user) = {
            let about = lock(&self.about);
            (about.driver.clone(), about.user.clone())
        };
        let shared = self.shared.upgrade();
        let (in_transaction, cursors) = shared
            .as_ref()
            .map_or((false, Vec::new()), |shared| self.ties.open(shared));
        let began = Some(self.began.load(Relaxed)).filter(|began| *began > 0);
        let now = shared.as_ref().map(|shared| shared.started.elapsed());
        let began = began.map(Duration::from_millis).zip(now);
        Client {
            id: self.id,
            address: self.peer.to_string(),
            listener: self.listener.to_string(),
            user,
            application: driver
                .as_ref()
                .and_then(|driver| driver.application().map(str::to_owned)),
            driver: driver.as_ref().map(|driver| {
                let (name, version) = driver.driver();
                (name.to_owned(), version.to_owned())
            }),
            age: self.since.elapsed(),
            state: self.state(in_transaction),
            command: command::row_at(self.row.load(Relaxed)).map(|row| row.name),
            command_age: began.map(|(began, now)| now.saturating_sub(began)),
            in_transaction,
            cursors,
        }
    }

    fn state(&self, in_transaction: bool) -> State {
        if self.ties.is_monitoring() {
            State::Monitoring
        } else if !self.ties.is_busy() {
            match in_transaction {
                true => State::InTransaction,
                false => State::Idle,
            }
        } else if self.waits.load(Relaxed) == HeldUpBy::Gate as u8 {
            State::AtGate
        } else if self.waits.load(Relaxed) == HeldUpBy::Connection as u8 {
            State::WaitingForConnection
        } else {
            State::InCommand
        }
    }
}

/// A client whose command is held up.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Entry);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.store(0, Relaxed);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{client::testing, shutdown::Shutdown};

    fn row(name: &str) -> Option<&'static Row> {
        command::table::find(name.as_bytes())
    }

    #[tokio::test]
    async fn clients_are_listed_while_they_are_there_with_what_they_are_at() {
        let shutdown = Shutdown::new();
        let (session, _client) = testing::connected(&shutdown).await;
        let roster = session.shared.roster.clone();
        let entry = Arc::clone(&session.entry);
        let seen = entry.look();
        assert_eq!((seen.id, seen.state), (session.id, State::Idle));
        assert_eq!((seen.command, seen.command_age), (None, None));
        entry.ties.busy.store(true, Relaxed);
        entry.note_command(row("find"));
        entry.note_time(Duration::ZERO);
        let seen = entry.look();
        assert_eq!((seen.state, seen.command), (State::InCommand, Some("find")));
        assert!(seen.command_age.is_some());
        for (wait, state) in [
            (HeldUpBy::Gate, State::AtGate),
            (HeldUpBy::Connection, State::WaitingForConnection),
        ] {
            let waiting = entry.wait(wait);
            assert_eq!(entry.look().state, state);
            drop(waiting);
            assert_eq!(entry.look().state, State::InCommand);
        }
        entry.note_command(row("noSuchCommand"));
        assert_eq!(entry.look().command, None);
        assert_eq!(roster.entries().len(), 1);
        drop(session);
        assert!(roster.entries().is_empty());
        shutdown.begin();
    }

    #[tokio::test]
    async fn who_is_killed_is_closed_at_once_and_the_others_stay() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = testing::connected(&shutdown).await;
        let (roster, id) = (session.shared.roster.clone(), session.id);
        let serving = tokio::spawn(async move { session.serve().await });
        tokio::task::yield_now().await;
        assert!(!roster.kill(id + 1), "there is no such client");
        assert_eq!(roster.entries().len(), 1);
        assert!(roster.kill(id));
        let ended = tokio::time::timeout(Duration::from_secs(10), serving).await;
        ended.expect("it is closed").unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(roster.entries().is_empty() && !roster.kill(id));
        shutdown.begin();
    }
}
