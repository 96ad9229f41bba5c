//! What a listener's rules permit: commands that are denied by name, and a listener that only reads.
//!
//! Judged is what a command does, not only what it is called: by any of its names, within `explain`, as the stage of a pipeline, as the
//! output of a `mapReduce`, as an operation of `applyOps` or `bulkWrite`. Invariants: what cannot be judged is refused; with
//! `read_only` only what is known to read is let through, so that commands of servers to come are refused.

use std::fmt;

use super::{Request, table};
use crate::wire::{Element, RawDoc, WireError};

/// The commands that `read_only` lets through, as [`is`] compares names. They change neither data nor anything that others see of
/// the servers: sessions, cursors and transactions of the client's own must end, or servers would keep them, and who is
/// nobody yet must be able to log in. `aggregate`, `mapReduce` and `explain` are looked into.
const READS: &[&str] = &[
    "abortTransaction",
    "aggregate",
    "authenticate",
    "balancerCollectionStatus",
    "balancerStatus",
    "buildInfo",
    "collStats",
    "commitTransaction",
    "connPoolStats",
    "connectionStatus",
    "count",
    "currentOp",
    "dataSize",
    "dbHash",
    "dbStats",
    "distinct",
    "endSessions",
    "explain",
    "features",
    "find",
    "geoNear",
    "getClusterParameter",
    "getCmdLineOpts",
    "getDefaultRWConcern",
    "getLastError",
    "getLog",
    "getMore",
    "getParameter",
    "getPrevError",
    "getShardMap",
    "getShardVersion",
    "getnonce",
    "group",
    "hello",
    "hostInfo",
    "isdbgrid",
    "killCursors",
    "listCollections",
    "listCommands",
    "listDatabases",
    "listIndexes",
    "listShards",
    "logout",
    "mapReduce",
    "ping",
    "planCacheListFilters",
    "refreshSessions",
    "replSetGetConfig",
    "replSetGetRBID",
    "replSetGetStatus",
    "resetError",
    "rolesInfo",
    "saslContinue",
    "saslStart",
    "serverStatus",
    "startSession",
    "top",
    "usersInfo",
    "whatsmyuri",
];

/// Further commands of servers, which are neither known to only read nor in the table: a rule that names one is no typing error.
const OTHERS: &[&str] = &[
    "analyze",
    "appendOplogNote",
    "checkMetadataConsistency",
    "compact",
    "compactStructuredEncryptionData",
    "configureFailPoint",
    "configureQueryAnalyzer",
    "connPoolSync",
    "convertToCapped",
    "fsync",
    "fsyncUnlock",
    "getAuditConfig",
    "killOp",
    "listSearchIndexes",
    "lockInfo",
    "logApplicationMessage",
    "logRotate",
    "planCacheClearFilters",
    "planCacheSetFilter",
    "profile",
    "removeQuerySettings",
    "replSetFreeze",
    "replSetMaintenance",
    "replSetResizeOplog",
    "replSetSyncFrom",
    "rotateCertificates",
    "rotateMasterKey",
    "setAuditConfig",
    "setClusterParameter",
    "setParameter",
    "setQuerySettings",
    "setUserWriteBlockMode",
    "validate",
    "validateDBMetadata",
    "waitForFailPoint",
];

/// Names of one command that differ in more than capitals; the first is the one that counts.
const ALIASES: &[(&str, &str)] = &[
    ("hello", "isMaster"),
    ("dropIndexes", "deleteIndexes"),
    ("eval", "$eval"),
];

/// `explain` of `explain` is refused by servers; no deeper than this is looked.
const MOST_NESTED: usize = 2;

/// The rules of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    denied: Box<[Box<str>]>,
    read_only: bool,
    /// A command is denied that may write.
    denies_writes: bool,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.read_only {
            f.write_str("read-only")?;
        }
        if !self.denied.is_empty() {
            let between = if self.read_only { ", " } else { "" };
            write!(f, "{between}without {}", self.denied.join(", "))?;
        }
        Ok(())
    }
}

/// The rule that denies a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It is, or does what is done by, a command that is denied.
    ByName,
    /// It may write.
    ReadOnly,
    /// A field stands twice or cannot be read, so that it is not clear what a server would make of it.
    Ambiguous,
}

impl Policy {
    /// The rules that deny the commands of these names, and with `read_only` all that may write; `None` if they deny nothing.
    #[must_use]
    pub fn new<S: AsRef<str>>(denied: &[S], read_only: bool) -> Option<Self> {
        let denied: Box<[Box<str>]> = denied.iter().map(|name| name.as_ref().into()).collect();
        let denies_writes = denied.iter().any(|name| !reads(name.as_bytes()));
        (read_only || !denied.is_empty()).then_some(Self {
            denied,
            read_only,
            denies_writes,
        })
    }

    /// Whether a command passes.
    ///
    /// # Errors
    /// The rule that denies it.
    pub fn judge(&self, request: &Request, message: &[u8]) -> Result<(), Denied> {
        let body = request.layout.body(message).map_err(|_| Denied::Ambiguous)?;
        self.judge_body(body, MOST_NESTED)
    }

