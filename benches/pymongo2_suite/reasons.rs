//! Why tests fail: those that fail through the proxy and not directly, and those that fail in both.

use super::suite::Outcome;

/// The reason of some tests' failures.
#[derive(Debug)]
pub(crate) struct Reason {
    /// The tests' ids without `test.`.
    tests: &'static [&'static str],
    /// Completes "it fails because".
    pub(crate) why: &'static str,
}

/// Every reason that is known of failures through the proxy.
pub(crate) const REASONS: &[Reason] = &[];

/// The reason of this test's failure through the proxy.
pub(crate) fn of(outcome: &Outcome) -> Option<&'static Reason> {
    let id = outcome.id.strip_prefix("test.").unwrap_or(&outcome.id);
    REASONS.iter().find(|reason| reason.tests.contains(&id))
}
