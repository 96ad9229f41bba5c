//! The users file: who may log in where users do not come from the cluster (`[auth] source = "file"`).
//!
//! It keeps SCRAM verifiers, never passwords. A user whose verifier has the cluster's own salt and iterations, as `tidegate user
//! import` writes it, acts upstream as itself, because the key that a login proves fits there too; others name an upstream identity
//! to act as.
//!
//! Invariant: no error quotes a value of the file.

mod read;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    Mechanism, UserName,
    scram::{Hash, Secret, Verifier},
};

/// The identity that needs no entry: the user of `[upstream] uri`.
pub const SERVICE: &str = "service";

/// What a users file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsersFile {
    /// Who may log in with a password.
    pub users: BTreeMap<UserName, Entry>,
    /// Upstream identities by their names.
    pub identities: BTreeMap<Box<str>, UpstreamIdentity>,
    /// As which identity the owner of a certificate of this subject (RFC 2253, as a `mongod` writes it) acts.
    pub subjects: BTreeMap<Box<str>, Box<str>>,
}

/// One user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The identity as which the user's commands reach the nodes; `None`: as itself.
    pub act_as: Option<Box<str>>,
    /// For SCRAM-SHA-1.
    pub scram_sha_1: Option<Arc<Verifier>>,
    /// For SCRAM-SHA-256.
    pub scram_sha_256: Option<Arc<Verifier>>,
    /// The digest for MONGODB-CR, which is as good as the password.
    pub mongodb_cr: Option<Zeroizing<String>>,
}

impl Entry {
    /// The verifier of a hash's mechanism.
    #[must_use]
    pub fn verifier(&self, hash: Hash) -> Option<&Arc<Verifier>> {
        match hash {
            Hash::Sha1 => self.scram_sha_1.as_ref(),
            Hash::Sha256 => self.scram_sha_256.as_ref(),
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(***)")
    }
}

/// Whom to be towards the nodes, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamIdentity {
    /// The user.
    pub user: UserName,
    /// The mechanism; `None` where the nodes tell which of SCRAM the user has.
    pub mechanism: Option<Mechanism>,
    /// The file that holds the password.
    pub password_file: PathBuf,
    /// The password, once that file has been read.
    pub secret: Option<Secret>,
}

/// A mistake in a users file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersFileError {
    /// It is no TOML, or an entry has keys that it must not have or lacks one that it must.
    #[error("line {line}: {what}")]
    Form {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A password stands in the file.
    #[error(
        "{entry}: holds a password, and this file keeps none: take it out; `tidegate user import` copies the verifiers of a user \
         of the cluster, and password_file names a file of its own for an identity"
    )]
    Password {
        /// Which entry.
        entry: String,
    },
    /// A value is wrong.
    #[error("{entry}: {what}")]
    Entry {
        /// Which entry.
        entry: String,
        /// What is wrong.
        what: String,
    },
}

impl UsersFile {
    /// What is known of a user.
    #[must_use]
    pub fn user(&self, user: &UserName) -> Option<&Entry> {
        self.users.get(user)
    }

    /// The names that users and subjects act as, and that no entry has.
    fn unknown_identities(&self) -> BTreeSet<&str> {
        let of_users = self.users.values().filter_map(|entry| entry.act_as.as_deref());
        let named = of_users.chain(self.subjects.values().map(|name| &**name));
        named
            .filter(|name| *name != SERVICE && !self.identities.contains_key(*name))
            .collect()
    }
}

#[cfg(test)]
#[path = "../users_file_tests.rs"]
mod tests;
