//! Why a node did not let a user in.

use crate::auth::{Mechanism, UserName, scram::ScramError};

/// `AuthenticationFailed`, and what else says that it is the credentials which are wrong: `UserNotFound`, and `AtlasError`.
const WRONG_CREDENTIALS: [i32; 3] = [18, 11, 8000];
/// `MechanismUnavailable`, `BadValue`: the node has no such mechanism.
const NO_MECHANISM: [i32; 2] = [334, 2];

/// Why a node did not let a user in. The connection must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The credentials are wrong.
    #[error(
        "the node refuses to log {user} in by {mechanism}: {message} (check the user name, the password and the database \
         that keeps the user)"
    )]
    Refused {
        /// The user.
        user: UserName,
        /// The mechanism.
        mechanism: Mechanism,
        /// The error code.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// The node does not offer the mechanism.
    #[error(
        "the node does not offer {mechanism}, or not for {user}: {message} (see its parameter authenticationMechanisms)"
    )]
    Unavailable {
        /// The user.
        user: UserName,
        /// The mechanism.
        mechanism: Mechanism,
        /// The error code.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// The node answered with another error, such as one that says that it is shutting down.
    #[error("the node failed to log a user in: {message} (code {code})")]
    Failed {
        /// The error code.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// The node broke the conversation's rules, or is an impostor.
    #[error("the login to the node was broken off: {0}")]
    Conversation(#[from] ScramError),
    /// The node's answer is none to a login.
    #[error("the node broke the protocol of logins: {0}")]
    Reply(&'static str),
    /// The mechanism sends the password itself, and the connection is readable for others.
    #[error("{0} sends the password in the clear, and the connection has no TLS")]
    NeedsTls(Mechanism),
    /// The mechanism cannot be used towards nodes.
    #[error("{0} cannot be used towards nodes")]
    Unusable(Mechanism),
    /// The operating system has no random bytes.
    #[error("no random bytes can be had: {0}")]
    Random(String),
}

impl LoginError {
    /// The error that a node's reply stands for.
    pub(super) fn of_reply(user: &UserName, mechanism: Mechanism, code: i32, message: String) -> Self {
        let user = user.clone();
        if WRONG_CREDENTIALS.contains(&code) {
            Self::Refused {
                user,
                mechanism,
                code,
                message,
            }
        } else if NO_MECHANISM.contains(&code) {
            Self::Unavailable {
                user,
                mechanism,
                code,
                message,
            }
        } else {
            Self::Failed { code, message }
        }
    }

    /// Whether the node said no to these credentials, so that trying them again is of no use until they are changed. Everything
    /// else says something of the node, or of the way to it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unavailable { .. })
    }
}
