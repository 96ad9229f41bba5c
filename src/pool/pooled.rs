//! A connection as a pool has it.

use std::{ops::Deref, time::Instant};

use super::{Identity, share::Share};

/// A connection and what the pool knows of it.
#[derive(Debug)]
pub struct Pooled<C> {
    /// The connection.
    pub connection: C,
    /// On which share it is lent, or for which it was made.
    pub share: Share,
    /// It has a place among those whose reply goes at its client's speed.
    pub streams: bool,
    /// What stays as it is; in a box, for a lent connection stands in the future of every session.
    pub(super) about: Box<About>,
}

/// What a connection is for as long as it lives.
#[derive(Debug)]
pub struct About {
    /// As whom it is logged in.
    pub identity: Identity,
    /// The identity's epoch when it was made.
    pub epoch: u32,
    /// The core whose runtime drives it.
    pub core: usize,
    /// The pool's generation when it was made.
    pub generation: u64,
    /// When it is too old to be lent again.
    pub expires: Option<Instant>,
}

impl<C> Deref for Pooled<C> {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

impl<C> Pooled<C> {
    /// A connection that was made for this share.
    pub fn new(connection: C, share: Share, about: About) -> Self {
        Self {
            connection,
            share,
            streams: false,
            about: Box::new(about),
        }
    }

    /// Whether it may not be lent again, whatever its node's state.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now) || self.is_forgotten()
    }

    /// Whether the node has forgotten its login.
    pub(super) fn is_forgotten(&self) -> bool {
        self.epoch != self.identity.epoch()
    }
}
