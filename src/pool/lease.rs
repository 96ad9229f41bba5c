//! A lent connection.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Pool, pooled::Pooled, share::Share};
use crate::upstream::Connection;

/// A connection that is lent for one exchange. On drop it goes back if it is clean, else it is closed.
#[derive(Debug)]
pub struct Lease {
    /// `None` only within drop.
    pooled: Option<Pooled<Box<Connection>>>,
    pool: Arc<Pool>,
    /// How long its holder waited for it.
    pub(super) waited: Duration,
    /// When its exchange was over, if that is known.
    done: Option<Instant>,
}

impl Lease {
    pub(super) fn new(pooled: Pooled<Box<Connection>>, pool: Arc<Pool>) -> Self {
        Self {
            pooled: Some(pooled),
            pool,
            waited: Duration::ZERO,
            done: None,
        }
    }

    /// How long its holder waited for it in the queue.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Tells when the exchange was over, just before the connection goes back: whoever has looked at the clock saves another look.
    pub fn note_done(&mut self, at: Instant) {
        self.done = Some(at);
    }

    /// The pool's generation when the connection was made.
    #[must_use]
    pub fn generation(&self) -> u64 {
        // Only drop empties it.
        self.pooled.as_ref().map_or(0, |pooled| pooled.generation)
    }

    /// Whether somebody waits for a connection who could have this one.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        let share = self.pooled.as_ref().map(|pooled| pooled.share);
        share.is_some_and(|share| self.pool.is_waited_for(share))
    }

    /// Whether the reply may go to its client as it comes, which can hold the connection for as long as a slow client likes: at most half of
    /// `max_size` may be held so at a time; what is lent for awaiting is bounded by its own share. It counts until the lease is dropped.
    #[must_use]
    pub fn begin_stream(&mut self) -> bool {
        let Some(pooled) = &mut self.pooled else {
            return false;
        };
        if pooled.share != Share::Ordinary {
            return true;
        }
        pooled.streams = pooled.streams || self.pool.begin_stream();
        pooled.streams
    }

    /// The pool that it belongs to.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Deref for Lease {
    type Target = Connection;

    #[allow(clippy::expect_used, reason = "only drop empties it")]
    fn deref(&self) -> &Connection {
        &self
            .pooled
            .as_ref()
            .expect("a lease holds its connection until it is dropped")
            .connection
    }
}

impl DerefMut for Lease {
    #[allow(clippy::expect_used, reason = "only drop empties it")]
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self
            .pooled
            .as_mut()
            .expect("a lease holds its connection until it is dropped")
            .connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            let done = self.done.unwrap_or_else(Instant::now);
            self.pool.take_back(pooled, done);
        }
    }
}
