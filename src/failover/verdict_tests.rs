//! The verdict, row by row.

use super::{
    Level::{Command, Write, WriteConcern},
    Outcome::{Error, Failed},
    Repeat::{Never, Read, Recognised, Single, Statement},
    Sent::{MaybeSent, NotSent, Replied},
    Verdict::{Again, Fail, Relay},
    *,
};

/// One attempt so far, and time left.
fn first(outcome: Outcome) -> Attempts {
    let mut attempts = Attempts::NONE;
    match outcome {
        Failed(NotSent) => attempts.not_sent = 1,
        Failed(_) => attempts.broken = 1,
        Error(..) => attempts.answered = 1,
    }
    attempts
}

/// The verdict on a first attempt, for each kind of command.
#[rustfmt::skip]
const TABLE: &[(Outcome, [(Repeat, Verdict); 5])] = &[
    (Failed(NotSent),            [(Read, Again), (Recognised, Again), (Single, Again), (Statement, Again), (Never, Again)]),
    (Failed(MaybeSent),          [(Read, Again), (Recognised, Again), (Single, Fail),  (Statement, Fail),  (Never, Fail)]),
    (Failed(Replied),            [(Read, Again), (Recognised, Again), (Single, Fail),  (Statement, Fail),  (Never, Fail)]),

    // NotWritablePrimary, NotPrimaryNoSecondaryOk, LegacyNotPrimary
    (Error(Command, 10107),      [(Read, Again), (Recognised, Again), (Single, Again), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 13435),      [(Read, Again), (Recognised, Again), (Single, Again), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 10058),      [(Read, Again), (Recognised, Again), (Single, Again), (Statement, Relay), (Never, Relay)]),
    // NotPrimaryOrSecondary, InterruptedAtShutdown, InterruptedDueToReplStateChange, ShutdownInProgress, PrimarySteppedDown
    (Error(Command, 13436),      [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 11600),      [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 11602),      [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 91),         [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 189),        [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),

    // The same inside writeConcernError and writeErrors: some or all of it was executed.
    (Error(WriteConcern, 10107), [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(WriteConcern, 11602), [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(WriteConcern, 189),   [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(WriteConcern, 91),    [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Write, 10107),        [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Write, 11602),        [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Write, 189),          [(Read, Relay), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),

    // A mongos that could not reach a shard; a member that has no majority snapshot yet.
    (Error(Command, 6),          [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 7),          [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 89),         [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 262),        [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 9001),       [(Read, Again), (Recognised, Again), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 134),        [(Read, Again), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),

    // KeyNotFound: refused for its $clusterTime, before it was executed.
    (Error(Command, 211),        [(Read, Again), (Recognised, Again), (Single, Again), (Statement, Relay), (Never, Relay)]),

    // The command's own errors, and what belongs to the driver: BadValue, CursorNotFound, MaxTimeMSExpired, WriteConflict,
    // TransactionTooOld, NoSuchTransaction, DuplicateKey; WriteConcernTimeout, and a write's own failure.
    (Error(Command, 2),          [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 43),         [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 50),         [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 112),        [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 225),        [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 251),        [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Command, 11000),      [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(WriteConcern, 64),    [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
    (Error(Write, 11000),        [(Read, Relay), (Recognised, Relay), (Single, Relay), (Statement, Relay), (Never, Relay)]),
];

#[test]
fn a_first_attempt_is_judged_by_what_it_can_have_done() {
    for (outcome, row) in TABLE {
        for (command, expected) in row {
            assert_eq!(
                verdict(*command, *outcome, first(*outcome)),
                *expected,
                "{command:?}, {outcome:?}"
            );
        }
    }
}

#[test]
fn nothing_goes_again_without_time() {
    for (outcome, row) in TABLE {
        let attempts = Attempts {
            time_left: false,
            ..first(*outcome)
        };
        for (command, _) in row {
            let verdict = verdict(*command, *outcome, attempts);
            let expected = match outcome {
                Failed(_) => Fail,
                Error(..) => Relay,
            };
            assert_eq!(verdict, expected, "{command:?}, {outcome:?}");
        }
    }
}

#[test]
fn every_way_round_has_a_bound() {
    let table = [
        (Never, Failed(NotSent), MAX_ATTEMPTS),
        (Read, Failed(NotSent), MAX_ATTEMPTS),
        (Read, Failed(MaybeSent), MAX_READS),
        (Read, Failed(Replied), MAX_READS),
        (Recognised, Failed(MaybeSent), MAX_ATTEMPTS),
        (Recognised, Error(Command, 189), MAX_ATTEMPTS),
        (Recognised, Error(WriteConcern, 11602), MAX_ATTEMPTS),
        (Recognised, Error(Write, 189), MAX_ATTEMPTS),
        (Recognised, Error(Command, 6), MAX_ERRORS),
        (Single, Error(Command, 10107), MAX_ATTEMPTS),
        (Read, Error(Command, 13436), MAX_ATTEMPTS),
        (Read, Error(Command, 134), MAX_ERRORS),
        (Read, Error(Command, 211), MAX_ATTEMPTS),
    ];
    for (command, outcome, most) in table {
        let after = |count| Attempts {
            not_sent: count,
            broken: count,
            answered: count,
            time_left: true,
        };
        assert_eq!(
            verdict(command, outcome, after(most - 1)),
            Again,
            "{command:?}, {outcome:?}"
        );
        assert_ne!(
            verdict(command, outcome, after(most)),
            Again,
            "{command:?}, {outcome:?}"
        );
    }
}

#[test]
fn every_code_that_can_go_again_is_asked_about() {
    for (outcome, row) in TABLE {
        if let Error(_, code) = outcome {
            let goes = row.iter().any(|(_, verdict)| *verdict == Again);
            assert_eq!(is_transient(*code), goes, "{code}");
        }
    }
}
