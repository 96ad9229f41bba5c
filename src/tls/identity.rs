//! A certificate chain with its key, and whose certificates are trusted, as read from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    Error as RustlsError, RootCertStore,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
};

use super::{Certificate, Password, TlsError, at, pem, provider};

/// Which files hold who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdentityFiles {
    pub(super) certificate: PathBuf,
    /// `None` if the key is in the certificate's file.
    pub(super) key: Option<PathBuf>,
    pub(super) password: Option<Password>,
}

impl IdentityFiles {
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let password = self.password.as_ref().and_then(Password::file);
        [Some(self.certificate.as_path()), self.key.as_deref(), password]
            .into_iter()
            .flatten()
    }

    /// Reads both; the certificate must be valid now, and the key must be its own.
    pub(super) fn load(&self) -> Result<(Arc<SingleCertAndKey>, Certificate), TlsError> {
        let chain = pem::certificates(&self.certificate)?;
        let about = self.check_validity(&chain)?;
        let key_path = self.key.as_ref().unwrap_or(&self.certificate);
        let key = pem::key(key_path, self.password.as_ref())?;
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| match error {
            RustlsError::InconsistentKeys(_) => TlsError::KeyMismatch {
                key: key_path.clone(),
                certificate: self.certificate.clone(),
            },
            error => TlsError::BadKey {
                path: key_path.clone(),
                problem: error.to_string(),
            },
        })?;
        Ok((Arc::new(certified.into()), about))
    }

    fn check_validity(&self, chain: &[CertificateDer<'_>]) -> Result<Certificate, TlsError> {
        let about = describe(&self.certificate, chain)?;
        let now = SystemTime::now();
        if about.not_after < now {
            return Err(TlsError::Expired {
                path: self.certificate.clone(),
                at: at(about.not_after),
            });
        }
        if about.not_before > now {
            return Err(TlsError::NotYetValid {
                path: self.certificate.clone(),
                at: at(about.not_before),
            });
        }
        Ok(about)
    }
}

/// What is worth knowing of the chain's first certificate. It ends with the first of the chain that does.
fn describe(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Certificate, TlsError> {
    let mut about: Option<Certificate> = None;
    for (index, der) in chain.iter().enumerate() {
        let parsed = parse(der).map_err(|error| TlsError::BadCertificate {
            path: path.to_owned(),
            number: index + 1,
            problem: error.to_string(),
        })?;
        let validity = parsed.tbs_certificate().validity();
        let not_after = UNIX_EPOCH + validity.not_after.to_unix_duration();
        match &mut about {
            Some(about) => about.not_after = about.not_after.min(not_after),
            None => {
                about = Some(Certificate {
                    path: path.to_owned(),
                    subject: super::subject::text(parsed.tbs_certificate().subject()),
                    not_before: UNIX_EPOCH + validity.not_before.to_unix_duration(),
                    not_after,
                });
            }
        }
    }
    about.ok_or_else(|| TlsError::NoCertificate(path.to_owned()))
}

/// Parses a certificate, also one that some authority has made with less care than RFC 5280 demands.
pub(super) fn parse(der: &[u8]) -> Result<CertificateInner<Raw>, x509_cert::der::Error> {
    CertificateInner::<Raw>::from_der(der)
}

/// The authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in pem::certificates(path)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| TlsError::BadCertificate {
            path: path.to_owned(),
            number: index + 1,
            problem: error.to_string(),
        })?;
    }
    Ok(store)
}

/// The system's authorities, as OpenSSL finds them; those that cannot be read are left out if there are others.
pub(super) fn platform_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoPlatformRoots(problems.join("; ")));
    }
    Ok(store)
}
