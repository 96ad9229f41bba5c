//! Where figures go: JSON and charts below `target/bench`, pages below `docs/results`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Built, Outcome, cargo};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bench_folder() -> PathBuf {
    cargo::target().join("bench")
}

/// A folder for the files of a run. Under target/, so that not even a killed run litters anywhere else.
pub(crate) fn folder() -> Outcome<TempDir> {
    std::fs::create_dir_all(bench_folder())?;
    Ok(tempfile::tempdir_in(bench_folder())?)
}

/// Writes the figures to `target/bench/NAME.json`.
pub(crate) fn write_json(name: &str, figures: &Value) -> Outcome<()> {
    let text = serde_json::to_string_pretty(figures)?;
    write(&bench_folder().join(format!("{name}.json")), &text)
}

/// Writes the chart to `target/bench/NAME.svg`.
pub(crate) fn write_chart(name: &str, svg: &str) -> Outcome<()> {
    write(&bench_folder().join(format!("{name}.svg")), svg)
}

/// Keeps a page, `docs/results/NAME.md`.
pub(crate) fn keep_page(name: &str, page: &str) -> Outcome<()> {
    write(&root().join("docs/results").join(format!("{name}.md")), page)
}

/// Keeps the chart of a page beside it.
pub(crate) fn keep_chart(name: &str, svg: &str) -> Outcome<()> {
    write(&root().join("docs/results").join(format!("{name}.svg")), svg)
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

/// A sentence that says when and of what the figures are, and on what machine.
pub(crate) fn provenance(built: &Built) -> Outcome<String> {
    Ok(format!(
        "Of {}, commit {}, {}, {}; {}.",
        date()?,
        commit(),
        built.how,
        haproxy_version(),
        machine()
    ))
}

/// Today, in UTC.
fn date() -> Outcome<String> {
    let now = bson::DateTime::now().try_to_rfc3339_string()?;
    Ok(now.split('T').next().unwrap_or_default().to_owned())
}

/// The commit that is checked out, marked when sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root())
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The pages of the other modes, which one run after the other writes, do not count.
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!docs/results",
    ]);
    match changed.as_deref() {
        Some("") => commit,
        _ => format!("{commit} with uncommitted changes"),
    }
}

/// HAProxy's name and version, from the first line that it says of itself.
fn haproxy_version() -> String {
    let output = Command::new("haproxy")
        .arg("-v")
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    words.join(" ")
}

/// The processor, as the kernel names it, and how many there are.
fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = about
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
        .max(count);
    format!("{cores} cores of {model}")
}

/// Fails with advice when a program isn't installed.
pub(crate) fn require(program: &str, option: &str) -> Outcome<()> {
    match Command::new(program)
        .arg(option)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{program} is needed and can't be run; apt-get install {program}").into()),
    }
}
