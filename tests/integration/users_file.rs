//! Logins by the users file, without asking the cluster who may.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use bson::doc;
use tidegate::auth::{UserName, scram::Hash, scram_sha1_digest};

use crate::support::{
    Client, Proxy,
    client::is_ok,
    login::log_in,
    run,
    users::{create_user, on_primary, shared_auth_set, uri_as},
};

fn append(path: &Path, text: &str) {
    let whole = fs::read_to_string(path).unwrap() + text;
    fs::write(path, whole).unwrap();
}

#[tokio::test]
async fn an_imported_user_acts_as_itself_and_others_as_the_identity_that_is_named() {
    let set = shared_auth_set();
    create_user(set, "dock", "keeper", "open water", &[], &[]).await;
    create_user(set, "dock", "crane", "heave ho", &[], &[]).await;
    for (name, role) in [("keeper", "readWrite"), ("crane", "read")] {
        let role = doc! { "role": role, "db": "dock" };
        on_primary(
            set,
            doc! { "grantRolesToUser": name, "roles": [role], "$db": "dock" },
        )
        .await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let uri = uri_as(set, "tidegate", "tidegate's password", "admin", "");
    let text = format!("[upstream]\nuri = {uri:?}\n[[listener]]\n");
    fs::write(folder.path().join("proxy.toml"), text).unwrap();
    import(folder.path(), "keeper@dock");
    fs::write(folder.path().join("crane"), "heave ho\n").unwrap();
    append(
        &path,
        &format!(
            "[[user]]\nname = 'old'\ndb = 'dock'\nact_as = 'crane'\nmongodb_cr = '{}'\n\
             [[identity]]\nname = 'crane'\nuser = 'crane'\nauth_source = 'dock'\npassword_file = 'crane'\n",
            *scram_sha1_digest("old", "a digest")
        ),
    );
    let auth = format!(
        "[auth]\nsource = \"file\"\nusers_file = {:?}\nmechanisms = [\"SCRAM-SHA-256\", \"SCRAM-SHA-1\", \"MONGODB-CR\"]",
        path
    );
    let proxy = Proxy::start(&uri, &auth);

    let keeper = UserName::new("dock", "keeper");
    for hash in [Hash::Sha1, Hash::Sha256] {
        let mut client = Client::connect(proxy.address).await;
        let wrong = log_in(&mut client, hash, &keeper, "low tide").await;
        assert_eq!(wrong.get_i32("code").unwrap(), 18, "{wrong}");
        let right = log_in(&mut client, hash, &keeper, "open water").await;
        assert!(is_ok(&right), "{right}");
        let insert = doc! { "insert": "ships", "documents": [{ "by": hash.mechanism().name() }] };
        client.succeed("dock", insert).await;
        let status = client.succeed("admin", doc! { "connectionStatus": 1 }).await;
        assert!(status.to_string().contains("keeper"), "{status}");
        // Of this user only what the cluster lets it do.
        let elsewhere = client.run("admin", doc! { "find": "system.users" }).await;
        assert_eq!(elsewhere.get_i32("code").unwrap(), 13, "{elsewhere}");
    }
    // A user of the cluster that the file does not name.
    let mut client = Client::connect(proxy.address).await;
    let stranger = log_in(
        &mut client,
        Hash::Sha256,
        &UserName::new("dock", "crane"),
        "heave ho",
    )
    .await;
    assert_eq!(stranger.get_i32("code").unwrap(), 18, "{stranger}");

    // By MONGODB-CR, as another user who may read only.
    let nonce = client.succeed("dock", doc! { "getnonce": 1 }).await;
    let nonce = nonce.get_str("nonce").unwrap();
    let key = md5_hex(&format!("{nonce}old{}", *scram_sha1_digest("old", "a digest")));
    let authenticate =
        doc! { "authenticate": 1, "mechanism": "MONGODB-CR", "user": "old", "nonce": nonce, "key": key };
    client.succeed("dock", authenticate).await;
    let count = client.succeed("dock", doc! { "count": "ships" }).await;
    assert_eq!(count.get_i32("n").unwrap(), 2);
    let denied = client
        .run("dock", doc! { "insert": "ships", "documents": [{}] })
        .await;
    assert_eq!(denied.get_i32("code").unwrap(), 13, "{denied}");

    take_up_another_file(&proxy, &uri, &auth, folder.path()).await;

    // What waits for a restart takes nobody's login away until then.
    proxy.configure(&uri, "", "[auth]\nsource = 'backend'\n[reload]\nwatch = 'off'\n");
    let (code, answer) = proxy.post("/reload");
    assert!(code == 200 && answer.contains("auth.source"), "{answer}");
    let mut client = Client::connect(proxy.address).await;
    let crane = UserName::new("dock", "crane");
    let known = log_in(&mut client, Hash::Sha256, &crane, "heave ho").await;
    assert!(is_ok(&known), "{known}");
}

/// Has the file reloaded when one user was added and another renamed: new logins go by it, and who is logged in stays so.
async fn take_up_another_file(proxy: &Proxy, uri: &str, auth: &str, folder: &Path) {
    let [keeper, crane] = ["keeper", "crane"].map(|name| UserName::new("dock", name));
    let mut staying = Client::connect(proxy.address).await;
    let known = log_in(&mut staying, Hash::Sha256, &keeper, "open water").await;
    assert!(is_ok(&known), "{known}");

    import(folder, "crane@dock");
    let path = folder.join("users.toml");
    let renamed = fs::read_to_string(&path).unwrap().replace("keeper", "warden");
    fs::write(&path, renamed).unwrap();
    proxy.configure(uri, "", &format!("{auth}\n[reload]\nwatch = 'off'\n"));
    let (code, answer) = proxy.post("/reload");
    assert_eq!(code, 200, "{answer}");

    let mut client = Client::connect(proxy.address).await;
    let gone = log_in(&mut client, Hash::Sha256, &keeper, "open water").await;
    assert_eq!(gone.get_i32("code").unwrap(), 18, "{gone}");
    let added = log_in(&mut client, Hash::Sha256, &crane, "heave ho").await;
    assert!(is_ok(&added), "{added}");
    let count = staying.succeed("dock", doc! { "count": "ships" }).await;
    assert_eq!(count.get_i32("n").unwrap(), 2);
}

/// Takes a user of the cluster up in the users file.
fn import(folder: &Path, user: &str) {
    let mut import = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    import.args(["user", "import", user, "--file", "users.toml"]);
    let imported = run(import.current_dir(folder), Duration::from_secs(30));
    assert!(imported.status.success(), "{imported:#?}");
}

/// MD5 in hexadecimal digits.
fn md5_hex(text: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn a_users_file_that_others_can_read_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "[upstream]\nuri = 'mongodb://127.0.0.1:1'\n[[listener]]\naddress = '127.0.0.1:0'\n[admin]\naddress = 'off'\n[auth]\nsource = 'file'\nusers_file = {path:?}\n"
    );
    fs::write(folder.path().join("proxy.toml"), text).unwrap();
    for command in ["check", "run"] {
        let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let refused = run(
            tidegate.arg(command).current_dir(folder.path()),
            Duration::from_secs(30),
        );
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        assert!(
            refused.stderr.contains("mode 0644") && refused.stderr.contains("chmod 600"),
            "{refused:#?}"
        );
    }
}
