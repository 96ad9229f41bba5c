//! What is known of a user: how a login is judged, from where it may come, and as whom its commands reach the nodes.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::RawDocument;
use zeroize::Zeroizing;

use super::{
    Mechanism, Restrictions, UserName,
    scram::{Hash, ScramError, Verifier},
};

/// As whom a user's commands reach the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ActsAs {
    /// As the same user, by the key that the login has proven.
    #[default]
    Itself,
    /// As the upstream identity that the operator has named so.
    Named(Box<str>),
}

/// What is known of one user.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: UserName,
    /// For SCRAM-SHA-1.
    pub scram_sha_1: Option<Arc<Verifier>>,
    /// For SCRAM-SHA-256.
    pub scram_sha_256: Option<Arc<Verifier>>,
    /// The digest for MONGODB-CR, as good as a password.
    pub cr_digest: Option<CrDigest>,
    /// Those of the user and of each role; all must hold.
    pub restrictions: Vec<Restrictions>,
    /// As whom the commands reach the nodes.
    pub acts_as: ActsAs,
}

/// The digest of MONGODB-CR.
#[derive(Clone)]
pub struct CrDigest(pub Zeroizing<String>);

impl std::fmt::Debug for CrDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrDigest(***)")
    }
}

/// Why what a cluster keeps of a user cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A part is missing, or of another type.
    #[error("the document of the user has no usable {0}")]
    Missing(&'static str),
    /// A verifier's parts do not fit.
    #[error("the user's {0} credentials are unusable: {1}")]
    Verifier(Mechanism, ScramError),
}

impl Credentials {
    /// Of a user without any.
    #[must_use]
    pub fn none(user: UserName) -> Self {
        Self {
            user,
            scram_sha_1: None,
            scram_sha_256: None,
            cr_digest: None,
            restrictions: Vec::new(),
            acts_as: ActsAs::Itself,
        }
    }

    /// Reads a document of `admin.system.users`; the restrictions of roles are added by who has read them.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(document: &RawDocument) -> Result<Self, CredentialsError> {
        let text = |name: &'static str| {
            let value = document.get_str(name);
            value.map_err(|_| CredentialsError::Missing(name))
        };
        let mut read = Self::none(UserName::new(text("db")?, text("user")?));
        let all = document.get_document("credentials");
        let all = all.map_err(|_| CredentialsError::Missing("credentials"))?;
        read.scram_sha_1 = verifier(all, Hash::Sha1)?;
        read.scram_sha_256 = verifier(all, Hash::Sha256)?;
        match document.get("authenticationRestrictions") {
            Ok(None) => {}
            Ok(Some(bson::RawBsonRef::Array(list))) => read.restrictions.push(Restrictions::read(list)),
            _ => return Err(CredentialsError::Missing("authenticationRestrictions")),
        }
        Ok(read)
    }

    /// The verifier of a hash's mechanism.
    #[must_use]
    pub fn verifier(&self, hash: Hash) -> Option<&Arc<Verifier>> {
        match hash {
            Hash::Sha1 => self.scram_sha_1.as_ref(),
            Hash::Sha256 => self.scram_sha_256.as_ref(),
        }
    }

    /// Whether a client of this address may log in as this user.
    #[must_use]
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        self.restrictions.iter().all(|set| set.allow(address))
    }
}

fn verifier(all: &RawDocument, hash: Hash) -> Result<Option<Arc<Verifier>>, CredentialsError> {
    let mechanism = hash.mechanism();
    let kept = match all.get(mechanism.name()) {
        Ok(None) => return Ok(None),
        Ok(Some(bson::RawBsonRef::Document(kept))) => kept,
        _ => return Err(CredentialsError::Missing("credentials")),
    };
    let bytes = |name: &'static str| {
        let text = kept.get_str(name).map_err(|_| CredentialsError::Missing(name))?;
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(Zeroizing::new)
            .map_err(|_| CredentialsError::Missing(name))
    };
    let iterations = kept.get_i32("iterationCount").ok();
    let iterations = iterations.and_then(|count| u32::try_from(count).ok());
    let iterations = iterations.ok_or(CredentialsError::Missing("iterationCount"))?;
    let verifier = Verifier::new(
        hash,
        &bytes("salt")?,
        iterations,
        &bytes("storedKey")?,
        &bytes("serverKey")?,
    );
    let verifier = verifier.map_err(|error| CredentialsError::Verifier(mechanism, error))?;
    Ok(Some(Arc::new(verifier)))
}

#[cfg(test)]
mod tests {
    use bson::{Document, RawDocumentBuf, doc};

    use super::*;

    fn read(document: &Document) -> Result<Credentials, CredentialsError> {
        Credentials::read(&RawDocumentBuf::try_from(document).unwrap())
    }

    /// As a server of version 6.0 keeps it.
    fn kept() -> Document {
        let key = |length| BASE64_STANDARD.encode(vec![7; length]);
        doc! {
            "_id": "shop.ann", "user": "ann", "db": "shop",
            "credentials": {
                "SCRAM-SHA-1": { "iterationCount": 10_000, "salt": key(16), "storedKey": key(20), "serverKey": key(20) },
                "SCRAM-SHA-256": { "iterationCount": 15_000, "salt": key(28), "storedKey": key(32), "serverKey": key(32) },
            },
            "roles": [],
            "authenticationRestrictions": [{ "clientSource": ["10.0.0.0/8"] }],
        }
    }

    #[test]
    fn what_a_server_keeps_is_read_whole() {
        let read = read(&kept()).unwrap();
        assert_eq!(read.user, UserName::new("shop", "ann"));
        assert_eq!(read.verifier(Hash::Sha1).unwrap().iterations(), 10_000);
        assert_eq!(read.verifier(Hash::Sha256).unwrap().salt(), [7; 28]);
        assert!(read.allow("10.1.1.1".parse().ok()) && !read.allow("11.1.1.1".parse().ok()));
    }

    #[test]
    fn a_user_may_have_one_mechanism_alone_or_none_at_all() {
        let mut one = kept();
        one.get_document_mut("credentials").unwrap().remove("SCRAM-SHA-1");
        assert!(read(&one).unwrap().verifier(Hash::Sha1).is_none());
        one.insert("credentials", doc! { "external": true });
        assert!(read(&one).unwrap().verifier(Hash::Sha256).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (path, value) in [
            ("user", doc! { "user": 5 }),
            ("credentials", doc! { "credentials": 5 }),
        ] {
            let mut document = kept();
            document.extend(value);
            assert_eq!(read(&document).unwrap_err(), CredentialsError::Missing(path));
        }
        let mut short = kept();
        let scram = short.get_document_mut("credentials").unwrap();
        scram
            .get_document_mut("SCRAM-SHA-1")
            .unwrap()
            .insert("storedKey", "AAAA");
        assert!(matches!(
            read(&short),
            Err(CredentialsError::Verifier(Mechanism::ScramSha1, _))
        ));
    }
}
