//! Logging a fresh connection in to a node.
//!
//! Invariant: a connection is logged in at most once, before anybody else has it, so that it belongs to one user for as long as
//! it lives. Monitors do not log in: `hello` needs no user (MongoDB Authentication specification, "Authentication and server
//! discovery").

mod converse;
mod error;
mod handshake;

use std::{fmt, sync::Arc};

use tokio::sync::Mutex;

pub use converse::login;
pub use error::LoginError;
pub(super) use {
    converse::{go_on, is_ok},
    handshake::Speculation,
};

use crate::auth::{
    Mechanism, UserName,
    scram::{Hash, Keys, Secret},
};

/// The database of users whom something else than MongoDB knows: certificates, directories.
pub const EXTERNAL: &str = "$external";

/// Whom to be towards the nodes, and how to show it.
pub struct Login {
    user: UserName,
    mechanism: Option<Mechanism>,
    /// `None` for certificates.
    secret: Option<Secret>,
    /// The keys made of a password, with what they were made with: so that the computing is paid once.
    derived: Mutex<Option<Derived>>,
}

/// Keys, and what the server said that they are to be made with. All nodes of a cluster say the same until the password changes.
struct Derived {
    salt: Box<[u8]>,
    iterations: u32,
    keys: Arc<Keys>,
}

impl Login {
    /// A user of this mechanism, with what the user knows.
    #[must_use]
    pub fn new(user: UserName, mechanism: Mechanism, secret: Secret) -> Self {
        Self::of(user, Some(mechanism), Some(secret))
    }

    /// A user whose mechanism the nodes tell: SCRAM-SHA-256 where the user has it, else SCRAM-SHA-1.
    #[must_use]
    pub fn negotiated(user: UserName, secret: Secret) -> Self {
        Self::of(user, None, Some(secret))
    }

    /// The user of the connection's TLS certificate. `subject` is empty where the node shall read it there.
    #[must_use]
    pub fn with_certificate(subject: &str) -> Self {
        Self::of(UserName::new(EXTERNAL, subject), Some(Mechanism::X509), None)
    }

    fn of(user: UserName, mechanism: Option<Mechanism>, secret: Option<Secret>) -> Self {
        Self {
            user,
            mechanism,
            secret,
            derived: Mutex::new(None),
        }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The mechanism; `None` where the nodes say which the user has.
    #[must_use]
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.mechanism
    }

    /// The keys by which SCRAM is proven, if that is how the login is done and they are what is known.
    #[must_use]
    pub fn scram_keys(&self) -> Option<&Arc<Keys>> {
        match &self.secret {
            Some(Secret::Keys(keys)) => Some(keys),
            _ => None,
        }
    }

    /// Whether both log the same user in by the same secret.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret && self.user == other.user && self.mechanism == other.mechanism
    }

    /// A login that no node has ever seen.
    #[cfg(test)]
    pub(crate) fn testing(number: u64) -> Self {
        let user = UserName::new("admin", &format!("user{number}"));
        Self::new(
            user,
            Mechanism::ScramSha256,
            Secret::Password(String::new().into()),
        )
    }

    /// The mechanism that a login begins with before the nodes have said anything, if it is one of SCRAM: the one that keys are
    /// known for already, or else the stronger.
    fn first_hash(&self) -> Option<Hash> {
        match self.mechanism {
            Some(mechanism) => mechanism.scram_hash(),
            None => {
                let derived = self.derived.try_lock().ok();
                let known = derived.and_then(|derived| Some(derived.as_ref()?.keys.hash));
                Some(known.unwrap_or(Hash::Sha256))
            }
        }
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for Login {}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

#[cfg(test)]
#[path = "../login_tests.rs"]
mod tests;
