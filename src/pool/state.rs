//! The pool of one node as a state machine: no sockets, no clock.
//!
//! Invariants: `total` counts connections that are idle, lent or being made, and never exceeds `max_size`; at most
//! `max_connecting` are being made; no connection is idle while somebody waits; waiters are served in the order of their
//! arrival; a connection of an older generation is never lent.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Identity, Options};

/// A connection and what the pool knows of it.
#[derive(Debug)]
pub struct Pooled<C> {
    /// The connection.
    pub connection: C,
    /// Whose it is.
    pub identity: Identity,
    /// The core whose runtime drives it.
    pub core: usize,
    /// The pool's generation when it was made.
    pub generation: u64,
    /// When it is too old to be lent again.
    pub expires: Option<Instant>,
}

#[derive(Debug)]
struct Idle<C> {
    pooled: Pooled<C>,
    since: Instant,
}

/// Where a connection went.
#[derive(Debug)]
pub enum Placed<C, W> {
    /// To the stack of idle ones.
    Idle,
    /// To the one who waited longest. If that one is gone by now, place it again.
    Waiter(W, Pooled<C>),
    /// Nowhere: it is of an older generation or too old, and no longer counted.
    Unwanted(Pooled<C>),
}

/// The state. `C` is a connection, `W` a way to reach somebody who waits.
#[derive(Debug)]
pub struct State<C, W> {
    options: Options,
    generation: u64,
    total: usize,
    connecting: usize,
    idle_count: usize,
    idle: BTreeMap<(Identity, usize), Vec<Idle<C>>>,
    waiters: VecDeque<(u64, W)>,
    next_ticket: u64,
    retired: bool,
}

impl<C, W> State<C, W> {
    /// An empty pool.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            generation: 0,
            total: 0,
            connecting: 0,
            idle_count: 0,
            idle: BTreeMap::new(),
            waiters: VecDeque::new(),
            next_ticket: 0,
            retired: false,
        }
    }

    /// Lends the most recently used idle connection: one of this core first, else another's.
    pub fn check_out(&mut self, identity: Identity, core: usize) -> Option<Pooled<C>> {
        if self.idle_count == 0 {
            return None;
        }
        let own = self.idle.get_mut(&(identity, core)).and_then(Vec::pop);
        let found = own.or_else(|| {
            let mut stacks = self.idle.range_mut((identity, 0)..=(identity, usize::MAX));
            stacks.find_map(|(_, stack)| stack.pop())
        });
        self.idle_count -= usize::from(found.is_some());
        found.map(|idle| idle.pooled)
    }

    /// Lends an idle connection after all, or takes a place in the queue: one step, as between two a connection could
    /// come back and lie idle beside somebody who waits.
    ///
    /// # Errors
    /// The ticket of the place in the queue.
    pub fn check_out_or_wait(
        &mut self,
        identity: Identity,
        core: usize,
        waiter: W,
    ) -> Result<Pooled<C>, u64> {
        self.check_out(identity, core).ok_or_else(|| self.enqueue(waiter))
    }

    fn enqueue(&mut self, waiter: W) -> u64 {
        self.next_ticket += 1;
        self.waiters.push_back((self.next_ticket, waiter));
        self.next_ticket
    }

    /// Leaves the queue; does nothing for somebody who has been served.
    pub fn leave(&mut self, ticket: u64) {
        // Tickets ascend, so that the queue is sorted by them.
        if let Ok(at) = self.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            self.waiters.remove(at);
        }
    }

    /// Whether a connection should be made now; if so, it is counted. Returns the generation that it will belong to.
    ///
    /// Only with `keep_warm` does `min_size` count as a demand: asked for after each failure, it would never let a node
    /// that refuses rest.
    pub fn begin_connect(&mut self, keep_warm: bool) -> Option<u64> {
        let too_few = keep_warm && self.total < self.options.min_size;
        let wanted = self.waiters.len() > self.connecting || too_few;
        let room = self.total < self.options.max_size && self.connecting < self.options.max_connecting;
        if self.retired || !wanted || !room {
            return None;
        }
        self.total += 1;
        self.connecting += 1;
        Some(self.generation)
    }

    /// A connection was made.
    pub fn connected(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        self.connecting -= 1;
        self.place(pooled, now)
    }

    /// A connection could not be made. Returns the one to tell: the one who waited longest.
    pub fn connect_failed(&mut self) -> Option<W> {
        self.connecting -= 1;
        self.total -= 1;
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }

    /// A lent connection came back, or the waiter that it was for is gone.
    pub fn place(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        let expired = pooled.expires.is_some_and(|expires| expires <= now);
        if self.retired || pooled.generation != self.generation || expired {
            self.total -= 1;
            return Placed::Unwanted(pooled);
        }
        if let Some((_, waiter)) = self.waiters.pop_front() {
            return Placed::Waiter(waiter, pooled);
        }
        self.idle_count += 1;
        self.idle
            .entry((pooled.identity, pooled.core))
            .or_default()
            .push(Idle { pooled, since: now });
        Placed::Idle
    }

    /// A lent connection was closed.
    pub fn discard(&mut self) {
        self.total -= 1;
    }

    /// Starts a new generation: returns what is idle, to be closed, and all who wait, to be told.
    pub fn clear(&mut self) -> (Vec<Pooled<C>>, Vec<W>) {
        self.generation += 1;
        let idle = std::mem::take(&mut self.idle);
        let idle: Vec<_> = idle.into_values().flatten().map(|idle| idle.pooled).collect();
        self.idle_count = 0;
        self.total -= idle.len();
        (idle, self.waiters.drain(..).map(|(_, waiter)| waiter).collect())
    }

    /// The node is gone: as [`State::clear`], and nothing is lent or made any more.
    pub fn retire(&mut self) -> (Vec<Pooled<C>>, Vec<W>) {
        self.retired = true;
        self.clear()
    }

    /// Whether the node is gone: nobody who queues now would ever be served.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// Takes out idle connections that are too old or were idle for too long, the latter down to `min_size`.
    pub fn reap(&mut self, now: Instant) -> Vec<Pooled<C>> {
        let mut reaped = Vec::new();
        let mut spare = self.total.saturating_sub(self.options.min_size);
        let is_idle_too_long = |since: Instant| {
            self.options
                .idle_timeout
                .is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        for stack in self.idle.values_mut() {
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
        self.total -= reaped.len();
        self.idle_count -= reaped.len();
        reaped
    }

    /// The bounds in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Counts of now.
    pub fn counts(&self) -> Counts {
        Counts {
            in_use: self.total - self.idle_count - self.connecting,
            idle: self.idle_count,
            connecting: self.connecting,
            waiting: self.waiters.len(),
            generation: self.generation,
        }
    }
}

/// What a pool holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lent connections.
    pub in_use: usize,
    /// Idle connections.
    pub idle: usize,
    /// Connections being made.
    pub connecting: usize,
    /// Commands that wait for one.
    pub waiting: usize,
    /// How often the pool was cleared.
    pub generation: u64,
}

