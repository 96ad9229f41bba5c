//! Ending a connection from outside of the exchange that waits on it.
//!
//! A node that hangs keeps its TCP connections open: an exchange on one of them would wait until the node runs again.
//! When the node's monitor has given it up, its connections are shut down, and each exchange ends as a broken one
//! (Connection Monitoring and Pooling specification, "interrupt in-use connections"). A second descriptor of the socket costs
//! nothing on the way of a command, unlike a signal that every exchange would listen to.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

/// The connection's own part: it lives as long as the connection.
#[derive(Debug)]
pub(super) struct Interruptible(Arc<OwnedFd>);

/// The other part. Keeps nothing open.
#[derive(Debug)]
pub struct Interrupter(Weak<OwnedFd>);

impl Interruptible {
    /// Takes a second descriptor of the stream's socket.
    pub(super) fn new(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    pub(super) fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::downgrade(&self.0))
    }
}

impl Interrupter {
    /// Shuts the connection down; does nothing to one that is closed.
    pub fn interrupt(&self) {
        if let Some(descriptor) = self.0.upgrade() {
            // It fails only where the peer was quicker.
            let _ = rustix::net::shutdown(&*descriptor, rustix::net::Shutdown::Both);
        }
    }

    /// Whether the connection is closed already.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}
