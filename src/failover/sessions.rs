//! The proxy's own server sessions, under which writes go out that come without a number of their own.
//!
//! A node recognises the second attempt at a write by session and number, so a session serves one write at a time, each
//! under a higher number, and comes back only when the outcome of its write is known: what is dropped is never used again,
//! because a node may be busy with its write still. Sessions belong to the identity that their connections are logged in as
//! (a node knows a session by its id and its user), and one that a node may have forgotten is not used any more (Driver
//! Sessions specification, "Server Session Pool").
//!
//! Pure: time and the bytes of new ids are arguments. In the steady state, lending and giving back allocate nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// A session is given up when the nodes would forget it within this time.
const MARGIN: Duration = Duration::from_secs(60);
/// Most idle sessions of one core: far more than there are connections.
const MOST_IDLE: usize = 10_000;

/// A server session's id: the bytes of a version 4 UUID.
pub type SessionId = [u8; 16];

/// A server session of the proxy's own.
#[derive(Debug)]
struct ServerSession<K> {
    identity: K,
    id: SessionId,
    txn_number: i64,
    last_used: Instant,
    tally: Arc<Tally>,
}

impl<K> ServerSession<K> {
    /// Whether the nodes know it for a while yet, which forget sessions after `timeout`.
    fn is_fresh(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.last_used) + MARGIN < timeout
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Tally {
    created: AtomicU64,
    discarded: AtomicU64,
    expired: AtomicU64,
}

/// What became of the sessions so far, and how many are at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Made since the start.
    pub created: u64,
    /// Given up since the start, because the outcome of their write was not known or there were too many.
    pub discarded: u64,
    /// Given up since the start, because they were idle for so long that the nodes were about to forget them.
    pub expired: u64,
    /// Idle now.
    pub idle: usize,
}

/// A session that is lent to one write, or none. Dropped, it is discarded.
pub struct Lent<K>(Option<Box<ServerSession<K>>>);

impl<K> Lent<K> {
    /// No session.
    pub const NONE: Self = Self(None);

    /// Whether there is one.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The session's id, and the number of the write that it is lent to.
    #[must_use]
    pub fn number(&self) -> Option<(&SessionId, i64)> {
        self.0.as_ref().map(|session| (&session.id, session.txn_number))
    }
}

impl<K> fmt::Debug for Lent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.as_ref().map(|session| session.txn_number);
        f.debug_tuple("Lent").field(&number).finish()
    }
}

impl<K> Drop for Lent<K> {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.tally.discarded.fetch_add(1, Relaxed);
        }
    }
}

/// The idle sessions of one core, by identity; the most recently used lie on top.
#[derive(Debug)]
struct Stacks<K> {
    stacks: BTreeMap<K, Vec<Box<ServerSession<K>>>>,
    count: usize,
}

/// All of them.
#[derive(Debug)]
pub struct ServerSessions<K> {
    cores: Box<[Mutex<Stacks<K>>]>,
    tally: Arc<Tally>,
}

