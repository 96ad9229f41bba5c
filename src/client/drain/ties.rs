//! What ties a client's connection to this proxy: the transaction that it last served, and the cursors that it opened.
//!
//! Both belong to server sessions, not to connections: a driver may go on with them on any other of its connections. So a tie only
//! names them, and what is shared knows whether they are open: the cursor's pin, and the transactions that are under way. A connection
//! is free as soon as they are over, wherever their end came in.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::{
    client::{Shared, exchange::Attempt, inbound::Inbound, session::Session},
    routing::SessionId,
};

/// After that many a connection is a driver's monitor: others say `hello` once.
const HELLOS_OF_A_MONITOR: u8 = 2;
/// Cursors that are remembered before it is looked which of them are over.
const FEW: usize = 16;

/// What ties one client. In this order, so that what each command touches lies together, at the beginning.
#[derive(Debug, Default)]
#[repr(C)]
pub(in crate::client) struct Ties {
    /// It is in a command.
    pub(in crate::client) busy: AtomicBool,
    /// It waits in a `hello`, and in nothing else.
    waits: AtomicBool,
    /// A part of its next message is here.
    arrives: AtomicBool,
    hellos: AtomicU8,
    /// Those that it opened, some of them over.
    cursors: Mutex<Vec<i64>>,
    /// The session of whose transaction it last served a statement.
    transaction: Mutex<Option<SessionId>>,
    /// The session whose transaction it is ending.
    ending: Mutex<Option<SessionId>>,
}

impl Ties {
    /// Takes note of a cursor that a reply has just opened, whose pin is set.
    pub(in crate::client) fn note_cursor(&self, id: i64, shared: &Shared) {
        let mut cursors = lock(&self.cursors);
        if cursors.len() == cursors.capacity().max(FEW) {
            let now = Instant::now();
            cursors.retain(|id| shared.pins.knows(*id, now));
        }
        cursors.push(id);
    }

    /// Takes note of a `hello`.
    pub(in crate::client) fn note_hello(&self) {
        let hellos = self.hellos.load(Relaxed);
        self.hellos.store(hellos.saturating_add(1), Relaxed);
    }

    /// Takes note that the client waits in a `hello`, or no more.
    pub(in crate::client) fn note_wait(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
    }

    /// Takes note that a part of a message is here, or that all of it is.
    pub(in crate::client) fn note_arrival(&self, arrives: bool) {
        self.arrives.store(arrives, Relaxed);
    }

    /// Whether a message is arriving.
    pub(super) fn arrives(&self) -> bool {
        self.arrives.load(Relaxed)
    }

    /// Whether it is in a command, other than a `hello` that waits.
    pub(in crate::client) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed) && !self.waits.load(Relaxed)
    }

    /// Whether it does nothing but look whether the proxy is there.
    pub(super) fn monitors(&self) -> bool {
        self.waits.load(Relaxed) || self.hellos.load(Relaxed) >= HELLOS_OF_A_MONITOR
    }

    /// Whether it waits in a `hello`.
    pub(in crate::client) fn is_monitoring(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// Whether its transaction is open, and the cursors that are.
    pub(in crate::client) fn open(&self, shared: &Shared) -> (bool, Vec<i64>) {
        let now = Instant::now();
        let transaction = *lock(&self.transaction);
        let in_transaction = transaction.is_some_and(|id| shared.open_transactions.knows(id, now));
        let mut cursors = lock(&self.cursors).clone();
        cursors.retain(|id| shared.pins.knows(*id, now));
        (in_transaction, cursors)
    }

    /// Whether a transaction or a cursor of its is open.
    pub(super) fn bind(&self, shared: &Shared) -> bool {
        let now = Instant::now();
        let in_transaction =
            lock(&self.transaction).is_some_and(|id| shared.open_transactions.knows(id, now));
        let mut cursors = lock(&self.cursors);
        cursors.retain(|id| shared.pins.knows(*id, now));
        in_transaction || !cursors.is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a statement of a transaction, or its end, before it is sent.
pub(in crate::client) fn note_statement(session: &Session, inbound: &Inbound) {
    let lsid = inbound.request.lsid.map(|lsid| lsid.of(inbound.frame.bytes()));
    let Some(id) = lsid.and_then(SessionId::of) else {
        return;
    };
    let ties = &session.entry.ties;
    if inbound.request.ends_transaction() {
        *lock(&ties.ending) = Some(id);
    } else {
        *lock(&ties.transaction) = Some(id);
        session.shared.open_transactions.insert(id, (), Instant::now());
    }
}

/// Takes note of what became of it. A node that has answered to a commit or an abort knows no open transaction any more; where no answer
/// came the driver asks again. A first statement without an answer is run anew, with all of its transaction.
pub(in crate::client) fn note_outcome(session: &Session, inbound: &Inbound, outcome: &Attempt) {
    let (ties, answered) = (
        &session.entry.ties,
        matches!(outcome, Attempt::Reply(_) | Attempt::Late(..)),
    );
    let over = match (inbound.request.ends_transaction(), answered) {
        (true, true) => lock(&ties.ending).take(),
        (false, false) if inbound.request.starts_transaction => lock(&ties.transaction).take(),
        _ => None,
    };
    if let Some(id) = over {
        session.shared.open_transactions.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::testing, routing::Pinned, shutdown::Shutdown};

    #[tokio::test]
    async fn a_cursor_ties_until_it_is_over_wherever_that_was_heard() {
        let shutdown = Shutdown::new();
        let session = testing::departed(&shutdown).await;
        let (ties, shared) = (&session.entry.ties, &session.shared);
        let open = |id: i64| {
            let pinned = Pinned {
                node: "a:1".parse().unwrap(),
                namespace: None,
                awaits: false,
                returned: 0,
            };
            shared.pins.insert(id, pinned, Instant::now());
            ties.note_cursor(id, shared);
        };
        assert!(!ties.bind(shared));
        open(1);
        open(2);
        shared.pins.remove(1);
        assert!(ties.bind(shared));
        shared.pins.remove(2);
        assert!(!ties.bind(shared));
        for id in 10..10_000 {
            open(id);
            shared.pins.remove(id);
        }
        assert!(
            lock(&ties.cursors).capacity() <= 2 * FEW,
            "what is over is forgotten"
        );
        shutdown.begin();
    }

    #[test]
    fn the_second_hello_tells_a_monitor() {
        let ties = Ties::default();
        ties.note_hello();
        assert!(!ties.monitors());
        ties.note_hello();
        assert!(ties.monitors());
        let ties = Ties::default();
        ties.note_wait(true);
        ties.busy.store(true, Relaxed);
        assert!(ties.monitors() && !ties.is_busy());
        ties.note_wait(false);
        assert!(!ties.monitors() && ties.is_busy());
    }
}
