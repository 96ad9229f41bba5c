//! What a server keeps of a password: enough to check proofs, not enough to make them.

use std::fmt;

use super::{Hash, Iterations, Key, Keys, ScramError};
use crate::auth::{UserName, password};

/// The longest salt that is taken. Those of a `mongod` have 16 and 28 bytes.
const LONGEST_SALT: usize = 1024;

/// The verifier of one user for one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) hash: Hash,
    salt: Box<[u8]>,
    iterations: u32,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
    /// Whether there is such a user; without one no proof fits.
    pub(super) is_genuine: bool,
}

impl Verifier {
    /// The verifier that a server keeps as `salt`, `iterationCount`, `storedKey` and `serverKey`.
    ///
    /// # Errors
    /// When a key has not the length of the hash, the salt none or too much, or the iterations are zero.
    pub fn new(
        hash: Hash,
        salt: &[u8],
        iterations: u32,
        stored_key: &[u8],
        server_key: &[u8],
    ) -> Result<Self, ScramError> {
        if salt.is_empty() || salt.len() > LONGEST_SALT {
            return Err(ScramError::Length("salt"));
        }
        for (key, name) in [(stored_key, "stored key"), (server_key, "server key")] {
            if key.len() != hash.length() {
                return Err(ScramError::Length(name));
            }
        }
        if iterations == 0 {
            return Err(ScramError::Iterations(iterations));
        }
        Ok(Self {
            hash,
            salt: salt.into(),
            iterations,
            stored_key: Key::of(stored_key),
            server_key: Key::of(server_key),
            is_genuine: true,
        })
    }

    /// The verifier of a password. Takes milliseconds.
    ///
    /// # Errors
    /// Those of [`Verifier::new`], and when SASLprep forbids the password.
    pub fn from_password(
        hash: Hash,
        user: &UserName,
        password: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, ScramError> {
        let prepared = password::prepare(hash, &user.name, password)?;
        let keys = Keys::derive(hash, &prepared, salt, iterations);
        let stored_key = hash.digest(keys.client_key.expose());
        Self::new(
            hash,
            salt,
            iterations,
            stored_key.expose(),
            keys.server_key.expose(),
        )
    }

    /// The stand-in for a user that does not exist. It looks like any other to whoever asks, and the same each time, so that
    /// nobody learns which users there are; no proof fits it, at the same cost.
    ///
    /// `process_secret` is random and never told; it should be the same for as long as the process lives. `usual` are the iterations
    /// that users have here.
    #[must_use]
    pub fn unknown(hash: Hash, user: &UserName, process_secret: &[u8; 32], usual: Iterations) -> Self {
        // Lengths go in, too: `a` of `bc` is another user than `ab` of `c`.
        let length = (user.db.len() as u64).to_be_bytes();
        let derive = |purpose: &str| {
            let parts: [&[u8]; 5] = [
                purpose.as_bytes(),
                hash.mechanism().name().as_bytes(),
                &length,
                user.db.as_bytes(),
                user.name.as_bytes(),
            ];
            Hash::Sha256.hmac(process_secret, &parts)
        };
        let key = |purpose| Key::of(&derive(purpose).expose()[..hash.length()]);
        Self {
            hash,
            salt: derive("salt:").expose()[..hash.salt_length()].into(),
            iterations: usual.get(hash),
            stored_key: key("stored key:"),
            server_key: key("server key:"),
            is_genuine: false,
        }
    }

    /// Whether a login with these keys would succeed.
    #[must_use]
    pub fn is_of(&self, keys: &Keys) -> bool {
        let stored = self.hash.digest(keys.client_key.expose());
        self.is_genuine && keys.hash == self.hash && stored.fits(self.stored_key.expose())
    }

    /// The mechanism's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iterations.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// `StoredKey`, which proofs are checked against.
    #[must_use]
    pub fn stored_key(&self) -> &Key {
        &self.stored_key
    }

    /// `ServerKey`, which signs for the server.
    #[must_use]
    pub fn server_key(&self) -> &Key {
        &self.server_key
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, ***)", self.hash.mechanism())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let (short, right) = ([7; 20], [7; 32]);
        let of = |salt: &[u8], iterations, stored: &[u8], server: &[u8]| {
            Verifier::new(Hash::Sha256, salt, iterations, stored, server).map(|_| ())
        };
        assert_eq!(of(b"salt", 1, &right, &right), Ok(()));
        assert_eq!(of(b"", 1, &right, &right), Err(ScramError::Length("salt")));
        assert_eq!(of(&[0; 1025], 1, &right, &right), Err(ScramError::Length("salt")));
        assert_eq!(of(b"salt", 0, &right, &right), Err(ScramError::Iterations(0)));
        assert_eq!(
            of(b"salt", 1, &short, &right),
            Err(ScramError::Length("stored key"))
        );
        assert_eq!(
            of(b"salt", 1, &right, &short),
            Err(ScramError::Length("server key"))
        );
    }

    #[test]
    fn the_stand_in_of_an_unknown_user_is_stable_and_looks_like_a_real_one() {
        for hash in [Hash::Sha1, Hash::Sha256] {
            let usual = Iterations::usual([(hash, 54_321)], Iterations::default());
            let of = |db, name| Verifier::unknown(hash, &UserName::new(db, name), &[3; 32], usual);
            let one = of("admin", "nobody");
            assert_eq!(one, of("admin", "nobody"));
            assert_eq!(one.salt().len(), if hash == Hash::Sha1 { 16 } else { 28 });
            assert_eq!(one.iterations(), 54_321);
            assert_eq!(one.stored_key().expose().len(), hash.length());
            for other in [of("admin", "nobod"), of("adminn", "obody"), of("test", "nobody")] {
                assert_ne!(one.salt(), other.salt());
            }
            let elsewhere = Verifier::unknown(hash, &UserName::new("admin", "nobody"), &[4; 32], usual);
            assert_ne!(one.salt(), elsewhere.salt());
        }
    }

    #[test]
    fn a_verifier_shows_no_key_and_no_salt() {
        let user = UserName::new("admin", "ann");
        let verifier = Verifier::from_password(Hash::Sha1, &user, "pencil", b"salt", 1).unwrap();
        assert_eq!(format!("{verifier:?}"), "Verifier(SCRAM-SHA-1, ***)");
    }
}
