//! When and of which sources a results page was made.

use std::{path::Path, process::Command};

/// A sentence that names the day and the commit; `results` is the page, which may differ from the committed one, as may those beside it.
pub(crate) fn provenance(results: &str) -> String {
    let commit = say("git", &["rev-parse", "--short", "HEAD"]);
    let results = Path::new(results);
    let own = format!(":!{}", results.parent().unwrap_or(results).display());
    let changed = say(
        "git",
        &["status", "--porcelain", "--untracked-files=no", "--", ".", &own],
    );
    let changed = if changed.is_empty() {
        ""
    } else {
        " with uncommitted changes"
    };
    format!(
        "Of {}, commit {commit}{changed}.",
        say("date", &["-u", "+%Y-%m-%d"])
    )
}

fn say(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
