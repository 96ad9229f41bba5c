//! The server's side: who this proxy is to clients, and which clients' certificates it accepts.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::net::TcpStream;

use super::{
    Certificate, HandshakeError, MinVersion, Outcome, Password, Reload, Stream, TlsError,
    identity::{self, IdentityFiles},
    provider,
    reload::{Made, Watched},
    session::Session,
    sni,
};

/// Whether a client has to present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// It may; one that it presents has to be valid.
    #[default]
    Optional,
    /// It must.
    Required,
}

/// What an [`Acceptor`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptorOptions {
    /// The PEM file of the certificate, followed by those of its chain.
    pub certificate: PathBuf,
    /// The PEM file of its key; `None` if it is in the same file.
    pub key: Option<PathBuf>,
    /// The password of the key, if that is encrypted.
    pub key_password: Option<Password>,
    /// The PEM file of the authorities that issue clients' certificates; `None`: clients are not asked for any.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must present one, if authorities are named.
    pub client_certificates: ClientCertificates,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

impl AcceptorOptions {
    /// A certificate and its key, and no clients' certificates.
    #[must_use]
    pub fn new(certificate: PathBuf, key: Option<PathBuf>) -> Self {
        Self {
            certificate,
            key,
            key_password: None,
            client_ca: None,
            client_certificates: ClientCertificates::default(),
            min_version: MinVersion::default(),
        }
    }

    fn identity(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            password: self.key_password.clone(),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity();
        let own = identity.paths().map(ToOwned::to_owned);
        own.chain(self.client_ca.clone()).collect()
    }

    fn make(&self) -> Result<Made<ServerConfig>, TlsError> {
        let (key, certificate) = self.identity().load()?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.min_version.versions())
            .map_err(TlsError::Refused)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(identity::roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = match self.client_certificates {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                let verifier = verifier.build().map_err(|error| TlsError::BadCertificate {
                    path: path.clone(),
                    number: 1,
                    problem: error.to_string(),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(sni::Noting(key)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Made {
            config: Arc::new(config),
            certificate: Some(certificate),
        })
    }
}

/// Takes clients' connections. Clones share what was read from the files; equal if their options are.
#[derive(Debug, Clone)]
pub struct Acceptor {
    options: Arc<AcceptorOptions>,
    watched: Arc<Watched<ServerConfig>>,
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

impl Eq for Acceptor {}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    pub fn new(options: AcceptorOptions) -> Result<Self, TlsError> {
        let options = Arc::new(options);
        let remade = Arc::clone(&options);
        let watched = Watched::new(options.files(), move || remade.make())?;
        Ok(Self {
            options,
            watched: Arc::new(watched),
        })
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &AcceptorOptions {
        &self.options
    }

    /// Shakes hands with a client, for as long as that takes: the caller sets the limit. Cancel safe: a cancelled call closes
    /// the connection.
    ///
    /// # Errors
    /// When the client closes, does not speak TLS, or is not accepted; it has been told so.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream, HandshakeError> {
        let session = Session::server(self.watched.config())?;
        Stream::shake_hands(stream, session).await
    }
}

impl Reload for Acceptor {
    fn look(&self) -> Outcome {
        self.watched.look()
    }

    fn certificate(&self) -> Option<Certificate> {
        self.watched.certificate()
    }
}
