//! Waiting for a connection, in order of arrival and not for ever.
//!
//! Where clients outnumber connections every command waits, so a wait costs as little as it can: it has no timer of its own. One task of the
//! pool looks for those whose time is over, when the first of them may be.

use std::{
    hint::cold_path,
    sync::{Arc, atomic::Ordering::Relaxed},
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
    shell::{CLOSED, LEFT, Outcome, UNSEEN, weight},
};

/// Somebody who waits.
struct Waiting<'a> {
    place: Place<'a>,
    receiver: oneshot::Receiver<Outcome>,
    /// For how long at most.
    limit: Duration,
}

impl Pool {
    /// Waits for a connection, first come first served, from `since` for at most `limit` or the pool's `wait_timeout`. Cancel safe: a
    /// cancelled wait leaves the queue, and a connection already handed over goes to the next.
    ///
    /// # Errors
    /// When none can be had; nothing was sent.
    pub async fn wait(
        self: &Arc<Self>,
        identity: &Identity,
        core: usize,
        share: Share,
        since: Instant,
        limit: Option<Duration>,
    ) -> Result<Lease, CheckOutError> {
        let waiting = match self.queue(identity, core, share, since, limit) {
            Ok(waiting) => waiting,
            Err(outcome) => {
                cold_path();
                return outcome;
            }
        };
        let Waiting {
            mut place,
            receiver,
            limit,
        } = waiting;
        let returned = self.returned.load(Relaxed);
        let answer = receiver.await;
        let waited = since.elapsed();
        self.totals.note_wait(waited);
        match answer {
            Ok(outcome) => {
                place.ticket = None;
                let mut lease = outcome.map_err(|error| *error)?;
                lease.waited = waited;
                Ok(lease)
            }
            // Nobody answered: its time is over.
            Err(_) => {
                cold_path();
                self.totals.wait_timeouts.fetch_add(1, Relaxed);
                Err(self.timed_out(share, limit, returned == self.returned.load(Relaxed)))
            }
        }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    fn queue(
        self: &Arc<Self>,
        identity: &Identity,
        core: usize,
        share: Share,
        since: Instant,
        limit: Option<Duration>,
    ) -> Result<Waiting<'_>, Result<Lease, CheckOutError>> {
        let (ticket, receiver, limit) = loop {
            let (sender, receiver) = oneshot::channel();
            let (looked, limit) = {
                let mut state = self.lock();
                if state.is_paused() {
                    cold_path();
                    let reason = if state.is_retired() { LEFT } else { UNSEEN };
                    drop(state);
                    return Err(Err(self.cleared(reason)));
                }
                let wait_timeout = state.options().wait_timeout;
                let limit = limit.map_or(wait_timeout, |limit| limit.min(wait_timeout));
                let (times, due) = ((since.into_std(), (since + limit).into_std()), state.due());
                let looked = state.check_out_or_wait(identity, core, share, sender, times);
                if state.due() != due {
                    cold_path();
                    self.sooner.notify_one();
                }
                (looked, limit)
            };
            match looked {
                Ok(mut pooled) => {
                    cold_path();
                    if !pooled.is_forgotten() && !pooled.connection.is_stale() {
                        return Err(Ok(self.lend(pooled)));
                    }
                    self.close_lent(pooled);
                }
                Err(ticket) => break (ticket, receiver, limit),
            }
        };
        let place = Place::new(self, core, ticket, share);
        self.connect_if_wanted(core, false);
        Ok(Waiting {
            place,
            receiver,
            limit,
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

/// A place in the queue; left on drop. It counts as an operation in flight: by its connections alone, a node that has
/// stopped to answer would look like the idlest of all.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    core: usize,
    /// `None` once it was served.
    ticket: Option<u64>,
    weight: usize,
}

impl<'a> Place<'a> {
    fn new(pool: &'a Arc<Pool>, core: usize, ticket: u64, share: Share) -> Self {
        let weight = weight(share);
        pool.in_flight.fetch_add(weight, Relaxed);
        Self {
            pool,
            core,
            ticket: Some(ticket),
            weight,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.in_flight.fetch_sub(self.weight, Relaxed);
        let has_left = |ticket| self.pool.lock().leave(ticket);
        // Room may have been kept for it.
        if self.ticket.is_some_and(has_left) {
            cold_path();
            self.pool.serve_waiting(self.core, Vec::new());
        }
    }
}
