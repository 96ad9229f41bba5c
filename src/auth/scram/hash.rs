//! The primitives of RFC 5802, section 2.2, for the two hashes that MongoDB has.

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::Key;
use crate::auth::Mechanism;

/// The hash that a SCRAM mechanism is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// Of SCRAM-SHA-1.
    Sha1,
    /// Of SCRAM-SHA-256.
    Sha256,
}

impl Hash {
    /// The mechanism that has this hash.
    #[must_use]
    pub const fn mechanism(self) -> Mechanism {
        match self {
            Self::Sha1 => Mechanism::ScramSha1,
            Self::Sha256 => Mechanism::ScramSha256,
        }
    }

    /// The bytes of a key.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The bytes of the salts that a `mongod` makes: a key less the four that PBKDF2 appends.
    #[must_use]
    pub const fn salt_length(self) -> usize {
        self.length() - 4
    }

    /// The iterations that a `mongod` asks for unless it is told otherwise (`scramIterationCount`,
    /// `scramSHA256IterationCount`).
    #[must_use]
    pub const fn default_iterations(self) -> u32 {
        match self {
            Self::Sha1 => 10_000,
            Self::Sha256 => 15_000,
        }
    }

    /// `H(data)`
    pub(super) fn digest(self, data: &[u8]) -> Key {
        match self {
            Self::Sha1 => Key::of(&Sha1::digest(data)),
            Self::Sha256 => Key::of(&Sha256::digest(data)),
        }
    }

    /// `HMAC(key, data)`, of which `parts` are the pieces.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Key {
        match self {
            Self::Sha1 => hmac::<Hmac<Sha1>>(key, parts),
            Self::Sha256 => hmac::<Hmac<Sha256>>(key, parts),
        }
    }

    /// `Hi(password, salt, iterations)`: milliseconds of computing.
    pub(super) fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Key {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        let bytes = &mut bytes[..self.length()];
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, bytes),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, bytes),
        }
        Key::of(bytes)
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of every length (RFC 2104, section 2).
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return Key::of(&[]);
    };
    for part in parts {
        mac.update(part);
    }
    Key::of(&mac.finalize().into_bytes())
}
