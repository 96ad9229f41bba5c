//! Why a test that passes directly fails through Tidegate, test by test.
//!
//! Invariant: a failure without a reason here makes the run fail, and a reason whose failure no longer occurs is reported.

use super::suite::{Mode, Outcome};

/// The reason of some tests' failures.
#[derive(Debug)]
pub(crate) struct Reason {
    /// Where it holds.
    modes: &'static [Mode],
    /// The tests' ids; each `*` stands for any text.
    tests: &'static [&'static str],
    /// Completes "it fails because".
    pub(crate) why: &'static str,
}

/// Every reason that is known.
pub(crate) const REASONS: &[Reason] = &[];

impl Reason {
    pub(crate) fn holds_in(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    fn covers(&self, mode: Mode, id: &str) -> bool {
        self.holds_in(mode) && self.tests.iter().any(|pattern| matches(pattern, id))
    }
}

/// The reason for this failure, if one is known.
pub(crate) fn of(mode: Mode, outcome: &Outcome) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.covers(mode, &outcome.id))
}

/// Patterns of reasons in `mode` that none of the failures needs.
pub(crate) fn unneeded<'a>(
    mode: Mode,
    failures: &'a [&'a Outcome],
) -> impl Iterator<Item = &'static str> + 'a {
    let needed = |pattern: &&str| failures.iter().any(|failure| matches(pattern, &failure.id));
    REASONS
        .iter()
        .filter(move |reason| reason.holds_in(mode))
        .flat_map(|reason| reason.tests.iter().copied())
        .filter(move |pattern| !needed(pattern))
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    // The last part must end the text; every other one is taken where it comes first.
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else {
        return true;
    };
    let mut text = text;
    for part in middle {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(last)
}
