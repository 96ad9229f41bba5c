//! `[listener.tls]`, with files that are there and files that are not.

use super::*;
use crate::tls::{
    ClientCertificates, MinVersion,
    testing::{Authority, Time},
};

fn text(keys: &str) -> String {
    format!("{URI}[[listener]]\n[listener.tls]\n{keys}\n")
}

#[test]
fn every_key_reaches_its_option_also_as_a_variable() {
    let authority = Authority::new();
    let server = authority.server();
    let (server, ca) = (server.display(), authority.ca());
    let ca = ca.display();
    let keys = format!(
        "mode = 'allow'\ncertificate = '{server}'\nkey = '{server}'\nclient_ca = '{ca}'\nclient_certificates = 'required'\n\
         min_version = '1.3'"
    );
    let in_file = load(&text(&keys), &[]).unwrap().listeners[0].tls.clone().unwrap();
    let options = in_file.acceptor.options();
    assert!(in_file.plain_too);
    assert_eq!(options.client_certificates, ClientCertificates::Required);
    assert_eq!(options.min_version, MinVersion::Tls13);
    assert_eq!(options.client_ca, Some(authority.ca()));
    let [server, ca] = [server.to_string(), ca.to_string()];
    let variables = [
        ("TIDEGATE_LISTENER__0__TLS__MODE", "allow"),
        ("TIDEGATE_LISTENER__0__TLS__CERTIFICATE", &server),
        ("TIDEGATE_LISTENER__0__TLS__KEY", &server),
        ("TIDEGATE_LISTENER__0__TLS__CLIENT_CA", &ca),
        ("TIDEGATE_LISTENER__0__TLS__CLIENT_CERTIFICATES", "required"),
        ("TIDEGATE_LISTENER__0__TLS__MIN_VERSION", "1.3"),
    ];
    let by_variables = load(URI, &variables).unwrap();
    assert_eq!(by_variables.listeners[0].tls, Some(in_file));
}

#[test]
fn a_certificate_alone_requires_tls_and_without_one_there_is_none() {
    let authority = Authority::new();
    let server = authority.server();
    let required = load(&text(&format!("certificate = '{}'", server.display())), &[]).unwrap();
    assert!(!required.listeners[0].tls.as_ref().unwrap().plain_too);
    let disabled = format!("mode = 'disabled'\ncertificate = '{}'", server.display());
    for keys in ["", &disabled] {
        assert_eq!(load(&text(keys), &[]).unwrap().listeners[0].tls, None);
    }
}

#[test]
fn what_is_wrong_is_told_where_the_file_is_named() {
    let authority = Authority::new();
    let (server, client) = (authority.server(), authority.client("app", Time::Now));
    let expired = authority.client("old", Time::Past);
    let [server, client, expired] = [&server, &client, &expired].map(|path| path.display().to_string());
    for (keys, expected) in [
        (
            "mode = 'require'".to_owned(),
            "listener[0].tls.certificate: is missing",
        ),
        (
            "certificate = 'nowhere.pem'".to_owned(),
            "listener[0].tls.certificate: nowhere.pem cannot be read",
        ),
        (
            format!("certificate = '{server}'\nkey = '{client}'"),
            "listener[0].tls.key: the key in",
        ),
        (
            format!("certificate = '{server}'\nclient_ca = 'nowhere.pem'"),
            "listener[0].tls.client_ca: nowhere.pem cannot be read",
        ),
        (
            format!("certificate = '{expired}'"),
            "expired at 2021-01-01T00:00:00Z: issue it anew",
        ),
        (
            format!("certificate = '{server}'\nclient_certificates = 'required'"),
            "listener[0].tls.client_certificates: has no meaning without client_ca",
        ),
        (
            format!("certificate = '{server}'\nmode = 'required'"),
            "did you mean \"require\"?",
        ),
        (
            format!("certificat = '{server}'"),
            "listener[0].tls.certificat: there is no such key; did you mean certificate?",
        ),
    ] {
        let found = mistakes(&text(&keys), &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    let on_path =
        format!("{URI}[[listener]]\naddress = '/x.sock'\n[listener.tls]\ncertificate = '{server}'\n");
    let found = mistakes(&on_path, &[]);
    assert!(
        found[0].contains("listener[0].tls: has no meaning on a Unix domain socket"),
        "{found:?}"
    );
}

#[test]
fn files_for_the_nodes_are_read_at_the_start() {
    let found = mistakes(
        "[upstream]\nuri = 'mongodb://a/?tls=true&tlsCAFile=nowhere.pem'\n",
        &[],
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("proxy.toml:2: upstream.uri: nowhere.pem cannot be read"),
        "{found:?}"
    );
    let authority = Authority::new();
    let uri = format!("mongodb://a/?tls=true&tlsCAFile={}", authority.ca().display());
    let config = load(&format!("[upstream]\nuri = '{uri}'\n"), &[]).unwrap();
    let options = config.upstream.tls.as_ref().unwrap().options().clone();
    assert_eq!(options.ca, Some(authority.ca()));
}