    /// Whether a command passes that consists of this document.
    ///
    /// # Errors
    /// The rule that denies it.
    pub fn judge_body(&self, body: RawDoc<'_>, depth: usize) -> Result<(), Denied> {
        let fields: Vec<Element<'_>> = body
            .iter()
            .collect::<Result<_, WireError>>()
            .map_err(|_| Denied::Ambiguous)?;
        // A server refuses a command without a name.
        let Some(first) = fields.first() else {
            return Ok(());
        };
        let name = first.key;
        self.permit(name)?;
        if has_duplicates(&fields) {
            return Err(Denied::Ambiguous);
        }
        if is(name, "explain") && (first.kind == DOCUMENT || first.kind == ARRAY) {
            let inner = RawDoc::prefix(first.value).map_err(|_| Denied::Ambiguous)?;
            let Some(depth) = depth.checked_sub(1) else {
                return Err(Denied::Ambiguous);
            };
            return self.judge_body(inner, depth);
        }
        if is(name, "aggregate") {
            for pipeline in fields.iter().filter(|field| field.key == b"pipeline") {
                self.judge_pipeline(pipeline)?;
            }
        } else if is(name, "mapReduce") {
            let out = fields.iter().find(|field| field.key == b"out");
            if out.is_some_and(|out| !is_inline(out)) {
                self.permit_writing(&["insert", "update", "delete"])?;
            }
        } else if is(name, "bulkWrite") {
            self.permit_writing(&["insert", "update", "delete"])?;
        } else if is(name, "findAndModify") {
            let removes = fields
                .iter()
                .any(|field| field.key == b"remove" && field.as_bool() != Some(false));
            self.permit_writing(if removes { &["delete"] } else { &["update"] })?;
        } else if (is(name, "applyOps") || is(name, "eval")) && self.denies_writes {
            // Whatever can be written can be written so.
            return Err(Denied::ByName);
        }
        Ok(())
    }

    /// Whether the command of this name passes as far as its name tells.
    ///
    /// # Errors
    /// The rule that denies it.
    pub fn permit(&self, name: &[u8]) -> Result<(), Denied> {
        if self.denied.iter().any(|denied| is(name, denied)) {
            return Err(Denied::ByName);
        }
        if self.read_only && !reads(name) {
            return Err(Denied::ReadOnly);
        }
        Ok(())
    }

    fn judge_pipeline(&self, pipeline: &Element<'_>) -> Result<(), Denied> {
        // What is no array is refused by servers, which take an array only; still, nothing is let through unseen.
        if pipeline.kind != ARRAY && pipeline.kind != DOCUMENT {
            return Ok(());
        }
        let stages = RawDoc::prefix(pipeline.value).map_err(|_| Denied::Ambiguous)?;
        for stage in stages {
            let stage = stage.map_err(|_| Denied::Ambiguous)?;
            if stage.kind != DOCUMENT {
                continue;
            }
            // Servers take stages of one field only, and `$out` and `$merge` in the last one alone; each is looked at all the same.
            for field in RawDoc::prefix(stage.value).map_err(|_| Denied::Ambiguous)? {
                match field.map_err(|_| Denied::Ambiguous)?.key {
                    b"$out" => self.permit_writing(&["insert", "delete"])?,
                    b"$merge" => self.permit_writing(&["insert", "update"])?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether it may be done what these commands do.
    fn permit_writing(&self, by: &[&str]) -> Result<(), Denied> {
        by.iter().try_for_each(|name| self.permit(name.as_bytes()))
    }
}

const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;

/// Whether `name`, as a client may write it, stands for the same command as `other`.
///
/// Servers tell capitals from small letters, and take some names in both; no two of their commands differ in that alone. Members of a
/// sharded cluster have the commands of a `mongos` under names that begin with `cluster`.
#[must_use]
pub fn is(name: &[u8], other: &str) -> bool {
    canonical(name).eq_ignore_ascii_case(canonical(other.as_bytes()))
}

fn canonical(name: &[u8]) -> &[u8] {
    let name = match name.strip_prefix(b"cluster") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_uppercase) => rest,
        _ => name,
    };
    let alias = ALIASES
        .iter()
        .find(|(_, alias)| alias.as_bytes().eq_ignore_ascii_case(name));
    alias.map_or(name, |(counts, _)| counts.as_bytes())
}

fn reads(name: &[u8]) -> bool {
    READS.iter().any(|reads| is(name, reads))
}

/// Whether there is a command of this name; a rule may name others, too, of servers to come.
#[must_use]
pub fn is_known(name: &str) -> bool {
    let bytes = name.as_bytes();
    names().any(|known| is(bytes, known))
}

/// Every name of a command that is known.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::names().chain(READS.iter().chain(OTHERS).copied())
}

/// Whether the `out` of a `mapReduce` does nothing but return the result.
fn is_inline(out: &Element<'_>) -> bool {
    out.as_doc().is_some_and(|out| {
        let mut fields = out.iter();
        matches!((fields.next(), fields.next()), (Some(Ok(only)), None) if only.key == b"inline")
    })
}

/// Whether two fields have one name. Few fields are compared with each other, many are sorted.
fn has_duplicates(fields: &[Element<'_>]) -> bool {
    const FEW: usize = 16;
    if fields.len() <= FEW {
        return fields
            .iter()
            .enumerate()
            .any(|(at, field)| fields[..at].iter().any(|before| before.key == field.key));
    }
    let mut keys: Vec<&[u8]> = fields.iter().map(|field| field.key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}
