//! What files are taken, what peers are accepted, and what is said of others.

use std::{fs, path::Path, time::SystemTime};

use rcgen::DnType;
use tokio::net::{TcpListener, TcpStream};

use super::{
    session::Session,
    testing::{Authority, Time, subject},
    *,
};

/// Both ends of a TCP connection: dialled, accepted.
pub(super) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (dialled, listener.accept().await.unwrap().0)
}

/// Both ends of a handshake: the connector's, the acceptor's. With TLS 1.3 a client believes that it is done before its certificate
/// has been judged.
pub(super) async fn shake(
    connector: &Connector,
    host: &str,
    acceptor: &Acceptor,
) -> (Result<Stream, HandshakeError>, Result<Stream, HandshakeError>) {
    let (dialled, accepted) = tcp().await;
    tokio::join!(connector.connect(host, dialled), acceptor.accept(accepted))
}

fn trusting(authority: &Authority) -> ConnectorOptions {
    ConnectorOptions {
        ca: Some(authority.ca()),
        ..ConnectorOptions::default()
    }
}

pub(super) fn plain_pair(authority: &Authority) -> (Connector, Acceptor) {
    (
        Connector::new(trusting(authority)).unwrap(),
        Acceptor::new(AcceptorOptions::new(authority.server(), None)).unwrap(),
    )
}

fn fault(options: AcceptorOptions) -> String {
    Acceptor::new(options).unwrap_err().to_string()
}

#[tokio::test]
async fn a_node_is_trusted_by_its_authority_its_name_and_its_address() {
    let authority = Authority::new();
    let (connector, acceptor) = plain_pair(&authority);
    for (host, sni) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
        let (client, server) = shake(&connector, host, &acceptor).await;
        client.unwrap();
        assert_eq!(server.unwrap().sni(), sni, "an address is no SNI");
    }
    let (client, server) = shake(&connector, "elsewhere", &acceptor).await;
    let said = client.unwrap_err().to_string();
    assert!(said.contains("subjectAltName"), "{said}");
    let said = server.unwrap_err().to_string();
    assert!(said.contains("the peer refused"), "{said}");
    let stranger = Connector::new(trusting(&Authority::new())).unwrap();
    let said = shake(&stranger, "localhost", &acceptor)
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(said.contains("authority has not issued it"), "{said}");
}

#[tokio::test]
async fn leniency_goes_as_far_as_it_was_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let expired = authority.issue(
        "expired.pem",
        &["localhost"],
        subject(&[(DnType::CommonName, "old")]),
        Time::Past,
    );
    assert!(fault(AcceptorOptions::new(expired, None)).contains("expired at 2021-01-01T00:00:00Z"));
    let acceptor = Acceptor::new(AcceptorOptions::new(authority.server(), None)).unwrap();
    // Which authority is trusted, names or certificates let pass, the host, and whether it is well.
    for (trusted, any_name, any_certificate, host, is_well) in [
        (&authority, false, false, "elsewhere", false),
        (&authority, true, false, "elsewhere", true),
        (&stranger, true, false, "localhost", false),
        (&stranger, false, true, "localhost", true),
        (&stranger, false, true, "elsewhere", true),
    ] {
        let connector = Connector::new(ConnectorOptions {
            allow_invalid_hostnames: any_name,
            allow_invalid_certificates: any_certificate,
            ..trusting(trusted)
        });
        let (client, _) = shake(&connector.unwrap(), host, &acceptor).await;
        assert_eq!(client.is_ok(), is_well, "{host} {any_name} {any_certificate}");
    }
}

