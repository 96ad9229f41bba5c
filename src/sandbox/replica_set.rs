//! A running replica set, and what can be done to it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use bson::{Document, doc};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    Error, Guard, MemberState, Options,
    access::Access,
    call::CALL_TIMEOUT,
    folder::{Folder, Record},
    members,
    node::{Node, Start},
    start::{self, Step},
};

/// Elections, initial syncs and recoveries on a busy machine.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// The port of a killed node may be held for a moment by the kernel.
const RESTART_TRIES: usize = 20;
const RESTART_PAUSE: Duration = Duration::from_millis(250);
/// How long a node may take to close its files.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);
/// Longer than any election timeout used here, so that the node that stepped down does not come back at once.
const STEP_DOWN_SECONDS: i32 = 20;
const CATCH_UP_SECONDS: i32 = 10;

/// A replica set of `mongod` processes on a loopback address, or one that belongs to none ([`Options::standalone`]).
///
/// All methods take `&self` and may be called from several tasks. Dropping the set kills its processes and removes its
/// temporary folder before `drop` returns; [`shutdown`](Self::shutdown) closes the files of a kept set in order.
/// When the owning process ends in any way, the set's [`Guard`] does the same.
#[derive(Debug)]
pub struct ReplicaSet {
    pub(super) nodes: Vec<Node>,
    pub(super) guard: Guard,
    pub(super) folder: Folder,
    pub(super) arguments: Vec<OsString>,
    pub(super) mongod: PathBuf,
    pub(super) options: Options,
    pub(super) key_file: Option<PathBuf>,
}

impl ReplicaSet {
    /// Starts a set and waits until it has a primary that accepts writes and every other member is at its work (or, if
    /// it is not to be initiated, until every node answers). A kept data folder that holds a set is started again.
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left running, and a temporary folder is removed.
    ///
    /// Cancel safety: as after an error.
    pub async fn start(options: Options, progress: impl Fn(Step)) -> Result<Self, Error> {
        start::start(options, &progress).await
    }

    /// `mongodb://` URI with all members but arbiters, and the set's name if there is a set.
    pub fn uri(&self) -> String {
        if self.options.standalone {
            return format!("mongodb://{}/", self.nodes[0].address);
        }
        let hosts: Vec<&str> = self.nodes[..self.options.nodes]
            .iter()
            .map(|node| node.address.as_str())
            .collect();
        format!(
            "mongodb://{}/?replicaSet={}",
            hosts.join(","),
            self.options.set_name
        )
    }

    /// The options that the set was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `host:port` of every member: the data-bearing nodes, then the arbiters.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// `host:port` of member number `node`.
    ///
    /// # Panics
    /// If there is no such member, here and in all methods that take its number.
    pub fn address(&self, node: usize) -> &str {
        &self.nodes[node].address
    }

