//! The user of the connection string, as whom Tidegate logs in to nodes that demand it.

use std::{process::Command, sync::Arc, time::Duration};

use bson::doc;
use tidegate::{
    auth::{Mechanism, UserName, scram::Secret},
    upstream::{Login, Options, connect_as},
};

use crate::support::{
    Client, Output, Proxy,
    client::is_ok,
    run,
    users::{create_user, on_primary, shared_auth_set, uri_as},
};

/// Everybody acts as the service user.
const OPEN: &str = "[auth]\nsource = \"none\"\nserve_without_login = true";

fn check(uri: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[upstream]\nuri = {uri:?}\n[[listener]]\n{OPEN}\n");
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    run(
        command.args(["check", "--connect"]).current_dir(folder.path()),
        Duration::from_secs(30),
    )
}

#[tokio::test]
async fn commands_go_out_as_the_service_user_by_either_mechanism_and_from_any_database() {
    let set = shared_auth_set();
    for (name, db, mechanism) in [
        ("service1", "admin", "SCRAM-SHA-1"),
        ("service256", "people", "SCRAM-SHA-256"),
    ] {
        create_user(set, db, name, "sesame open", &[], &[mechanism]).await;
        let grant =
            doc! { "grantRolesToUser": name, "roles": [{ "role": "readWrite", "db": name }], "$db": db };
        on_primary(set, grant).await;
        // The mechanism is agreed on with the nodes.
        let proxy = Proxy::start(&uri_as(set, name, "sesame open", db, ""), OPEN);
        let mut client = Client::connect(proxy.address).await;
        client
            .succeed(name, doc! { "insert": "tides", "documents": [{ "_id": name }] })
            .await;
        let found = client.succeed(name, doc! { "count": "tides" }).await;
        assert_eq!(found.get_i32("n").unwrap(), 1);
        // The node's own answer to what this user may not do.
        let denied = client
            .run("other", doc! { "insert": "tides", "documents": [{ "_id": 1 }] })
            .await;
        assert_eq!(denied.get_i32("code").unwrap(), 13, "{denied}");
    }
}

#[tokio::test]
async fn check_logs_in_and_says_what_is_wrong() {
    let set = shared_auth_set();
    create_user(
        set,
        "admin",
        "checker",
        "sesame open",
        &["clusterMonitor"],
        &["SCRAM-SHA-1"],
    )
    .await;
    let right = check(&uri_as(set, "checker", "sesame open", "admin", ""));
    assert!(right.status.success(), "{right:#?}");
    assert!(right.stdout.contains("RSPrimary, MongoDB 6"), "{right:#?}");
    for (name, password, db, options, says) in [
        (
            "checker",
            "another",
            "admin",
            "",
            "refuses to log checker@admin in by SCRAM-SHA-1: Authentication failed. (check the user name",
        ),
        ("checker", "sesame open", "people", "", "checker@people"),
        ("nobody", "sesame open", "admin", "", "nobody@admin"),
        (
            "checker",
            "sesame open",
            "admin",
            "&authMechanism=SCRAM-SHA-256",
            "checker@admin in by SCRAM-SHA-256",
        ),
        (
            "checker",
            "sesame open",
            "admin",
            "&authMechanism=GSSAPI",
            "authMechanism: Kerberos is not supported",
        ),
    ] {
        let wrong = check(&uri_as(set, name, password, db, options));
        assert!(
            !wrong.status.success() && wrong.stderr.contains(says),
            "{says}: {wrong:#?}"
        );
        assert!(!wrong.stderr.contains("sesame open"), "{wrong:#?}");
    }
}

#[tokio::test]
async fn a_client_is_told_that_the_service_user_is_not_let_in() {
    let set = shared_auth_set();
    let uri = uri_as(set, "tidegate", "not the password", "admin", "");
    let proxy = Proxy::start(&uri, &format!("{OPEN}\n[failover]\nhold = \"1s\""));
    let mut client = Client::connect(proxy.address).await;
    let reply = client.run("admin", doc! { "find": "x" }).await;
    assert!(!is_ok(&reply));
    let message = reply.get_str("errmsg").unwrap();
    assert!(message.contains("tidegate@admin in by SCRAM-SHA-"), "{message}");
    assert!(!proxy.log().contains("not the password") && !message.contains("not the password"));
}

