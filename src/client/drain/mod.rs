//! Drain: how a proxy goes without its clients seeing errors.
//!
//! It has stages. First it is announced: readiness fails, and clients are served as before, new ones too, so that a load balancer has
//! time to send them elsewhere. Then it is closing: nobody is accepted any more, and each client is closed between two commands, but
//! not while its connection carries a transaction or has an open cursor ([`ties`]). Half-way to the deadline those follow that never
//! pause. At the deadline the rest is closed at the next boundary. What may be closed when is a pure function ([`policy`]).
//!
//! A command costs what it did without: one relaxed load of the stage.

mod policy;
mod ties;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

pub(super) use policy::look;
pub(super) use ties::{Ties, note_outcome, note_statement};

use crate::shutdown::Shutdown;

/// The settings of `[drain]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long new clients are still taken after readiness fails.
    pub grace: Duration,
    /// How long all of the drain may take, `grace` included, until clients are closed that are in a transaction or have open cursors.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            // Kubernetes kills after 30 seconds where nothing else is said.
            deadline: Duration::from_secs(25),
        }
    }
}

/// How far the way down is. Each stage follows the one before, some may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody has asked for an end.
    Serving,
    /// Readiness fails; clients are served and accepted.
    Announced,
    /// Nobody is accepted; clients that pause are closed, but for those with a transaction or a cursor.
    Closing,
    /// The same, whether they pause or not.
    Hurrying,
    /// All are closed at their next command boundary.
    Stopping,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Serving,
        Self::Announced,
        Self::Closing,
        Self::Hurrying,
        Self::Stopping,
    ];

    /// A word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::Closing => "closing",
            Self::Hurrying => "hurrying",
            Self::Stopping => "stopping",
        }
    }
}

/// The way down of one process.
#[derive(Debug, Default)]
pub struct Drain {
    stage: AtomicU8,
    /// Somebody runs this process who drains it when asked.
    can_be_asked: AtomicBool,
    asked: Shutdown,
    /// Begins with [`Stage::Stopping`].
    stopping: Shutdown,
    /// When it began, and when it shall be over.
    term: Mutex<Option<(Instant, Duration)>>,
    /// Clients that stay for a transaction or a cursor, as far as they were looked at.
    tied: AtomicUsize,
}

impl Drain {
    /// How far it is.
    #[inline]
    pub fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Relaxed)).min(Stage::ALL.len() - 1)]
    }

    /// Whether clients are to be closed, at least those that pause.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.stage.load(Relaxed) >= Stage::Closing as u8
    }

    /// Whether all clients are to be closed at their next command boundary.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.stage.load(Relaxed) >= Stage::Stopping as u8
    }

    /// Goes on to a stage; never back. Sessions that are to act on it must be woken afterwards.
    pub fn advance(&self, to: Stage) {
        self.stage.fetch_max(to as u8, Relaxed);
        if to == Stage::Stopping {
            self.stopping.begin();
        }
    }

    /// Announces a drain that shall take this long; `false` if one is under way.
    pub fn begin(&self, deadline: Duration) -> bool {
        if self.stage() != Stage::Serving {
            return false;
        }
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), deadline));
        self.advance(Stage::Announced);
        true
    }

    /// How long ago it began, and how long it may take; `None` if the process serves, or stops without one.
    pub fn term(&self) -> Option<(Duration, Duration)> {
        let term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        term.map(|(began, deadline)| (began.elapsed(), deadline))
    }

    /// How many clients stay for a transaction or a cursor, as far as they were looked at.
    pub fn tied(&self) -> usize {
        self.tied.load(Relaxed)
    }

    /// Says that [`Drain::asked`] is waited for.
    pub fn take_requests(&self) {
        self.can_be_asked.store(true, Relaxed);
    }

    /// Asks for a drain: whether that is news; `None` if nobody here would do it.
    pub fn ask(&self) -> Option<bool> {
        let news = !self.asked.has_begun() && self.stage() == Stage::Serving;
        self.can_be_asked.load(Relaxed).then(|| {
            self.asked.begin();
            news
        })
    }

    /// Waits until somebody has asked for a drain. Cancel safe.
    pub async fn asked(&self) {
        self.asked.requested().await;
    }

    /// Waits for [`Stage::Stopping`]. Cancel safe.
    pub(super) async fn stopped(&self) {
        self.stopping.requested().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other_and_never_go_back() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number, "{stage:?}");
        }
        let drain = Drain::default();
        assert!(drain.begin(Duration::from_secs(9)) && !drain.begin(Duration::from_secs(1)));
        assert_eq!(drain.term().unwrap().1, Duration::from_secs(9));
        drain.advance(Stage::Stopping);
        drain.advance(Stage::Closing);
        assert!(drain.is_stopping() && drain.stage() == Stage::Stopping);
    }

    #[tokio::test]
    async fn only_who_waits_for_requests_is_asked() {
        let drain = Drain::default();
        assert_eq!(drain.ask(), None);
        drain.take_requests();
        assert_eq!((drain.ask(), drain.ask()), (Some(true), Some(false)));
        drain.asked().await;
    }
}
