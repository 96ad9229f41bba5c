//! What is shown of logins: the audit log tells of each, and no password is to be found anywhere.

use std::{collections::BTreeSet, fs, io};

use base64::prelude::{BASE64_STANDARD, Engine};
use bson::doc;
use serde_json::Value;
use tidegate::auth::{UserName, scram::Hash};

use super::{PASSWORD, client_of, code, service_uri, user};
use crate::support::{
    Client, Proxy, SecretsScan,
    login::log_in,
    run_python,
    users::{create_user, shared_auth_set},
};

/// As Java, JavaScript and Windows keep texts.
fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What `scan` finds in the memory of a proxy; `None` where that is closed to this user, as it is to all but root.
fn in_memory(scan: &SecretsScan, proxy: &Proxy) -> Option<BTreeSet<String>> {
    match scan.in_memory(proxy.pid()) {
        Ok(found) => Some(found),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert!(!rustix::process::getuid().is_root());
            None
        }
    }
}

/// What the nodes keep of a user's credentials but the salt, which every challenge tells: each key as text and as its bytes.
async fn keys_of(user: &UserName) -> Vec<Vec<u8>> {
    let find = doc! { "find": "system.users", "filter": { "user": &*user.name }, "$db": "admin" };
    let set = shared_auth_set();
    let reply = set.command(set.primary().await.unwrap(), find).await.unwrap();
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    let credentials = batch[0]
        .as_document()
        .unwrap()
        .get_document("credentials")
        .unwrap();
    let mut keys = Vec::new();
    for (_, of_one) in credentials {
        for name in ["storedKey", "serverKey"] {
            let text = of_one.as_document().unwrap().get_str(name).unwrap();
            keys.push(text.as_bytes().to_vec());
            keys.push(BASE64_STANDARD.decode(text).unwrap());
        }
    }
    assert_eq!(keys.len(), 8);
    keys
}

#[tokio::test]
async fn the_audit_log_tells_of_logins_and_no_password_is_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit");
    let settings =
        format!("[audit]\nfile = {file:?}\n[limits]\nlogin_delay_max = 'off'\n[log]\nlevel = 'trace'\n");
    let proxy = Proxy::start(&service_uri(), &settings);
    let password = "Grüße-vom-Meer-4711";
    create_user(shared_auth_set(), "reef", "audited", password, &["read"], &[]).await;
    let audited = UserName::new("reef", "audited");
    let mut client = Client::connect(proxy.address).await;
    let wrong = log_in(&mut client, Hash::Sha256, &audited, "Not-the-right-one-23").await;
    assert_eq!(code(&wrong), 18);
    let nobody = UserName::new("reef", "nobody");
    let unknown = log_in(&mut client, Hash::Sha1, &nobody, "Not-the-right-one-23").await;
    assert_eq!(code(&unknown), 18);
    for hash in [Hash::Sha1, Hash::Sha256] {
        let mut client = Client::connect(proxy.address).await;
        let last = log_in(&mut client, hash, &audited, password).await;
        assert!(!last.contains_key("code"), "{last}");
        client.succeed("reef", bson::doc! { "find": "fish" }).await;
        client.succeed("reef", bson::doc! { "logout": 1 }).await;
    }
    // A driver, too, which begins to log in within its first hello.
    let other = user("reef", "driven", &["read"]).await;
    let script = folder.path().join("driven.py");
    fs::write(
        &script,
        "import json, sys, pymongo\nwith pymongo.MongoClient(sys.argv[1]) as client:\n    print(json.dumps(list(client.reef.fish.find())))\n",
    )
    .unwrap();
    let uri = format!("mongodb://{}:{PASSWORD}@{}/reef", other.name, proxy.address);
    assert_eq!(run_python(&script, &[&uri]), serde_json::json!([]));
    // Somebody is there while the memory is looked through.
    let _open = client_of(&proxy, &user("reef", "present", &["read"]).await).await;

    let text = fs::read_to_string(&file).unwrap();
    // The last one may be half there: of the users that count, all was written long ago.
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let told: Vec<String> = events
        .iter()
        .filter(|event| event["user"] == "audited" || event["user"] == "nobody")
        .map(|event| format!("{} {}", event["event"], event["reason"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "login refused wrong password",
            "login refused unknown user",
            "login null",
            "logout null",
            "login null",
            "logout null"
        ],
        "{text}"
    );
    let scan = SecretsScan::new()
        .forbid("the password", password)
        .forbid("the password in UTF-16", utf_16(password))
        .forbid("a driver's password", PASSWORD)
        .forbid("a driver's password in UTF-16", utf_16(PASSWORD))
        .forbid("a wrong password", "Not-the-right-one-23");
    let mut scan_of_output = scan.clone();
    for (index, key) in keys_of(&audited).await.into_iter().enumerate() {
        scan_of_output = scan_of_output.forbid(if index % 2 == 0 { "a key" } else { "a key's bytes" }, key);
    }
    let mut found = scan_of_output.in_output(&proxy);
    found.extend(scan_of_output.in_text("the audit log", text));
    found.extend(in_memory(&scan, &proxy).unwrap_or_default());
    assert!(found.is_empty(), "{found:?}");
    // The scan sees the memory that counts: the service user's password is kept there.
    let kept = SecretsScan::new().forbid("the service user's", "tidegate's password");
    assert!(in_memory(&kept, &proxy).is_none_or(|found| !found.is_empty()));
}
