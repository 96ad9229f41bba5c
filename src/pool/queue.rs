//! Who waits for a connection.
//!
//! Each share has one queue over all identities, which says whose turn it is; the waiters themselves stand in the lanes of their
//! identities.

use std::{collections::VecDeque, time::Instant};

use super::{Identity, share::Share, state::State};

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    /// Its number; later ones are higher.
    pub(super) ticket: u64,
    /// As whom the command runs.
    pub(super) identity: Identity,
    /// When it came.
    pub(super) since: Instant,
    /// When its wait is over.
    pub(super) until: Instant,
}

/// Places in the order of their arrival. Invariant: tickets ascend.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Queued>);

impl Queue {
    /// Takes the last place. Tickets must ascend.
    pub(super) fn push(&mut self, queued: Queued) {
        self.0.push_back(queued);
    }

    /// Gives a place up. The usual one is the first.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Queued> {
        if self.first()?.ticket == ticket {
            return self.0.pop_front();
        }
        let at = self.0.binary_search_by_key(&ticket, |queued| queued.ticket);
        self.0.remove(at.ok()?)
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<&Queued> {
        self.0.front()
    }

    /// The place of this number.
    pub(super) fn find(&self, ticket: u64) -> Option<&Queued> {
        let at = self.0.binary_search_by_key(&ticket, |queued| queued.ticket);
        self.0.get(at.ok()?)
    }

    /// All, in the order of their arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.0.iter()
    }

    /// Empties it.
    pub(super) fn take(&mut self) -> VecDeque<Queued> {
        std::mem::take(&mut self.0)
    }

    /// Takes all of another queue in, each at the place of its arrival.
    pub(super) fn take_in(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
        self.0
            .make_contiguous()
            .sort_unstable_by_key(|queued| queued.ticket);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<C, W> State<C, W> {
    /// Takes a place in the queue: since when, and until when at most.
    pub(super) fn enqueue(
        &mut self,
        identity: &Identity,
        share: Share,
        waiter: W,
        (since, until): (Instant, Instant),
    ) -> u64 {
        self.next_ticket += 1;
        let (share, ticket) = (self.in_force(share), self.next_ticket);
        self.part(share).waiting.push(Queued {
            ticket,
            identity: identity.clone(),
            since,
            until,
        });
        self.lane(identity).hold(share).enqueue(ticket, waiter);
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        ticket
    }

    /// When it must be looked for waits that are over, at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes those out of the queue whose wait is over.
    pub fn take_late(&mut self, now: Instant) -> Vec<W> {
        let (mut late, mut due) = (Vec::new(), None);
        for share in Share::IN_ORDER {
            for queued in self.share(share).waiting.iter() {
                if queued.until <= now {
                    late.push((queued.ticket, share));
                } else {
                    due = Some(due.map_or(queued.until, |due: Instant| due.min(queued.until)));
                }
            }
        }
        self.due = due;
        let waiters = late
            .into_iter()
            .map(|(ticket, share)| self.withdraw(ticket, share));
        waiters.flatten().collect()
    }

    fn withdraw(&mut self, ticket: u64, share: Share) -> Option<W> {
        let identity = self.part(share).waiting.remove(ticket)?.identity;
        let waiter = self.lane(&identity).hold(share).leave(ticket);
        self.drop_if_empty(&identity);
        waiter
    }

    /// Leaves the queue; does nothing for somebody who has been served. Whether others wait who are to be served now.
    pub fn leave(&mut self, ticket: u64) -> bool {
        let mut shares = Share::IN_ORDER.into_iter();
        let left = shares.find_map(|share| self.withdraw(ticket, share));
        left.is_some() && self.is_waited_for()
    }

    /// Takes the one of this identity who waited longest out of the queue.
    pub(super) fn dismiss(&mut self, identity: &Identity, share: Share) -> Option<W> {
        let (ticket, waiter) = self.lanes.get_mut(identity)?.hold(share).pop()?;
        self.part(share).waiting.remove(ticket);
        Some(waiter)
    }

    /// Counts a connection of this identity as lent to the first who waits for an ordinary command, if that one is of the same identity: where
    /// many wait they mostly are, and nothing need be laid down and searched for.
    pub(super) fn dismiss_first(&mut self, identity: &Identity) -> Option<W> {
        if !self.ordinary.has_room() || self.ordinary.waiting.first()?.identity != *identity {
            return None;
        }
        let waiter = self.dismiss(identity, Share::Ordinary)?;
        self.ordinary.lent += 1;
        self.lanes.get_mut(identity)?.hold(Share::Ordinary).lent += 1;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::Options;

    fn queue(tickets: &[u64]) -> Queue {
        let now = Instant::now();
        let mut queue = Queue::default();
        for &ticket in tickets {
            queue.push(Queued {
                ticket,
                identity: Identity::SERVICE,
                since: now,
                until: now,
            });
        }
        queue
    }

    fn tickets(queue: &Queue) -> Vec<u64> {
        queue.iter().map(|queued| queued.ticket).collect()
    }

    #[test]
    fn any_place_can_be_given_up_once() {
        for (leaves, left) in [(1, vec![3, 4, 9]), (4, vec![1, 3, 9]), (9, vec![1, 3, 4])] {
            let mut queue = queue(&[1, 3, 4, 9]);
            assert_eq!(queue.remove(leaves).unwrap().ticket, leaves);
            assert!(queue.remove(leaves).is_none());
            assert_eq!(tickets(&queue), left);
        }
        assert!(queue(&[]).remove(1).is_none());
    }

    #[test]
    fn two_queues_become_one_in_the_order_of_arrival() {
        let (mut all, mut other) = (queue(&[2, 3, 8]), queue(&[1, 5, 9]));
        all.take_in(&mut other);
        assert_eq!(tickets(&all), [1, 2, 3, 5, 8, 9]);
        assert!(other.is_empty() && all.len() == 6);
    }

    #[test]
    fn those_are_late_whose_time_is_over_whatever_their_order() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut state = State::<(), &str>::new(Options::default());
        assert_eq!(state.due(), None);
        for (waiter, share, until) in [
            ("long", Share::Ordinary, 9),
            ("short", Share::Ordinary, 2),
            ("awaiting", Share::Awaiting, 2),
            ("shorter", Share::Ordinary, 1),
        ] {
            state.enqueue(&Identity::SERVICE, share, waiter, (now, at(until)));
        }
        let mut look = |seconds| (state.take_late(at(seconds)), state.due());
        assert_eq!(look(0), (vec![], Some(at(1))));
        assert_eq!(look(2), (vec!["short", "shorter", "awaiting"], Some(at(9))));
        assert_eq!(look(9), (vec!["long"], None));
        assert!(!state.is_waited_for() && state.lanes.is_empty());
    }
}