#[tokio::test]
async fn a_changed_password_is_noticed_at_the_next_login() {
    let set = shared_auth_set();
    create_user(set, "admin", "changing", "first", &["root"], &[]).await;
    let address = set.address(0).parse().unwrap();
    let options = Options::default();
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
        let login = |password: &str| {
            let secret = Secret::Password(password.to_owned().into());
            Arc::new(Login::new(UserName::new("admin", "changing"), mechanism, secret))
        };
        let change = async |password: &str| {
            on_primary(set, doc! { "updateUser": "changing", "pwd": password }).await;
        };
        let first = login("first");
        connect_as(&address, &options, Some(&first)).await.unwrap();
        change("second").await;
        let failure = connect_as(&address, &options, Some(&first)).await.unwrap_err();
        assert!(failure.is_login_refused(), "{failure}");
        let second = connect_as(&address, &options, Some(&login("second"))).await;
        second.unwrap();
        // The same password under another salt: the keys that were computed are computed anew.
        change("first").await;
        connect_as(&address, &options, Some(&first)).await.unwrap();
    }
}

#[tokio::test]
async fn users_are_imported_with_the_verifiers_that_the_cluster_keeps() {
    let set = shared_auth_set();
    create_user(set, "harbour", "pilot", "sesame open", &[], &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let import = |name: &str, password: &str, arguments: &[&str]| {
        let uri = uri_as(set, name, password, "admin", "");
        std::fs::write(
            folder.path().join("proxy.toml"),
            format!("[upstream]\nuri = {uri:?}\n[[listener]]\n"),
        )
        .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let command = command
            .args(["user", "import", "--file", "users.toml"])
            .args(arguments);
        run(command.current_dir(folder.path()), Duration::from_secs(30))
    };
    let all = import("tidegate", "tidegate's password", &[]);
    assert!(
        all.status.success() && all.stdout.contains("pilot@harbour"),
        "{all:#?}"
    );
    let path = folder.path().join("users.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("sesame"));
    let users = tidegate::config::read_users(&path).unwrap();
    let pilot = UserName::new("harbour", "pilot");
    let kept = set
        .command(
            0,
            doc! { "usersInfo": { "user": "pilot", "db": "harbour" }, "showCredentials": true },
        )
        .await
        .unwrap();
    let kept = kept.get_array("users").unwrap()[0].as_document().unwrap();
    let kept = kept
        .get_document("credentials")
        .unwrap()
        .get_document("SCRAM-SHA-256")
        .unwrap();
    assert!(text.contains(kept.get_str("storedKey").unwrap()));
    let entry = users.user(&pilot).unwrap();
    assert_eq!(entry.scram_sha_256.as_ref().unwrap().iterations(), 15_000);
    assert_eq!(entry.scram_sha_1.as_ref().unwrap().salt().len(), 16);
    // A changed password comes with the next import; another user's entry stays as it is.
    on_primary(
        set,
        doc! { "updateUser": "pilot", "pwd": "another", "$db": "harbour" },
    )
    .await;
    let one = import("tidegate", "tidegate's password", &["pilot@harbour"]);
    assert!(
        one.status.success() && one.stdout.contains("1 imported: pilot@harbour"),
        "{one:#?}"
    );
    let again = tidegate::config::read_users(&path).unwrap();
    assert_ne!(again.user(&pilot), users.user(&pilot));
    let root = UserName::new("admin", "root");
    assert_eq!(again.user(&root), users.user(&root));
    for (name, password, arguments, says) in [
        (
            "tidegate",
            "tidegate's password",
            &["nobody@harbour"][..],
            "there is no user nobody@harbour",
        ),
        (
            "pilot2",
            "sesame open",
            &[][..],
            "needs a role with find on admin.system.users",
        ),
    ] {
        if name == "pilot2" {
            create_user(set, "admin", name, password, &[], &[]).await;
        }
        let refused = import(name, password, arguments);
        assert!(
            !refused.status.success() && refused.stderr.contains(says),
            "{refused:#?}"
        );
    }
}
