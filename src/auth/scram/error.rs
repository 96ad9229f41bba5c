//! Why a SCRAM conversation ends without a login.

use crate::auth::PasswordError;

/// Why a conversation ended. No message quotes what was received, which may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A message is not what the grammar of RFC 5802, section 7, allows at this place.
    #[error("the {message} is malformed: {what}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The client demands channel binding, which MongoDB does not have.
    #[error("the client demands channel binding, which is not supported")]
    ChannelBinding,
    /// The client's second message repeats another GS2 header than its first.
    #[error("the channel binding of the client's second message is not that of its first")]
    ChannelBindingChanged,
    /// The client wants to act as another user than it logs in as.
    #[error("the authorization identity is not the user name")]
    OtherIdentity,
    /// An extension is mandatory, and none is known.
    #[error("a mandatory extension is demanded, and none is supported")]
    Extension,
    /// The nonce is not the one of this conversation.
    #[error("the nonce is not the one of this conversation")]
    Nonce,
    /// The proof does not fit: the password is wrong or there is no such user.
    #[error("the proof does not fit the user's credentials")]
    Proof,
    /// The server demands too few or too many iterations.
    #[error("{0} iterations are not between 4096 and 1000000")]
    Iterations(u32),
    /// A salt or key has not the length that it must have.
    #[error("the {0} has not the right length")]
    Length(&'static str),
    /// A secret of another mechanism was handed in.
    #[error("the secret belongs to another mechanism")]
    OtherMechanism,
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The server could not show that it knows the user's verifier: it is an impostor.
    #[error("the server's signature is wrong: it does not know the user's credentials")]
    ServerSignature,
    /// The server said that it refuses the login (`e=`).
    #[error("the server refuses the login: {0}")]
    Refused(String),
}

impl ScramError {
    /// Whether a message was no valid one, rather than a valid one that does not prove anything: the difference between
    /// `BadValue` and `AuthenticationFailed` for a `mongod`, which tells clients the second in either case.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. } | Self::ChannelBinding | Self::OtherIdentity | Self::Extension
        )
    }
}
