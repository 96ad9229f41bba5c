//! `[listener.tls]` and `[admin.tls]`: how a listener and the admin endpoint take TLS. The files are read here, so that whatever is wrong with them is told with all else.

use std::path::{Path, PathBuf};

use super::{reader::Section, schema};
use crate::{
    client::ListenerTls,
    tls::{Acceptor, AcceptorOptions, ClientCertificates, MinVersion, Password},
};

/// What a listener does with clients that speak TLS, and with those that do not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disabled,
    Allow,
    Require,
}

const MISSING: &str = "is missing: name the PEM file of this proxy's certificate";
const MODES: &[(&str, Mode)] = &[
    ("disabled", Mode::Disabled),
    ("allow", Mode::Allow),
    ("require", Mode::Require),
];
const CLIENT_CERTIFICATES: &[(&str, ClientCertificates)] = &[
    ("optional", ClientCertificates::Optional),
    ("required", ClientCertificates::Required),
];
const VERSIONS: &[(&str, MinVersion)] = &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

/// Reads the section within that of a listener.
pub(super) fn listener_tls(listener: &mut Section<'_>, folder: &Path) -> Option<ListenerTls> {
    let mut section = listener.inner("tls")?;
    let tls = read(&mut section, folder);
    section.finish(|name| schema::unknown(schema::section("listener.tls"), name));
    tls
}

/// Reads the section within that of the admin endpoint. Certificates of clients are optional there: what asks whether the process lives
/// and is ready has none.
pub(super) fn admin_tls(admin: &mut Section<'_>, folder: &Path) -> Option<Acceptor> {
    let mut section = admin.inner("tls")?;
    let certificate = section.path("certificate", folder);
    let key = section.path("key", folder);
    let client_ca = section.path("client_ca", folder);
    let is_needed = key.is_some() || client_ca.is_some();
    if is_needed && !section.is_given("certificate") {
        section.mistake("certificate", MISSING);
    }
    let acceptor = certificate.and_then(|certificate| {
        let options = AcceptorOptions {
            client_ca,
            ..AcceptorOptions::new(certificate, key)
        };
        acceptor(&mut section, options)
    });
    section.finish(|name| schema::unknown(schema::section("admin.tls"), name));
    acceptor
}

fn read(section: &mut Section<'_>, folder: &Path) -> Option<ListenerTls> {
    let certificate = section.path("certificate", folder);
    // Whoever names a certificate wants it used.
    let default = if certificate.is_some() {
        Mode::Require
    } else {
        Mode::Disabled
    };
    let mode = section.choice("mode", MODES, default);
    let key = section.path("key", folder);
    let key_password = section.path("key_password_file", folder).map(Password::File);
    let client_ca = section.path("client_ca", folder);
    let client_certificates = section.choice(
        "client_certificates",
        CLIENT_CERTIFICATES,
        ClientCertificates::default(),
    );
    let min_version = section.choice("min_version", VERSIONS, MinVersion::default());
    if mode == Mode::Disabled {
        return None;
    }
    if section.is_given("client_certificates") && client_ca.is_none() && section.are_sound(&["client_ca"]) {
        section.mistake(
            "client_certificates",
            "has no meaning without client_ca, the authority that issues them",
        );
    }
    let Some(certificate) = certificate else {
        if !section.is_given("certificate") {
            section.mistake("certificate", MISSING);
        }
        return None;
    };
    let options = AcceptorOptions {
        certificate,
        key,
        key_password,
        client_ca,
        client_certificates,
        min_version,
    };
    let acceptor = acceptor(section, options)?;
    Some(ListenerTls {
        acceptor,
        plain_too: mode == Mode::Allow,
    })
}

/// Reads the files; what is wrong with one is told at the setting that names it.
fn acceptor(section: &mut Section<'_>, options: AcceptorOptions) -> Option<Acceptor> {
    let named = [
        ("key", options.key.clone()),
        ("client_ca", options.client_ca.clone()),
        (
            "key_password_file",
            options
                .key_password
                .as_ref()
                .and_then(Password::file)
                .map(PathBuf::from),
        ),
    ];
    match Acceptor::new(options) {
        Ok(acceptor) => Some(acceptor),
        Err(error) => {
            let path = error.path().map(PathBuf::from);
            let key = named.iter().find(|(_, file)| file.is_some() && *file == path);
            section.mistake(key.map_or("certificate", |(key, _)| key), error.to_string());
            None
        }
    }
}
