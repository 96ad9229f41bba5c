//! The authentication mechanisms that Tidegate knows, by the names that drivers and servers use.

use std::fmt;

use super::scram::Hash;

/// A way to log in (MongoDB Authentication specification, "Supported Authentication Methods").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// `SCRAM-SHA-1` (RFC 5802), whose password is an MD5 digest of name and password.
    ScramSha1,
    /// `SCRAM-SHA-256` (RFC 7677).
    ScramSha256,
    /// `MONGODB-X509`: the certificate that the TLS handshake has proved.
    X509,
    /// `PLAIN` (RFC 4616): the password itself, for servers that ask an LDAP directory.
    Plain,
    /// `MONGODB-CR`, which servers dropped in 4.0 and old drivers know alone.
    MongodbCr,
}

impl Mechanism {
    /// All of them, the strongest password mechanism first.
    pub const ALL: [Self; 5] = [
        Self::ScramSha256,
        Self::ScramSha1,
        Self::X509,
        Self::Plain,
        Self::MongodbCr,
    ];

    /// Its name on the wire and in connection strings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::X509 => "MONGODB-X509",
            Self::Plain => "PLAIN",
            Self::MongodbCr => "MONGODB-CR",
        }
    }

    /// The mechanism of this name, which is written in capitals.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// The hash of a SCRAM mechanism.
    #[must_use]
    pub const fn scram_hash(self) -> Option<Hash> {
        match self {
            Self::ScramSha1 => Some(Hash::Sha1),
            Self::ScramSha256 => Some(Hash::Sha256),
            Self::X509 | Self::Plain | Self::MongodbCr => None,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_is_found_by_its_name_alone() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::from_name(mechanism.name()), Some(mechanism));
            assert_eq!(Mechanism::from_name(&mechanism.name().to_lowercase()), None);
            if let Some(hash) = mechanism.scram_hash() {
                assert_eq!(hash.mechanism(), mechanism);
            }
        }
        assert_eq!(Mechanism::from_name("GSSAPI"), None);
    }
}
