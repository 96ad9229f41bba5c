//! The verdict on a failed exchange.
//!
//! A command that may change something goes again only if it cannot have been executed. That is certain in one case here:
//! the node never had the whole message. A read changes nothing, so that it goes again too where nobody knows, and where the
//! node answered that it could not serve it just then (Retryable Reads specification). Everything else is for the client
//! to decide, who is told what is known.

use std::fmt;

/// Most attempts at one command that did not reach a node.
pub const MAX_ATTEMPTS: u32 = 10;
/// Most attempts at one read that reached a node, or may have. Drivers make one more of each of their own.
pub const MAX_READS: u32 = 3;

/// What a node can have seen of a request. Whether a command may be sent again depends on exactly this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The node cannot have received the whole message, so it cannot have run it.
    NotSent,
    /// The whole message was handed to the network; nobody knows.
    MaybeSent,
    /// The node answered, but not in a way that can be used.
    Replied,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "the command was not sent",
            Self::MaybeSent => "the command may have been executed",
            Self::Replied => "the node answered, so the command may have been executed",
        })
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Choose a node anew and send the command again.
    Again,
    /// Tell the client.
    Fail,
}

/// What is known of the command and of the attempts at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// It is a read that may be sent again though it may have been executed.
    pub is_read: bool,
    /// How many attempts failed before they reached a node, the last one counted if it did.
    pub not_sent: u32,
    /// How many failed later.
    pub reached: u32,
    /// Whether the command's deadline has not passed.
    pub time_left: bool,
}

/// The verdict after an attempt failed.
///
/// Statements of transactions are no exception: a node that does not know the transaction answers `NoSuchTransaction`, which is
/// the truth, with the label by which it is run again.
#[must_use]
pub fn after_failure(sent: Sent, attempts: Attempts) -> Verdict {
    let may = match sent {
        Sent::NotSent => attempts.not_sent < MAX_ATTEMPTS,
        Sent::MaybeSent | Sent::Replied => attempts.is_read && attempts.reached < MAX_READS,
    };
    if may && attempts.time_left {
        Verdict::Again
    } else {
        Verdict::Fail
    }
}

/// The verdict after a node answered with the error `code`: a read goes again once, as a driver would send it.
#[must_use]
pub fn after_error(code: i32, attempts: Attempts) -> Verdict {
    if is_transient(code) && attempts.is_read && attempts.reached < 2 && attempts.time_left {
        Verdict::Again
    } else {
        Verdict::Fail
    }
}

/// Whether the Retryable Reads specification ("retryable error") names this code.
#[must_use]
pub fn is_transient(code: i32) -> bool {
    // HostUnreachable, HostNotFound, NetworkTimeout, ShutdownInProgress, ReadConcernMajorityNotAvailableYet,
    // PrimarySteppedDown, ExceededTimeLimit, SocketException, NotWritablePrimary, InterruptedAtShutdown,
    // InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary
    matches!(
        code,
        6 | 7 | 89 | 91 | 134 | 189 | 262 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436
    )
}

#[cfg(test)]
mod tests {
    use super::{Sent::*, Verdict::*, *};

    fn attempts(is_read: bool, not_sent: u32, reached: u32, time_left: bool) -> Attempts {
        Attempts {
            is_read,
            not_sent,
            reached,
            time_left,
        }
    }

    #[test]
    fn only_what_was_certainly_not_executed_goes_again_unless_it_is_a_read() {
        let table = [
            (NotSent, attempts(false, 1, 0, true), Again),
            (NotSent, attempts(false, MAX_ATTEMPTS - 1, 0, true), Again),
            (NotSent, attempts(false, MAX_ATTEMPTS, 0, true), Fail),
            (NotSent, attempts(false, 1, 0, false), Fail),
            (NotSent, attempts(true, 1, MAX_READS, true), Again),
            (MaybeSent, attempts(false, 0, 1, true), Fail),
            (Replied, attempts(false, 0, 1, true), Fail),
            (MaybeSent, attempts(true, 5, 1, true), Again),
            (Replied, attempts(true, 0, MAX_READS - 1, true), Again),
            (MaybeSent, attempts(true, 0, MAX_READS, true), Fail),
            (MaybeSent, attempts(true, 0, 1, false), Fail),
        ];
        for (sent, attempts, verdict) in table {
            assert_eq!(after_failure(sent, attempts), verdict, "{sent:?} {attempts:?}");
        }
    }

    #[test]
    fn a_read_that_a_node_could_not_serve_just_then_goes_again_once() {
        let table = [
            (189, attempts(true, 0, 1, true), Again),
            (134, attempts(true, 3, 1, true), Again),
            (189, attempts(true, 0, 2, true), Fail),
            (189, attempts(true, 0, 1, false), Fail),
            (189, attempts(false, 0, 1, true), Fail),
            // The read's own fault, and what would be no better elsewhere.
            (2, attempts(true, 0, 1, true), Fail),
            (43, attempts(true, 0, 1, true), Fail),
            (50, attempts(true, 0, 1, true), Fail),
        ];
        for (code, attempts, verdict) in table {
            assert_eq!(after_error(code, attempts), verdict, "{code} {attempts:?}");
        }
    }
}
