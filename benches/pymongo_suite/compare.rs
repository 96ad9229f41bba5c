//! What differs from the direct run, and whether that is explained.

use std::collections::BTreeMap;

use crate::{
    reasons,
    suite::{Ending, Mode, Outcome, Outcomes},
};

/// Both runs' counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    pub(crate) fn of(outcomes: &Outcomes) -> Self {
        let count = |ending| outcomes.values().filter(|o| o.ending == ending).count();
        Self {
            passed: count(Ending::Passed),
            failed: count(Ending::Failed),
            skipped: count(Ending::Skipped),
        }
    }
}

/// What came of it directly and through a bare pass-through: one upstream connection for each of a client's, without
/// pooling, that only rewrites `hello`. Measured with fewer tests of the same suite, on the same server version.
pub(crate) fn bare_pass_through(mode: Mode) -> Counts {
    let (passed, failed) = match mode {
        Mode::Direct => (2913, 0),
        Mode::Mongos => (2836, 15),
        Mode::ReplicaSet => (2864, 17),
        Mode::LoadBalanced => (1757, 7),
    };
    Counts {
        passed,
        failed,
        skipped: 3595 - passed - failed,
    }
}

/// A proxied run beside the direct one.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) mode: Mode,
    pub(crate) counts: Counts,
    /// Failures that have a reason, by reason.
    pub(crate) explained: BTreeMap<&'static str, Vec<&'a Outcome>>,
    /// Failures that have none.
    pub(crate) unexplained: Vec<&'a Outcome>,
    /// Failures of the direct run as well.
    pub(crate) fails_directly: Vec<&'a Outcome>,
    /// Skipped here, passed directly; by what the suite says.
    pub(crate) skipped: BTreeMap<&'a str, Vec<&'a Outcome>>,
    /// Passed here, skipped directly.
    pub(crate) gained: usize,
    /// Ran directly and not here: the run was cut short.
    pub(crate) missing: Vec<&'a str>,
    /// Reasons that nothing needs any more.
    pub(crate) unneeded: Vec<&'static str>,
}

pub(crate) fn compare<'a>(mode: Mode, direct: &'a Outcomes, proxied: &'a Outcomes) -> Comparison<'a> {
    let directly = |outcome: &Outcome| direct.get(&outcome.id).map(|o| o.ending);
    let mut comparison = Comparison {
        mode,
        counts: Counts::of(proxied),
        explained: BTreeMap::new(),
        unexplained: Vec::new(),
        fails_directly: Vec::new(),
        skipped: BTreeMap::new(),
        gained: 0,
        missing: direct
            .keys()
            .filter(|id| !proxied.contains_key(*id))
            .map(String::as_str)
            .collect(),
        unneeded: Vec::new(),
    };
    for outcome in proxied.values() {
        match (outcome.ending, directly(outcome)) {
            (Ending::Failed, Some(Ending::Failed)) => comparison.fails_directly.push(outcome),
            (Ending::Failed, _) => match reasons::of(mode, outcome) {
                Some(reason) => comparison.explained.entry(reason.why).or_default().push(outcome),
                None => comparison.unexplained.push(outcome),
            },
            (Ending::Skipped, Some(Ending::Passed)) => {
                let says = outcome.reason.lines().next().unwrap_or_default();
                comparison.skipped.entry(says).or_default().push(outcome);
            }
            (Ending::Passed, Some(Ending::Skipped)) => comparison.gained += 1,
            _ => {}
        }
    }
    let failures: Vec<&Outcome> = proxied.values().filter(|o| o.ending == Ending::Failed).collect();
    comparison.unneeded = reasons::unneeded(mode, &failures).collect();
    comparison
}

impl Comparison<'_> {
    /// What makes the run a failure.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mode = self.mode.name();
        let mut complaints = Vec::new();
        for outcome in &self.unexplained {
            let says = outcome.reason.lines().next().unwrap_or_default();
            complaints.push(format!(
                "{mode}: {} fails without a known reason: {says}",
                outcome.id
            ));
        }
        if !self.missing.is_empty() {
            complaints.push(format!("{mode}: {} tests did not run", self.missing.len()));
        }
        let bare = bare_pass_through(self.mode);
        if self.counts.passed < bare.passed {
            complaints.push(format!(
                "{mode}: {} tests pass; through a bare pass-through {}",
                self.counts.passed, bare.passed
            ));
        }
        complaints
    }
}
