//! Whose turn it is: who gets the next idle connection, for whom the next one is made, and who gives one up for it.
//!
//! Turns go by the time of arrival, but that a connection stays with its identity for a while where others of the same wait: to log
//! another one in costs as much as many commands. Identities with fewer connections than their guaranteed minimum come first.

use std::time::{Duration, Instant};

use super::{Identity, lane::Lane, pooled::Pooled, queue::Queued, share::Share, state::State};

/// For how long connections go from one waiter of an identity to the next while another identity waits for one that must be made.
const TURN: Duration = Duration::from_millis(20);
/// Most connections that are not logged in, for what strangers may ask a node.
const MOST_OF_NOBODY: usize = 2;
/// How many of those who wait are looked at in turn, before all identities are.
const LOOK_AHEAD: usize = 64;

impl<C, W> State<C, W> {
    /// The identity that a connection should be made for on this share: one below its guaranteed minimum first, then the one whose
    /// waiter came first.
    pub(super) fn first_to_connect(&self, share: Share) -> Option<Identity> {
        let part = self.share(share);
        if part.waiting.is_empty() || !part.has_room_for_new() {
            return None;
        }
        let wanting = self
            .lanes
            .iter()
            .filter(|(identity, lane)| self.may_connect(identity, lane, share));
        let first = wanting.min_by_key(|(_, lane)| {
            let is_guaranteed = lane.total() < self.options.min_per_user;
            (!is_guaranteed, lane.holds(share).oldest())
        });
        first.map(|(identity, _)| identity.clone())
    }

    /// Whether somebody of this identity wants a connection, and may have one more.
    fn may_connect(&self, identity: &Identity, lane: &Lane<C, W>, share: Share) -> bool {
        let max = match identity {
            nobody if nobody.is_nobody() => Some(MOST_OF_NOBODY),
            service if service.is_service() => None,
            _ => self.options.max_per_user,
        };
        let is_within = max.is_none_or(|max| lane.total() < max);
        // Those who wait where a login is refused are served by what there is, if there is something.
        let waits_for_others = lane.is_refused && lane.lent() > 0;
        lane.holds(share).wants_connection() && is_within && !waits_for_others
    }

    /// Whose idle connection gives its place up for one of `wanting`: first of identities that have more than the guaranteed
    /// minimum, and of those the one that was used least recently. One within the minimum goes only for an identity that is below it.
    pub(super) fn victim(&self, wanting: &Identity) -> Option<&Identity> {
        let minimum = self.options.min_per_user;
        let is_below = self.lanes.get(wanting).is_none_or(|lane| lane.total() < minimum);
        let victims = self
            .lanes
            .iter()
            .filter(|(identity, lane)| *identity != wanting && lane.idle_count() > 0);
        victims
            .map(|(identity, lane)| (lane.total() <= minimum, lane.idle_since(), identity))
            .min()
            .filter(|(is_within, ..)| is_below || !is_within)
            .map(|(.., identity)| identity)
    }

    /// Takes the connection of a [`State::victim`].
    pub(super) fn give_up_idle(&mut self, victim: &Identity) -> Option<Pooled<C>> {
        let given_up = self.lane(victim).take_oldest()?;
        self.idle -= 1;
        self.drop_if_empty(victim);
        Some(given_up)
    }

    /// Whose waiter is to have the next idle connection on this share: the one who came first of those whose identity has one. But
    /// room is kept for one whose turn has come and for whom a connection can be made.
    pub(super) fn next_served(&self, share: Share, now: Instant) -> Option<Identity> {
        let part = self.share(share);
        if !part.has_room() || part.waiting.is_empty() {
            return None;
        }
        let may_make = part.has_room_for_new() && self.connecting() < self.options.max_connecting;
        for queued in part.waiting.iter().take(LOOK_AHEAD) {
            let Some(lane) = self.lanes.get(&queued.identity) else {
                continue;
            };
            if lane.idle_count() > 0 {
                return Some(queued.identity.clone());
            }
            if may_make && self.is_kept_for(queued, lane, share, now) {
                return None;
            }
        }
        if part.waiting.len() <= LOOK_AHEAD || may_make && self.is_kept_behind(share, now) {
            return None;
        }
        let is_served = |lane: &Lane<C, W>| lane.idle_count() > 0 && lane.holds(share).oldest().is_some();
        let mut others = self.lanes.iter().filter(|(_, lane)| is_served(lane));
        others.next().map(|(identity, _)| identity.clone())
    }

    /// Whether room is kept for one whose identity has nothing idle: its turn has come, and a connection can be made for it.
    fn is_kept_for(&self, queued: &Queued, lane: &Lane<C, W>, share: Share, now: Instant) -> bool {
        let identity = &queued.identity;
        queued.is_overdue(now)
            && self.may_connect(identity, lane, share)
            && (self.total() < self.options.most() || self.victim(identity).is_some())
    }

    /// The same for the one who comes first of all, where those in front have all that they may have: they must not hide one behind them.
    fn is_kept_behind(&self, share: Share, now: Instant) -> bool {
        let waiting = &self.share(share).waiting;
        let is_kept = || {
            let identity = self.first_to_connect(share)?;
            let lane = self.lanes.get(&identity)?;
            let queued = waiting.find(lane.holds(share).oldest()?)?;
            Some(lane.idle_count() == 0 && self.is_kept_for(queued, lane, share, now))
        };
        // Nobody's turn has come before that of the first.
        waiting.first().is_some_and(|first| first.is_overdue(now)) && is_kept().unwrap_or(false)
    }
}

impl Queued {
    /// Whether its turn has come.
    fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= TURN
    }
}
