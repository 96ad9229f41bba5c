//! The host name that a client dialled.
//!
//! A session without buffers does not tell it; only who picks the certificate is told, in the midst of the handshake, and not whose
//! handshake it is. But that is the one that the thread is at: so the name is put down for the thread, and picked up after each step.

use std::{cell::Cell, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

thread_local! {
    static NAME: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// Presents one certificate to all, and puts down the name that each dialled.
#[derive(Debug)]
pub(super) struct Noting<C>(pub(super) Arc<C>);

impl<C: ResolvesServerCert> ResolvesServerCert for Noting<C> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        NAME.set(hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }
}

/// Picks up what the last step of a handshake has put down.
pub(super) fn noted() -> Option<Box<str>> {
    NAME.take()
}
