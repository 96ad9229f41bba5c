//! Why things happened: fixed lists of reasons, each counted apart.

use super::counters::Counter;

/// Declares a list of reasons: the type, what its metric counts, and a word for each.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $metric:literal, $help:literal { $($reason:ident $word:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {
                $(#[doc = $word] $reason,)*
            }

            impl $name {
                const WORDS: &'static [&'static str] = &[$($word),*];
            }

        )*

        /// The reasons that one thread counted.
        #[derive(Debug)]
        #[allow(non_snake_case, reason = "a field for each list, named after it")]
        pub struct Reasons {
            $($name: Box<[Counter]>,)*
        }

        impl Default for Reasons {
            fn default() -> Self {
                Self { $($name: $name::WORDS.iter().map(|_| Counter::default()).collect(),)* }
            }
        }

        $(
            impl Count<$name> for Reasons {
                fn one(&self, reason: $name) {
                    self.$name[reason as usize].one();
                }
            }
        )*

        impl Reasons {
            /// Metric name without prefix and suffix, help, and the count of each reason.
            pub fn each(&self) -> Vec<Counted> {
                vec![$(Counted {
                    metric: $metric,
                    help: $help,
                    counts: $name::WORDS.iter().copied().zip(self.$name.iter().map(Counter::get)).collect(),
                },)*]
            }
        }
    };
}

/// Counts reasons of a list.
pub trait Count<R> {
    /// Counts one.
    fn one(&self, reason: R);
}

/// The counts of a list of reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The metric's name without `tidegate_` and `_total`.
    pub metric: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Each reason in a few words, and how often it was.
    pub counts: Vec<(&'static str, u64)>,
}

reasons! {
    /// Why a client's connection ended.
    Close, "client_closes", "Client connections that ended, by reason" {
        Left "client left",
        Broken "connection broke",
        Protocol "protocol error",
        Tls "tls",
        Silent "no message in time",
        NotLoggedIn "no login in time",
        LoggedOut "login forgotten",
        Idle "idle",
        TooSlow "too slow",
        StreamBroken "reply broke off",
        FailPoint "fail point",
        Drained "drained",
        DrainedLate "drain deadline",
        Stopping "stopping",
        Killed "killed by the operator",
    }
    /// Why a client was not let in.
    ClientRefusal, "client_refusals", "Client connections that were refused, by reason" {
        Full "max_clients",
        AddressFull "max_clients_per_address",
        StrangersFull "max_unauthenticated",
        Network "allow_networks",
    }
    /// Why the proxy answered a command with an error of its own.
    CommandRefusal, "command_refusals", "Commands answered with an error by the proxy, by reason" {
        Invalid "invalid or not served",
        Denied "denied by a rule",
        Login "login",
        NoNode "no node could take it",
        NoConnection "no connection in time",
        Failed "node failed",
    }
    /// What a command waited for.
    Wait, "waits", "Waits of commands, by what they waited for" {
        NoNode "node that fits",
        Turn "turn at the gate",
        Paused "gate closed by hand",
        Connection "connection",
        AwaitConnection "connection to await on",
    }
    /// What ties later commands to a node, or a connection to its client.
    Pin, "pins", "Pins made, by reason" {
        Cursor "cursor",
        Awaiting "awaiting cursor",
        Transaction "transaction",
        Exhaust "exhaust cursor",
    }
    /// Why a command was sent again.
    Retry, "retries", "Commands sent again, by what had become of the attempt before" {
        NoConnection "no connection",
        NotSent "connection broke while sending",
        Broke "connection broke",
        Unusable "reply unusable",
        NotPrimary "node is no primary",
        Interrupted "node interrupted or recovering",
        Unreachable "shard unreachable",
        NotYet "not readable yet",
    }
}

/// The counts of all cores together.
#[must_use]
pub fn sum<'a>(cores: impl IntoIterator<Item = &'a Reasons>) -> Vec<Counted> {
    let mut sums: Vec<Counted> = Vec::new();
    for core in cores {
        let counted = core.each();
        if sums.is_empty() {
            sums = counted;
            continue;
        }
        for (sum, more) in sums.iter_mut().zip(counted) {
            for (count, (_, more)) in sum.counts.iter_mut().zip(more.counts) {
                count.1 += more;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_apart_and_summed_over_the_cores() {
        let cores = [Reasons::default(), Reasons::default()];
        cores[0].one(Close::Idle);
        cores[1].one(Close::Idle);
        cores[1].one(Retry::NotYet);
        let sums = sum(&cores);
        let count = |metric: &str, word: &str| {
            let counted = sums.iter().find(|counted| counted.metric == metric).unwrap();
            counted.counts.iter().find(|(found, _)| *found == word).unwrap().1
        };
        assert_eq!(
            (
                count("client_closes", "idle"),
                count("retries", "not readable yet")
            ),
            (2, 1)
        );
        let all: u64 = sums
            .iter()
            .flat_map(|counted| &counted.counts)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(all, 3);
    }
}
