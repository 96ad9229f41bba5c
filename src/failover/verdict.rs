//! The verdict on a failed exchange.
//!
//! A command goes again only if it cannot have been executed. That is certain in one case here: the node never had the
//! whole message. Everything else is for the client to decide, who is told what is known.

use std::fmt;

/// Most attempts at one command.
pub const MAX_ATTEMPTS: u32 = 10;

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
            Self::Replied => "the node answered",
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

/// The verdict after attempt number `attempts` (from 1) failed. `time_left`: whether the command's deadline has not passed.
///
/// Statements of transactions are no exception: a node that does not know the transaction answers `NoSuchTransaction`, which is
/// the truth, with the label by which it is run again.
#[must_use]
pub fn after_failure(sent: Sent, attempts: u32, time_left: bool) -> Verdict {
    match sent {
        Sent::NotSent if attempts < MAX_ATTEMPTS && time_left => Verdict::Again,
        _ => Verdict::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_certainly_not_executed_goes_again() {
        let table = [
            (Sent::NotSent, 1, true, Verdict::Again),
            (Sent::NotSent, MAX_ATTEMPTS - 1, true, Verdict::Again),
            (Sent::NotSent, MAX_ATTEMPTS, true, Verdict::Fail),
            (Sent::NotSent, 1, false, Verdict::Fail),
            (Sent::MaybeSent, 1, true, Verdict::Fail),
            (Sent::Replied, 1, true, Verdict::Fail),
        ];
        for (sent, attempts, time_left, verdict) in table {
            assert_eq!(
                after_failure(sent, attempts, time_left),
                verdict,
                "{sent:?} {attempts}"
            );
        }
    }
}
