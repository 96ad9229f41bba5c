//! How clients show who they are, and where their credentials come from.

use std::{path::PathBuf, time::Duration};

use super::Mechanism;

/// Where clients' credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nowhere: clients need not log in, and every command goes out as the service user, if there is one.
    #[default]
    None,
    /// From the cluster's `admin.system.users`, read with the service user.
    Backend,
    /// From the users file.
    File,
}

impl Source {
    /// Whether clients must log in before they may do anything else.
    #[must_use]
    pub const fn demands_login(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// How clients log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where credentials come from.
    pub source: Source,
    /// The users file; `Some` where `source` is [`Source::File`].
    pub users_file: Option<PathBuf>,
    /// For how long what was read of a user is believed; a change made through this proxy is seen at once.
    pub credential_ttl: Duration,
    /// The mechanisms that clients may use, the preferred one first.
    pub mechanisms: Vec<Mechanism>,
}

impl Options {
    /// Whether clients may use this mechanism.
    #[must_use]
    pub fn offers(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(&mechanism)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: Source::None,
            users_file: None,
            credential_ttl: Duration::from_secs(30),
            mechanisms: vec![Mechanism::ScramSha256, Mechanism::ScramSha1],
        }
    }
}
