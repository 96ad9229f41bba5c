//! Runs PyMongo's own synchronous test suite against one address and reads the outcomes.
//!
//! The suite's files are those that the specification tests fetch; the package under test is the released wheel in an
//! environment of its own. Whatever ends a run, nothing of it keeps running: a guard owns the processes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tidegate::sandbox::{Guard, Options, ReplicaSet, free_ports, temporary_folder};

use super::{fetch, support};

const REQUIREMENTS: &str = include_str!("requirements.txt");
/// A test that hangs fails after this.
const TEST_LIMIT_SECONDS: u32 = 120;
/// Far above what the whole suite takes on a busy machine.
const RUN_LIMIT: Duration = Duration::from_secs(60 * 60);
/// The folder of what was run again, in that of what was run.
const AGAIN: &str = "again";
const POLL: Duration = Duration::from_millis(100);

/// What the suite is run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// The replica set itself.
    Direct,
    /// A proxy that presents itself as a `mongos`.
    Mongos,
    /// A proxy that presents itself as a replica set of a primary and a secondary.
    ReplicaSet,
    /// A proxy as a load balancer's `mongos` (`loadBalanced=true`).
    LoadBalanced,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Mongos => "mongos",
            Self::ReplicaSet => "replica_set",
            Self::LoadBalanced => "load_balanced",
        }
    }

    /// Keys of the proxy's listener.
    fn listener(self) -> String {
        let presents = match self {
            Self::ReplicaSet => {
                let secondary = free_ports(1).unwrap()[0];
                format!("presents_as = \"replica_set\"\nsecondary_address = \"127.0.0.1:{secondary}\"\n")
            }
            Self::Direct | Self::Mongos | Self::LoadBalanced => String::new(),
        };
        // As a server that was started with enableTestCommands=1.
        format!("{presents}fail_points = \"on\"\n")
    }
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    Passed,
    Failed,
    Skipped,
}

/// One test's outcome.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Outcome {
    /// `test/FILE.py::CLASS::METHOD`.
    pub(crate) id: String,
    #[serde(rename = "outcome")]
    pub(crate) ending: Ending,
    #[allow(dead_code, reason = "for those who read the file")]
    pub(crate) seconds: f64,
    /// Why it failed or was skipped.
    pub(crate) reason: String,
}

/// Outcomes by test.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// The replica set that a run needs, of so many nodes: test commands, and elections that a busy machine does not set off.
pub(crate) fn start_set(nodes: usize) -> ReplicaSet {
    support::start_set(Options {
        nodes,
        mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
        election_timeout: Duration::from_secs(10),
        ..Options::default()
    })
}

/// Runs `tests` (all if there are none: files, classes or methods as pytest names them) in `mode` against `set`, and those
/// that fail once more; the second outcome counts. Failures that `is_known` holds for stand as they are. What was said is
/// kept in `folder`.
pub(crate) fn run(
    mode: Mode,
    set: &ReplicaSet,
    tests: &[String],
    folder: &Path,
    is_known: impl Fn(&Outcome) -> bool,
) -> Outcomes {
    // What a run that was cut short left must not be taken for this one's.
    let _ = fs::remove_file(record(&folder.join(AGAIN), mode));
    run_once(mode, set, tests, folder);
    let failed: Vec<String> = recorded(folder, mode)
        .iter()
        .flatten()
        .filter(|(_, outcome)| outcome.ending == Ending::Failed && !is_known(outcome))
        .map(|(id, _)| id.clone())
        .collect();
    if !failed.is_empty() {
        println!("{}: {} failed and run again", mode.name(), failed.len());
        run_once(mode, set, &failed, &folder.join(AGAIN));
    }
    let outcomes = recorded(folder, mode);
    outcomes.unwrap_or_else(|| panic!("no outcome was recorded; see {}", folder.display()))
}

/// What the last run of a mode recorded in `folder`, if there was one.
pub(crate) fn recorded(folder: &Path, mode: Mode) -> Option<Outcomes> {
    let mut outcomes = read(&record(folder, mode))?;
    outcomes.extend(read(&record(&folder.join(AGAIN), mode)).unwrap_or_default());
    Some(outcomes)
}

fn record(folder: &Path, mode: Mode) -> PathBuf {
    folder.join(format!("{}.jsonl", mode.name()))
}

