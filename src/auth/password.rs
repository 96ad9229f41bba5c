//! What a mechanism makes of a password before it is hashed.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::scram::Hash;

/// A password that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// SASLprep forbids a character of it.
    #[error("the password holds a character that SASLprep (RFC 4013) forbids, or mixes writing directions")]
    Prohibited,
}

/// The digest that SCRAM-SHA-1 takes for the password, in hexadecimal digits: MD5 of `name:mongo:password` (MongoDB
/// Authentication specification). MONGODB-CR keeps the same.
#[must_use]
pub fn scram_sha1_digest(name: &str, password: &str) -> Zeroizing<String> {
    let mut md5 = Md5::new();
    for part in [name, ":mongo:", password] {
        md5.update(part.as_bytes());
    }
    let mut text = Zeroizing::new(String::with_capacity(32));
    for byte in md5.finalize() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// The bytes that PBKDF2 is given for the password of the user `name`.
pub(super) fn prepare(hash: Hash, name: &str, password: &str) -> Result<Zeroizing<String>, PasswordError> {
    match hash {
        Hash::Sha1 => Ok(scram_sha1_digest(name, password)),
        Hash::Sha256 => {
            let prepared = stringprep::saslprep(password).map_err(|_| PasswordError::Prohibited)?;
            Ok(Zeroizing::new(prepared.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_name_mongo_and_password() {
        // The example of the Authentication specification: user "user", password "pencil".
        assert_eq!(
            *scram_sha1_digest("user", "pencil"),
            "1c33006ec1ffd90f9cadcbcc0e118200"
        );
    }

    #[test]
    fn sha_1_takes_any_password_and_sha_256_prepares_it() {
        // RFC 4013, section 3: the soft hyphen maps to nothing, the ordinal to a letter, the Roman numeral to two.
        for (given, prepared) in [
            ("I\u{AD}X", "IX"),
            ("user", "user"),
            ("\u{AA}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{A0}b", "a b"),
        ] {
            let found = prepare(Hash::Sha256, "ann", given).unwrap();
            assert_eq!(*found, prepared, "{given:?}");
        }
        for forbidden in ["\u{7}", "\u{627}1"] {
            assert_eq!(
                prepare(Hash::Sha256, "ann", forbidden),
                Err(PasswordError::Prohibited)
            );
            assert!(prepare(Hash::Sha1, "ann", forbidden).is_ok());
        }
    }
}
