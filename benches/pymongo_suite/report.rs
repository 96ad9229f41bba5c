//! The results as a page.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    compare::{Comparison, Counts, bare_pass_through},
    suite::{Mode, Outcome},
};

/// A class with more tests than this is named with their number.
const NAMED_TESTS: usize = 6;

/// The page for `docs/results`. `of` says when and at which commit the runs were made.
pub(crate) fn page(of: &str, direct: Counts, comparisons: &[Comparison<'_>]) -> String {
    let mut page = format!(
        "# PyMongo's own test suite\n\nWritten by `cargo bench --bench pymongo_suite`; edits are lost. {of}\n\n\
         The synchronous suite of PyMongo 4.17.0 on three `mongod` 6.0.5 with `enableTestCommands=1`: directly, and \
         through Tidegate in each of its presentations. \"Bare\" is a proxy that pools nothing, opens one upstream \
         connection for each of a client's, and only rewrites `hello`; its figures are of an earlier run with {} tests of \
         the suite, whose direct run had {} passes.\n\n",
        bare_total(),
        bare_pass_through(Mode::Direct).passed,
    );
    let row = |page: &mut String, name: &str, counts: Counts, bare: Counts| {
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            counts.passed, counts.failed, counts.skipped, bare.passed, bare.failed, bare.skipped,
        );
    };
    page.push_str(
        "| mode | passed | failed | skipped | bare: passed | failed | skipped |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    row(&mut page, "direct", direct, bare_pass_through(Mode::Direct));
    for comparison in comparisons {
        let mode = comparison.mode;
        row(&mut page, mode.name(), comparison.counts, bare_pass_through(mode));
    }
    page.push_str(
        "\nThe fail point `failCommand` is played by Tidegate's listener (`fail_points = \"on\"`), as a `mongos` plays its \
         own; what needs a `writeConcernError`, and all other fail points, are set on the nodes. Tests that ask name \
         servers on other machines are skipped in every mode. A test that fails is run once more by itself, and the \
         second outcome counts.\n",
    );
    for comparison in comparisons {
        section(&mut page, comparison);
    }
    page
}

fn bare_total() -> usize {
    let bare = bare_pass_through(Mode::Direct);
    bare.passed + bare.failed + bare.skipped
}

fn section(page: &mut String, comparison: &Comparison<'_>) {
    let _ = writeln!(page, "\n## {}", comparison.mode.name());
    if comparison.explained.is_empty() && comparison.unexplained.is_empty() {
        page.push_str("\nNothing fails that does not fail directly.\n");
    }
    for (why, outcomes) in &comparison.explained {
        let _ = writeln!(page, "\nFails because {why}:\n");
        for outcome in outcomes {
            let _ = writeln!(page, "- `{}`", short(&outcome.id));
        }
    }
    if !comparison.unexplained.is_empty() {
        page.push_str("\n**Fails without a known reason:**\n\n");
        for outcome in &comparison.unexplained {
            let says = outcome.reason.lines().next().unwrap_or_default();
            let _ = writeln!(page, "- `{}`: {}", short(&outcome.id), cut(says));
        }
    }
    if !comparison.fails_directly.is_empty() {
        page.push_str("\nFails directly as well:\n\n");
        for outcome in &comparison.fails_directly {
            let _ = writeln!(page, "- `{}`", short(&outcome.id));
        }
    }
    if !comparison.skipped.is_empty() {
        page.push_str(
            "\nPassed directly; skipped here, by the suite's own judgement of the topology it sees:\n\n",
        );
        for (says, outcomes) in &comparison.skipped {
            let _ = writeln!(
                page,
                "- \"{}\" ({}): {}",
                cut(says),
                outcomes.len(),
                grouped(outcomes)
            );
        }
    }
    let _ = writeln!(page, "\nSkipped directly, passed here: {}.", comparison.gained);
}

/// Tests by class, few by their names.
fn grouped(outcomes: &[&Outcome]) -> String {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for outcome in outcomes {
        let (class, test) = short(&outcome.id)
            .rsplit_once("::")
            .unwrap_or((short(&outcome.id), ""));
        classes.entry(class).or_default().push(test);
    }
    let named = |(class, tests): (&str, Vec<&str>)| match tests.len() {
        ..=NAMED_TESTS => format!("`{class}` (`{}`)", tests.join("`, `")),
        many => format!("`{class}` ({many} tests)"),
    };
    classes.into_iter().map(named).collect::<Vec<_>>().join(", ")
}

fn short(id: &str) -> &str {
    id.strip_prefix("test/").unwrap_or(id)
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect::<String>().replace('`', "'")
}
