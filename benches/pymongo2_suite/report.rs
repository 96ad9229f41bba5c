//! The comparison of both runs, as a page.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    reasons,
    suite::{Ending, Outcome, Outcomes},
};

/// What differs between the runs.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    direct: &'a Outcomes,
    proxied: &'a Outcomes,
    /// Failed, by reason; passed or skipped directly.
    explained: BTreeMap<&'static str, Vec<&'a Outcome>>,
    /// As `explained`, without a known reason.
    unexplained: Vec<&'a Outcome>,
    /// Failed directly, passed here.
    mended: Vec<&'a Outcome>,
    /// Failed in both.
    fail_in_both: Vec<&'a Outcome>,
    /// Skipped here, passed directly.
    skipped: Vec<&'a Outcome>,
    /// Ran directly and not here.
    missing: Vec<&'a str>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn of(direct: &'a Outcomes, proxied: &'a Outcomes) -> Self {
        let mut comparison = Self {
            direct,
            proxied,
            explained: BTreeMap::new(),
            unexplained: Vec::new(),
            mended: Vec::new(),
            fail_in_both: Vec::new(),
            skipped: Vec::new(),
            missing: Vec::new(),
        };
        for (id, was) in direct {
            let Some(outcome) = proxied.get(id) else {
                comparison.missing.push(id);
                continue;
            };
            match (was.ending, outcome.ending) {
                (Ending::Failed, Ending::Failed) => comparison.fail_in_both.push(outcome),
                (Ending::Failed, Ending::Passed) => comparison.mended.push(outcome),
                (Ending::Passed, Ending::Skipped) => comparison.skipped.push(outcome),
                (_, Ending::Failed) => match reasons::of(outcome) {
                    Some(reason) => comparison.explained.entry(reason.why).or_default().push(outcome),
                    None => comparison.unexplained.push(outcome),
                },
                _ => {}
            }
        }
        comparison
    }

    /// What makes the run a failed one.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let passed = |outcomes: &Outcomes| count(outcomes, Ending::Passed);
        let mut complaints: Vec<String> = self
            .unexplained
            .iter()
            .map(|outcome| format!("{} fails without a known reason: {}", outcome.id, outcome.says()))
            .collect();
        complaints.extend(self.missing.iter().map(|id| format!("{id} did not run")));
        if passed(self.proxied) < passed(self.direct) {
            complaints.push(format!(
                "{} pass through the proxy, {} directly",
                passed(self.proxied),
                passed(self.direct)
            ));
        }
        complaints
    }

    /// The page for `docs/results`. `of` says when and at which commit the runs were made.
    pub(crate) fn page(&self, of: &str) -> String {
        let mut page = format!(
            "# PyMongo 2's own test suite\n\nWritten by `cargo bench --bench pymongo2_suite`; edits are lost. {of}\n\n\
             The suite of PyMongo 2.9.5, a driver of 2015, in Python 2.7: directly on two `mongod` 4.2.6, and through \
             Tidegate, which presents a replica set of a primary and a secondary, on two 6.0.5.\n\n\
             | run | passed | failed | skipped |\n|---|---:|---:|---:|\n"
        );
        for (name, outcomes) in [
            ("4.2 directly", self.direct),
            ("6.0 through Tidegate", self.proxied),
        ] {
            let [passed, failed, skipped] =
                [Ending::Passed, Ending::Failed, Ending::Skipped].map(|ending| count(outcomes, ending));
            let _ = writeln!(page, "| {name} | {passed} | {failed} | {skipped} |");
        }
        let section = |page: &mut String, title: &str, outcomes: &[&Outcome], with_reason: bool| {
            if outcomes.is_empty() {
                return;
            }
            let _ = writeln!(page, "\n{title}:\n");
            for outcome in outcomes {
                let says = if with_reason {
                    format!(": {}", cut(outcome.says()))
                } else {
                    String::new()
                };
                let _ = writeln!(page, "- `{}`{says}", short(&outcome.id));
            }
        };
        for (why, outcomes) in &self.explained {
            section(
                &mut page,
                &format!("Fails through Tidegate alone, because {why}"),
                outcomes,
                false,
            );
        }
        section(
            &mut page,
            "**Fails through Tidegate alone, without a known reason**",
            &self.unexplained,
            true,
        );
        section(&mut page, "Passes directly, skipped here", &self.skipped, true);
        section(
            &mut page,
            "Fails directly, passes through Tidegate",
            &self.mended,
            false,
        );
        section(&mut page, "Fails in both", &self.fail_in_both, true);
        page
    }
}

/// How many ended so.
pub(crate) fn count(outcomes: &Outcomes, ending: Ending) -> usize {
    outcomes
        .values()
        .filter(|outcome| outcome.ending == ending)
        .count()
}

fn short(id: &str) -> &str {
    id.strip_prefix("test.").unwrap_or(id)
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect::<String>().replace('`', "'")
}
