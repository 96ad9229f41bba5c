//! Messages of logins that no driver sends: out of turn, forged, sent again, by other users meanwhile.

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{Document, doc};
use tidegate::auth::{
    UserName,
    scram::{Hash, client::Conversation},
};

use super::{PASSWORD, client_of, code, proxy, user};
use crate::support::{
    Client,
    client::is_ok,
    login::{answer, begin, go_on, log_in, payload},
    users::{create_user, shared_auth_set},
};

fn find() -> Document {
    doc! { "find": "boats" }
}

/// The client's first message was sent, and answered.
async fn challenged(client: &mut Client, user: &UserName) -> (Conversation, Document) {
    let (conversation, start) = begin(Hash::Sha256, user);
    (conversation, client.succeed(&user.db, start).await)
}

/// The server's first message with another value for an attribute.
fn altered(server_first: &[u8], attribute: &str, value: &str) -> Vec<u8> {
    let text = std::str::from_utf8(server_first).unwrap();
    let parts = text.split(',').map(|part| match part.strip_prefix(attribute) {
        Some(_) => format!("{attribute}{value}"),
        None => part.to_owned(),
    });
    let altered = parts.collect::<Vec<_>>().join(",");
    assert_ne!(altered, text);
    altered.into_bytes()
}

#[tokio::test]
async fn forged_answers_are_refused_and_harm_neither_the_connection_nor_others() {
    let user = user("haven", "forged", &["readWrite"]).await;
    let mut other = client_of(proxy(), &user).await;
    let mut client = Client::connect(proxy().address).await;
    let salt = BASE64_STANDARD.encode([7; 28]);
    for (attribute, value) in [
        ("i=", "4096"),
        ("s=", &salt),
        ("r=", "a client's nonce and no server's"),
    ] {
        let (conversation, challenge) = challenged(&mut client, &user).await;
        let forged = altered(payload(&challenge), attribute, value);
        let (_, proof) = answer(conversation, &forged, PASSWORD);
        let refused = client.run("haven", go_on(&challenge, proof)).await;
        assert_eq!(code(&refused), 18, "{attribute}: {refused}");
        assert_eq!(refused.get_str("errmsg").unwrap(), "Authentication failed.");
    }
    // The proof itself, and messages that are none.
    for break_it in [
        |proof: &mut Vec<u8>| *proof = altered(proof, "p=", "AAAA"),
        |proof: &mut Vec<u8>| *proof = altered(proof, "c=", "eSws"),
        |proof: &mut Vec<u8>| proof.truncate(9),
        Vec::clear,
    ] {
        let (conversation, challenge) = challenged(&mut client, &user).await;
        let (_, mut proof) = answer(conversation, payload(&challenge), PASSWORD);
        break_it(&mut proof);
        let refused = client.run("haven", go_on(&challenge, proof)).await;
        assert_eq!(code(&refused), 18, "{refused}");
        assert_eq!(code(&client.run("haven", find()).await), 13);
        other.succeed("haven", find()).await;
    }
    let last = log_in(&mut client, Hash::Sha1, &user, PASSWORD).await;
    assert!(is_ok(&last), "{last}");
    client.succeed("haven", find()).await;
}

#[tokio::test]
async fn answers_out_of_turn_are_refused_and_a_login_is_not_repeated_by_its_messages() {
    let user = user("haven", "turns", &["read"]).await;
    let mut client = Client::connect(proxy().address).await;
    let (conversation, challenge) = challenged(&mut client, &user).await;
    let (_, proof) = answer(conversation, payload(&challenge), PASSWORD);
    let right = go_on(&challenge, proof);
    let mut another = right.clone();
    another.insert("conversationId", 77);
    // Another number ends the conversation, so that the right one comes too late.
    for message in [another, right.clone(), right.clone()] {
        assert_eq!(code(&client.run("haven", message).await), 17);
    }
    assert_eq!(code(&client.run("haven", find()).await), 13);

    let (conversation, challenge) = challenged(&mut client, &user).await;
    let (_, proof) = answer(conversation, payload(&challenge), PASSWORD);
    let right = go_on(&challenge, proof);
    client.succeed("haven", right.clone()).await;
    // What was overheard is of no use, here or on another connection, even in a conversation of its own.
    assert_eq!(code(&client.run("haven", right.clone()).await), 17);
    let mut thief = Client::connect(proxy().address).await;
    assert_eq!(code(&thief.run("haven", right.clone()).await), 17);
    challenged(&mut thief, &user).await;
    assert_eq!(code(&thief.run("haven", right).await), 18);
    assert_eq!(code(&thief.run("haven", find()).await), 13);
    client.succeed("haven", find()).await;
}

