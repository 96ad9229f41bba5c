//! Waiting for a connection, in order of arrival and not for ever.
//!
//! Where clients outnumber connections every command waits, so a wait costs as little as it can: it has no timer of its own. One task of the
//! pool looks for those whose time is over, when the first of them may be.

use std::{
    future::Future,
    hint::cold_path,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    Identity, Pool,
    error::CheckOutError,
    lease::Lease,
    share::Share,
    shell::{CLOSED, LEFT, Outcome, UNSEEN},
};

/// A connection that is waited for. Cancel safe: dropped, it leaves the queue, and a connection already handed over goes to the next.
///
/// It is no `async fn`: with a thousand clients its state is out of the cache at each look, so it shall be small and in one piece.
#[must_use = "it has a place in the queue, and keeps what it is given there until it is dropped"]
pub struct Waiting<'a>(Step<'a>);

enum Step<'a> {
    /// Nothing was to be waited for; `None` once that was told.
    Known(Option<Result<Lease, CheckOutError>>),
    Queued {
        receiver: oneshot::Receiver<Outcome>,
        place: Place<'a>,
        since: Instant,
        /// For how long at most.
        limit: Duration,
        /// How many connections had come back to the pool by then.
        returned: u64,
        counts: bool,
    },
}

impl Future for Waiting<'_> {
    type Output = Result<Lease, CheckOutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let step = &mut self.get_mut().0;
        let Step::Queued {
            receiver,
            place,
            since,
            limit,
            returned,
            counts,
        } = step
        else {
            cold_path();
            let Step::Known(outcome) = step else {
                return Poll::Pending;
            };
            return outcome.take().map_or(Poll::Pending, Poll::Ready);
        };
        let answer = ready!(Pin::new(receiver).poll(cx));
        let (waited, pool) = (since.elapsed(), place.pool);
        if *counts {
            pool.totals.note_wait(place.core, waited);
        }
        Poll::Ready(match answer {
            Ok(outcome) => {
                place.ticket = None;
                outcome.map_err(|error| *error).map(|mut lease| {
                    lease.waited = waited;
                    lease
                })
            }
            // Nobody answered: its time is over.
            Err(_) => {
                cold_path();
                if *counts {
                    pool.totals.wait_timeouts.fetch_add(1, Relaxed);
                }
                let stalled = *returned == pool.lock().returned;
                Err(pool.timed_out(place.share, *limit, stalled))
            }
        })
    }
}

impl Waiting<'_> {
    /// The same without being counted as a command that waited: for what the proxy does on its own, on whatever thread.
    pub fn uncounted(mut self) -> Self {
        if let Step::Queued { counts, .. } = &mut self.0 {
            *counts = false;
        }
        self
    }
}

impl Pool {
    /// Waits for a connection, first come first served, from `since` for at most `limit` or the pool's `wait_timeout`. The place in the queue is
    /// taken by the call.
    ///
    /// # Errors
    /// When none can be had; nothing was sent.
    pub fn wait(
        self: &Arc<Self>,
        identity: &Identity,
        core: usize,
        share: Share,
        since: Instant,
        limit: Option<Duration>,
    ) -> Waiting<'_> {
        let known = |outcome| Waiting(Step::Known(Some(outcome)));
        let (ticket, receiver, limit, returned, begun) = loop {
            let (sender, receiver) = oneshot::channel();
            let (looked, begun, limit, returned) = {
                let mut state = self.lock();
                if state.is_paused() {
                    cold_path();
                    let reason = if state.is_retired() { LEFT } else { UNSEEN };
                    drop(state);
                    return known(Err(self.cleared(reason)));
                }
                let wait_timeout = state.options().wait_timeout;
                let limit = limit.map_or(wait_timeout, |limit| limit.min(wait_timeout));
                let (times, due) = ((since.into_std(), (since + limit).into_std()), state.due());
                let looked = state.check_out_or_wait(identity, core, share, sender, times);
                if state.due() != due {
                    cold_path();
                    self.sooner.notify_one();
                }
                let begun = match looked {
                    Ok(_) => None,
                    Err(_) => state.begin_connect(false),
                };
                (looked, begun, limit, state.returned)
            };
            match looked {
                Ok(mut pooled) => {
                    cold_path();
                    if !pooled.is_forgotten() && !pooled.connection.is_stale() {
                        return known(Ok(self.lend(pooled)));
                    }
                    self.close_lent(pooled);
                }
                Err(ticket) => break (ticket, receiver, limit, returned, begun),
            }
        };
        let place = Place::new(self, core, ticket, share);
        if let Some(begun) = begun {
            cold_path();
            self.spawn_connect(begun, core);
            self.connect_if_wanted(core, false);
        }
        Waiting(Step::Queued {
            receiver,
            place,
            since,
            limit,
            returned,
            counts: true,
        })
    }

    fn timed_out(&self, share: Share, waited: Duration, stalled: bool) -> CheckOutError {
        let (counts, options) = (self.counts(), self.options());
        CheckOutError::timed_out(self.address(), (waited, stalled), share, &counts, &options)
    }

    /// Ends the waits whose time is over, and all of them when what serves the pool is told to end: nobody would connect for them any more.
    pub(super) async fn end_waits(self: Arc<Self>) {
        tokio::select! {
            () = self.end_late() => {}
            () = self.stopped.requested() => self.empty(CLOSED, true),
        }
    }

    /// Whoever waited for too long learns it by getting no answer.
    async fn end_late(self: &Arc<Self>) {
        loop {
            let due = self.lock().due();
            match due {
                // A time-out is what is waited for here.
                Some(due) => drop(timeout_at(due.into(), self.sooner.notified()).await),
                None => self.sooner.notified().await,
            }
            let late = self.lock().take_late(Instant::now().into_std());
            if !late.is_empty() {
                drop(late);
                // Room may have been kept for them.
                self.serve_waiting(0, Vec::new());
            }
        }
    }
}

/// A place in the queue; left on drop.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    core: usize,
    /// `None` once it was served.
    ticket: Option<u64>,
    share: Share,
}

impl<'a> Place<'a> {
    fn new(pool: &'a Arc<Pool>, core: usize, ticket: u64, share: Share) -> Self {
        Self {
            pool,
            core,
            ticket: Some(ticket),
            share,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let has_left = |ticket| self.pool.lock().leave(ticket);
        // Room may have been kept for it.
        if self.ticket.is_some_and(has_left) {
            cold_path();
            self.pool.serve_waiting(self.core, Vec::new());
        }
    }
}
