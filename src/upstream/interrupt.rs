//! Ending a connection from outside of the exchange that waits on it.
//!
//! A node that hangs keeps its TCP connections open: an exchange on one of them would wait until the node runs again.
//! When the node's monitor has given it up, or another node has become primary, its connections are shut down, and each exchange
//! ends as a broken one (Connection Monitoring and Pooling specification, "interrupt in-use connections"). A second descriptor of the
//! socket costs nothing on the way of a command, unlike a signal that every exchange would listen to.
//!
//! Invariant: whoever ends a connection says why before it does, so that an exchange that finds its connection ended finds the
//! reason, too.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Why an exchange was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Interruption {
    /// The node's monitor has waited for it in vain.
    #[error("its node hangs")]
    Hangs,
    /// Another node is the primary now.
    #[error("another node has become the primary")]
    Superseded,
    /// The node is no longer part of the cluster, and does not answer.
    #[error("its node has left the replica set and does not answer")]
    Left,
}

/// What both parts know of the connection.
#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    /// What waits on it is for a primary alone to answer.
    is_write: AtomicBool,
    interrupted: OnceLock<Interruption>,
}

/// The connection's own part: it lives as long as the connection.
#[derive(Debug)]
pub(super) struct Interruptible(Arc<Line>);

/// The other part. Keeps nothing open.
#[derive(Debug)]
pub struct Interrupter(Weak<Line>);

impl Interruptible {
    /// Takes a second descriptor of the stream's socket.
    pub(super) fn new(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self(Arc::new(Line {
            socket: stream.as_fd().try_clone_to_owned()?,
            is_write: AtomicBool::new(false),
            interrupted: OnceLock::new(),
        })))
    }

    pub(super) fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::downgrade(&self.0))
    }

    /// Says whether what is sent next is for a primary alone to answer.
    pub(super) fn set_write(&self, is_write: bool) {
        self.0.is_write.store(is_write, Relaxed);
    }

    /// Why the connection was ended from outside, if it was.
    pub(super) fn interrupted(&self) -> Option<Interruption> {
        self.0.interrupted.get().copied()
    }
}

impl Interrupter {
    /// Shuts the connection down; does nothing to one that is closed.
    pub fn interrupt(&self, why: Interruption) {
        if let Some(line) = self.0.upgrade() {
            // The first reason is the true one.
            let _ = line.interrupted.set(why);
            // It fails only where the peer was quicker.
            let _ = rustix::net::shutdown(&line.socket, rustix::net::Shutdown::Both);
        }
    }

    /// Whether what waits on the connection, if anything does, is for a primary alone to answer.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.0.upgrade().is_some_and(|line| line.is_write.load(Relaxed))
    }

    /// Whether the connection is closed already.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}
