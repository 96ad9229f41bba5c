//! The client's side of a conversation, as Tidegate has it with nodes.
//!
//! A node is trusted with nothing: it must go on with the nonce that it was sent, may not ask for so few iterations that the
//! password could be guessed from the proof, nor for so many that computing never ends, and must show that it knows the
//! user's verifier.

use std::sync::Arc;

use super::{
    Hash, Keys, LEAST_ITERATIONS, MOST_ITERATIONS, ScramError, Secret,
    message::{Reading, encode, escape},
};
use crate::auth::UserName;

const FIRST: Reading = Reading("server's first SCRAM message");
const FINAL: Reading = Reading("server's second SCRAM message");
/// No channel binding, and no identity other than the user's own.
const GS2_HEADER: &str = "n,,";

/// A conversation whose first message is on its way.
#[derive(Debug)]
pub struct Conversation {
    hash: Hash,
    user: UserName,
    nonce: Box<str>,
    bare: String,
}

/// A conversation that the server has answered: it is known what the keys are derived with.
#[derive(Debug)]
pub struct Asked {
    hash: Hash,
    user: UserName,
    salt: Box<[u8]>,
    iterations: u32,
    /// The last message but for the proof.
    without_proof: String,
    /// The first two messages as they stand in the `AuthMessage`, with the comma behind each.
    messages: String,
}

/// A conversation whose proof is on its way.
#[derive(Debug)]
pub struct AwaitingFinal {
    keys: Arc<Keys>,
    auth_message: String,
}

impl Conversation {
    /// Begins to log in as `user`; returns the first message. `client_nonce` is fresh for each conversation
    /// ([`super::nonce`]).
    #[must_use]
    pub fn begin(hash: Hash, user: &UserName, client_nonce: &str) -> (Self, Vec<u8>) {
        let bare = format!("n={},r={client_nonce}", escape(&user.name));
        let payload = format!("{GS2_HEADER}{bare}").into_bytes();
        let conversation = Self {
            hash,
            user: user.clone(),
            nonce: client_nonce.into(),
            bare,
        };
        (conversation, payload)
    }

    /// Reads the server's first message.
    ///
    /// # Errors
    /// When it is malformed, answers another nonce, or asks for fewer than [`LEAST_ITERATIONS`] or more than
    /// [`MOST_ITERATIONS`].
    pub fn read(self, server_first: &[u8]) -> Result<Asked, ScramError> {
        let text = FIRST.text(server_first)?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        if text.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut attributes = text.split(',');
        let nonce = FIRST.attribute(attributes.next(), "r=", "there is no nonce")?;
        if !nonce.starts_with(&*self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = FIRST.attribute(attributes.next(), "s=", "there is no salt")?;
        let salt = FIRST.bytes(salt, "the salt is not base64")?;
        let iterations = FIRST.attribute(attributes.next(), "i=", "there is no iteration count")?;
        let iterations: u32 = iterations
            .parse()
            .map_err(|_| FIRST.malformed("the iteration count is no number"))?;
        if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            return Err(ScramError::Iterations(iterations));
        }
        Ok(Asked {
            hash: self.hash,
            user: self.user,
            salt: salt.into(),
            iterations,
            without_proof: format!("c={},r={nonce}", encode(GS2_HEADER.as_bytes())),
            messages: format!("{},{text},", self.bare),
        })
    }

    /// [`Conversation::read`] and [`Asked::answer`] in one. With a password this takes milliseconds.
    ///
    /// # Errors
    /// Those of the two, and those of [`Secret::keys`].
    pub fn respond(
        self,
        server_first: &[u8],
        secret: &Secret,
    ) -> Result<(AwaitingFinal, Vec<u8>), ScramError> {
        let asked = self.read(server_first)?;
        let keys = asked.keys(secret)?;
        asked.answer(keys)
    }
}

impl Asked {
    /// The salt that the server keeps for the user.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iterations that the server keeps for the user.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The keys that the server's challenge and the secret make. With a password this takes milliseconds.
    ///
    /// # Errors
    /// Those of [`Secret::keys`].
    pub fn keys(&self, secret: &Secret) -> Result<Arc<Keys>, ScramError> {
        secret.keys(self.hash, &self.user, &self.salt, self.iterations)
    }

    /// The client's second message, which proves that it knows the keys.
    ///
    /// # Errors
    /// When the keys belong to another mechanism.
    pub fn answer(self, keys: Arc<Keys>) -> Result<(AwaitingFinal, Vec<u8>), ScramError> {
        if keys.hash != self.hash {
            return Err(ScramError::OtherMechanism);
        }
        let auth_message = format!("{}{}", self.messages, self.without_proof);
        let stored_key = self.hash.digest(keys.client_key.expose());
        let signature = self.hash.hmac(stored_key.expose(), &[auth_message.as_bytes()]);
        let proof = keys
            .client_key
            .xor(signature.expose())
            .ok_or(ScramError::Length("client key"))?;
        let payload = format!("{},p={}", self.without_proof, encode(proof.expose()));
        Ok((AwaitingFinal { keys, auth_message }, payload.into_bytes()))
    }
}

impl AwaitingFinal {
    /// Checks the server's second message; returns the keys with which the login can be repeated.
    ///
    /// # Errors
    /// When the server refuses the login (`e=`), or its signature is wrong.
    pub fn verify(self, server_final: &[u8]) -> Result<Arc<Keys>, ScramError> {
        let text = FINAL.text(server_final)?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let signature = FINAL.attribute(Some(first), "v=", "there is no signature")?;
        let signature = FINAL.bytes(signature, "the signature is not base64")?;
        let expected = self
            .keys
            .hash
            .hmac(self.keys.server_key.expose(), &[self.auth_message.as_bytes()]);
        if expected.fits(&signature) {
            Ok(self.keys)
        } else {
            Err(ScramError::ServerSignature)
        }
    }
}