    /// The folder that holds the data and the logs (`node-N/mongod.log`).
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// The process ids of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::pid).collect()
    }

    /// The document that `replSetInitiate` takes for this set.
    pub fn configuration(&self) -> Document {
        members::configuration(&self.options, self.nodes.iter().map(|node| node.address.as_str()))
    }

    /// Runs `command` on one member, on `admin` unless it names its `$db`; with all rights, where logins are demanded.
    ///
    /// # Errors
    /// As [`call`].
    pub async fn command(&self, node: usize, mut command: Document) -> Result<Document, Error> {
        if !command.contains_key("$db") {
            command.insert("$db", "admin");
        }
        self.nodes[node].call(command, CALL_TIMEOUT).await
    }

    /// What every member says of itself now.
    pub async fn states(&self) -> Vec<MemberState> {
        let mut states = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            states.push(MemberState::of(&node.address).await);
        }
        states
    }

    /// The number of the member that accepts writes; waits for one.
    ///
    /// # Errors
    /// [`Error::Timeout`] if there is none for a long time.
    pub async fn primary(&self) -> Result<usize, Error> {
        let is_primary = |state: &MemberState| *state == MemberState::Primary;
        let states = self
            .wait("a primary", |states| states.iter().any(is_primary), &|_| {})
            .await?;
        Ok(states.iter().position(is_primary).unwrap_or_default())
    }

    /// Waits until there is one primary and every other member is a secondary or an arbiter.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the states seen last.
    pub async fn wait_ready(&self) -> Result<(), Error> {
        self.wait_settled(&|_| {}).await
    }

    pub(super) async fn wait_settled(&self, progress: &dyn Fn(Step)) -> Result<(), Error> {
        self.wait(
            "a primary and all other members at work",
            members::is_settled,
            progress,
        )
        .await
        .map(drop)
    }

    async fn wait(
        &self,
        what: &str,
        arrived: impl Fn(&[MemberState]) -> bool,
        progress: &dyn Fn(Step),
    ) -> Result<Vec<MemberState>, Error> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut before = vec![MemberState::Other; self.nodes.len()];
        loop {
            let states = self.states().await;
            for (node, (old, new)) in self.nodes.iter().zip(before.iter().zip(&states)) {
                if old != new {
                    progress(Step::Member {
                        address: node.address.clone(),
                        state: *new,
                    });
                }
            }
            if arrived(&states) {
                return Ok(states);
            }
            if Instant::now() >= deadline {
                let seen = self
                    .nodes
                    .iter()
                    .zip(&states)
                    .map(|(n, s)| format!("{} {s}", n.address));
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: SETTLE_LIMIT.as_secs(),
                    seen: seen.collect::<Vec<_>>().join(", "),
                });
            }
            before = states;
            sleep(POLL).await;
        }
    }

    /// Makes the primary step down, for longer than an election takes. Another becomes primary soon after.
    ///
    /// # Errors
    /// [`Error::Command`] if the primary refuses, as it does when no electable secondary catches up.
    pub async fn step_down(&self) -> Result<(), Error> {
        let primary = self.primary().await?;
        let command = doc! {
            "replSetStepDown": STEP_DOWN_SECONDS,
            "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS,
        };
        self.command(primary, command).await.map(drop)
    }

    /// Kills a member with SIGKILL, as a crash would; returns when the process is gone. No-op if it is down.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    pub fn kill(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].kill(&self.guard)
    }

    /// Ends a member in order, as an operator does for maintenance: a primary steps down first, and all files are closed.
    /// Returns when the process is gone, which takes as long as the server's quiesce period; SIGKILL after half a minute.
    ///
    /// # Errors
    /// [`Error::Options`] when it is down; [`Error::Io`] when the operating system refuses.
    pub async fn terminate(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].signal(Signal::TERM)?;
        self.nodes[node].wait_end(&self.guard, SHUTDOWN_LIMIT).await
    }

    /// Starts a member that was killed or terminated, on its old port and data, and waits until it answers; it may still be
    /// recovering then (see [`wait_ready`](Self::wait_ready)).
    ///
    /// # Errors
    /// [`Error::Node`] with the end of its log when it does not come up, [`Error::PortTaken`], or [`Error::Options`]
    /// when it runs already.
    pub async fn restart(&self, node: usize) -> Result<(), Error> {
        let node = &self.nodes[node];
        for _ in 0..RESTART_TRIES {
            // A failed attempt leaves its reason at the end of the log; this one must not find it there.
            let _ = std::fs::rename(&node.log, node.log.with_extension("log.1"));
            node.spawn(&self.guard, &self.mongod, &self.arguments)?;
            match node.wait_answer(&self.guard).await? {
                Start::Answers => return Ok(()),
                Start::PortTaken => sleep(RESTART_PAUSE).await,
            }
        }
        Err(Error::PortTaken {
            port: node.port,
            folder: self.folder.path.clone(),
        })
    }

    /// Stops a member's process with SIGSTOP and waits until it stands still: its sockets stay open and nothing answers.
    ///
    /// # Errors
    /// [`Error::Options`] when it is down.
    pub fn pause(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].stop()
    }

    /// Continues a paused member.
    ///
    /// # Errors
    /// [`Error::Options`] when it is down.
    pub fn resume(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].signal(Signal::CONT)
    }

    /// Ends the set. A kept one closes its files first; a temporary one is killed and removed.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses to end a process.
    ///
    /// Cancel safety: what still runs is killed.
    pub async fn shutdown(self) -> Result<(), Error> {
        if self.folder.kept {
            // Arbiters and secondaries first or last makes no difference: with `force` nobody waits for the others.
            for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
                node.signal(Signal::CONT)?;
                let command = doc! { "shutdown": 1, "force": true, "timeoutSecs": 0, "$db": "admin" };
                // The connection usually breaks instead of answering; what counts is that the process ends.
                let _ = node.call(command, Duration::from_secs(5)).await;
            }
            for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
                node.wait_end(&self.guard, SHUTDOWN_LIMIT).await?;
            }
        }
        let dropped = tokio::task::spawn_blocking(move || drop(self)).await;
        dropped.map_err(|e| Error::io("ending the replica set")(e.into()))
    }

    /// A new access to one node.
    pub(super) fn access(&self) -> Result<Access, Error> {
        Access::of(self.key_file.as_deref())
    }

    pub(super) fn remember(&self, initiated: bool) -> Result<(), Error> {
        self.folder.remember(&Record {
            set_name: self.options.set_name.clone(),
            arbiters: self.options.arbiters,
            ports: self.nodes.iter().map(|node| node.port).collect(),
            initiated,
        })
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        for node in &self.nodes {
            // All at once; the loop below waits. The guard deals with whatever fails here.
            let _ = node.signal(Signal::KILL);
        }
        for node in &self.nodes {
            let _ = node.kill(&self.guard);
        }
        // Now the fields are dropped: the guard finds nothing to kill and removes a temporary folder.
    }
}
