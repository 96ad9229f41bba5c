//! Waiting for something on a client's behalf while noticing that the client goes away.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
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
pub(super) async fn attend<T>(
    client: &mut Socket,
    if_gone: IfGone,
    mut what: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Gone> {
    let mut grace: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        while !client.has_ended() && client.buffered().len() < SCRATCH_LEN {
            match client.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                // A reset tells the same as an end; reads that follow see it again.
                Poll::Ready(Err(_)) => client.end(),
            }
        }
        if client.has_ended() {
            match if_gone {
                IfGone::Stop => return Poll::Ready(Err(Gone)),
                IfGone::GoOnFor(limit) => {
                    if grace
                        .get_or_insert_with(|| Box::pin(sleep(limit)))
                        .as_mut()
                        .poll(cx)
                        .is_ready()
                    {
                        return Poll::Ready(Err(Gone));
                    }
                }
                IfGone::GoOn => {}
            }
        }
        Poll::Pending
    })
    .await
}