#[tokio::test]
async fn who_has_logged_out_is_nobody_and_may_be_another() {
    let ann = user("haven", "ann", &["read"]).await;
    let ben = user("haven", "ben", &["read"]).await;
    let cat = user("islet", "cat", &["read"]).await;
    let mut client = client_of(proxy(), &ann).await;
    for (user, expected) in [(&ben, 5_626_702), (&cat, 5_626_701)] {
        let second = log_in(&mut client, Hash::Sha256, user, PASSWORD).await;
        assert_eq!(code(&second), expected, "{second}");
    }
    let status = doc! { "connectionStatus": 1 };
    let told = client.succeed("admin", status.clone()).await.to_string();
    assert!(
        told.contains("\"ann\"") && !told.contains("\"ben\"") && !told.contains("\"cat\""),
        "{told}"
    );
    // At another database there is nothing to log out from.
    client.succeed("islet", doc! { "logout": 1 }).await;
    client.succeed("haven", find()).await;
    client.succeed("haven", doc! { "logout": 1 }).await;
    assert_eq!(code(&client.run("haven", find()).await), 13);
    let last = log_in(&mut client, Hash::Sha256, &cat, PASSWORD).await;
    assert!(is_ok(&last), "{last}");
    client.succeed("islet", find()).await;
    assert_eq!(code(&client.run("haven", find()).await), 13);
    let told = client.succeed("admin", status).await.to_string();
    assert!(told.contains("\"cat\"") && !told.contains("\"ann\""), "{told}");
}

/// How often nodes were asked to end a login.
async fn logouts() -> i64 {
    let set = shared_auth_set();
    let mut sum = 0;
    for node in 0..set.options().nodes {
        let status = set.command(node, doc! { "serverStatus": 1 }).await.unwrap();
        let commands = status
            .get_document("metrics")
            .unwrap()
            .get_document("commands")
            .unwrap();
        sum += commands.get_document("logout").unwrap().get_i64("total").unwrap();
    }
    sum
}

#[tokio::test]
async fn no_logout_and_no_login_reaches_a_node_whatever_stands_beside_it() {
    let user = user("haven", "alike", &["readWrite"]).await;
    let mut other = client_of(proxy(), &user).await;
    other.succeed("haven", find()).await;
    let before = logouts().await;
    let id = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![5; 16],
    };
    let transaction = doc! {
        "lsid": { "id": id }, "txnNumber": 1_i64, "startTransaction": true, "autocommit": false,
    };
    let versions = [
        doc! { "apiVersion": "1" },
        doc! { "apiVersion": "1", "apiStrict": true, "apiDeprecationErrors": true },
        doc! { "$readPreference": { "mode": "secondary" } },
        transaction,
    ];
    for beside in versions {
        for mut command in [doc! { "logout": 1 }, begin(Hash::Sha256, &user).1] {
            let mut client = client_of(proxy(), &user).await;
            client.succeed("haven", find()).await;
            command.extend(beside.clone());
            let reply = client.run("haven", command.clone()).await;
            assert!(
                is_ok(&reply) || [18, 72, 263, 323].contains(&code(&reply)),
                "{command}: {reply}"
            );
            other.succeed("haven", find()).await;
        }
    }
    assert_eq!(logouts().await, before, "a logout has reached a node");
}

#[tokio::test]
async fn a_guess_at_a_mechanism_is_answered_only_if_the_user_has_it() {
    let set = shared_auth_set();
    create_user(set, "haven", "old", PASSWORD, &["read"], &["SCRAM-SHA-1"]).await;
    let user = UserName::new("haven", "old");
    for (hash, is_begun) in [(Hash::Sha256, false), (Hash::Sha1, true)] {
        let mut client = Client::connect(proxy().address).await;
        let (_, mut guess) = begin(hash, &user);
        guess.insert("db", "haven");
        let hello = doc! { "hello": 1, "saslSupportedMechs": "haven.old", "speculativeAuthenticate": guess };
        let hello = client.succeed("admin", hello).await;
        assert_eq!(
            hello.get_array("saslSupportedMechs").unwrap(),
            &["SCRAM-SHA-1".into()]
        );
        assert_eq!(hello.contains_key("speculativeAuthenticate"), is_begun, "{hello}");
        // What a driver does then.
        let last = log_in(&mut client, Hash::Sha1, &user, PASSWORD).await;
        assert!(is_ok(&last), "{last}");
    }
}
