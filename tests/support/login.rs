//! Logins by SCRAM message by message, as no driver shows them.

use bson::{Document, doc, spec::BinarySubtype};
use tidegate::auth::{
    UserName,
    scram::{
        Hash, Secret,
        client::{AwaitingFinal, Conversation},
    },
};

use super::{Client, client::is_ok};

/// Logs in by SCRAM; the last reply.
pub(crate) async fn log_in(client: &mut Client, hash: Hash, user: &UserName, password: &str) -> Document {
    let (conversation, start) = begin(hash, user);
    let challenge = client.run(&user.db, start).await;
    if !is_ok(&challenge) {
        return challenge;
    }
    let (awaiting, proof) = answer(conversation, payload(&challenge), password);
    let last = client.run(&user.db, go_on(&challenge, proof)).await;
    if is_ok(&last) {
        awaiting.verify(payload(&last)).unwrap();
    }
    last
}

/// A conversation, and the command that begins it.
pub(crate) fn begin(hash: Hash, user: &UserName) -> (Conversation, Document) {
    let (conversation, payload) = Conversation::begin(hash, user, "a client's nonce");
    let start = doc! {
        "saslStart": 1, "mechanism": hash.mechanism().name(), "payload": binary(payload),
        "options": { "skipEmptyExchange": true },
    };
    (conversation, start)
}

/// What shows a server that the password is known.
pub(crate) fn answer(
    conversation: Conversation,
    server_first: &[u8],
    password: &str,
) -> (AwaitingFinal, Vec<u8>) {
    let secret = Secret::Password(password.to_owned().into());
    conversation.respond(server_first, &secret).unwrap()
}

/// The command that goes on after a challenge.
pub(crate) fn go_on(challenge: &Document, payload: Vec<u8>) -> Document {
    let id = challenge.get_i32("conversationId").unwrap();
    doc! { "saslContinue": 1, "conversationId": id, "payload": binary(payload) }
}

/// What a reply carries.
pub(crate) fn payload(reply: &Document) -> &[u8] {
    reply
        .get_binary_generic("payload")
        .unwrap_or_else(|error| panic!("{error}: {reply}"))
}

fn binary(bytes: Vec<u8>) -> bson::Binary {
    let subtype = BinarySubtype::Generic;
    bson::Binary { subtype, bytes }
}
