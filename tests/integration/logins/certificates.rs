//! Logins over TLS, with TLS towards the nodes, too: by password, and by the certificate of the handshake.

use std::{fs, os::unix::fs::PermissionsExt};

use bson::doc;
use serde_json::{Value, json};
use tidegate::sandbox::{Options, ReplicaSet};

use super::{PASSWORD, assert_may_read_only, by_node, by_pymongo, by_rust, by_shell};
use crate::support::{
    Proxy,
    certificates::{Authority, Time},
    run_python, start_set,
    users::{create_user, prepare, uri_as},
};

/// A node that demands logins, and TLS as well.
async fn start(authority: &Authority) -> ReplicaSet {
    let [server, ca] = [authority.server(), authority.ca()].map(|path| path.display().to_string());
    let arguments = [
        "--tlsMode",
        "preferTLS",
        "--tlsCertificateKeyFile",
        &server,
        "--tlsCAFile",
        &ca,
        "--tlsAllowConnectionsWithoutCertificates",
        "--setParameter",
        "authenticationMechanisms=SCRAM-SHA-1,SCRAM-SHA-256,MONGODB-X509,PLAIN",
    ];
    let set = start_set(Options {
        nodes: 1,
        authentication: true,
        mongod_arguments: arguments.map(str::to_owned).into(),
        ..Options::default()
    });
    prepare(&set).await;
    create_user(&set, "dock", "crane", PASSWORD, &["readWrite"], &[]).await;
    create_user(&set, "shore", "heron", PASSWORD, &["read"], &[]).await;
    // What the sandbox has to say comes before, for it speaks no TLS.
    let demand = doc! { "setParameter": 1, "tlsMode": "requireTLS" };
    set.command(0, demand).await.unwrap();
    set
}

#[tokio::test]
async fn passwords_and_certificates_over_tls_on_both_sides() {
    let authority = Authority::new();
    let set = start(&authority).await;
    let ca = authority.ca().display().to_string();
    let tls = format!("&tls=true&tlsCAFile={ca}");
    let uri = uri_as(&set, "tidegate", "tidegate's password", "admin", &tls);
    let (users, password) = (authority.path("users.toml"), authority.path("crane"));
    fs::write(&password, PASSWORD).unwrap();
    fs::write(
        &users,
        "[[subject]]\nname = 'CN=gull,O=Tide'\nact_as = 'service'\n\
         [[subject]]\nname = 'CN=tern,O=Tide'\nact_as = 'crane'\n\
         [[identity]]\nname = 'crane'\nuser = 'crane'\nauth_source = 'dock'\npassword_file = 'crane'\n\
         [[subject]]\nname = 'CN=heron,O=Tide'\nact_as = 'heron'\n\
         [[identity]]\nname = 'heron'\nuser = 'heron'\nauth_source = 'shore'\npassword_file = 'crane'\n",
    )
    .unwrap();
    for file in [&users, &password] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let listener = format!(
        "[listener.tls]\ncertificate = '{}'\nclient_ca = '{ca}'",
        authority.server().display()
    );
    let mechanisms = r#"["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "PLAIN"]"#;
    let settings = format!(
        "[auth]\nmechanisms = {mechanisms}\nusers_file = {users:?}\n[limits]\nlogin_delay_max = 'off'\n"
    );
    let proxy = Proxy::start_with(&uri, "", &listener, &settings);
    let client = |options: &Value| {
        let uri = format!("mongodb://localhost:{}/?{}", proxy.address.port(), &tls[1..]);
        run_python("python/login_tls.py", &[&uri, &options.to_string()])
    };
    let crane = json!([{ "user": "crane", "db": "dock" }]);

    let by_password =
        |password: &str| client(&json!({ "username": "crane", "password": password, "authSource": "dock" }));
    let right = by_password(PASSWORD);
    assert_eq!(right, json!({ "users": crane, "write": 1, "credentials": 13 }));
    assert_eq!(by_password("another-password"), json!({ "code": 18 }));

    // The nodes judge it; without a directory they take it for their own users.
    let plainly = |password: &str| {
        client(
            &json!({ "username": "crane", "password": password, "authSource": "dock", "authMechanism": "PLAIN" }),
        )
    };
    assert_eq!(plainly(PASSWORD), right);
    assert_eq!(plainly("another-password"), json!({ "code": 18 }));

    let by_certificate = |name: &str, time| {
        let file = authority.client(name, time).display().to_string();
        client(&json!({ "authMechanism": "MONGODB-X509", "tlsCertificateKeyFile": file }))
    };
    let named = by_certificate("tern", Time::Now);
    assert_eq!(named, json!({ "users": crane, "write": 1, "credentials": 13 }));
    let service = by_certificate("gull", Time::Now);
    assert_eq!(
        (&service["write"], &service["credentials"]),
        (&json!(13), &json!(1)),
        "{service}"
    );
    assert_eq!(by_certificate("stranger", Time::Now), json!({ "code": 18 }));
    // Whose certificate has expired is not let in far enough to be told a code.
    assert_eq!(by_certificate("tern", Time::Past), json!({ "code": null }));
    assert!(proxy.log().contains("has expired"), "{}", proxy.log());

    // Each driver by nothing but its connection string.
    let [heron, stranger, nobody] = ["heron", "stranger", "nobody"].map(|name| {
        let file = authority.client(name, Time::Now).display().to_string();
        let own = format!("authMechanism=MONGODB-X509&authSource=$external&tlsCertificateKeyFile={file}");
        format!("mongodb://localhost:{}/?{own}{tls}", proxy.address.port())
    });
    for driver in [by_pymongo, by_node, by_rust, by_shell] {
        assert_may_read_only("heron", &driver([&heron, &stranger, &nobody]));
    }
}
