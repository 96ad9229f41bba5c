//! The memory of which node holds what: cursors here, transactions in [`transactions`](super::transactions).
//!
//! A cursor is pinned to a node, not to a connection or a client: drivers send `getMore` on any of their connections.
//! Bounded, and forgetful: a cursor that is not remembered is looked for on the nodes.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Parts with a lock of their own, so that cores seldom meet.
const SHARDS: usize = 16;
/// What was not used for this long is forgotten; servers drop idle cursors after 10 minutes, those in sessions
/// after 30.
const EXPIRY: Duration = Duration::from_secs(31 * 60);

/// What can be pinned to a node.
pub trait Key: Copy + Eq + Hash {
    /// Spreads the keys over the parts of the memory; any number will do.
    fn part(self) -> usize;
}

impl Key for i64 {
    fn part(self) -> usize {
        // Cursor ids are random in their low bits.
        self as usize
    }
}

/// What is remembered by key: bounded, and forgotten when it was not used for long. Values are cheap to clone.
#[derive(Debug)]
pub struct Memory<K, V> {
    shards: [Mutex<HashMap<K, Pin<V>>>; SHARDS],
    shard_capacity: usize,
}

/// Cursor ids, and where the cursors live. `N` names a node and is cheap to clone.
pub type Pins<N> = Memory<i64, Pinned<N>>;

/// What is remembered of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned<N> {
    /// Where it lives.
    pub node: N,
    /// What it reads, as the node has told with it: a database and a collection.
    pub namespace: Option<Arc<str>>,
    /// Whether it waits for new documents, so that a `getMore` may hold its connection for long.
    pub awaits: bool,
    /// How many documents came by legacy replies so far, which tell it.
    pub returned: i32,
}

#[derive(Debug)]
struct Pin<V> {
    pinned: V,
    used: Instant,
    since: Instant,
}

impl<K: Key, V: Clone> Memory<K, V> {
    /// A memory of about `capacity` keys at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// Remembers `pinned` by `key`. In a full memory the least recently used of its part makes room.
    pub fn insert(&self, key: K, pinned: V, now: Instant) {
        let mut shard = self.shard(key);
        if shard.len() >= self.shard_capacity && !shard.contains_key(&key) {
            shard.retain(|_, pin| now.saturating_duration_since(pin.used) < EXPIRY);
            if shard.len() >= self.shard_capacity {
                let oldest = shard.iter().min_by_key(|(_, pin)| pin.used).map(|(key, _)| *key);
                oldest.map(|key| shard.remove(&key));
            }
        }
        let pin = |since| Pin {
            pinned,
            used: now,
            since,
        };
        match shard.entry(key) {
            Entry::Occupied(mut known) => {
                let since = known.get().since;
                known.insert(pin(since));
            }
            Entry::Vacant(place) => drop(place.insert(pin(now))),
        }
    }

    /// What is remembered by `key`.
    pub fn get(&self, key: K, now: Instant) -> Option<V> {
        let mut shard = self.shard(key);
        let pin = shard.get_mut(&key)?;
        if now.saturating_duration_since(pin.used) >= EXPIRY {
            shard.remove(&key);
            return None;
        }
        pin.used = now;
        Some(pin.pinned.clone())
    }

    /// Whether something is remembered by `key`; that is no use of it.
    pub fn knows(&self, key: K, now: Instant) -> bool {
        let shard = self.shard(key);
        shard
            .get(&key)
            .is_some_and(|pin| now.saturating_duration_since(pin.used) < EXPIRY)
    }

    /// Forgets what was remembered by `key`.
    pub fn remove(&self, key: K) {
        self.shard(key).remove(&key);
    }

    /// Forgets what was not used for long.
    pub fn forget_unused(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, pin| now.saturating_duration_since(pin.used) < EXPIRY);
        }
    }

    /// What is remembered: each by its key, with the time since it was first remembered and since it was last used.
    pub fn list(&self, now: Instant) -> Vec<(K, V, Duration, Duration)> {
        let mut list = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let alive = shard
                .iter()
                .map(|(key, pin)| {
                    let ago = |then| now.saturating_duration_since(then);
                    (*key, pin.pinned.clone(), ago(pin.since), ago(pin.used))
                })
                .filter(|(_, _, _, unused)| *unused < EXPIRY);
            list.extend(alive);
        }
        list
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

    fn shard(&self, key: K) -> MutexGuard<'_, HashMap<K, Pin<V>>> {
        self.shards[key.part() % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<N>(node: N) -> Pinned<N> {
        Pinned {
            node,
            namespace: None,
            awaits: false,
            returned: 0,
        }
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
        assert!(pins.knows(-5, almost) && !pins.knows(-5, now + EXPIRY) && !pins.knows(6, now));
        assert_eq!(pins.get(-5, almost), Some(at("a")), "and use prolongs it");
        assert_eq!(pins.get(-5, almost + EXPIRY), None);
        assert!(pins.is_empty());
    }

    #[test]
    fn what_is_remembered_is_listed_with_its_age_until_it_expires() {
        let (pins, then) = (Pins::new(100), Instant::now());
        let later = then + Duration::from_secs(7);
        pins.insert(1, at("a"), then);
        pins.insert(1, at("b"), later);
        let seconds = Duration::from_secs;
        let now = later + seconds(1);
        assert_eq!(pins.list(now), [(1, at("b"), seconds(8), seconds(1))]);
        for cursor in 2..50 {
            pins.insert(cursor, at("a"), then);
        }
        assert_eq!(pins.list(now).len(), 49);
        assert_eq!(pins.list(then + EXPIRY).len(), 1);
        pins.forget_unused(then + EXPIRY);
        assert_eq!(pins.len(), 1);
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
