//! What is counted per command: plain counters, one set for each thread that counts, summed up only when somebody asks.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::reasons::{self, Counted, Reasons};

/// One counter. Only one thread adds to it, any may read it: so adding takes a load and a store, and not an instruction that keeps all others
/// from the memory meanwhile, of which each costs as much as a few dozen plain ones. Two threads that add would lose counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one.
    #[inline]
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&self, count: u64) {
        let sum = self.0.load(Relaxed).wrapping_add(count);
        self.0.store(sum, Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares the counters: field, metric name without its `tidegate_` and `_total`, help text.
macro_rules! counters {
    ($($field:ident, $help:literal;)*) => {
        /// The counters of one thread.
        #[derive(Debug, Default)]
        #[repr(align(128))] // Two cores never write to one cache line.
        pub struct Counters {
            $(#[doc = $help] pub $field: Counter,)*
            /// Why what happened.
            pub reasons: Reasons,
        }

        impl Counters {
            /// Name, help and value of each counter.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($field), $help, self.$field.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    clients_accepted, "Client connections accepted";
    clients_refused, "Client connections refused because a limit was reached";
    clients_outside_networks, "Client connections refused because their address is in no allowed network";
    clients_closed, "Client connections that ended, for whatever reason";
    clients_timed_out, "Client connections closed because they were idle or too slow";
    clients_drained, "Client connections closed by a drain before its deadline, each between two commands";
    clients_drained_late, "Client connections closed at the deadline of a drain";
    clients_killed, "Client connections closed by POST /clients/{id}/kill";
    logins_timed_out, "Client connections closed because they did not log in in time";
    logins_slowed, "Logins whose answer was delayed because others from the same address had failed";
    tls_accepted, "TLS handshakes with clients that came to their end";
    tls_refused, "Client connections closed because TLS failed, or was or was not spoken";
    protocol_errors, "Client connections closed because of a message that breaks the protocol";
    logins, "Clients that logged in";
    logins_refused, "Logins refused";
    logins_forgotten, "Replies by which a node told that it has forgotten who is logged in, as after a user was dropped";
    commands, "Commands received";
    commands_local, "Commands answered by the proxy itself";
    commands_refused, "Commands answered with an error by the proxy because they were invalid or are not served";
    commands_denied, "Commands denied by a rule of their listener (deny_commands, read_only)";
    commands_slow, "Commands that took as long as [log] slow says";
    commands_unacknowledged, "Commands whose client wanted no reply";
    commands_failed, "Commands answered with an error by the proxy because no node could take them or the node failed";
    commands_overloaded, "Commands answered with an error by the proxy because no connection became free in time";
    awaits_unserved, "getMores of awaiting cursors answered with an empty batch because no connection became free in time";
    outcomes_unknown, "Commands answered with an error that leaves open whether they were executed";
    commands_sent_again, "Commands sent again after a failure or an error that proves that they were not executed";
    reads_sent_again, "Reads sent again after a failure or a transient error, though they may have been executed";
    writes_sent_again, "Writes, commits and aborts sent again under their transaction number after a connection broke";
    writes_sent_again_after_error, "The same after a node answered that it was not, or no longer, in the state for it";
    state_errors_relayed, "Errors of a changing replica set passed on, because the command could have been executed twice";
    commands_rescued, "Commands whose exchange was ended because their node hung, or another node became primary";
    writes_numbered, "Writes that came without a transaction number and went out under one of the proxy's own";
    retries_recognised, "Replies that say that the node had executed a write at an earlier attempt";
    node_errors, "Replies of nodes that carry an error";
    state_changes_masked, "Replies of nodes whose state-change error was replaced by HostUnreachable";
    commands_held, "Commands that had to wait at the gate for a node that fits, each time counted";
    commands_released, "Commands for which a node was found while they waited at the gate";
    holds_expired, "Commands that waited at the gate in vain";
    holds_refused, "Commands for which the gate had no place left";
    holds_left, "Commands that left the gate because their client went away";
    pool_waits, "Commands that had to wait for a connection";
    abandoned, "Commands whose client went away and whose upstream connection was closed";
    drained, "Commands whose client went away and whose reply was awaited and dropped";
    cursors_looked_up, "Cursors of unknown origin that were looked for on the nodes";
    transactions_lost, "Statements of transactions that failed because the mongos that ran the transaction was gone";
    legacy_commands, "Commands received by OP_QUERY";
    legacy_queries, "Queries for documents received by OP_QUERY";
    legacy_get_mores, "OP_GET_MOREs received";
    legacy_kill_cursors, "OP_KILL_CURSORS received";
    legacy_inserts, "OP_INSERTs received";
    legacy_updates, "OP_UPDATEs received";
    legacy_deletes, "OP_DELETEs received";
    last_errors_told, "getLastErrors answered";
    last_errors_waited, "getLastErrors for which a write of nothing waited for the write concern";
    exhaust_chains, "Requests answered by a chain of replies, as exhaust cursors ask for";
    compressed_requests, "Requests that clients sent compressed";
    compressed_request_bytes, "Bytes of the requests that clients sent compressed, as they came";
    inflated_request_bytes, "Bytes of the requests that clients sent compressed, once inflated";
    compressed_replies, "Replies sent to clients compressed";
    compressed_reply_bytes, "Bytes of the replies sent to clients compressed, as they went";
    inflated_reply_bytes, "Bytes of the replies sent to clients compressed, before that";
    streams, "Replies passed on while they arrived, because of their size";
    streams_broken, "Replies that broke off after their first part had been passed on";
    admin_refused, "Requests that the admin endpoint refused for want of a right";
    received_bytes, "Bytes of requests received from clients";
    sent_bytes, "Bytes of replies sent to clients";
}

/// Stand for the number of a core: of the thread that accepts clients and serves the admin endpoint, and of one that was not told.
/// Numbers, because they are compared at each count of a debug build, whose instructions are counted, too (`tests/instructions`).
const FRONT: usize = usize::MAX - 1;
const UNTOLD: usize = usize::MAX;

thread_local! {
    static COUNTING: Cell<usize> = const { Cell::new(UNTOLD) };
}

/// Tells that this thread counts for this core alone. A debug build panics where it counts for others nevertheless.
pub fn begin_core(core: usize) {
    COUNTING.set(core);
}

/// Tells that this thread accepts clients and serves the admin endpoint, while others count for the cores.
pub fn begin_front() {
    COUNTING.set(FRONT);
}

/// Whether this thread counts for these, as far as it was told.
fn counts_for(whom: usize) -> bool {
    let own = COUNTING.get();
    own == whom || own == UNTOLD
}

/// Of what each core has of its own, what this core has, to count in it. A number that is none stands for the first.
#[inline]
pub(super) fn of_core<T>(cores: &[T], core: usize) -> &T {
    debug_assert!(
        counts_for(core),
        "counts of core {core} would be lost: another thread has them"
    );
    let known = if core < cores.len() { core } else { 0 };
    &cores[known]
}

/// The counters of all cores, and of the thread that accepts clients and serves the admin endpoint.
#[derive(Debug)]
pub struct PerCore {
    cores: Box<[Counters]>,
    front: Box<Counters>,
}

impl PerCore {
    /// Counters for `cores` cores, at least one.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores.max(1)).map(|_| Counters::default()).collect(),
            front: Box::default(),
        }
    }

    /// The counters of one core, in which only its own thread counts.
    #[inline]
    #[must_use]
    pub fn core(&self, core: usize) -> &Counters {
        of_core(&self.cores, core)
    }

    /// The counters of the thread that accepts clients and serves the admin endpoint, in which only it counts.
    #[must_use]
    pub fn front(&self) -> &Counters {
        debug_assert!(counts_for(FRONT), "counts would be lost: another thread has them");
        &self.front
    }

    fn all(&self) -> impl Iterator<Item = &Counters> {
        std::iter::once(&*self.front).chain(&self.cores)
    }

    /// The sums over all threads.
    #[must_use]
    pub fn sums(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut sums: Vec<_> = self.front.each().collect();
        for core in &self.cores {
            for (sum, (_, _, value)) in sums.iter_mut().zip(core.each()) {
                sum.2 += value;
            }
        }
        sums
    }

    /// What happened for which reason, summed over all threads.
    #[must_use]
    pub fn reasons(&self) -> Vec<Counted> {
        reasons::sum(self.all().map(|counters| &counters.reasons))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{ClientRefusal, Count};

    #[test]
    fn counts_of_all_threads_are_summed() {
        let counters = PerCore::new(2);
        counters.core(0).commands.one();
        counters.core(1).commands.add(4);
        counters.front().commands.add(8);
        counters.front().reasons.one(ClientRefusal::Network);
        counters.core(1).reasons.one(ClientRefusal::Network);
        let sums = counters.sums();
        assert_eq!(sums.iter().find(|(name, ..)| *name == "commands").unwrap().2, 13);
        assert_eq!(sums.iter().map(|(_, _, value)| value).sum::<u64>(), 13);
        let reasons = counters.reasons();
        let refused = reasons.iter().flat_map(|counted| &counted.counts);
        assert_eq!(refused.map(|(_, count)| count).sum::<u64>(), 2);
    }

    /// Whether a thread that was begun so may count there.
    #[cfg(debug_assertions)]
    fn may_count(begin: fn(), at: fn(&PerCore) -> &Counters) -> bool {
        let counting = std::thread::spawn(move || {
            begin();
            at(&PerCore::new(2)).commands.one();
        });
        counting.join().is_ok()
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_thread_that_counts_for_others_is_found_out() {
        let core = || begin_core(1);
        assert!(may_count(core, |counters| counters.core(1)));
        assert!(!may_count(core, |counters| counters.core(0)));
        assert!(!may_count(core, PerCore::front));
        assert!(may_count(begin_front, PerCore::front));
        assert!(!may_count(begin_front, |counters| counters.core(0)));
        // Where there is one core, one thread does it all.
        assert!(may_count(|| (), |counters| counters.core(1)));
        assert!(may_count(|| (), PerCore::front));
    }
}
