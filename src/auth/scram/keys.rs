//! What is secret: keys, and the three forms in which somebody who logs in may have his secret.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Hash, ScramError};
use crate::auth::{UserName, password};

/// The result of a hash: up to 32 bytes that are overwritten when dropped, shown to nobody and compared in constant time.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; 32],
    length: usize,
}

impl Key {
    /// A key of a copy of these bytes; the first 32 of longer ones.
    pub(super) fn of(given: &[u8]) -> Self {
        let mut key = Self {
            bytes: [0; 32],
            length: given.len().min(32),
        };
        key.bytes[..key.length].copy_from_slice(&given[..key.length]);
        key
    }

    /// The bytes themselves: for the wire or a file that only its owner reads, never for a message.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Each bit combined by exclusive or with that of `other`; `None` unless both have the same length.
    pub(super) fn xor(&self, other: &[u8]) -> Option<Self> {
        if other.len() != self.length {
            return None;
        }
        let mut result = self.clone();
        for (ours, theirs) in result.bytes.iter_mut().zip(other) {
            *ours ^= theirs;
        }
        Some(result)
    }

    /// Whether these are the same bytes, in a time that does not depend on where they differ.
    pub(super) fn fits(&self, other: &[u8]) -> bool {
        self.expose().ct_eq(other).into()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.fits(other.expose())
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a login is repeated with, without the password: for one mechanism, one salt and one number of iterations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The mechanism's hash.
    pub hash: Hash,
    /// `ClientKey`, which makes proofs.
    pub client_key: Key,
    /// `ServerKey`, which tells the server's signatures from an impostor's.
    pub server_key: Key,
}

impl Keys {
    /// Derives the keys from what [`password::prepare`] made of a password. Takes milliseconds.
    pub(super) fn derive(hash: Hash, prepared: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(prepared.as_bytes(), salt, iterations);
        Self {
            hash,
            client_key: hash.hmac(salted.expose(), &[b"Client Key"]),
            server_key: hash.hmac(salted.expose(), &[b"Server Key"]),
        }
    }
}

/// What somebody who logs in knows.
#[derive(Clone)]
pub enum Secret {
    /// The password.
    Password(Zeroizing<String>),
    /// The digest of the password that MONGODB-CR and SCRAM-SHA-1 share, see [`crate::auth::scram_sha1_digest`].
    Sha1Digest(Zeroizing<String>),
    /// The keys of an earlier login. They fit as long as the user's salt and iterations stay as they are.
    Keys(Arc<Keys>),
}

impl Secret {
    /// The keys for a server that keeps this salt and these iterations. Takes milliseconds, unless they are there already.
    ///
    /// # Errors
    /// When the secret belongs to another mechanism, or SASLprep forbids the password.
    pub fn keys(
        &self,
        hash: Hash,
        user: &UserName,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Arc<Keys>, ScramError> {
        let prepared = match self {
            Self::Keys(keys) if keys.hash == hash => return Ok(Arc::clone(keys)),
            Self::Password(password) => password::prepare(hash, &user.name, password)?,
            Self::Sha1Digest(digest) if hash == Hash::Sha1 => digest.clone(),
            Self::Sha1Digest(_) | Self::Keys(_) => return Err(ScramError::OtherMechanism),
        };
        Ok(Arc::new(Keys::derive(hash, &prepared, salt, iterations)))
    }
}

/// Whether both are the same secret in the same form.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &str, other: &str| one.as_bytes().ct_eq(other.as_bytes()).into();
        match (self, other) {
            (Self::Password(one), Self::Password(other))
            | (Self::Sha1Digest(one), Self::Sha1Digest(other)) => same(one, other),
            (Self::Keys(one), Self::Keys(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(***)",
            Self::Sha1Digest(_) => "Sha1Digest(***)",
            Self::Keys(_) => "Keys(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let user = UserName::new("admin", "ann");
        let password = Secret::Password(Zeroizing::new("open sesame".to_owned()));
        let keys = password.keys(Hash::Sha256, &user, b"salt", 4096).unwrap();
        let digest = Secret::Sha1Digest(Zeroizing::new("open sesame".to_owned()));
        let shown = format!(
            "{password:?} {digest:?} {keys:?} {:?}",
            Secret::Keys(Arc::clone(&keys))
        );
        assert!(!shown.contains("sesame"), "{shown}");
        let first = keys.client_key.expose()[0];
        assert!(!shown.contains(&format!("{first}, ")), "{shown}");
    }

    #[test]
    fn a_secret_serves_its_own_mechanism_only() {
        let user = UserName::new("admin", "ann");
        let digest = Secret::Sha1Digest(Zeroizing::new("00".repeat(16)));
        let keys = digest.keys(Hash::Sha1, &user, b"salt", 4096).unwrap();
        let other = |secret: &Secret| secret.keys(Hash::Sha256, &user, b"salt", 4096);
        assert_eq!(other(&digest), Err(ScramError::OtherMechanism));
        assert_eq!(other(&Secret::Keys(keys)), Err(ScramError::OtherMechanism));
    }

    #[test]
    fn the_digest_and_its_password_are_the_same_secret() {
        let user = UserName::new("admin", "ann");
        let digest = Secret::Sha1Digest(crate::auth::scram_sha1_digest("ann", "pencil"));
        let password = Secret::Password(Zeroizing::new("pencil".to_owned()));
        let keys = |secret: &Secret| secret.keys(Hash::Sha1, &user, b"salt", 4096);
        assert_eq!(keys(&digest), keys(&password));
    }
}
