//! The beginning of a client's connection to a listener with TLS: whether it speaks TLS, and the handshake.

use std::{io, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::session::End;
use crate::{
    net::Stream,
    tls::{self, FirstBytes},
};

/// The first pause before a connection is looked at again whose first bytes have not all come; each is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How a listener takes TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Who this proxy is, and which clients' certificates it accepts.
    pub acceptor: tls::Acceptor,
    /// Clients without TLS are served, too, on the same port.
    pub plain_too: bool,
}

/// Brings a new connection to where messages begin.
///
/// # Errors
/// When the client closes, is not in time, speaks no TLS where it must, or both do not accept each other.
pub(super) async fn begin(
    stream: Stream,
    tls: &ListenerTls,
    limit: Duration,
    deadline: Instant,
) -> Result<Stream, End> {
    let Stream::Tcp(stream) = stream else {
        // The configuration has no TLS on Unix domain sockets.
        return Ok(stream);
    };
    let stream = stream.into_inner();
    let late = |_| End::Handshake(limit);
    match timeout_at(deadline, peek(&stream)).await.map_err(late)?? {
        FirstBytes::Tls => {
            let accepted = timeout_at(deadline, tls.acceptor.accept(stream)).await;
            Ok(accepted.map_err(late)?.map_err(End::Tls)?.into())
        }
        FirstBytes::Plain | FirstBytes::Undecided if tls.plain_too => Ok(stream.into()),
        FirstBytes::Plain | FirstBytes::Undecided => Err(End::Plain),
    }
}

/// Looks at the first bytes, and leaves them where they are. Undecided where the client closes before.
async fn peek(stream: &TcpStream) -> io::Result<FirstBytes> {
    let (mut bytes, mut pause) = ([0; 16], FIRST_PAUSE);
    loop {
        let count = stream.peek(&mut bytes).await?;
        match tls::first_bytes(&bytes[..count]) {
            // What was peeked at stays readable, so that readiness tells nothing of what is missing.
            FirstBytes::Undecided if count > 0 => sleep(pause).await,
            decided => return Ok(decided),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