/// The age at which one connection ends: `max_lifetime` less up to a tenth of it, so that connections which were made
/// together do not all end together. `jitter` is within 0..1.
#[must_use]
pub fn lifetime(max_lifetime: Duration, jitter: f64) -> Duration {
    max_lifetime.mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type TestState = State<u32, u32>;

    fn options(max_size: usize, min_size: usize) -> Options {
        Options {
            max_size,
            min_size,
            max_connecting: 2,
            ..Options::default()
        }
    }

    fn pooled(connection: u32, core: usize, generation: u64) -> Pooled<u32> {
        Pooled {
            connection,
            identity: Identity::Service,
            core,
            generation,
            expires: None,
        }
    }

    /// Makes a connection as the shell does.
    fn open(state: &mut TestState, connection: u32, core: usize, now: Instant) {
        state.enqueue(999);
        let generation = state.begin_connect(true).unwrap();
        let Placed::Waiter(999, pooled) = state.connected(pooled(connection, core, generation), now) else {
            panic!("the waiter should get it")
        };
        assert!(matches!(state.place(pooled, now), Placed::Idle));
    }

    #[test]
    fn the_most_recently_used_of_the_own_core_comes_first_then_another_cores() {
        let (mut state, now) = (TestState::new(options(10, 0)), Instant::now());
        for (connection, core) in [(1, 0), (2, 1), (3, 1)] {
            open(&mut state, connection, core, now);
        }
        let mut next = |core| {
            state
                .check_out(Identity::Service, core)
                .map(|pooled| pooled.connection)
        };
        assert_eq!(
            [next(1), next(1), next(1), next(1)],
            [Some(3), Some(2), Some(1), None]
        );
    }

    #[test]
    fn waiters_are_served_in_order_and_those_who_left_are_passed_over() {
        let (mut state, now) = (TestState::new(options(1, 0)), Instant::now());
        open(&mut state, 1, 0, now);
        let lent = state.check_out(Identity::Service, 0).unwrap();
        let tickets: Vec<u64> = (10..14).map(|waiter| state.enqueue(waiter)).collect();
        state.leave(tickets[1]);
        state.leave(tickets[1]);
        assert_eq!(state.begin_connect(true), None, "the pool is full");
        let Placed::Waiter(first, lent) = state.place(lent, now) else {
            panic!()
        };
        let Placed::Waiter(second, lent) = state.place(lent, now) else {
            panic!()
        };
        let Placed::Waiter(third, lent) = state.place(lent, now) else {
            panic!()
        };
        assert_eq!((first, second, third), (10, 12, 13));
        assert!(matches!(state.place(lent, now), Placed::Idle));
    }

    #[test]
    fn connecting_is_bounded_and_follows_demand() {
        let mut state = TestState::new(options(3, 1));
        assert!(state.begin_connect(false).is_none(), "nobody asked for warm ones");
        assert!(state.begin_connect(true).is_some(), "one is kept warm");
        assert!(state.begin_connect(true).is_none(), "nobody waits");
        for waiter in 0..5 {
            state.enqueue(waiter);
        }
        assert!(state.begin_connect(true).is_some());
        assert!(state.begin_connect(true).is_none(), "two at once");
        assert_eq!(state.connect_failed(), Some(0));
        assert!(state.begin_connect(true).is_some());
        assert_eq!(state.counts().connecting, 2);
    }

    #[test]
    fn a_cleared_pool_takes_nothing_of_the_old_generation_back() {
        let (mut state, now) = (TestState::new(options(4, 0)), Instant::now());
        open(&mut state, 1, 0, now);
        open(&mut state, 2, 0, now);
        let lent = state.check_out(Identity::Service, 0).unwrap();
        state.enqueue(7);
        let (idle, told) = state.clear();
        assert_eq!((idle.len(), told), (1, vec![7]));
        assert!(matches!(state.place(lent, now), Placed::Unwanted(_)));
        assert_eq!(
            state.counts(),
            Counts {
                generation: 1,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn the_old_and_the_idle_are_reaped_down_to_the_minimum() {
        let (mut state, now) = (TestState::new(options(4, 1)), Instant::now());
        for connection in 1..=3 {
            open(&mut state, connection, 0, now);
        }
        let later = now + Duration::from_secs(599);
        assert!(state.reap(later).is_empty());
        let reaped = state.reap(now + Duration::from_secs(600));
        assert_eq!(
            reaped.iter().map(|pooled| pooled.connection).collect::<Vec<_>>(),
            [1, 2]
        );
        let mut last = state.check_out(Identity::Service, 0).unwrap();
        last.expires = Some(later);
        assert!(
            matches!(state.place(last, later), Placed::Unwanted(_)),
            "too old to be lent again"
        );
        assert_eq!(state.counts().idle, 0);
    }

    #[test]
    fn lifetimes_differ_by_up_to_a_tenth() {
        let hour = Duration::from_secs(3600);
        assert_eq!(lifetime(hour, 0.0), hour);
        assert_eq!(lifetime(hour, 1.0), Duration::from_secs(3240));
    }

    proptest! {
        #[test]
        fn counts_stay_within_bounds_whatever_happens(steps in prop::collection::vec((0u8..8, 0usize..3), 1..300)) {
            let now = Instant::now();
            let mut state = TestState::new(Options { max_connecting: 2, ..options(4, 1) });
            let (mut lent, mut making, mut number): (Vec<Pooled<u32>>, Vec<u64>, u32) = (vec![], vec![], 0);
            let settle = |state: &mut TestState, lent: &mut Vec<Pooled<u32>>, mut placed: Placed<u32, u32>| {
                if let Placed::Waiter(waiter, pooled) = placed {
                    // Every third waiter is gone.
                    if waiter % 3 == 0 { placed = state.place(pooled, now) } else { lent.push(pooled); return }
                    if let Placed::Waiter(_, pooled) = placed { lent.push(pooled) }
                }
            };
            for (step, core) in steps {
                number += 1;
                match step {
                    0 | 1 => lent.extend(state.check_out(Identity::Service, core)),
                    2 => {
                        lent.extend(state.check_out_or_wait(Identity::Service, core, number));
                    }
                    3 => making.extend(state.begin_connect(true)),
                    4 => if let Some(generation) = making.pop() {
                        let placed = state.connected(pooled(number, core, generation), now);
                        settle(&mut state, &mut lent, placed);
                    },
                    5 => if making.pop().is_some() { state.connect_failed(); },
                    6 => if let Some(pooled) = lent.pop() {
                        let placed = state.place(pooled, now);
                        settle(&mut state, &mut lent, placed);
                    },
                    _ if core == 0 => drop(state.clear()),
                    _ => if lent.pop().is_some() { state.discard() },
                }
                let counts = state.counts();
                prop_assert_eq!(counts.in_use, lent.len());
                prop_assert_eq!(counts.connecting, making.len());
                prop_assert!(counts.in_use + counts.idle + counts.connecting <= 4);
                prop_assert!(counts.connecting <= 2);
                prop_assert!(counts.idle == 0 || counts.waiting == 0, "nobody waits beside an idle connection");
            }
        }
    }
}
