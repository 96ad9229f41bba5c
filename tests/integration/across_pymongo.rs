//! A part of PyMongo's own suite through each presentation; the whole of it is `cargo bench --bench pymongo_suite`.
//!
//! The parts were chosen for breadth, and for tests that do not depend on how busy the machine is. Named so that it starts
//! early: it mostly waits, and other tests run meanwhile.

#[path = "../specification/fetch.rs"]
mod fetch;
#[path = "../../benches/pymongo_suite/reasons.rs"]
#[allow(dead_code, reason = "only the whole suite shows what is not needed")]
mod reasons;
#[path = "../../benches/pymongo_suite/suite.rs"]
#[allow(dead_code, reason = "the direct mode is for comparing")]
mod suite;

use std::path::Path;

use self::suite::{Ending, Mode, Outcome};
pub(crate) use self::{fetch::specification_tests as sources, suite::python};
use crate::support;

/// What runs in a mode, and how many tests of it at least must pass: a suite that skips everything has shown nothing.
const SLICE: &[(Mode, &[&str], usize)] = &[
    (
        Mode::Mongos,
        &[
            "test/test_bulk.py",
            "test/test_change_stream.py",
            "test/test_command_monitoring.py",
            "test/test_cursor.py",
            "test/test_read_preferences.py",
            "test/test_session.py",
        ],
        271,
    ),
    (
        Mode::ReplicaSet,
        &[
            "test/test_monitor.py",
            "test/test_retryable_writes_unified.py",
            "test/test_server_selection.py",
            "test/test_transactions_unified.py",
        ],
        347,
    ),
    (
        Mode::LoadBalanced,
        &[
            "test/test_command_logging.py",
            "test/test_gridfs_spec.py",
            "test/test_load_balancer.py",
        ],
        95,
    ),
];

#[test]
fn a_slice_of_pymongos_own_suite_passes_in_each_presentation() {
    // Nothing in the slice asks for a third member, and each has all the writes to do.
    let set = suite::start_set(2);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pymongo_suite-slice");
    let mut complaints = Vec::new();
    for (mode, tests, least) in SLICE {
        let tests: Vec<String> = tests.iter().map(|test| (*test).to_owned()).collect();
        let start = std::time::Instant::now();
        let is_known = |outcome: &Outcome| reasons::of(*mode, outcome).is_some();
        let outcomes = suite::run(*mode, &set, &tests, &folder, is_known);
        let count = |ending| outcomes.values().filter(|o| o.ending == ending).count();
        let passed = count(Ending::Passed);
        println!(
            "{}: {passed} passed, {} failed, {} skipped in {:?}",
            mode.name(),
            count(Ending::Failed),
            count(Ending::Skipped),
            start.elapsed()
        );
        if passed < *least {
            complaints.push(format!("{}: only {passed} tests passed", mode.name()));
        }
        let failed = outcomes.values().filter(|o| o.ending == Ending::Failed);
        let unknown = failed.filter(|o| reasons::of(*mode, o).is_none());
        complaints.extend(unknown.map(|o| format!("{}: {}: {}", mode.name(), o.id, o.reason)));
    }
    assert!(
        complaints.is_empty(),
        "see {}\n{}",
        folder.display(),
        complaints.join("\n")
    );
}
