//! The verdict on an attempt that did not end well: pass its answer on, go again, or fail.
//!
//! A command that may change something goes again in two cases only: it cannot have been executed, or the server recognises
//! the second attempt (Retryable Writes specification). A read changes nothing, so that it goes again too where nobody knows,
//! and where the node answered that it could not serve it just then (Retryable Reads specification). Everything else is for
//! the client to decide, who is told what is known. The table in the tests is the whole of it; `ARCHITECTURE.md` shows it.

use std::fmt;

use crate::command::state_change::{Level, is_state_change};

/// Most attempts at one command that did not reach a node; and most that a node answered that is no longer, or not yet,
/// in the state to take it; and most that broke off of one that the server recognises.
pub const MAX_ATTEMPTS: u32 = 10;
/// Most attempts at one read that broke off. Drivers make one more of each of their own, and a query by which nodes crash must
/// not reach all of them.
pub const MAX_READS: u32 = 3;
/// Most attempts that are answered with an error that tells of another node's failure, as by a `mongos`.
const MAX_ERRORS: u32 = 2;

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
            Self::MaybeSent => "the command may have been executed: its outcome is unknown",
            Self::Replied => {
                "the node answered, so the command may have been executed: its outcome is unknown"
            }
        })
    }
}

/// What it means to send a command a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A read: no harm.
    Read,
    /// A write under a transaction number, a commit or an abort: the server recognises it.
    Recognised,
    /// A write of one statement that concerns one document at most, which a node has executed or not.
    Single,
    /// A statement of a transaction: the driver, or the application, runs the transaction again.
    Statement,
    /// Anything else: it might be executed twice, or the rest of it.
    Never,
}

/// How an attempt ended that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Without an answer that can be used.
    Failed(Sent),
    /// With an error of this code.
    Error(Level, i32),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass the node's answer on.
    Relay,
    /// Choose a node anew and send the command again.
    Again,
    /// Tell the client what is known.
    Fail,
}

/// The attempts at a command, the last one counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Those that did not reach a node.
    pub not_sent: u32,
    /// Those that broke off later.
    pub broken: u32,
    /// Those that were answered with an error.
    pub answered: u32,
    /// Whether the command's deadline has not passed.
    pub time_left: bool,
}

impl Attempts {
    /// None yet.
    pub const NONE: Self = Self {
        not_sent: 0,
        broken: 0,
        answered: 0,
        time_left: true,
    };

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.not_sent + self.reached()
    }

    /// How many a node can have executed.
    #[must_use]
    pub fn reached(&self) -> u32 {
        self.broken + self.answered
    }
}

/// The verdict on the last of `attempts` at a command.
///
/// Statements of transactions that were not sent are no exception: a node that does not know the transaction answers
/// `NoSuchTransaction`, which is the truth, with the label by which it is run again.
#[must_use]
pub fn verdict(command: Repeat, outcome: Outcome, attempts: Attempts) -> Verdict {
    let (may, else_to) = match outcome {
        Outcome::Failed(Sent::NotSent) => (attempts.not_sent < MAX_ATTEMPTS, Verdict::Fail),
        Outcome::Failed(Sent::MaybeSent | Sent::Replied) => {
            let most = match command {
                Repeat::Read => MAX_READS,
                Repeat::Recognised => MAX_ATTEMPTS,
                Repeat::Single | Repeat::Statement | Repeat::Never => 0,
            };
            (attempts.broken < most, Verdict::Fail)
        }
        Outcome::Error(level, code) => (
            attempts.answered < most_errors(command, level, code),
            Verdict::Relay,
        ),
    };
    if may && attempts.time_left {
        Verdict::Again
    } else {
        else_to
    }
}

/// Most attempts at a command that are answered with this error.
fn most_errors(command: Repeat, level: Level, code: i32) -> u32 {
    match (command, level) {
        (Repeat::Read | Repeat::Recognised, Level::Command) if is_state_change(code) => MAX_ATTEMPTS,
        (Repeat::Read, Level::Command) if code == READ_CONCERN_NOT_YET => MAX_ERRORS,
        (Repeat::Read | Repeat::Recognised, Level::Command) if is_unreachable(code) => MAX_ERRORS,
        (Repeat::Recognised, Level::WriteConcern | Level::Write) if is_state_change(code) => MAX_ATTEMPTS,
        (Repeat::Read | Repeat::Recognised | Repeat::Single, Level::Command) if code == KEY_NOT_FOUND => {
            MAX_ATTEMPTS
        }
        (Repeat::Single, Level::Command) if proves_not_executed(code) => MAX_ATTEMPTS,
        _ => 0,
    }
}

/// `ReadConcernMajorityNotAvailableYet`.
const READ_CONCERN_NOT_YET: i32 = 134;

/// `KeyNotFound`: where clients log in, cluster times are signed, and a node that has just started has not read all keys yet. It looks
/// at a command's `$clusterTime` before anything else.
const KEY_NOT_FOUND: i32 = 211;

/// Errors of the specifications' lists by which a server tells that it could not reach another, or not in time.
fn is_unreachable(code: i32) -> bool {
    // HostUnreachable, HostNotFound, NetworkTimeout, ExceededTimeLimit, SocketException
    matches!(code, 6 | 7 | 89 | 262 | 9001)
}

/// `NotWritablePrimary`, `NotPrimaryNoSecondaryOk` and `LegacyNotPrimary`: a node looks at its state before it executes a
/// statement. The others of the family interrupt what runs.
fn proves_not_executed(code: i32) -> bool {
    matches!(code, 10107 | 13435 | 10058)
}

/// Whether an error of this code can be a reason to go again, for any command.
#[must_use]
pub fn is_transient(code: i32) -> bool {
    is_state_change(code) || is_unreachable(code) || matches!(code, READ_CONCERN_NOT_YET | KEY_NOT_FOUND)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
