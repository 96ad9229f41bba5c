//! What can go wrong when a local replica set is started or driven.

use std::{io, path::PathBuf};

/// A failure of the sandbox. Messages say what was tried and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No `mongod` could be found, fetched or run.
    #[error(
        "no usable mongod: {tried}. Install MongoDB's `mongod` 5.0 or newer and put it on PATH, or name the binary \
         in TIDEGATE_MONGOD"
    )]
    MongodNotFound {
        /// What was tried, in order, with the outcome of each.
        tried: String,
    },
    /// A file, folder or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The options contradict each other or the data folder.
    #[error("{0}")]
    Options(String),
    /// A port that the kept replica set's configuration names is in use by something else.
    #[error(
        "port {port} on 127.0.0.1 is in use, and the replica set in {folder} is configured for it: stop what \
         listens there, or use another data folder", folder = .folder.display()
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The data folder whose set needs it.
        folder: PathBuf,
    },
    /// A `mongod` ended, or never answered.
    #[error("mongod at {address} {what}; its log is {log}, which ends with:\n{tail}", log = .log.display())]
    Node {
        /// `host:port` of the node.
        address: String,
        /// What became of it.
        what: String,
        /// Its log file. In a temporary folder it is gone once the set is dropped: the tail tells.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// No state that was waited for came about in time.
    #[error("waited {seconds} s for {what}; last seen: {seen}")]
    Timeout {
        /// The state that was awaited.
        what: String,
        /// How long.
        seconds: u64,
        /// The states seen last.
        seen: String,
    },
    /// A node could not be reached, or the connection broke.
    #[error("calling {address}: {source}")]
    Call {
        /// `host:port` of the node.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A node answered with something that is not a reply to the request.
    #[error("reply of {address}: {what}")]
    Reply {
        /// `host:port` of the node.
        address: String,
        /// What is wrong with it.
        what: String,
    },
    /// A node answered `ok: 0`.
    #[error("{address} refused `{command}`: {message} (code {code})")]
    Command {
        /// `host:port` of the node.
        address: String,
        /// The command's name.
        command: String,
        /// MongoDB's error code; 0 if there was none.
        code: i32,
        /// MongoDB's `errmsg`.
        message: String,
    },
    /// What the sandbox was started for did not start.
    #[error("the proxy did not start: {0}")]
    Proxy(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Names the operation that met `source`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The error code of a command that a node refused.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Command { code, .. } => Some(*code),
            _ => None,
        }
    }
}
