//! The idle connections of a pool: a stack for each core, so that the most recently used is lent first.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Identity, state::Pooled};

#[derive(Debug)]
struct Idle<C> {
    pooled: Pooled<C>,
    since: Instant,
}

/// The stacks. Invariant: `count` is the sum of their lengths.
#[derive(Debug)]
pub(super) struct IdleStacks<C> {
    stacks: BTreeMap<(Identity, usize), Vec<Idle<C>>>,
    count: usize,
}

impl<C> IdleStacks<C> {
    /// No connections.
    pub(super) fn new() -> Self {
        Self {
            stacks: BTreeMap::new(),
            count: 0,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes the most recently used one: of this core first, else of another.
    pub(super) fn take(&mut self, identity: Identity, core: usize) -> Option<Pooled<C>> {
        if self.count == 0 {
            return None;
        }
        let own = self.stacks.get_mut(&(identity, core)).and_then(Vec::pop);
        let found = own.or_else(|| {
            let mut stacks = self.stacks.range_mut((identity, 0)..=(identity, usize::MAX));
            stacks.find_map(|(_, stack)| stack.pop())
        });
        self.count -= usize::from(found.is_some());
        found.map(|idle| idle.pooled)
    }

    /// Lays one down.
    pub(super) fn put(&mut self, pooled: Pooled<C>, now: Instant) {
        self.count += 1;
        self.stacks
            .entry((pooled.identity, pooled.core))
            .or_default()
            .push(Idle { pooled, since: now });
    }

    /// Takes all of them.
    pub(super) fn drain(&mut self) -> Vec<Pooled<C>> {
        self.count = 0;
        let stacks = std::mem::take(&mut self.stacks);
        stacks.into_values().flatten().map(|idle| idle.pooled).collect()
    }

    /// Takes those that are too old, and up to `spare` in all as long as they were idle for `idle_timeout`.
    pub(super) fn reap(
        &mut self,
        now: Instant,
        mut spare: usize,
        idle_timeout: Option<Duration>,
    ) -> Vec<Pooled<C>> {
        let is_idle_too_long =
            |since: Instant| idle_timeout.is_some_and(|limit| now.saturating_duration_since(since) >= limit);
        let mut reaped = Vec::new();
        for stack in self.stacks.values_mut() {
            // The least recently used lie at the front.
            let mut at = 0;
            while at < stack.len() {
                let idle = &stack[at];
                let expired = idle.pooled.expires.is_some_and(|expires| expires <= now);
                if expired || (spare > 0 && is_idle_too_long(idle.since)) {
                    spare = spare.saturating_sub(1);
                    reaped.push(stack.remove(at).pooled);
                } else {
                    at += 1;
                }
            }
        }
        self.count -= reaped.len();
        reaped
    }
}
