//! The ways to end what a pool has lent.
//!
//! One for each connection that was opened and not ended from here; those of closed connections are dropped on the way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::upstream::{Interrupter, Interruption};

/// The open connections of a pool, idle or lent.
#[derive(Debug, Default)]
pub(super) struct Lent(Mutex<Vec<Interrupter>>);

impl Lent {
    /// Takes note of a connection before anybody can have it.
    pub(super) fn add(&self, interrupter: Interrupter) {
        let mut open = self.open();
        open.retain(|other| !other.is_gone());
        open.push(interrupter);
    }

    /// Ends every exchange.
    pub(super) fn interrupt_all(&self, why: Interruption) {
        self.open().drain(..).for_each(|lent| lent.interrupt(why));
    }

    /// Ends the exchanges that are for a primary alone to serve.
    pub(super) fn interrupt_writes(&self, why: Interruption) {
        self.open().retain(|lent| {
            let ends = lent.is_write();
            if ends {
                lent.interrupt(why);
            }
            !ends
        });
    }

    /// Whether any connection is open.
    pub(super) fn is_any_open(&self) -> bool {
        let mut open = self.open();
        open.retain(|lent| !lent.is_gone());
        !open.is_empty()
    }

    fn open(&self) -> MutexGuard<'_, Vec<Interrupter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