fn run_once(mode: Mode, set: &ReplicaSet, tests: &[String], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    // As often as the suite's own clients look, of which one wants to see what was written a second ago.
    let uri = format!("{}&heartbeatFrequencyMS=500", set.uri());
    let proxy = (mode != Mode::Direct).then(|| support::Proxy::start_with(&uri, "", &mode.listener(), ""));
    let address = match &proxy {
        Some(proxy) => proxy.address.to_string(),
        None => primary(set),
    };
    let log = folder.join(format!("{}.log", mode.name()));
    run_pytest(mode, &address, tests, &record(folder, mode), &log);
    if let Some(proxy) = proxy {
        fs::write(folder.join(format!("{}-proxy.log", mode.name())), proxy.log()).unwrap();
    }
}

fn primary(set: &ReplicaSet) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let number = runtime.unwrap().block_on(set.primary()).unwrap();
    set.address(number).to_owned()
}

fn read(file: &Path) -> Option<Outcomes> {
    let text = fs::read_to_string(file).ok()?;
    let outcome = |line: &str| -> Outcome {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", file.display()))
    };
    let outcomes = text.lines().map(outcome);
    Some(outcomes.map(|outcome| (outcome.id.clone(), outcome)).collect())
}

fn run_pytest(mode: Mode, address: &str, tests: &[String], file: &Path, log: &Path) {
    for old in [file, log] {
        // What is not there needs no removing.
        let _ = fs::remove_file(old);
    }
    let scratch = temporary_folder().unwrap();
    let guard = Guard::for_temporary(&scratch).unwrap();
    let arguments = arguments(mode, address, tests, file, &scratch);
    let mut child = guard.spawn(Path::new("/usr/bin/env"), &arguments, log).unwrap();
    let deadline = Instant::now() + RUN_LIMIT;
    while child.try_wait().unwrap().is_none() {
        assert!(
            Instant::now() < deadline,
            "the suite took longer than {RUN_LIMIT:?}; see {}",
            log.display()
        );
        std::thread::sleep(POLL);
    }
    guard.forget(child.id());
}

/// The interpreter of an environment that has what the suite asks for.
pub(crate) fn python() -> PathBuf {
    support::environment::python_with(REQUIREMENTS)
}

fn arguments(mode: Mode, address: &str, tests: &[String], file: &Path, scratch: &Path) -> Vec<OsString> {
    let folder = fetch::specification_tests().parent().map(PathBuf::from).unwrap();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pymongo_suite");
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut variables = vec![
        format!("DB_IP={host}"),
        format!("DB_PORT={port}"),
        format!("SUITE_OUTCOMES={}", file.display()),
        format!("PYTHONPATH={}", plugins.display()),
        format!("TMPDIR={}", scratch.display()),
        // No compiled files among the sources.
        "PYTHONDONTWRITEBYTECODE=1".to_owned(),
    ];
    if mode == Mode::LoadBalanced {
        variables.push("TEST_LOAD_BALANCER=1".to_owned());
        for uri in ["SINGLE_MONGOS_LB_URI", "MULTI_MONGOS_LB_URI"] {
            variables.push(format!("{uri}=mongodb://{address}/?loadBalanced=true"));
        }
    }
    let mut all: Vec<OsString> = vec!["-C".into(), folder.into()];
    all.extend(variables.into_iter().map(OsString::from));
    all.push(python().into());
    let pytest = [
        "-m",
        "pytest",
        "-q",
        "--color=no",
        "--tb=short",
        "-p",
        "outcomes",
        "-p",
        "no:cacheprovider",
        "-m",
        "default or load_balancer",
        "-o",
        "addopts=",
        "-o",
        "asyncio_default_fixture_loop_scope=session",
        // One test wants this warning to be an error, as the suite's own settings make it in other surroundings.
        "-W",
        "error:The read preference 'hedge' option:DeprecationWarning",
        "--ignore=test/asynchronous",
    ];
    all.extend(pytest.map(OsString::from));
    all.push(format!("--timeout={TEST_LIMIT_SECONDS}").into());
    all.extend(tests.iter().map(OsString::from));
    if tests.is_empty() {
        all.push("test".into());
    }
    all
}
