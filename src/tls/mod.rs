//! TLS (1.2 and 1.3, `rustls` with `ring`) for clients and nodes: who one is, whom one trusts, and the stream in between.
//!
//! A leaf: it knows nothing of frames and commands. [`Acceptor`] and [`Connector`] are made from options that name PEM files, and
//! read the files again when they have changed ([`Reload`]). Sessions are never resumed, so that every connection's certificate
//! was verified by what is in force now; drivers hardly resume sessions, and connections to nodes live long.

mod acceptor;
mod buffers;
mod connector;
mod error;
mod first_bytes;
mod identity;
mod pem;
mod reload;
mod session;
#[cfg(test)]
mod session_tests;
mod sni;
mod stream;
#[cfg(test)]
mod stream_tests;
mod subject;
#[cfg(test)]
#[allow(unreachable_pub, reason = "the integration tests compile it, too")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;

pub use acceptor::{Acceptor, AcceptorOptions, ClientCertificates};
pub use connector::{Connector, ConnectorOptions};
pub use error::{HandshakeError, TlsError};
pub use first_bytes::{FirstBytes, first_bytes};
pub use pem::Password;
pub use reload::{Certificate, Outcome, Reload, Reloads};
pub use stream::Stream;

use std::{
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use rustls::{SupportedProtocolVersion, crypto::CryptoProvider};

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => TLS13_ALONE,
        }
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A time as it is told, in UTC (RFC 3339).
fn at(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
