//! The server's side of a conversation: two messages from the client, two answers.
//!
//! It answers as a `mongod` does, and is stricter at one place: the channel binding of the second message must be the GS2
//! header of the first, as RFC 5802, section 7, demands.

use std::sync::Arc;

use super::{
    Hash, Keys, ScramError, Verifier,
    message::{Reading, encode},
};

const FIRST: Reading = Reading("client's first SCRAM message");
const FINAL: Reading = Reading("client's second SCRAM message");
/// A `mongod` takes no shorter nonce.
const SHORTEST_NONCE: usize = 4;

/// What the client's first message says.
#[derive(Debug)]
pub struct ClientFirst {
    hash: Hash,
    /// The flag of channel binding and the authorization identity, with their commas.
    gs2_header: Box<str>,
    /// All behind that header.
    bare: Box<str>,
    user_name: Box<str>,
    nonce: Box<str>,
}

/// A conversation that waits for the client's proof.
#[derive(Debug)]
pub struct Challenged {
    hash: Hash,
    verifier: Arc<Verifier>,
    gs2_header: Box<str>,
    /// Both sides' nonces.
    nonce: Box<str>,
    /// The first two messages as they stand in the `AuthMessage`, with the comma behind each.
    messages: String,
}

impl ClientFirst {
    /// Reads the client's first message.
    ///
    /// # Errors
    /// When it is malformed, demands channel binding (`p=`) or an extension (`m=`), or names another identity to act as.
    pub fn parse(hash: Hash, payload: &[u8]) -> Result<Self, ScramError> {
        let text = FIRST.text(payload)?;
        let mut parts = text.splitn(3, ',');
        match parts.next() {
            Some("n" | "y") => {}
            Some(flag) if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(FIRST.malformed("it does not begin with n or y")),
        }
        let authorization = match parts.next() {
            Some("") => None,
            Some(identity) => {
                let name = FIRST.attribute(Some(identity), "a=", "the authorization identity has no a=")?;
                Some(FIRST.unescape(name)?)
            }
            None => return Err(FIRST.malformed("the header has one part only")),
        };
        let bare = parts
            .next()
            .ok_or_else(|| FIRST.malformed("there is no user name"))?;
        if bare.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut attributes = bare.split(',');
        let user_name = FIRST.attribute(attributes.next(), "n=", "there is no user name")?;
        let user_name = FIRST.unescape(user_name)?;
        let nonce = FIRST.attribute(attributes.next(), "r=", "there is no nonce")?;
        if nonce.len() < SHORTEST_NONCE {
            return Err(FIRST.malformed("the nonce is too short"));
        }
        if authorization.is_some_and(|identity| identity != user_name) {
            return Err(ScramError::OtherIdentity);
        }
        Ok(Self {
            hash,
            gs2_header: text[..text.len() - bare.len()].into(),
            bare: bare.into(),
            nonce: nonce.into(),
            user_name,
        })
    }

    /// The user's name, without its database.
    #[must_use]
    pub fn user_name(&self) -> &str {
        &self.user_name
    }

    /// The server's first message, and the conversation that goes on. `server_nonce` is fresh for each conversation
    /// ([`super::nonce`]). A verifier of another mechanism is one that no proof fits.
    #[must_use]
    pub fn challenge(self, verifier: Arc<Verifier>, server_nonce: &str) -> (Challenged, Vec<u8>) {
        let nonce = format!("{}{server_nonce}", self.nonce);
        let salt = encode(verifier.salt());
        let first = format!("r={nonce},s={salt},i={}", verifier.iterations());
        let challenged = Challenged {
            hash: self.hash,
            verifier,
            gs2_header: self.gs2_header,
            nonce: nonce.into(),
            messages: format!("{},{first},", self.bare),
        };
        (challenged, first.into_bytes())
    }
}

impl Challenged {
    /// Checks the client's second message. Returns the server's second, which proves that it knows the verifier, and the keys
    /// with which the login can be repeated. Takes the same time whatever is wrong with a proof of the right length.
    ///
    /// # Errors
    /// When it is malformed, belongs to another conversation, or the proof does not fit.
    pub fn finish(self, payload: &[u8]) -> Result<(Vec<u8>, Keys), ScramError> {
        let text = FINAL.text(payload)?;
        let (without_proof, proof) = text
            .rsplit_once(',')
            .ok_or_else(|| FINAL.malformed("it has one part only"))?;
        let proof = FINAL.attribute(Some(proof), "p=", "there is no proof at its end")?;
        let proof = FINAL.bytes(proof, "the proof is not base64")?;
        let mut attributes = without_proof.split(',');
        let binding = FINAL.attribute(attributes.next(), "c=", "there is no channel binding")?;
        if binding != encode(self.gs2_header.as_bytes()) {
            return Err(ScramError::ChannelBindingChanged);
        }
        let nonce = FINAL.attribute(attributes.next(), "r=", "there is no nonce")?;
        if nonce != &*self.nonce {
            return Err(ScramError::Nonce);
        }
        self.judge(without_proof, &proof)
    }

    fn judge(&self, without_proof: &str, proof: &[u8]) -> Result<(Vec<u8>, Keys), ScramError> {
        let (hash, verifier) = (self.hash, &self.verifier);
        let message: [&[u8]; 2] = [self.messages.as_bytes(), without_proof.as_bytes()];
        let signature = hash.hmac(verifier.stored_key.expose(), &message);
        let client_key = signature.xor(proof).ok_or(ScramError::Proof)?;
        let fits = hash
            .digest(client_key.expose())
            .fits(verifier.stored_key.expose());
        let server_signature = hash.hmac(verifier.server_key.expose(), &message);
        if !fits || !verifier.is_genuine || verifier.hash != hash {
            return Err(ScramError::Proof);
        }
        let keys = Keys {
            hash,
            client_key,
            server_key: verifier.server_key.clone(),
        };
        let last = format!("v={}", encode(server_signature.expose()));
        Ok((last.into_bytes(), keys))
    }
}