impl<K: Clone + Ord> ServerSessions<K> {
    /// No sessions yet, for `cores` cores, at least one.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let none = || {
            Mutex::new(Stacks {
                stacks: BTreeMap::new(),
                count: 0,
            })
        };
        Self {
            cores: (0..cores.max(1)).map(|_| none()).collect(),
            tally: Arc::default(),
        }
    }

    /// Lends a session to the next write, under a number that it had never before: the most recently used one of this core, else
    /// a new one of id `new_id`. The nodes forget sessions after `timeout`.
    pub fn lend(
        &self,
        core: usize,
        identity: &K,
        now: Instant,
        timeout: Duration,
        new_id: impl FnOnce() -> SessionId,
    ) -> Lent<K> {
        let idle = self.lock(core).take_fresh(identity, now, timeout);
        let mut session = idle.unwrap_or_else(|| {
            self.tally.created.fetch_add(1, Relaxed);
            Box::new(ServerSession {
                identity: identity.clone(),
                id: new_id(),
                txn_number: 0,
                last_used: now,
                tally: Arc::clone(&self.tally),
            })
        });
        session.txn_number += 1;
        session.last_used = now;
        Lent(Some(session))
    }

    /// Takes a session back whose write has an outcome that is known. Does nothing with [`Lent::NONE`].
    pub fn give_back(&self, core: usize, mut lent: Lent<K>) {
        let Some(session) = lent.0.take() else {
            return;
        };
        if let Some(unwanted) = self.lock(core).put(session) {
            drop(Lent(Some(unwanted)));
        }
    }

    /// Takes those out that the nodes are about to forget: idle for nearly `timeout`.
    pub fn expire(&self, now: Instant, timeout: Duration) -> BTreeMap<K, Vec<SessionId>> {
        let expired = self.take_out(|session| !session.is_fresh(now, timeout));
        let count: usize = expired.values().map(Vec::len).sum();
        self.tally.expired.fetch_add(count as u64, Relaxed);
        expired
    }

    /// Takes all idle ones out, by the identity that they belong to.
    pub fn drain(&self) -> BTreeMap<K, Vec<SessionId>> {
        self.take_out(|_| true)
    }

    fn take_out(&self, is_over: impl Fn(&ServerSession<K>) -> bool) -> BTreeMap<K, Vec<SessionId>> {
        let mut out: BTreeMap<K, Vec<SessionId>> = BTreeMap::new();
        for core in 0..self.cores.len() {
            self.lock(core).take_out(&is_over, &mut out);
        }
        out
    }

    /// The counts of now.
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        SessionCounts {
            created: self.tally.created.load(Relaxed),
            discarded: self.tally.discarded.load(Relaxed),
            expired: self.tally.expired.load(Relaxed),
            idle: (0..self.cores.len()).map(|core| self.lock(core).count).sum(),
        }
    }

    fn lock(&self, core: usize) -> MutexGuard<'_, Stacks<K>> {
        // A panic while the lock is held is a bug, but the stacks are consistent between any two statements.
        self.cores[core % self.cores.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord> Stacks<K> {
    fn take_fresh(&mut self, identity: &K, now: Instant, timeout: Duration) -> Option<Box<ServerSession<K>>> {
        let stack = self.stacks.get_mut(identity)?;
        // Those below it are older: they stay, to be ended.
        let session = stack.pop_if(|top| top.is_fresh(now, timeout))?;
        self.count -= 1;
        Some(session)
    }

    /// Lays a session down, or returns it if there are too many.
    fn put(&mut self, session: Box<ServerSession<K>>) -> Option<Box<ServerSession<K>>> {
        if self.count >= MOST_IDLE {
            return Some(session);
        }
        self.count += 1;
        match self.stacks.get_mut(&session.identity) {
            Some(stack) => stack.push(session),
            None => drop(self.stacks.insert(session.identity.clone(), vec![session])),
        }
        None
    }

    fn take_out(
        &mut self,
        is_over: impl Fn(&ServerSession<K>) -> bool,
        out: &mut BTreeMap<K, Vec<SessionId>>,
    ) {
        let mut count = 0;
        self.stacks.retain(|identity, stack| {
            stack.retain(|session| {
                let stays = !is_over(session);
                if !stays {
                    out.entry(identity.clone()).or_default().push(session.id);
                    count += 1;
                }
                stays
            });
            !stack.is_empty()
        });
        self.count -= count;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30 * 60);

    fn sessions() -> ServerSessions<u8> {
        ServerSessions::new(2)
    }

    /// Ids in the order in which they are asked for.
    fn ids() -> impl FnMut() -> SessionId {
        let mut next = 0_u128;
        move || {
            next += 1;
            next.to_be_bytes()
        }
    }

    fn number(lent: &Lent<u8>) -> (SessionId, i64) {
        let (id, number) = lent.number().unwrap();
        (*id, number)
    }

    #[test]
    fn a_session_serves_one_write_at_a_time_each_under_a_higher_number() {
        let (sessions, now, mut new) = (sessions(), Instant::now(), ids());
        let first = sessions.lend(0, &1, now, TIMEOUT, &mut new);
        let second = sessions.lend(0, &1, now, TIMEOUT, &mut new);
        assert_eq!(
            (number(&first), number(&second)),
            ((1_u128.to_be_bytes(), 1), (2_u128.to_be_bytes(), 1))
        );
        sessions.give_back(0, first);
        let third = sessions.lend(0, &1, now, TIMEOUT, &mut new);
        assert_eq!(number(&third), (1_u128.to_be_bytes(), 2));
    }

    #[test]
    fn the_most_recently_used_one_is_lent_first() {
        let (sessions, now, mut new) = (sessions(), Instant::now(), ids());
        let [first, second] = [(); 2].map(|()| sessions.lend(0, &1, now, TIMEOUT, &mut new));
        let last = number(&second).0;
        sessions.give_back(0, first);
        sessions.give_back(0, second);
        assert_eq!(number(&sessions.lend(0, &1, now, TIMEOUT, &mut new)).0, last);
    }

    #[test]
    fn one_whose_write_ended_unknown_is_never_used_again() {
        let (sessions, now, mut new) = (sessions(), Instant::now(), ids());
        drop(sessions.lend(0, &1, now, TIMEOUT, &mut new));
        assert_eq!(
            number(&sessions.lend(0, &1, now, TIMEOUT, &mut new)).0,
            2_u128.to_be_bytes()
        );
        let counts = sessions.counts();
        assert_eq!((counts.created, counts.discarded, counts.idle), (2, 2, 0));
        drop(Lent::<u8>::NONE);
        sessions.give_back(0, Lent::NONE);
        assert_eq!(sessions.counts(), counts);
    }

    #[test]
    fn identities_never_share_a_session() {
        let (sessions, now, mut new) = (sessions(), Instant::now(), ids());
        sessions.give_back(0, sessions.lend(0, &1, now, TIMEOUT, &mut new));
        let other = sessions.lend(0, &2, now, TIMEOUT, &mut new);
        assert_eq!(number(&other), (2_u128.to_be_bytes(), 1));
        sessions.give_back(0, other);
        let expected = [(1, vec![1_u128.to_be_bytes()]), (2, vec![2_u128.to_be_bytes()])];
        assert_eq!(sessions.drain(), BTreeMap::from(expected));
        assert_eq!(sessions.counts().idle, 0);
    }

    #[test]
    fn one_that_the_nodes_may_have_forgotten_is_ended_instead_of_used() {
        let (sessions, start, mut new) = (sessions(), Instant::now(), ids());
        sessions.give_back(1, sessions.lend(1, &1, start, TIMEOUT, &mut new));
        let before = start + TIMEOUT - MARGIN - Duration::from_millis(1);
        assert!(sessions.expire(before, TIMEOUT).is_empty());
        let late = start + TIMEOUT - MARGIN;
        let fresh = sessions.lend(1, &1, late, TIMEOUT, &mut new);
        assert_eq!(number(&fresh), (2_u128.to_be_bytes(), 1));
        sessions.give_back(1, fresh);
        let expired = sessions.expire(late, TIMEOUT);
        assert_eq!(expired, BTreeMap::from([(1, vec![1_u128.to_be_bytes()])]));
        assert_eq!((sessions.counts().expired, sessions.counts().idle), (1, 1));
        // Nodes that forget within a minute leave nothing to use again.
        let again = sessions.lend(1, &1, late, MARGIN, &mut new);
        assert_eq!(number(&again), (3_u128.to_be_bytes(), 1));
    }

    #[test]
    fn idle_sessions_are_bounded() {
        let (sessions, now, mut new) = (sessions(), Instant::now(), ids());
        let lent: Vec<_> = (0..=MOST_IDLE)
            .map(|_| sessions.lend(0, &1, now, TIMEOUT, &mut new))
            .collect();
        lent.into_iter().for_each(|lent| sessions.give_back(0, lent));
        let counts = sessions.counts();
        assert_eq!((counts.idle, counts.discarded), (MOST_IDLE, 1));
        assert_eq!(sessions.drain()[&1].len(), MOST_IDLE);
    }

    #[test]
    fn a_place_for_a_session_takes_no_more_than_a_pointer() {
        assert_eq!(size_of::<Lent<u8>>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn no_number_of_a_session_is_used_twice(steps in prop::collection::vec((0u8..4, 0usize..2, 0u8..3, 0u64..2000), 1..200)) {
            let (sessions, mut now, mut new) = (sessions(), Instant::now(), ids());
            let (mut lent, mut used) = (Vec::new(), std::collections::BTreeSet::new());
            for (what, core, identity, seconds) in steps {
                now += Duration::from_secs(seconds);
                match what {
                    0 | 1 => {
                        let session = sessions.lend(core, &identity, now, TIMEOUT, &mut new);
                        prop_assert!(used.insert(number(&session)));
                        lent.push((core, session));
                    }
                    2 => if let Some((core, session)) = lent.pop() {
                        sessions.give_back(core, session);
                    },
                    _ => {
                        drop(sessions.expire(now, TIMEOUT));
                        drop(lent.pop());
                    }
                }
            }
            let counts = sessions.counts();
            prop_assert_eq!(counts.created, counts.discarded + counts.expired + (counts.idle + lent.len()) as u64);
        }
    }
}
