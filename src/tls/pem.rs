//! Reads certificates and keys from PEM files (RFC 7468).

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
    pem::{self, PemObject},
};

use super::TlsError;

/// Where a key's password comes from. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself, as a connection string has it.
    Text(Box<str>),
    /// A file whose content it is, but for the end of the line.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Password {
    /// The file, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path),
        }
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Text(text) => Ok(text.as_bytes().to_vec()),
            Self::File(path) => {
                let mut text = read(path)?;
                while matches!(text.last(), Some(b'\n' | b'\r')) {
                    text.pop();
                }
                Ok(text)
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

/// All certificates of a file, in their order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| malformed(path, &error))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

/// The first key of a file: PKCS#8, PKCS#1, SEC1, or PKCS#8 encrypted with a password (PBES2).
pub(super) fn key(path: &Path, password: Option<&Password>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    if let Some(block) = encrypted_block(&text) {
        let password = password.ok_or_else(|| TlsError::PasswordMissing(path.to_owned()))?;
        return decrypt(path, block, &password.read()?);
    }
    if contains(&text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::OldEncryption(path.to_owned()));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey(path.to_owned())),
        Err(error) => Err(malformed(path, &error)),
    }
}

fn decrypt(path: &Path, block: &str, password: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| malformed(path, &error))?;
    let wrong = |error: pkcs8::Error| TlsError::WrongPassword {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let info =
        EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| malformed(path, &error))?;
    let key = info.decrypt(password).map_err(wrong)?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

const ENCRYPTED_BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";

/// The first encrypted key of the text, with its first and last line.
fn encrypted_block(text: &[u8]) -> Option<&str> {
    let start = position(text, ENCRYPTED_BEGIN)?;
    let end = start + position(&text[start..], ENCRYPTED_END)? + ENCRYPTED_END.len();
    std::str::from_utf8(&text[start..end]).ok()
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    position(text, part).is_some()
}

fn malformed(path: &Path, problem: &dyn fmt::Display) -> TlsError {
    TlsError::Malformed {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}
