//! The configuration: a TOML file, environment variables and arguments, resolved to the options of each module.
//!
//! The way of a value: `tree` reads the file with the line of each value; `environment` lays variables and
//! arguments over it; `resolve` reads each section by its types (`reader`, `values`, `uri`) and `check` compares
//! settings with each other. `schema` has the names of all keys.
//!
//! Invariants: every mistake is reported at once, with its place (`file:line: key: problem`, or the variable's
//! name). A [`Config`] that was made is valid. The connection string, which may hold credentials, is in no
//! `Debug` output, warning or mistake.

mod access;
mod auth;
mod changes;
mod check;
mod compressors;
mod environment;
mod listeners;
mod mistake;
mod read_preference;
mod reader;
mod resolve;
mod schema;
mod secret;
mod shown;
mod tls;
mod tree;
pub mod uri;
mod users;
mod values;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

pub use changes::{Change, Changes, Effect};
pub use mistake::{Mistake, Mistakes, Place};
pub use read_preference::ReadPreferenceParts;
pub use users::{UsersError, read_users};
pub use values::display_size;

use environment::Given;
use mistake::Report;
use uri::{ConnectionString, UriError};

use crate::{admin, audit, auth as login, client, failover, pool, telemetry::log, upstream};

/// Bounds what a pool may be told to hold; more connections than this no node and no host could serve.
const MOST_CONNECTIONS: usize = 1_000_000;

/// The largest configuration file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// A valid configuration: the options of each module.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The connection string.
    pub connection: ConnectionString,
    /// The replica set, from the connection string.
    pub upstream: upstream::Options,
    /// How clients log in.
    pub auth: login::Options,
    /// Every node's pool.
    pub pool: pool::Options,
    /// What becomes of commands while no node can take them.
    pub failover: failover::Options,
    /// How the proxy goes when it is asked to.
    pub drain: client::drain::Options,
    /// Where clients are served; at least one.
    pub listeners: Vec<client::ListenerOptions>,
    /// Bounds on what clients may hold.
    pub limits: client::Limits,
    /// The admin endpoint; `None` where it is `"off"`.
    pub admin: Option<admin::Options>,
    /// Where the audit log goes; `None` where it is `"off"`.
    pub audit: Option<audit::Target>,
    /// Where the next process asks for the listening sockets; `None` where it cannot.
    pub upgrade: Option<PathBuf>,
    /// Whether the file is read again when it changes.
    pub watches: bool,
    /// The log.
    pub log: log::Options,
    /// Files beside the configuration's own in which settings stand: secrets and users.
    pub files: Vec<PathBuf>,
    /// Every setting as it may be shown, with where it comes from.
    pub settings: Vec<admin::Setting>,
    /// What is allowed and yet worth a look, each as `file:line: key: text`.
    pub warnings: Vec<String>,
}

/// Gathers the sources of a configuration, weakest first: the file, environment variables, arguments.
///
/// Its `Debug` output shows no values.
#[derive(Clone, Default)]
pub struct Loader {
    file: Option<(PathBuf, String)>,
    given: Vec<Given>,
}

impl Loader {
    /// A loader without any source: every setting has its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the settings of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read or is no UTF-8.
    pub fn file(self, path: &Path) -> Result<Self, Mistakes> {
        let text = read_file(path)?;
        Ok(self.text(path, text))
    }

    /// Takes the settings in `text`, as if it were the content of the file at `path`, which need not exist.
    #[must_use]
    pub fn text(mut self, path: &Path, text: impl Into<String>) -> Self {
        self.file = Some((path.to_owned(), text.into()));
        self
    }

    /// Takes the settings in environment variables (`std::env::vars_os()`); other variables are passed over.
    #[must_use]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(environment::PREFIX)) else {
                continue;
            };
            self.given.push(Given {
                variable: name.to_owned(),
                called: name.to_owned(),
                value: value.into_string().ok(),
                is_argument: false,
            });
        }
        self
    }

    /// Sets one value over all other sources. `key` is written `upstream.uri` or `listener.0.address`; messages
    /// call it by `called`, such as `--listen`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str, called: &str) -> Self {
        self.given.push(Given {
            variable: format!("{}{}", environment::PREFIX, key.to_uppercase().replace('.', "__")),
            called: called.to_owned(),
            value: Some(value.to_owned()),
            is_argument: true,
        });
        self
    }

    /// Reads and checks all of it.
    ///
    /// # Errors
    /// Every mistake that there is, in the order of the file.
    pub fn load(self) -> Result<Config, Mistakes> {
        let mut report = Report::default();
        let (path, text) = self.file.unwrap_or_default();
        let mut root = tree::parse(&path.to_string_lossy(), &text, &mut report);
        environment::overlay(&mut root, self.given, &mut report);
        let folder = path.parent().unwrap_or(Path::new(""));
        resolve::resolve(root, folder, report)
    }
}

impl Config {
    /// This configuration with what the DNS told of its `mongodb+srv://` string.
    ///
    /// # Errors
    /// If the TXT record is wrong or asks for what cannot be done, or contradicts the string.
    pub fn with_seedlist(&self, found: upstream::Seedlist) -> Result<Self, Vec<UriError>> {
        let connection = self.connection.resolved(found.hosts, found.txt.as_deref())?;
        let supported = connection.supported()?;
        let ttl = found.ttl;
        let upstream = upstream::Options {
            seeds: supported.seeds,
            set_name: supported.options.set_name,
            service: supported.credential.map(|credential| credential.login()),
            srv: supported.srv.map(|srv| upstream::SrvOptions { ttl, ..srv }),
            ..self.upstream.clone()
        };
        Ok(Self {
            connection,
            upstream,
            ..self.clone()
        })
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given: Vec<_> = self.given.iter().map(|given| &given.called).collect();
        let file = self.file.as_ref().map(|(path, _)| path);
        f.debug_struct("Loader")
            .field("file", &file)
            .field("given", &given)
            .finish_non_exhaustive()
    }
}

fn read_file(path: &Path) -> Result<String, Mistakes> {
    use std::io::Read;

    let mistake = |place, problem| {
        Mistakes::from(Mistake {
            place,
            key: String::new(),
            problem,
        })
    };
    let name = path.to_string_lossy();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| mistake(Place::Nowhere, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > LARGEST_FILE {
        let problem = format!("{name} is longer than {}", display_size(LARGEST_FILE as usize));
        return Err(mistake(Place::Nowhere, problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        mistake(
            Place::File {
                name: name.into(),
                line,
            },
            "is not valid UTF-8".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests;
