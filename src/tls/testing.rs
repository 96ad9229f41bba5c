//! Certificate authorities and certificates for tests, made on the spot. Also compiled into the integration tests, hence without
//! a word of the crate.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Now and for long.
    Now,
    /// Long ago.
    Past,
    /// In a thousand years.
    Future,
}

/// An authority, and a folder for what it issues.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Authority {
    /// A new one, whose folder is removed on drop; its certificate is in [`Authority::ca`].
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Self::in_folder(folder.path().to_owned());
        Self {
            _temporary: Some(folder),
            ..authority
        }
    }

    /// The same in a folder that somebody else removes.
    pub fn in_folder(folder: PathBuf) -> Self {
        let mut params = CertificateParams::default();
        // Each its own name, or a verifier would look for the signature of one under that of another.
        let name = format!("Test Authority {}", COUNT.fetch_add(1, Relaxed));
        params.distinguished_name = subject(&[(DnType::CommonName, &name)]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
            _temporary: None,
        }
    }

    /// The file of its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file of its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Issues a certificate for these hosts, to be used on both sides; certificate and key go to one file.
    pub fn issue(&self, file: &str, hosts: &[&str], name: DistinguishedName, time: Time) -> PathBuf {
        let (certificate, key) = self.issue_pem(hosts, name, time);
        let path = self.path(file);
        fs::write(&path, certificate + &key).unwrap();
        path
    }

    /// The same as texts: the certificate and its key.
    pub fn issue_pem(&self, hosts: &[&str], name: DistinguishedName, time: Time) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = name;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let (from, to) = match time {
            Time::Now => (2020, 2120),
            Time::Past => (2020, 2021),
            Time::Future => (3000, 3100),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A certificate for a server on this machine.
    pub fn server(&self) -> PathBuf {
        let name = subject(&[(DnType::CommonName, "server")]);
        self.issue("server.pem", &["127.0.0.1", "localhost"], name, Time::Now)
    }

    /// A certificate for a client of this common name.
    pub fn client(&self, common_name: &str, time: Time) -> PathBuf {
        let name = subject(&[
            (DnType::OrganizationName, "Tide"),
            (DnType::CommonName, common_name),
        ]);
        self.issue(&format!("{common_name}.pem"), &[], name, time)
    }
}

/// A subject of these names, from the first to the last.
pub fn subject(names: &[(DnType, &str)]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (kind, value) in names {
        subject.push(kind.clone(), *value);
    }
    subject
}
