//! What a login adds to the handshake: the question which mechanisms the user has, and the first message of a SCRAM conversation,
//! so that a login costs one round trip less (MongoDB Authentication specification, "Speculative Authentication").

use bson::{Binary, RawDocument, RawDocumentBuf, raw::cstr, rawdoc, spec::BinarySubtype};

use super::{Login, LoginError};
use crate::auth::{
    Mechanism, UserName,
    scram::{Hash, client::Conversation, nonce},
};

/// A conversation that began in the handshake, which the node may take up or not.
#[derive(Debug)]
pub(in crate::upstream) struct Speculation {
    pub(super) hash: Hash,
    pub(super) conversation: Conversation,
}

impl Speculation {
    /// Adds to the handshake what `login` has to ask and to say first.
    pub(in crate::upstream) fn begin(
        login: &Login,
        hello: &mut RawDocumentBuf,
    ) -> Result<Option<Self>, LoginError> {
        if login.mechanism.is_none() {
            hello.append(cstr!("saslSupportedMechs"), full_name(&login.user));
        }
        let Some(hash) = login.first_hash() else {
            return Ok(None);
        };
        let (conversation, mut start) = start(hash, &login.user)?;
        start.append(cstr!("db"), &*login.user.db);
        hello.append(cstr!("speculativeAuthenticate"), start);
        Ok(Some(Self { hash, conversation }))
    }
}

/// A conversation and its `saslStart`, without the database.
pub(super) fn start(hash: Hash, user: &UserName) -> Result<(Conversation, RawDocumentBuf), LoginError> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| LoginError::Random(error.to_string()))?;
    let (conversation, payload) = Conversation::begin(hash, user, &nonce(random));
    let start = rawdoc! {
        "saslStart": 1,
        "mechanism": hash.mechanism().name(),
        "payload": binary(payload),
        // Servers before 4.4 ask for an empty message at the end nevertheless.
        "options": { "skipEmptyExchange": true },
    };
    Ok((conversation, start))
}

/// The SCRAM mechanism for a user that the handshake was to tell the mechanisms of: the strongest, or SHA-1 where none is told,
/// as of a user that does not exist (Authentication specification, "Defaults").
pub(super) fn negotiated(hello: &RawDocument) -> Mechanism {
    let told = hello.get_array("saslSupportedMechs").ok();
    let has = |mechanism: Mechanism| {
        let name = |told: bson::error::Result<bson::RawBsonRef<'_>>| {
            told.is_ok_and(|told| told.as_str() == Some(mechanism.name()))
        };
        told.is_some_and(|told| told.into_iter().any(name))
    };
    if has(Mechanism::ScramSha256) {
        Mechanism::ScramSha256
    } else {
        Mechanism::ScramSha1
    }
}

/// A user as `saslSupportedMechs` wants it.
pub(super) fn full_name(user: &UserName) -> String {
    format!("{}.{}", user.db, user.name)
}

/// A message of a conversation.
pub(super) fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_mechanism_is_chosen_and_sha_1_where_nothing_is_told() {
        let cases = [
            (
                rawdoc! { "saslSupportedMechs": ["SCRAM-SHA-1", "SCRAM-SHA-256"] },
                Mechanism::ScramSha256,
            ),
            (
                rawdoc! { "saslSupportedMechs": ["SCRAM-SHA-1"] },
                Mechanism::ScramSha1,
            ),
            (rawdoc! { "saslSupportedMechs": [] }, Mechanism::ScramSha1),
            (
                rawdoc! { "saslSupportedMechs": "SCRAM-SHA-256" },
                Mechanism::ScramSha1,
            ),
            (rawdoc! {}, Mechanism::ScramSha1),
        ];
        for (hello, expected) in cases {
            assert_eq!(negotiated(&hello), expected, "{hello:?}");
        }
    }
}
