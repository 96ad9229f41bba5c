//! How an exchange with a node failed, and what the node can have seen of the request.

use std::io;

use super::{Interruption, LoginError};
use crate::{failover::Sent, tls, wire::WireError};

/// A failed exchange. The connection that it happened on must not be used again.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What the node can have seen.
    pub sent: Sent,
    /// What went wrong.
    pub reason: Reason,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The node and this proxy do not accept each other.
    #[error("cannot connect: {0}")]
    Tls(tls::HandshakeError),
    /// No connection could be made, or no handshake completed, in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(std::time::Duration),
    /// The node refused the handshake.
    #[error("the handshake was refused: {0}")]
    Handshake(String),
    /// The node did not let the user in.
    #[error("{0}")]
    Login(Box<LoginError>),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The node closed the connection.
    #[error("the node closed the connection")]
    Closed,
    /// The node sent what is no valid message.
    #[error("the node broke the protocol: {0}")]
    Wire(WireError),
    /// The node answered another request than the one that was sent.
    #[error("the node answered request {found}, not {expected}")]
    WrongReply {
        /// What the answer should name.
        expected: i32,
        /// What it names.
        found: i32,
    },
    /// The exchange was ended from here, so that it need not wait for a node that will not answer it.
    #[error("the exchange was ended because {0}")]
    Interrupted(Interruption),
    /// A reply was due and did not come.
    #[error("no reply within {0:?}")]
    ReplyTimeout(std::time::Duration),
}

impl Failure {
    /// A failure before the whole request was handed to the network.
    #[must_use]
    pub fn not_sent(reason: Reason) -> Self {
        Self {
            sent: Sent::NotSent,
            reason,
        }
    }

    /// Whether the node refused the credentials, which does not change until they do: see [`LoginError::is_refusal`].
    #[must_use]
    pub fn is_login_refused(&self) -> bool {
        matches!(&self.reason, Reason::Login(error) if error.is_refusal())
    }

    /// Whether the peer was silent, rather than refusing or closing: it may hang, with its connections open.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self.reason, Reason::ConnectTimeout(_) | Reason::ReplyTimeout(_))
    }

    /// Whether an established connection broke, as by a node that died: neither that a reply did not come in time, nor that no
    /// connection could be made.
    #[must_use]
    pub fn is_network_error(&self) -> bool {
        matches!(self.reason, Reason::Io(_) | Reason::Closed)
    }

    /// Whether the exchange was ended from here: what that says of its node is known already.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        matches!(self.reason, Reason::Interrupted(_))
    }

    /// A failure after that.
    #[must_use]
    pub fn maybe_sent(reason: Reason) -> Self {
        Self {
            sent: Sent::MaybeSent,
            reason,
        }
    }

    /// An answer that cannot be used.
    #[must_use]
    pub fn replied(reason: Reason) -> Self {
        Self {
            sent: Sent::Replied,
            reason,
        }
    }
}

/// Why a read failed.
pub(super) fn read_reason(error: io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Reason::Closed,
        _ => Reason::Io(error),
    }
}
