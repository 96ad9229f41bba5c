//! Who somebody is and how that is shown: mechanisms, user names, SCRAM on both sides; from where, and how often they may try.
//!
//! Pure: sockets, time and randomness are the callers', who hand in nonces, process secrets and the time.
//!
//! Invariant: what is secret (passwords, keys, verifiers) is overwritten when it is dropped, and its `Debug` output shows none of
//! it. A mechanism's keys serve that mechanism only.

mod attempts;
mod credentials;
mod mechanism;
mod network;
mod options;
mod password;
mod restrictions;
pub mod scram;
mod throttle;
mod user_name;
pub mod users_file;

pub use attempts::Attempts;
pub use credentials::{ActsAs, CrDigest, Credentials, CredentialsError};
pub use mechanism::Mechanism;
pub use network::{Network, NetworkError};
pub use options::{Options, Source};
pub use password::{PasswordError, scram_sha1_digest};
pub use restrictions::Restrictions;
pub use throttle::Throttle;
pub use user_name::UserName;
pub use users_file::UsersFile;
