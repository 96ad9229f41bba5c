//! Waiting for something on a client's behalf while noticing that the client goes away.

use std::{
    future::Future,
    hint::cold_path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::net::{Socket, buffers::SCRATCH_LEN};

/// What to do when the client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfGone {
    /// Stop waiting at once.
    Stop,
    /// Go on for that long.
    GoOnFor(Duration),
    /// Go on to the end.
    GoOn,
}

/// The client went away, and nothing is waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Waits for `what`. Bytes that the client sends meanwhile (pipelined requests) are read and kept, up to a bound beyond
/// which the client is no longer watched. The future comes pinned: taken by value it would stand twice in the caller's.
#[must_use = "nothing is waited for that is not awaited"]
pub(super) fn attend<'a, F: Future>(
    client: &'a mut Socket,
    if_gone: IfGone,
    what: Pin<&'a mut F>,
) -> Attend<'a, F> {
    Attend {
        client,
        if_gone,
        what,
        grace: None,
    }
}

/// What [`attend`] waits with; as a type of its own it is smaller than the compiler would make it.
pub(super) struct Attend<'a, F> {
    client: &'a mut Socket,
    what: Pin<&'a mut F>,
    if_gone: IfGone,
    grace: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Attend<'_, F> {
    type Output = Result<F::Output, Gone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(done) = this.what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let client = &mut *this.client;
        while !client.has_ended() && client.buffered().len() < SCRATCH_LEN {
            match client.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                // A reset tells the same as an end; reads that follow see it again.
                Poll::Ready(Err(_)) => client.end(),
            }
        }
        cold_path();
        this.without_client(cx)
    }
}

impl<F: Future> Attend<'_, F> {
    /// The client is gone, or sends so much that it is not watched any more.
    fn without_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Output, Gone>> {
        if !self.client.has_ended() {
            return Poll::Pending;
        }
        match self.if_gone {
            IfGone::Stop => Poll::Ready(Err(Gone)),
            IfGone::GoOn => Poll::Pending,
            IfGone::GoOnFor(limit) => {
                let grace = self.grace.get_or_insert_with(|| Box::pin(sleep(limit)));
                grace.as_mut().poll(cx).map(|()| Err(Gone))
            }
        }
    }
}
