//! What an operator sees of a pool, and what he can have done with it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Identity, Pool, Share, pooled::Pooled, state::State};

/// What one identity has of a pool at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose it is.
    pub identity: Identity,
    /// Connections lent to ordinary commands.
    pub in_use: usize,
    /// Connections lent to awaiting ones.
    pub awaiting: usize,
    /// Idle connections.
    pub idle: usize,
    /// Connections being made.
    pub connecting: usize,
    /// Commands that wait for one, on either share.
    pub waiting: usize,
}

impl Part {
    fn total(&self) -> usize {
        self.in_use + self.awaiting + self.idle + self.connecting + self.waiting
    }
}

/// A pool that was told to connect anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The generation of the connections that are made from now on.
    pub generation: u64,
    /// Idle connections that were closed.
    pub closed: usize,
    /// Lent connections, each of which is closed when it comes back.
    pub lent: usize,
}

impl<C, W> State<C, W> {
    /// Starts a new generation without a pause: returns what is idle, to be closed; who waits goes on waiting. `None` if the pool is paused, and
    /// holds nothing idle anyway.
    pub fn renew(&mut self) -> Option<Vec<Pooled<C>>> {
        if self.is_paused() {
            return None;
        }
        self.generation += 1;
        self.idle = 0;
        let idle = self
            .lanes
            .values_mut()
            .flat_map(|lane| lane.drain_idle())
            .collect();
        self.lanes.retain(|_, lane| !lane.is_empty());
        Some(idle)
    }

    /// What each of those `most` identities has that have most, and how many others there are.
    pub fn parts(&self, most: usize) -> (Vec<Part>, usize) {
        let mut parts: Vec<Part> = self
            .lanes
            .iter()
            .map(|(identity, lane)| {
                let holds = |share| lane.holds(share);
                Part {
                    identity: identity.clone(),
                    in_use: holds(Share::Ordinary).lent,
                    awaiting: holds(Share::Awaiting).lent,
                    idle: lane.idle_count(),
                    connecting: Share::IN_ORDER.map(|share| holds(share).connecting).iter().sum(),
                    waiting: Share::IN_ORDER.map(|share| holds(share).waiting()).iter().sum(),
                }
            })
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.total()));
        let others = parts.len().saturating_sub(most);
        parts.truncate(most);
        (parts, others)
    }
}

impl Pool {
    /// Has all connections made anew: idle ones are closed, lent ones when they come back. No command fails by that. `None` if the node is
    /// not reached just now, so that there is nothing to close.
    pub fn renew(self: &Arc<Self>) -> Option<Renewed> {
        let (idle, renewed) = {
            let mut state = self.lock();
            let idle = state.renew()?;
            let counts = state.counts();
            // Attempts to connect for the old one are given up.
            self.generation.send_replace(counts.generation);
            let renewed = Renewed {
                generation: counts.generation,
                closed: idle.len(),
                lent: counts.in_use + counts.awaiting,
            };
            (idle, renewed)
        };
        self.serve_waiting(0, idle);
        Some(renewed)
    }

    /// What each of those `most` identities has that have most, and how many others there are.
    pub fn parts(&self, most: usize) -> (Vec<Part>, usize) {
        self.lock().parts(most)
    }

    /// Connections whose reply goes to its client as it comes.
    pub fn streaming(&self) -> usize {
        self.streams.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::pool::{
        Options,
        pooled::About,
        state::{Making, Placed},
    };

    type Testing = State<u32, &'static str>;

    fn connect(state: &mut Testing, number: u32, now: Instant) -> Placed<u32, &'static str> {
        let (
            Making {
                identity,
                generation,
                share,
            },
            _,
        ) = state.begin_connect(true).unwrap();
        let about = About {
            epoch: identity.epoch(),
            identity,
            core: 0,
            generation,
            expires: None,
        };
        state.connected(Pooled::new(number, share, about), now)
    }

    #[test]
    fn a_renewed_pool_lends_no_old_connection_and_loses_nobody_who_waits() {
        let now = Instant::now();
        let mut state = Testing::new(Options {
            max_size: 2,
            max_awaiting: 0,
            min_size: 2,
            ..Options::default()
        });
        assert!(state.renew().is_none(), "it is paused");
        state.ready();
        for number in [1, 2] {
            assert!(matches!(connect(&mut state, number, now), Placed::Idle));
        }
        let lent = state.check_out(&Identity::SERVICE, 0, Share::Ordinary).unwrap();
        let idle = state.renew().unwrap();
        assert_eq!(idle.len(), 1);
        assert!(state.check_out(&Identity::SERVICE, 0, Share::Ordinary).is_none());
        state.enqueue(
            &Identity::SERVICE,
            Share::Ordinary,
            "who waits",
            (now, now + Duration::from_secs(9)),
        );
        let (parts, others) = state.parts(1);
        assert_eq!(
            (parts[0].in_use, parts[0].idle, parts[0].waiting, others),
            (1, 0, 1, 0)
        );
        assert!(matches!(state.place(lent, now), Placed::Unwanted(_)), "it is old");
        let Placed::Waiter(waiter, pooled) = connect(&mut state, 3, now) else {
            panic!("somebody waits");
        };
        assert_eq!(
            (waiter, pooled.connection, pooled.generation),
            ("who waits", 3, 1)
        );
    }

    #[test]
    fn those_who_have_most_are_told_first_and_the_rest_is_counted() {
        let mut state = Testing::new(Options::default());
        let now = Instant::now();
        for (number, waiting) in [(1, 1), (2, 3), (3, 2)] {
            for _ in 0..waiting {
                state.enqueue(
                    &Identity::testing(number),
                    Share::Ordinary,
                    "w",
                    (now, now + Duration::from_secs(9)),
                );
            }
        }
        let (parts, others) = state.parts(2);
        let waiting: Vec<_> = parts.iter().map(|part| part.waiting).collect();
        assert_eq!((waiting, others), (vec![3, 2], 1));
    }
}
