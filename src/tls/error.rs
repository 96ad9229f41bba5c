//! What is wrong with a file of certificates or keys, and why a handshake failed; each says what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustls::{CertificateError, Error as RustlsError};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is no PEM.
    #[error("{} is no valid PEM file: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no certificate in it.
    #[error("{} has no certificate in it (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in it.
    #[error("{} has no private key in it (BEGIN PRIVATE KEY)", .0.display())]
    NoKey(PathBuf),
    /// A certificate cannot be used.
    #[error("{}: certificate {number} cannot be used: {problem}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which one in the file, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} expired at {at}: issue it anew", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When (UTC).
        at: String,
    },
    /// The certificate's time is still to come.
    #[error("the certificate in {} is not valid before {at}: look at this machine's clock", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// When (UTC).
        at: String,
    },
    /// Key and certificate are of different pairs.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The key is of a kind that cannot be used.
    #[error("the key in {} cannot be used: {problem}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is encrypted, and no password was given.
    #[error("the key in {} is encrypted: give its password", .0.display())]
    PasswordMissing(PathBuf),
    /// The password does not fit.
    #[error("the key in {} cannot be decrypted: the password is wrong, or the cipher is not AES ({problem})", path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The key is encrypted in OpenSSL's old way.
    #[error(
        "the key in {} is encrypted in the old form (Proc-Type: 4,ENCRYPTED): convert it by \
         openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW",
        .0.display()
    )]
    OldEncryption(PathBuf),
    /// The system has no certificates of authorities.
    #[error("no certificate authority is named, and this system has none: {0}")]
    NoPlatformRoots(String),
    /// What is left: the library refuses the combination.
    #[error("{0}")]
    Refused(RustlsError),
}

impl TlsError {
    /// The file that is at fault.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::Malformed { path, .. }
            | Self::NoCertificate(path)
            | Self::NoKey(path)
            | Self::BadCertificate { path, .. }
            | Self::Expired { path, .. }
            | Self::NotYetValid { path, .. }
            | Self::KeyMismatch { key: path, .. }
            | Self::BadKey { path, .. }
            | Self::PasswordMissing(path)
            | Self::WrongPassword { path, .. }
            | Self::OldEncryption(path) => Some(path),
            Self::NoPlatformRoots(_) | Self::Refused(_) => None,
        }
    }
}

/// Why a handshake failed. The message says what to do where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer closed in its midst.
    #[error("the peer closed the connection during the TLS handshake")]
    Closed,
    /// The connection broke.
    #[error("the connection broke during the TLS handshake: {0}")]
    Io(io::Error),
    /// The name cannot stand in a certificate.
    #[error("{0} is neither a host name nor an IP address that a certificate could name")]
    BadName(Box<str>),
    /// One of both sides does not accept the other.
    #[error("{}", explain(.0))]
    Refused(Box<RustlsError>),
}

impl From<RustlsError> for HandshakeError {
    fn from(error: RustlsError) -> Self {
        // It is large, and stands in futures that are many.
        Self::Refused(Box::new(error))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.downcast::<RustlsError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Io(error),
        }
    }
}

/// What the library found, and what that mostly means.
fn explain(error: &RustlsError) -> String {
    let hint = match error {
        RustlsError::InvalidCertificate(problem) => certificate_hint(problem),
        RustlsError::InvalidMessage(_) => {
            "the peer does not speak TLS on this port, or a version older than 1.2"
        }
        RustlsError::NoCertificatesPresented => "the peer has to present a certificate, and has none",
        RustlsError::AlertReceived(alert) => return format!("the peer refused the TLS handshake: {alert:?}"),
        _ => "",
    };
    if hint.is_empty() {
        format!("the TLS handshake failed: {error}")
    } else {
        format!("the TLS handshake failed: {error}: {hint}")
    }
}

fn certificate_hint(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the peer's certificate, or one of its chain, has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "look at the clocks of both machines"
        }
        CertificateError::UnknownIssuer => {
            "the named certificate authority has not issued it, or an intermediate certificate is missing"
        }
        CertificateError::BadSignature => {
            "another certificate authority of the same name has issued it, or it was changed"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its subjectAltName does not name the host; names in CN alone are not looked at"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extendedKeyUsage is for the other side (serverAuth, clientAuth)"
        }
        CertificateError::Other(_) => {
            "a certificate authority's own certificate, or one of an old version, cannot be a server's or client's"
        }
        _ => "",
    }
}