#[tokio::test]
async fn clients_certificates_are_optional_or_required_and_always_valid() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let name = "CN=app,O=Tide";
    for (certificates, certificate, expected) in [
        (ClientCertificates::Optional, None, Ok(None)),
        (ClientCertificates::Required, None, Err("has to present")),
        (
            ClientCertificates::Required,
            Some(authority.client("app", Time::Now)),
            Ok(Some(name)),
        ),
        (
            ClientCertificates::Optional,
            Some(stranger.client("app", Time::Now)),
            Err("has not issued it"),
        ),
    ] {
        let acceptor = Acceptor::new(AcceptorOptions {
            client_ca: Some(authority.ca()),
            client_certificates: certificates,
            ..AcceptorOptions::new(authority.server(), None)
        });
        let connector = Connector::new(ConnectorOptions {
            certificate_key: certificate,
            ..trusting(&authority)
        });
        let (_, server) = shake(&connector.unwrap(), "localhost", &acceptor.unwrap()).await;
        match (server, expected) {
            (Ok(server), Ok(expected)) => assert_eq!(server.peer_subject(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let authority = Authority::new();
    let name = || subject(&[(DnType::CommonName, "server")]);
    let (certificate, key) = authority.issue_pem(&["localhost"], name(), Time::Now);
    let (_, other_key) = authority.issue_pem(&["localhost"], name(), Time::Now);
    let future = authority.issue("future.pem", &["localhost"], name(), Time::Future);
    let file = |file: &str, text: &str| {
        let path = authority.path(file);
        fs::write(&path, text).unwrap();
        path
    };
    let good = file("good.pem", &certificate);
    let cases = [
        (authority.path("none.pem"), None, "none.pem cannot be read"),
        (file("empty.pem", ""), None, "empty.pem has no certificate in it"),
        (good.clone(), None, "good.pem has no private key in it"),
        (
            good.clone(),
            Some(file("key.pem", &other_key)),
            "key.pem does not belong to the certificate in",
        ),
        (good.clone(), Some(good.clone()), "has no private key in it"),
        (
            file(
                "broken.pem",
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            ),
            None,
            "broken.pem is no valid PEM file",
        ),
        (
            file(
                "junk.pem",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
            None,
            "junk.pem: certificate 1 cannot be used",
        ),
        (future, None, "is not valid before 3000-01-01T00:00:00Z"),
        (
            good.clone(),
            Some(file(
                "old.pem",
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            )),
            "openssl pkcs8 -topk8",
        ),
    ];
    for (certificate, key, expected) in cases {
        let said = fault(AcceptorOptions::new(certificate, key));
        assert!(said.contains(expected), "{said}");
    }
    let said = fault(AcceptorOptions {
        client_ca: Some(file("nobody.pem", &key)),
        ..AcceptorOptions::new(file("both.pem", &(certificate + &key)), None)
    });
    assert!(said.contains("nobody.pem has no certificate in it"), "{said}");
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let authority = Authority::new();
    let name = subject(&[(DnType::CommonName, "server")]);
    let (certificate, key) = authority.issue_pem(&["localhost"], name, Time::Now);
    let (_, der) = pkcs8::SecretDocument::from_pem(&key).unwrap();
    let info = pkcs8::PrivateKeyInfoRef::try_from(der.as_bytes()).unwrap();
    let how = pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2048, b"sea salt", [7; 16]);
    let encrypted = info.encrypt_with_params(how.unwrap(), "low tide").unwrap();
    let encrypted = encrypted
        .to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF)
        .unwrap();
    let path = authority.path("encrypted.pem");
    fs::write(&path, certificate + &encrypted).unwrap();
    let password_file = authority.path("password");
    fs::write(&password_file, "low tide\n").unwrap();
    let with = |password: Option<Password>| {
        Acceptor::new(AcceptorOptions {
            key_password: password,
            ..AcceptorOptions::new(path.clone(), None)
        })
    };
    assert!(matches!(with(None), Err(TlsError::PasswordMissing(_))));
    let wrong = with(Some(Password::Text("high tide".into())));
    assert!(matches!(wrong, Err(TlsError::WrongPassword { .. })));
    assert!(with(Some(Password::Text("low tide".into()))).is_ok());
    assert!(with(Some(Password::File(password_file))).is_ok());
    let shown = format!("{:?}", Password::Text("low tide".into()));
    assert!(!shown.contains("tide"));
}

#[tokio::test]
async fn changed_files_are_read_again_and_broken_ones_change_nothing() {
    let authority = Authority::new();
    let (connector, acceptor) = plain_pair(&authority);
    let path = authority.server();
    // It was written anew, so once is a change.
    assert!(matches!(acceptor.look(), Outcome::Reloaded));
    assert!(matches!(acceptor.look(), Outcome::Unchanged));
    let (client, _server) = shake(&connector, "localhost", &acceptor).await;
    fs::write(&path, "half a fi").unwrap();
    match acceptor.look() {
        Outcome::Broken(error) => assert!(error.to_string().contains("no certificate in it"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(acceptor.look(), Outcome::Unchanged), "told once");
    shake(&connector, "localhost", &acceptor).await.0.unwrap();
    replace(&path, &authority, "elsewhere");
    assert!(matches!(acceptor.look(), Outcome::Reloaded));
    assert!(shake(&connector, "localhost", &acceptor).await.0.is_err());
    shake(&connector, "elsewhere", &acceptor).await.0.unwrap();
    assert!(!client.unwrap().has_news(), "a connection that was open stays so");
    let certificate = acceptor.certificate().unwrap();
    assert_eq!(certificate.subject, "CN=elsewhere");
    assert!(certificate.not_after > SystemTime::now());
}

fn replace(path: &Path, authority: &Authority, host: &str) {
    let name = subject(&[(DnType::CommonName, host)]);
    let (certificate, key) = authority.issue_pem(&[host], name, Time::Now);
    fs::write(path, certificate + &key).unwrap();
}

#[tokio::test]
async fn a_version_below_the_oldest_is_refused() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(AcceptorOptions {
        min_version: MinVersion::Tls13,
        ..AcceptorOptions::new(authority.server(), None)
    });
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(identity::roots(&authority.ca()).unwrap())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = Session::client(std::sync::Arc::new(config), name).unwrap();
    let (dialled, accepted) = tcp().await;
    let acceptor = acceptor.unwrap();
    let (client, server) = tokio::join!(Stream::shake_hands(dialled, client), acceptor.accept(accepted));
    assert!(client.is_err() && server.is_err());
}
