//! Cuts at chosen messages, and the journal of the commands that any fault met.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Enough for every run; what comes later is not written down.
const MOST_ENTRIES: usize = 100_000;
/// What clients send for themselves, not for an application.
const OF_THEIR_OWN: &[&str] = &[
    "hello",
    "isMaster",
    "ismaster",
    "ping",
    "saslStart",
    "saslContinue",
    "endSessions",
];

/// Where a connection is cut. Both sides see an orderly end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    /// None of the request reaches the node, or a part of it.
    BeforeSend,
    /// The whole request reaches the node; when it has answered, nothing of that passes.
    AfterSend,
    /// The whole request reaches the node, and a part of the answer passes.
    MidReply,
}

/// Which messages are cut.
#[derive(Debug, Clone)]
pub(crate) struct Trap {
    pub(crate) point: Point,
    /// Messages of marked connections that hold one of these texts.
    pub(crate) texts: Vec<String>,
    /// How many are cut at most.
    pub(crate) times: u64,
    /// Every how many that fit is cut: a command that is sent again soon shall mostly pass then.
    pub(crate) every: u32,
    /// How many have fitted so far, over all relays that have this trap or a clone of it.
    pub(crate) passed: Arc<AtomicU32>,
    /// Messages that hold this text are cut once at most for each name that follows it, up to the next zero byte: so the second
    /// attempt at a command passes.
    pub(crate) once_for: Option<&'static str>,
    /// The names for which that is done, over all relays.
    pub(crate) done_for: Arc<Mutex<HashSet<Vec<u8>>>>,
}

impl Trap {
    /// Cuts the next `times` messages that hold `text`.
    pub(crate) fn new(point: Point, text: &str, times: u64) -> Self {
        Self {
            point,
            texts: vec![text.to_owned()],
            times,
            every: 1,
            passed: Arc::default(),
            once_for: None,
            done_for: Arc::default(),
        }
    }

    /// Where this message is to be cut; counts it.
    pub(super) fn spring(&mut self, message: &[u8]) -> Option<Point> {
        if self.times == 0 || !self.fits(message) {
            return None;
        }
        if !(self.passed.fetch_add(1, Relaxed) + 1).is_multiple_of(self.every) {
            return None;
        }
        if let Some(name) = self.once_for.and_then(|text| name_after(message, text)) {
            let mut done_for = self.done_for.lock().unwrap_or_else(|e| e.into_inner());
            if !done_for.insert(name.to_vec()) {
                return None;
            }
        }
        self.times -= 1;
        Some(self.point)
    }

    fn fits(&self, message: &[u8]) -> bool {
        self.texts.iter().any(|text| find(message, text).is_some())
    }
}

fn find(message: &[u8], text: &str) -> Option<usize> {
    message
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}

fn name_after<'a>(message: &'a [u8], text: &str) -> Option<&'a [u8]> {
    let rest = &message[find(message, text)? + text.len()..];
    rest.split(|byte| *byte == 0).next()
}

/// What a command met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// A trap cut its request.
    RequestSwallowed,
    /// A trap cut its reply, or swallowed it.
    ReplySwallowed,
    /// Its connection ended, for whatever reason, before the reply had passed.
    Unanswered,
    /// Its bytes were late, dripped, or held back.
    Slowed,
}

/// A command that met something.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    pub(crate) fate: Fate,
    pub(crate) command: String,
    /// What follows the relay's marker in the first bytes of its connection.
    pub(crate) who: String,
}

/// A request that the node has in whole, and whose reply has not passed.
#[derive(Debug, Clone)]
struct Open {
    command: String,
    trap: Option<Point>,
}

/// What a relay knows of the commands that pass.
#[derive(Debug, Default)]
pub(super) struct Journal {
    open: Mutex<HashMap<u64, Connection>>,
    met: Mutex<Vec<Met>>,
}

#[derive(Debug, Default)]
struct Connection {
    who: String,
    requests: HashMap<i32, Open>,
}

impl Journal {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A marked connection begins.
    pub(super) fn begin(&self, connection: u64, who: &str) {
        let begun = Connection {
            who: who.to_owned(),
            ..Connection::default()
        };
        self.connections().insert(connection, begun);
    }

    /// A request has wholly passed.
    pub(super) fn sent(&self, connection: u64, id: i32, command: String, trap: Option<Point>) {
        if let Some(connection) = self.connections().get_mut(&connection) {
            connection.requests.insert(id, Open { command, trap });
        }
    }

    /// Whether the reply to a request is to be cut.
    pub(super) fn trap_of(&self, connection: u64, id: i32) -> Option<Point> {
        self.connections().get(&connection)?.requests.get(&id)?.trap
    }

    /// Whether any reply on this connection is to be cut.
    pub(super) fn is_trapped(&self, connection: u64) -> bool {
        let connections = self.connections();
        let requests = connections.get(&connection).map(|c| &c.requests);
        requests.is_some_and(|requests| requests.values().any(|open| open.trap.is_some()))
    }

    /// A reply has wholly passed, or was cut.
    pub(super) fn answered(&self, connection: u64, id: i32, fate: Option<Fate>) {
        let mut connections = self.connections();
        let Some(connection) = connections.get_mut(&connection) else {
            return;
        };
        if let (Some(open), Some(fate)) = (connection.requests.remove(&id), fate) {
            self.write(fate, open.command, connection.who.clone());
        }
    }

    /// A marked connection has ended.
    pub(super) fn end(&self, connection: u64) {
        let Some(ended) = self.connections().remove(&connection) else {
            return;
        };
        for open in ended.requests.into_values() {
            self.write(Fate::Unanswered, open.command, ended.who.clone());
        }
    }

    /// A command met something.
    pub(super) fn write(&self, fate: Fate, command: String, who: String) {
        let mut met = self.met.lock().unwrap_or_else(|e| e.into_inner());
        if met.len() < MOST_ENTRIES && is_of_an_application(&command) {
            met.push(Met { fate, command, who });
        }
    }

    pub(super) fn met(&self) -> Vec<Met> {
        self.met.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The commands of `who` that the node has and has not answered.
    pub(super) fn in_flight(&self, who: &str) -> Vec<String> {
        let connections = self.connections();
        let of_who = connections.values().filter(|connection| connection.who == who);
        let commands = of_who.flat_map(|c| c.requests.values().map(|open| open.command.clone()));
        commands.filter(|command| is_of_an_application(command)).collect()
    }
}

fn is_of_an_application(command: &str) -> bool {
    !OF_THEIR_OWN.contains(&command)
}
