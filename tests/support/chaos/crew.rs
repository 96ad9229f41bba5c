//! The clients of a run: processes and tasks that work at the same time, each with connections of its own.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Child,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::json;
use tidegate::sandbox::{Guard, temporary_folder};

use super::{Operation, Workload, legacy::LegacyWorker, operation, raw::RawWorker, secure::User};
use crate::support::{self, legacy::python2_with};

/// The version that speaks nothing but legacy opcodes.
const PYMONGO_2: &str = "2.4.2";
/// For what is under way to end, held as it may be, and the driver to close its connections.
const END_LIMIT: Duration = Duration::from_secs(100);

/// By what a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Raw,
    /// The opcodes before OP_MSG.
    Legacy,
    Pymongo,
    /// PyMongo 2.4 in Python 2.7.
    Pymongo2,
    Node,
}

/// A client: its workers share a driver's client, or (raw and legacy) have a connection each.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Unique, and the beginning of its workers' names.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// A URI; for raw and legacy ones an address.
    pub(crate) target: String,
    /// Whom the URI names.
    pub(crate) user: Option<&'static User>,
    /// For each worker what it does in turns.
    pub(crate) cycles: Vec<Vec<Workload>>,
    /// Between two operations of a worker.
    pub(crate) pause: Duration,
}

/// Clients at work. They end with this process in any case.
pub(crate) struct Crew {
    folder: PathBuf,
    guard: Guard,
    children: Vec<(&'static str, Child)>,
    threads: Vec<JoinHandle<Vec<Operation>>>,
}

impl Crew {
    /// Starts all clients.
    pub(crate) fn start(clients: &[Client]) -> Self {
        let folder = temporary_folder().unwrap();
        let guard = Guard::for_temporary(&folder).unwrap();
        let stop = folder.join("stop");
        let of_kind = |kind| clients.iter().filter(move |client| client.kind == kind);
        let driven = [Kind::Pymongo, Kind::Pymongo2, Kind::Node];
        let driven = driven.into_iter().flat_map(of_kind);
        let children = driven.map(|client| {
            let (program, arguments) = command(client, &folder, &stop);
            let log = folder.join(format!("{}.log", client.name));
            (client.name, guard.spawn(&program, &arguments, &log).unwrap())
        });
        let children = children.collect();
        let workers = of_kind(Kind::Raw).flat_map(|client| raw_workers(client, &stop));
        let workers: Vec<RawWorker> = workers.collect();
        let mut threads = vec![std::thread::spawn(move || work(workers))];
        let old = of_kind(Kind::Legacy).flat_map(|client| legacy_workers(client, &stop));
        threads.extend(old.map(|worker| std::thread::spawn(move || worker.run())));
        Self {
            folder,
            guard,
            children,
            threads,
        }
    }

    /// Names the clients whose process has ended, as none should before [`stop`](Self::stop).
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let folder = &self.folder;
        let ended = self.children.iter_mut().filter_map(|(name, child)| {
            let status = child.try_wait().unwrap()?;
            let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            Some(format!("{name} ended with {status}\n{log}"))
        });
        ended.collect()
    }

    /// Lets everyone finish what is under way; returns all operations, and the names of those that hung.
    pub(crate) fn stop(mut self) -> (Vec<Operation>, Vec<String>) {
        fs::write(self.folder.join("stop"), "").unwrap();
        let deadline = Instant::now() + END_LIMIT;
        let (mut operations, mut hung) = (Vec::new(), Vec::new());
        for (name, child) in &mut self.children {
            while child.try_wait().unwrap().is_none() {
                if Instant::now() > deadline {
                    hung.push((*name).to_owned());
                    self.guard.kill(child).unwrap();
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            self.guard.forget(child.id());
            operations.extend(operation::read(&out(&self.folder, name)));
        }
        for thread in self.threads.drain(..) {
            operations.extend(thread.join().unwrap());
        }
        (operations, hung)
    }
}

fn out(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// The program of a client that needs a driver, with its settings.
fn command(client: &Client, folder: &Path, stop: &Path) -> (PathBuf, Vec<OsString>) {
    let cycles: Vec<Vec<&str>> = client
        .cycles
        .iter()
        .map(|cycle| cycle.iter().map(|workload| workload.name()).collect())
        .collect();
    let settings = json!({
        "uri": client.target,
        "name": client.name,
        "cycles": cycles,
        "pause": client.pause.as_secs_f64(),
        "out": out(folder, client.name),
        "stop": stop,
        "user": client.user.map(User::told),
    });
    let workers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/chaos");
    let (program, mut arguments): (PathBuf, Vec<OsString>) = match client.kind {
        Kind::Node => (
            "/usr/bin/env".into(),
            vec![
                format!("NODE_PATH={}", support::node_modules().display()).into(),
                "node".into(),
                workers.join("worker.js").into(),
            ],
        ),
        Kind::Pymongo2 => {
            let (python, packages) = python2_with(PYMONGO_2).unwrap();
            (
                "/usr/bin/env".into(),
                vec![
                    format!("PYTHONPATH={}", packages.display()).into(),
                    python.into(),
                    "-B".into(),
                    workers.join("worker2.py").into(),
                ],
            )
        }
        // -B: no compiled files among the sources.
        _ => (
            support::python().to_path_buf(),
            vec!["-B".into(), workers.join("worker.py").into()],
        ),
    };
    arguments.push(settings.to_string().into());
    (program, arguments)
}

fn raw_workers(client: &Client, stop: &Path) -> Vec<RawWorker> {
    let worker = |(number, cycle): (usize, &Vec<Workload>)| RawWorker {
        name: format!("{}-{number}", client.name),
        address: client.target.clone(),
        cycle: cycle.clone(),
        pause: client.pause,
        stop: stop.to_path_buf(),
        number: number * 3,
    };
    client.cycles.iter().enumerate().map(worker).collect()
}

fn legacy_workers(client: &Client, stop: &Path) -> Vec<LegacyWorker> {
    let worker = |(number, cycle): (usize, &Vec<Workload>)| LegacyWorker {
        name: format!("{}-{number}", client.name),
        address: client.target.clone(),
        cycle: cycle.clone(),
        pause: client.pause,
        stop: stop.to_path_buf(),
        number: number * 3,
    };
    client.cycles.iter().enumerate().map(worker).collect()
}

fn work(workers: Vec<RawWorker>) -> Vec<Operation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let tasks: Vec<_> = workers
            .into_iter()
            .map(|worker| tokio::spawn(worker.run()))
            .collect();
        let mut operations = Vec::new();
        for task in tasks {
            operations.extend(task.await.unwrap());
        }
        operations
    })
}
