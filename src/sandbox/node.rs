//! One `mongod` process: its folder, its log, its life and death.
//!
//! Invariant: the process, if any, was started by the set's guard, so it ends with its owner.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Child,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bson::{Document, doc};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{Error, Guard, access::Access};

/// Lines and characters per line of a log that an error shows.
const TAIL_LINES: usize = 12;
const TAIL_WIDTH: usize = 400;
const TAIL_BYTES: usize = 16 * 1024;
/// Recovery of a large kept data folder may take a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(25);

/// What became of an attempt to start.
pub(super) enum Start {
    /// The process that was started answers.
    Answers,
    /// Something else listens on the port.
    PortTaken,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) port: u16,
    pub(super) address: String,
    pub(super) log: PathBuf,
    data: PathBuf,
    access: Access,
    process: Mutex<Option<Child>>,
}

impl Node {
    /// `folder` is the node's own; it is made when missing.
    pub(super) fn new(folder: &Path, ip: IpAddr, port: u16, access: Access) -> Result<Self, Error> {
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(Error::io(format!("making {}", data.display())))?;
        Ok(Self {
            port,
            address: SocketAddr::new(ip, port).to_string(),
            log: folder.join("mongod.log"),
            data,
            access,
            process: Mutex::new(None),
        })
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Starts the process and returns at once. `arguments` are those that all nodes of the set share.
    pub(super) fn spawn(&self, guard: &Guard, mongod: &Path, arguments: &[OsString]) -> Result<(), Error> {
        let mut process = self.process();
        if process.is_some() {
            return Err(Error::Options(format!(
                "the node at {} is running already",
                self.address
            )));
        }
        let mut all: Vec<OsString> = vec!["--port".into(), self.port.to_string().into(), "--dbpath".into()];
        all.push(self.data.clone().into());
        all.extend_from_slice(arguments);
        *process = Some(guard.spawn(mongod, &all, &self.log)?);
        Ok(())
    }

    /// Waits until the process that was started answers, or has ended.
    pub(super) async fn wait_answer(&self, guard: &Guard) -> Result<Start, Error> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            if let Some(status) = self.reap_if_ended(guard)? {
                if self.log_tail().contains("Address already in use") {
                    return Ok(Start::PortTaken);
                }
                return Err(self.error(format!("ended while it started ({status})")));
            }
            if self.answers().await {
                return Ok(Start::Answers);
            }
            if Instant::now() >= deadline {
                return Err(self.error(format!("did not answer within {ANSWER_LIMIT:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// Runs `command` here, within `limit`.
    pub(super) async fn call(&self, command: Document, limit: Duration) -> Result<Document, Error> {
        self.access.call(&self.address, command, limit).await
    }

    /// Whether the answer comes from this very process: another `mongod` may hold the port.
    async fn answers(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let status =
            doc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0, "repl": 0, "locks": 0, "$db": "admin" };
        let answer = self.call(status, Duration::from_secs(5)).await;
        answer.is_ok_and(|status| integer(&status, "pid") == Some(i64::from(pid)))
    }

    /// The id of the process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// The exit status of a process that ended by itself.
    pub(super) fn reap_if_ended(&self, guard: &Guard) -> Result<Option<String>, Error> {
        let mut process = self.process();
        let Some(child) = process.as_mut() else {
            return Ok(Some("it was killed".to_owned()));
        };
        let what = format!("looking after process {}", child.id());
        let Some(status) = child.try_wait().map_err(Error::io(what))? else {
            return Ok(None);
        };
        guard.forget(child.id());
        *process = None;
        Ok(Some(status.to_string()))
    }

    /// Ends the process with SIGKILL and waits for its end; nothing happens to a node that is down.
    pub(super) fn kill(&self, guard: &Guard) -> Result<(), Error> {
        match self.process().take() {
            Some(mut child) => guard.kill(&mut child),
            None => Ok(()),
        }
    }

    /// Sends `signal`; [`Error::Options`] for a node that is down.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let process = self.process();
        let child = process
            .as_ref()
            .ok_or_else(|| Error::Options(format!("the node at {} is down", self.address)))?;
        kill_process(Pid::from_child(child), signal)
            .map_err(|e| Error::io(format!("sending {signal:?} to process {}", child.id()))(e.into()))
    }

    /// Stops the process with SIGSTOP. Its threads go on for a moment after the signal; it is waited for a second for them.
    pub(super) fn stop(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        let tasks = self.pid().map(|pid| PathBuf::from(format!("/proc/{pid}/task")));
        let deadline = Instant::now() + Duration::from_secs(1);
        while tasks.as_deref().is_some_and(runs) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits for a process that was asked to end; SIGKILL after `limit`.
    pub(super) async fn wait_end(&self, guard: &Guard, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while self.reap_if_ended(guard)?.is_none() {
            if Instant::now() >= deadline {
                return self.kill(guard);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// An error that shows where the log is and how it ends.
    pub(super) fn error(&self, what: String) -> Error {
        Error::Node {
            address: self.address.clone(),
            what,
            log: self.log.clone(),
            tail: self.log_tail(),
        }
    }

    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]).into_owned();
        let lines: Vec<&str> = end.lines().collect();
        let shown = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        shown
            .map(|line| line.chars().take(TAIL_WIDTH).collect::<String>())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// A number that servers send as any of BSON's numeric types.
fn integer(document: &Document, key: &str) -> Option<i64> {
    match document.get(key)? {
        bson::Bson::Int32(value) => Some(i64::from(*value)),
        bson::Bson::Int64(value) => Some(*value),
        bson::Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}
/// Whether any of these threads is not stopped, as far as the system tells it (proc(5), `stat`).
fn runs(tasks: &Path) -> bool {
    let threads = fs::read_dir(tasks).into_iter().flatten().flatten();
    let mut states = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The state stands behind the name, which may hold anything.
    states.any(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['T', 't']))
    })
}
