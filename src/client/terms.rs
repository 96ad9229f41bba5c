//! The terms by which a listener's clients are served, and their exchange for new ones while clients are connected.
//!
//! Terms are never changed, only replaced: a session holds those that it knows and goes by them for all of a command. Before the next one it
//! looks at a flag of theirs, which costs a load, and takes the new ones if there are any. So a command sees one configuration, whatever
//! is reloaded meanwhile.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

use super::{Drain, Limits, ListenerOptions, Stage};
use crate::{failover, shutdown::Shutdown};

/// What all listeners have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bounds on what clients may hold.
    pub limits: Limits,
    /// What becomes of commands while the replica set changes.
    pub failover: failover::Options,
}

/// A listener's options and the common settings, at one moment.
#[derive(Debug)]
pub struct Terms {
    options: ListenerOptions,
    settings: Arc<Settings>,
    /// There are newer ones.
    replaced: AtomicBool,
}

impl Terms {
    fn new(options: ListenerOptions, settings: Arc<Settings>) -> Self {
        Self {
            options,
            settings,
            replaced: AtomicBool::new(false),
        }
    }

    /// Bounds on what clients may hold.
    #[inline]
    pub(super) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// What becomes of commands while the replica set changes.
    #[inline]
    pub(super) fn failover(&self) -> &failover::Options {
        &self.settings.failover
    }

    /// Whether there are newer ones.
    #[inline]
    pub(super) fn are_replaced(&self) -> bool {
        self.replaced.load(Relaxed)
    }
}

impl Deref for Terms {
    type Target = ListenerOptions;

    #[inline]
    fn deref(&self) -> &ListenerOptions {
        &self.options
    }
}

/// All listeners that take clients; a second address for secondaries is one of its own.
pub type Listeners = ArcSwap<Vec<Arc<Listening>>>;

/// A listener that serves clients: its terms, how many clients it has, and its own way down when it is removed.
#[derive(Debug)]
pub struct Listening {
    terms: ArcSwap<Terms>,
    clients: AtomicUsize,
    /// As far as this listener goes by itself; when the process does, that has its own.
    drain: Drain,
    /// Another process listens on the socket, too, and goes on with it.
    is_given_away: AtomicBool,
    /// Has the acceptor end.
    pub(super) doors: Shutdown,
    /// Wakes the sessions.
    pub(super) front: Shutdown,
}

impl Listening {
    /// A listener whose acceptor ends with `doors`, and whose sessions are woken by `front`, if not before.
    #[must_use]
    pub fn new(
        options: ListenerOptions,
        settings: Arc<Settings>,
        doors: &Shutdown,
        front: &Shutdown,
    ) -> Self {
        Self {
            terms: ArcSwap::from_pointee(Terms::new(options, settings)),
            clients: AtomicUsize::new(0),
            drain: Drain::default(),
            is_given_away: AtomicBool::new(false),
            doors: doors.child(),
            front: front.child(),
        }
    }

    /// The terms in force.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// Puts new terms in force; sessions go by them from their next command on.
    pub fn replace(&self, options: ListenerOptions, settings: Arc<Settings>) {
        let old = self.terms.swap(Arc::new(Terms::new(options, settings)));
        old.replaced.store(true, Relaxed);
    }

    /// How many clients it has.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    pub(super) fn count_in(&self) {
        self.clients.fetch_add(1, Relaxed);
    }

    pub(super) fn count_out(&self) {
        self.clients.fetch_sub(1, Relaxed);
    }

    /// How far its own way down is.
    #[inline]
    pub(super) fn stage(&self) -> Stage {
        self.drain.stage()
    }

    /// Whether its clients are to be closed, at least those that pause, because it is removed.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.drain.is_closing()
    }

    /// Whether they are to be closed at their next command boundary.
    #[inline]
    pub(super) fn is_stopping(&self) -> bool {
        self.drain.is_stopping()
    }

    /// Takes no new clients any more; those that it has are served until [`Listening::advance`].
    pub fn close_doors(&self) {
        self.doors.begin();
    }

    /// Leaves the socket to another process that listens on it, once the doors are closed: no client in its queue is touched.
    pub fn give_away(&self) {
        self.is_given_away.store(true, Relaxed);
    }

    /// Whether another process goes on with the socket.
    pub(super) fn is_given_away(&self) -> bool {
        self.is_given_away.load(Relaxed)
    }

    /// Goes on to a stage of its own way down, and wakes its sessions.
    pub fn advance(&self, to: Stage) {
        self.drain.advance(to);
        self.front.begin();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;

    #[test]
    fn who_holds_old_terms_sees_that_there_are_new_ones() {
        let options = ListenerOptions::at(SocketAddr::from(([127, 0, 0, 1], 1)));
        let none = Shutdown::new();
        let listening = Listening::new(options.clone(), Arc::default(), &none, &none);
        let old = listening.terms();
        assert!(!old.are_replaced());
        let settings = Settings {
            failover: failover::Options {
                hold: Duration::from_secs(77),
                ..failover::Options::default()
            },
            ..Settings::default()
        };
        listening.replace(
            ListenerOptions {
                translates: false,
                ..options
            },
            Arc::new(settings),
        );
        let new = listening.terms();
        assert!(old.are_replaced() && old.translates && !new.are_replaced() && !new.translates);
        assert_eq!(new.failover().hold, Duration::from_secs(77));
    }

    #[test]
    fn a_listener_goes_alone() {
        let (doors, front) = (Shutdown::new(), Shutdown::new());
        let options = ListenerOptions::at(SocketAddr::from(([127, 0, 0, 1], 1)));
        let listening = Listening::new(options, Arc::default(), &doors, &front);
        assert_eq!(listening.stage(), Stage::Serving);
        listening.close_doors();
        listening.advance(Stage::Closing);
        assert!(listening.doors.has_begun() && listening.front.has_begun() && listening.is_closing());
        assert!(!doors.has_begun() && !front.has_begun() && !listening.is_stopping());
    }
}
