//! A pool's state under its lock, and what can be seen of it without.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::shell::PoolState;

/// What is told of a pool's state whenever its lock is given back: so each command looks at it for the price of a load, and only one thread at
/// a time writes it.
#[derive(Debug, Default)]
pub(super) struct Told {
    idle: AtomicUsize,
    load: AtomicUsize,
}

impl Told {
    /// Whether no connection lay idle when the lock was last given back.
    pub(super) fn has_none_idle(&self) -> bool {
        self.idle.load(Relaxed) == 0
    }

    /// Operations in flight, as [`State::load`](super::state::State::load) counts them.
    pub(super) fn load(&self) -> usize {
        self.load.load(Relaxed)
    }
}

/// The state, locked.
pub(super) struct Locked<'a> {
    state: MutexGuard<'a, PoolState>,
    told: &'a Told,
}

impl<'a> Locked<'a> {
    pub(super) fn new(state: &'a Mutex<PoolState>, told: &'a Told) -> Self {
        Self {
            // A panic while the lock is held is a bug, but the state is consistent between any two statements.
            state: state.lock().unwrap_or_else(PoisonError::into_inner),
            told,
        }
    }
}

impl Deref for Locked<'_> {
    type Target = PoolState;

    fn deref(&self) -> &PoolState {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut PoolState {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.told.idle.store(self.state.idle, Relaxed);
        self.told.load.store(self.state.load(), Relaxed);
    }
}
