//! What a client did: one operation, and what it was told.

use std::{fmt, fs, path::Path};

use serde_json::Value;

/// What an operation is, named as in the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Workload {
    /// `$inc` of one counter for each worker.
    Inc,
    /// `$inc` with upsert of a document of its own: a second application shows as 2.
    Once,
    /// The same with `w: 1`, which may be rolled back.
    W1,
    /// `$push` of a unique value.
    Push,
    /// An insert without `_id`: a second application is a second document.
    Insert,
    /// `findAndModify` with `$inc` and upsert, whose answer must be 1.
    Modify,
    /// An ordered bulk write of 1,000.
    Bulk,
    /// An unacknowledged insert, then a read that must see it.
    Silent,
    /// A bank transfer in a transaction, by the driver's `with_transaction`.
    Transfer,
    /// A read, by all read preferences in turns.
    Read,
    /// A read that takes 40 ms.
    Slow,
    /// Who one is, to the proxy and to the nodes.
    Whoami,
}

impl Workload {
    pub(crate) const ALL: [Self; 12] = [
        Self::Inc,
        Self::Once,
        Self::W1,
        Self::Push,
        Self::Insert,
        Self::Modify,
        Self::Bulk,
        Self::Silent,
        Self::Transfer,
        Self::Read,
        Self::Slow,
        Self::Whoami,
    ];

    /// The name of the workers' function and, for writes, of the collection.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inc => "inc",
            Self::Once => "once",
            Self::W1 => "w1",
            Self::Push => "push",
            Self::Insert => "insert",
            Self::Modify => "modify",
            Self::Bulk => "bulk",
            Self::Silent => "silent",
            Self::Transfer => "transfer",
            Self::Read => "read",
            Self::Slow => "slow",
            Self::Whoami => "whoami",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::Slow | Self::Whoami)
    }

    /// Whether what is acknowledged may be lost all the same, by a rollback.
    pub(crate) fn may_be_rolled_back(self) -> bool {
        matches!(self, Self::W1 | Self::Silent)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    /// `CLIENT-NUMBER`.
    pub(crate) worker: String,
    pub(crate) workload: Workload,
    /// Unique; what it wrote bears it.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// `None` for what was acknowledged.
    pub(crate) error: Option<String>,
}

impl Operation {
    /// The worker's name without its number.
    pub(crate) fn client(&self) -> &str {
        self.worker
            .rsplit_once('-')
            .map_or(&self.worker, |(client, _)| client)
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.error.is_none()
    }

    /// An unacknowledged write was followed by a read that did not see it: no error of a command, but perhaps a loss.
    pub(crate) fn is_unseen(&self) -> bool {
        let unseen = |error: &str| error.ends_with("unseen");
        self.workload == Workload::Silent && self.error.as_deref().is_some_and(unseen)
    }

    fn from_line(line: &str) -> Option<Self> {
        let Value::Array(fields) = serde_json::from_str(line).ok()? else {
            return None;
        };
        let [worker, workload, id, start, end, error] = <[Value; 6]>::try_from(fields).ok()?;
        Some(Self {
            worker: worker.as_str()?.to_owned(),
            workload: Workload::parse(workload.as_str()?)?,
            id: id.as_str()?.to_owned(),
            start: start.as_f64()?,
            end: end.as_f64()?,
            error: error.as_str().map(str::to_owned),
        })
    }
}

/// The operations that a worker's process wrote down, one a line; the last line may be cut short.
pub(crate) fn read(file: &Path) -> Vec<Operation> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let line = |line| Operation::from_line(line).unwrap_or_else(|| panic!("{}: {line}", file.display()));
    complete.lines().map(line).collect()
}
