//! The client's side: which nodes this proxy trusts, and who it is to them.

use std::{path::PathBuf, sync::Arc};

use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};
use tokio::net::TcpStream;

use super::{
    Certificate, HandshakeError, MinVersion, Outcome, Password, Reload, Stream, TlsError,
    identity::{self, IdentityFiles},
    provider,
    reload::{Made, Watched},
    session::Session,
    verify::{Leniency, Verifier},
};

/// What a [`Connector`] is made of: the URI options of TLS (URI Options specification).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectorOptions {
    /// `tlsCAFile`: the authorities that issue nodes' certificates; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// `tlsCertificateKeyFile`: a certificate with its chain and key.
    pub certificate_key: Option<PathBuf>,
    /// `tlsCertificateKeyFilePassword`.
    pub key_password: Option<Password>,
    /// `tlsAllowInvalidCertificates`: whatever a node presents is good.
    pub allow_invalid_certificates: bool,
    /// `tlsAllowInvalidHostnames`: whomever the certificate names is good.
    pub allow_invalid_hostnames: bool,
}

impl ConnectorOptions {
    fn identity(&self) -> Option<IdentityFiles> {
        self.certificate_key.as_ref().map(|path| IdentityFiles {
            certificate: path.clone(),
            key: None,
            password: self.key_password.clone(),
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity();
        let own = identity
            .iter()
            .flat_map(IdentityFiles::paths)
            .map(ToOwned::to_owned);
        own.chain(self.ca.clone()).collect()
    }

    fn leniency(&self) -> Leniency {
        match (self.allow_invalid_certificates, self.allow_invalid_hostnames) {
            (true, _) => Leniency::Any,
            (false, true) => Leniency::AnyName,
            (false, false) => Leniency::None,
        }
    }

    fn make(&self) -> Result<Made<ClientConfig>, TlsError> {
        let leniency = self.leniency();
        let roots = match &self.ca {
            Some(path) => Some(identity::roots(path)?),
            None if leniency == Leniency::Any => None,
            None => Some(identity::platform_roots()?),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(TlsError::Refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(roots, leniency)?));
        let (mut config, certificate) = match self.identity() {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (key, certificate) = identity.load()?;
                (builder.with_client_cert_resolver(key), Some(certificate))
            }
        };
        config.resumption = Resumption::disabled();
        Ok(Made {
            config: Arc::new(config),
            certificate,
        })
    }
}

/// Opens connections to nodes. Clones share what was read from the files; equal if their options are.
#[derive(Debug, Clone)]
pub struct Connector {
    options: Arc<ConnectorOptions>,
    watched: Arc<Watched<ClientConfig>>,
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

impl Eq for Connector {}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    pub fn new(options: ConnectorOptions) -> Result<Self, TlsError> {
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
    pub fn options(&self) -> &ConnectorOptions {
        &self.options
    }

    /// Shakes hands with the node that was dialled as `host`, a name or an IP address, for as long as that takes: the caller
    /// sets the limit. Cancel safe: a cancelled call closes the connection.
    ///
    /// # Errors
    /// When the node closes, does not speak TLS, is not trusted, or does not trust this proxy.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream, HandshakeError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HandshakeError::BadName(host.into()))?;
        let session = Session::client(self.watched.config(), name)?;
        Stream::shake_hands(stream, session).await
    }
}

impl Reload for Connector {
    fn look(&self) -> Outcome {
        self.watched.look()
    }

    fn certificate(&self) -> Option<Certificate> {
        self.watched.certificate()
    }
}
