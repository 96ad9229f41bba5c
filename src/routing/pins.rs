//! The memory of which node holds a cursor.
//!
//! A cursor is pinned to a node, not to a connection or a client: drivers send `getMore` on any of their connections.
//! Bounded, and forgetful: a cursor that is not remembered is looked for on the nodes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Parts with a lock of their own, so that cores seldom meet.
const SHARDS: usize = 16;
/// A cursor that was not used for this long is forgotten; servers drop idle cursors after 10 minutes, those in sessions
/// after 30.
const EXPIRY: Duration = Duration::from_secs(31 * 60);

/// Cursor ids and their nodes. `N` names a node and is cheap to clone.
#[derive(Debug)]
pub struct Pins<N> {
    shards: [Mutex<HashMap<i64, Pin<N>>>; SHARDS],
    shard_capacity: usize,
}

/// What is remembered of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinned<N> {
    /// Where it lives.
    pub node: N,
    /// Whether it waits for new documents, so that a `getMore` may hold its connection for long.
    pub awaits: bool,
}

#[derive(Debug)]
struct Pin<N> {
    pinned: Pinned<N>,
    used: Instant,
}

impl<N: Clone> Pins<N> {
    /// A memory of about `capacity` cursors at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// Remembers a cursor. In a full memory the least recently used of its part makes room.
    pub fn insert(&self, cursor: i64, pinned: Pinned<N>, now: Instant) {
        let mut shard = self.shard(cursor);
        if shard.len() >= self.shard_capacity && !shard.contains_key(&cursor) {
            shard.retain(|_, pin| now.saturating_duration_since(pin.used) < EXPIRY);
            if shard.len() >= self.shard_capacity {
                let oldest = shard.iter().min_by_key(|(_, pin)| pin.used).map(|(id, _)| *id);
                oldest.map(|id| shard.remove(&id));
            }
        }
        shard.insert(cursor, Pin { pinned, used: now });
    }

    /// What is known of a cursor.
    pub fn get(&self, cursor: i64, now: Instant) -> Option<Pinned<N>> {
        let mut shard = self.shard(cursor);
        let pin = shard.get_mut(&cursor)?;
        if now.saturating_duration_since(pin.used) >= EXPIRY {
            shard.remove(&cursor);
            return None;
        }
        pin.used = now;
        Some(pin.pinned.clone())
    }

    /// Forgets a cursor.
    pub fn remove(&self, cursor: i64) {
        self.shard(cursor).remove(&cursor);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, cursor: i64) -> MutexGuard<'_, HashMap<i64, Pin<N>>> {
        // Cursor ids are random in their low bits.
        self.shards[cursor as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<N>(node: N) -> Pinned<N> {
        Pinned { node, awaits: false }
    }

    #[test]
    fn cursors_are_remembered_until_they_are_removed_or_expire() {
        let (pins, now) = (Pins::new(100), Instant::now());
        pins.insert(-5, at("a"), now);
        pins.insert(6, at("b"), now);
        assert_eq!(
            (pins.get(-5, now), pins.get(6, now), pins.get(7, now)),
            (Some(at("a")), Some(at("b")), None)
        );
        pins.remove(6);
        assert_eq!(pins.get(6, now), None);
        let almost = now + EXPIRY - Duration::from_secs(1);
        assert_eq!(pins.get(-5, almost), Some(at("a")), "and use prolongs it");
        assert_eq!(pins.get(-5, almost + EXPIRY), None);
        assert!(pins.is_empty());
    }

    #[test]
    fn a_full_memory_forgets_the_least_recently_used() {
        let (pins, now) = (Pins::new(SHARDS * 2), Instant::now());
        for (age, cursor) in [(0, 0), (1, 16), (2, 32)] {
            pins.insert(cursor, at(cursor), now + Duration::from_secs(age));
        }
        assert_eq!(
            (pins.get(0, now), pins.get(16, now), pins.get(32, now)),
            (None, Some(at(16)), Some(at(32)))
        );
        for cursor in 0..10_000 {
            pins.insert(cursor, at(cursor), now);
        }
        assert!(pins.len() <= SHARDS * 2);
    }
}
