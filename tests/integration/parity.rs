//! Current pymongo has the same outcomes through the proxy as directly: each area of `tests/python/parity` is a test.
//!
//! The scenarios compare themselves (see the package's own documentation). Here it is held that every listed scenario
//! ran, that none was left out, and that each area of the package has a test.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde_json::Value;

use crate::support::{self, run, shared_proxy, shared_set};

/// More than any area takes on a slow machine. The package gives up by itself, and says where it hangs, ...
const PACKAGE_DEADLINE: Duration = Duration::from_secs(220);
/// ... before its process is ended.
const DEADLINE: Duration = Duration::from_secs(240);

/// One has the primary close connections, so that the proxy takes it for unknown for a moment; the other must find it there.
const ONE_AT_A_TIME: [&str; 2] = ["read_preference", "retries"];
static TURN: Mutex<()> = Mutex::new(());

macro_rules! areas {
    ($($area:ident),* $(,)?) => {
        const AREAS: &[&str] = &[$(stringify!($area)),*];
        $(
            #[test]
            fn $area() {
                run_area(stringify!($area));
            }
        )*
    };
}

areas![
    admin,
    aggregation,
    bulk,
    change_streams,
    crud,
    cursors,
    errors,
    gridfs_files,
    indexes,
    read_preference,
    retries,
    sessions,
    sizes,
    special_collections,
    timeouts,
    transactions,
    wire,
    write_concern,
];

#[test]
fn every_area_of_the_package_has_a_test() {
    let areas: BTreeSet<&str> = listed().iter().map(|name| area_of(name)).collect();
    assert_eq!(areas, AREAS.iter().copied().collect());
}

fn package() -> Command {
    let mut command = Command::new(support::python());
    command
        .args(["-m", "parity"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The full names of all scenarios.
fn listed() -> &'static [String] {
    static LISTED: OnceLock<Vec<String>> = OnceLock::new();
    LISTED.get_or_init(|| {
        let output = run(package().arg("--list"), DEADLINE);
        assert!(output.status.success(), "{output:#?}");
        output.stdout.lines().map(str::to_owned).collect()
    })
}

fn area_of(name: &str) -> &str {
    name.split_once('.')
        .unwrap_or_else(|| panic!("{name} is of no area"))
        .0
}

fn run_area(area: &str) {
    let _turn = ONE_AT_A_TIME
        .contains(&area)
        .then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    let names: BTreeSet<&str> = listed()
        .iter()
        .map(String::as_str)
        .filter(|name| area_of(name) == area)
        .collect();
    assert!(!names.is_empty(), "the area {area} lists no scenario");
    let mut command = package();
    command
        .args([
            "--direct",
            &shared_set().uri(),
            "--proxy",
            &shared_proxy().uri(),
            "--only",
            area,
        ])
        .args(["--deadline", &PACKAGE_DEADLINE.as_secs().to_string()]);
    let output = run(&mut command, DEADLINE);

    let lines: Vec<Value> = output
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let failures: Vec<String> = lines
        .iter()
        .filter(|line| line["passed"] == false)
        .map(failure)
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} scenarios failed:\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
    assert!(output.status.success(), "the run of {area} failed: {output:#?}");
    let passed: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line["passed"] == true)
        .filter_map(|line| line["scenario"].as_str())
        .collect();
    assert_eq!(passed, names, "the scenarios that ran are those listed");
}

/// What one scenario's line says of its failure: the sides' own errors, or where their outcomes differ.
fn failure(line: &Value) -> String {
    let what = if line["errors"].is_null() {
        &line["difference"]
    } else {
        &line["errors"]
    };
    format!("{}: {what:#}", line["scenario"])
}
