//! Runs PyMongo 2's own test suite against one address and reads the outcomes.
//!
//! The suite is that of the source distribution, whose package is tested in place. Whatever ends a run, nothing of it keeps
//! running: a guard owns the processes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tidegate::sandbox::{Guard, Options, ReplicaSet, free_ports, temporary_folder};

use super::support::{
    Proxy,
    environment::{environment, step},
    legacy::python2_interpreter,
    old_mongod, start_set,
};

/// The last of the 2.x line.
const PACKAGE: &str = "pymongo==2.9.5";
const FOLDER: &str = "pymongo-2.9.5";
/// The suite imports it; it is run by `unittest`.
const NOSE: &str = "nose==1.3.7";
/// Base classes of other modules, and what needs a package that the suite does not demand.
const NO_TESTS: [&str; 2] = ["test_pooling_base", "test_pooling_gevent"];
/// For one module; single tests are ended long before.
const MODULE_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);

/// What the suite is run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A set of two nodes of MongoDB 4.2.
    Direct,
    /// A proxy in front of two nodes of the current version, which presents itself as a set of a primary and a secondary.
    Proxied,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxied => "proxied",
        }
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
    /// `test.MODULE.CLASS.METHOD`.
    pub(crate) id: String,
    #[serde(rename = "outcome")]
    pub(crate) ending: Ending,
    #[allow(dead_code, reason = "for those who read the file")]
    pub(crate) seconds: f64,
    /// Why it failed (the end of the traceback) or was skipped.
    pub(crate) reason: String,
}

impl Outcome {
    /// The last line of what it says.
    pub(crate) fn says(&self) -> &str {
        self.reason.trim_end().lines().next_back().unwrap_or_default()
    }
}

/// Outcomes by test.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// What the last run of a mode recorded in `folder`, if there was one.
pub(crate) fn recorded(folder: &Path, mode: Mode) -> Option<Outcomes> {
    let file = record(folder, mode);
    let text = fs::read_to_string(&file).ok()?;
    let outcome = |line: &str| -> Outcome {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", file.display()))
    };
    Some(
        text.lines()
            .map(outcome)
            .map(|outcome| (outcome.id.clone(), outcome))
            .collect(),
    )
}

fn record(folder: &Path, mode: Mode) -> PathBuf {
    folder.join(format!("{}.jsonl", mode.name()))
}

/// Runs the modules that are named, or all if none are, and records the outcomes in `folder`.
///
/// # Errors
/// What is missing on this machine to run it.
pub(crate) fn run(mode: Mode, modules: &[String], folder: &Path) -> Result<(), String> {
    let python = python2_interpreter()?;
    let home = fetched(&python);
    fs::create_dir_all(folder).unwrap();
    let set = start(mode);
    let proxy = (mode == Mode::Proxied).then(|| {
        // As often as the suite looks for what it has just written.
        let uri = format!("{}&heartbeatFrequencyMS=500", set.uri());
        let second = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
        let listener = format!("presents_as = 'replica_set'\nsecondary_address = '{second}'");
        (Proxy::start_with(&uri, "", &listener, ""), second)
    });
    let addresses = match &proxy {
        Some((proxy, second)) => [proxy.address.to_string(), second.clone()],
        None => members(&set),
    };
    let (file, log) = (record(folder, mode), folder.join(format!("{}.log", mode.name())));
    for old in [&file, &log] {
        // What is not there needs no removing.
        let _ = fs::remove_file(old);
    }
    let modules = if modules.is_empty() {
        all_modules(&home)
    } else {
        modules.to_vec()
    };
    for module in &modules {
        println!("{}: {module}", mode.name());
        run_module(&python, &home, &addresses, module, &file, &log);
    }
    if let Some((proxy, _)) = proxy {
        fs::write(folder.join("proxy.log"), proxy.log()).unwrap();
    }
    Ok(())
}

fn start(mode: Mode) -> ReplicaSet {
    start_set(Options {
        // As many as the proxy shows: the suite counts them.
        nodes: 2,
        mongod: (mode == Mode::Direct).then(|| old_mongod().to_owned()),
        mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
        election_timeout: Duration::from_secs(10),
        ..Options::default()
    })
}

/// The primary's address, and the other's.
fn members(set: &ReplicaSet) -> [String; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let primary = runtime.unwrap().block_on(set.primary()).unwrap();
    [primary, 1 - primary].map(|node| set.address(node).to_owned())
}

/// The folder of the source distribution, its extensions built if there is a compiler.
fn fetched(python: &Path) -> PathBuf {
    let make = |folder: &Path| {
        fs::create_dir_all(folder).unwrap();
        let pip = |arguments: &[&str]| {
            let mut command = Command::new(python);
            command.args(["-m", "pip"]).args(arguments).args([
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
            ]);
            command.current_dir(folder);
            step(
                &mut command,
                "fetching PyMongo's suite (prerequisite: a package index)",
            );
        };
        pip(&["install", "--target", ".", NOSE]);
        pip(&["download", "--no-binary=:all:", "--dest", ".", PACKAGE]);
        let archive = format!("{FOLDER}.tar.gz");
        step(
            Command::new("tar").args(["-xzf", &archive]).current_dir(folder),
            "unpacking PyMongo's suite",
        );
        step(
            Command::new(python)
                .args(["setup.py", "-q", "build_ext", "-i"])
                .current_dir(folder.join(FOLDER)),
            "building PyMongo's extensions",
        );
    };
    environment("pymongo2-suite", &[PACKAGE, NOSE], make).join(FOLDER)
}

fn all_modules(home: &Path) -> Vec<String> {
    let files = fs::read_dir(home.join("test")).unwrap();
    let mut modules: Vec<String> = files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().ok()?;
            let module = name.strip_suffix(".py")?;
            let has_tests = module.starts_with("test_") && !NO_TESTS.contains(&module);
            has_tests.then(|| format!("test.{module}"))
        })
        .collect();
    modules.sort();
    modules
}

/// In a process of its own: what a module changes or leaves running ends with it.
fn run_module(python: &Path, home: &Path, addresses: &[String; 2], module: &str, file: &Path, log: &Path) {
    let scratch = temporary_folder().unwrap();
    let guard = Guard::for_temporary(&scratch).unwrap();
    let recorder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pymongo2_suite/outcomes.py");
    let [first, second] = addresses
        .each_ref()
        .map(|address| address.rsplit_once(':').unwrap());
    let mut arguments: Vec<OsString> = vec!["-C".into(), home.into()];
    arguments.extend([
        format!("DB_IP={}", first.0).into(),
        format!("DB_PORT={}", first.1).into(),
        format!("DB_IP2={}", second.0).into(),
        format!("DB_PORT2={}", second.1).into(),
        format!("PYTHONPATH={}", home.parent().unwrap().display()).into(),
        format!("TMPDIR={}", scratch.display()).into(),
    ]);
    // -B: no compiled files among the sources.
    arguments.extend([
        python.into(),
        "-B".into(),
        recorder.into(),
        file.into(),
        module.into(),
    ]);
    let mut child = guard.spawn(Path::new("/usr/bin/env"), &arguments, log).unwrap();
    let deadline = Instant::now() + MODULE_LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            println!(
                "{module} took longer than {MODULE_LIMIT:?}; see {}",
                log.display()
            );
            guard.kill(&mut child).unwrap();
            return;
        }
        std::thread::sleep(POLL);
    }
    guard.forget(child.id());
}
