//! Logins at a node that is played by the test.

use std::sync::Mutex as StdMutex;

use bson::{Binary, Bson, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::{
    auth::scram::{
        Iterations, ScramError, Verifier,
        server::{Challenged, ClientFirst},
    },
    failover::Sent,
    topology::Address,
    upstream::{Failure, Options, Reason, connect_as},
    wire::{RawDoc, op_msg},
};

/// What a played node is like.
#[derive(Clone)]
struct Play {
    /// The mechanisms that it tells of the user.
    mechanisms: Vec<Mechanism>,
    /// Takes up a conversation that begins in the handshake, as servers since 4.4 do.
    speculates: bool,
    /// Ends a conversation by an empty message, as servers before 4.4 do.
    empty_exchange: bool,
    /// The first `saslStart` or `authenticate` is answered with this.
    error: Option<(i32, &'static str)>,
    /// Does not know the user's keys, and lets everybody in.
    impostor: bool,
    iterations: u32,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            mechanisms: vec![Mechanism::ScramSha256, Mechanism::ScramSha1],
            speculates: true,
            empty_exchange: false,
            error: None,
            impostor: false,
            iterations: 4096,
        }
    }
}

/// A node for one connection, and the commands that it got.
struct Node {
    address: Address,
    got: Arc<StdMutex<Vec<Document>>>,
    task: JoinHandle<Option<()>>,
}

impl Node {
    async fn start(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let got = Arc::<StdMutex<Vec<Document>>>::default();
        let seen = Arc::clone(&got);
        let task = tokio::spawn(async move {
            let mut stream = listener.accept().await.ok()?.0;
            let mut challenged = None;
            loop {
                let mut head = [0; 16];
                stream.read_exact(&mut head).await.ok()?;
                let mut message = head.to_vec();
                message.resize(i32::from_le_bytes(*head.first_chunk()?) as usize, 0);
                stream.read_exact(&mut message[16..]).await.ok()?;
                let body = op_msg::Layout::parse(&message).ok()?.body(&message).ok()?;
                let command =
                    Document::try_from(RawDocumentBuf::from_bytes(body.bytes().to_vec()).ok()?).ok()?;
                seen.lock().unwrap().push(command.clone());
                let reply = answer(&play, &command, &mut challenged);
                let reply = RawDocumentBuf::try_from(&reply).unwrap();
                let mut out = BytesMut::new();
                let id = i32::from_le_bytes(*head[4..].first_chunk()?);
                op_msg::encode(RawDoc::prefix(reply.as_bytes()).ok()?, 1, id, 0, &mut out);
                stream.write_all(&out).await.ok()?;
            }
        });
        Self { address, got, task }
    }

    fn names(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter()
            .map(|command| command.keys().next().unwrap().clone())
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn step(payload: Vec<u8>, done: bool) -> Document {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: payload,
    };
    doc! { "conversationId": 1, "done": done, "payload": payload, "ok": 1 }
}

fn begin(play: &Play, start: &Document, challenged: &mut Option<Challenged>) -> Document {
    let mechanism = Mechanism::from_name(start.get_str("mechanism").unwrap()).unwrap();
    let hash = mechanism.scram_hash().unwrap();
    let first = ClientFirst::parse(hash, start.get_binary_generic("payload").unwrap()).unwrap();
    let user = ann();
    let verifier = if play.impostor {
        Verifier::unknown(hash, &user, &[1; 32], Iterations::default())
    } else {
        Verifier::from_password(hash, &user, "pencil", b"salt", play.iterations).unwrap()
    };
    let (next, challenge) = first.challenge(Arc::new(verifier), "server-nonce");
    *challenged = Some(next);
    step(challenge, false)
}

fn answer(play: &Play, command: &Document, challenged: &mut Option<Challenged>) -> Document {
    let name = command.keys().next().unwrap().as_str();
    if let (Some((code, errmsg)), "saslStart" | "authenticate") = (play.error, name) {
        return doc! { "ok": 0, "code": code, "errmsg": errmsg };
    }
    match name {
        "isMaster" => {
            let names: Vec<Bson> = play.mechanisms.iter().map(|by| by.name().into()).collect();
            let mut hello = doc! { "ok": 1, "isWritablePrimary": true, "maxWireVersion": 17, "saslSupportedMechs": names };
            if let Some(Bson::Document(start)) = command.get("speculativeAuthenticate")
                && play.speculates
            {
                hello.insert("speculativeAuthenticate", begin(play, start, challenged));
            }
            hello
        }
        "saslStart" => begin(play, command, challenged),
        "saslContinue" => match challenged.take() {
            Some(_) if play.impostor => step(b"v=AAAA".to_vec(), true),
            Some(challenged) => match challenged.finish(command.get_binary_generic("payload").unwrap()) {
                Ok((last, _)) => step(last, !play.empty_exchange),
                Err(_) => doc! { "ok": 0, "code": 18, "errmsg": "Authentication failed." },
            },
            None => step(Vec::new(), true),
        },
        _ => doc! { "ok": 1 },
    }
}

fn ann() -> UserName {
    UserName::new("shop", "ann")
}

fn password(text: &str) -> Secret {
    Secret::Password(text.to_owned().into())
}

async fn try_login(play: Play, login: &Arc<Login>) -> (Result<(), Failure>, Node) {
    let node = Node::start(play).await;
    let outcome = connect_as(&node.address, &Options::default(), Some(login)).await;
    if let Err(failure) = &outcome {
        assert_eq!(failure.sent, Sent::NotSent);
    }
    (outcome.map(drop), node)
}

#[tokio::test]
async fn a_conversation_that_begins_in_the_handshake_costs_one_round_trip_more() {
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
        let login = Arc::new(Login::new(ann(), mechanism, password("pencil")));
        let (outcome, node) = try_login(Play::default(), &login).await;
        outcome.unwrap();
        assert_eq!(node.names(), ["isMaster", "saslContinue"]);
        let got = node.got.lock().unwrap();
        assert_eq!(got[1].get_str("$db").unwrap(), "shop");
        assert!(!got[0].contains_key("saslSupportedMechs"));
    }
}

#[tokio::test]
async fn a_node_that_does_not_speculate_and_wants_an_empty_message_is_served() {
    let login = Arc::new(Login::new(ann(), Mechanism::ScramSha256, password("pencil")));
    let play = Play {
        speculates: false,
        empty_exchange: true,
        ..Play::default()
    };
    let (outcome, node) = try_login(play, &login).await;
    outcome.unwrap();
    assert_eq!(
        node.names(),
        ["isMaster", "saslStart", "saslContinue", "saslContinue"]
    );
}

#[tokio::test]
async fn the_mechanism_that_a_user_has_is_asked_for_and_remembered() {
    let login = Arc::new(Login::negotiated(ann(), password("pencil")));
    let play = Play {
        mechanisms: vec![Mechanism::ScramSha1],
        speculates: false,
        ..Play::default()
    };
    let (outcome, node) = try_login(play, &login).await;
    outcome.unwrap();
    {
        let got = node.got.lock().unwrap();
        assert_eq!(got[0].get_str("saslSupportedMechs").unwrap(), "shop.ann");
        assert_eq!(got[1].get_str("mechanism").unwrap(), "SCRAM-SHA-1");
    }
    let (outcome, node) = try_login(Play::default(), &login).await;
    outcome.unwrap();
    let got = node.got.lock().unwrap();
    let speculated = got[0].get_document("speculativeAuthenticate").unwrap();
    assert_eq!(speculated.get_str("mechanism").unwrap(), "SCRAM-SHA-1");
}

#[tokio::test]
async fn the_keys_of_a_password_are_computed_once_for_each_salt_and_count() {
    let login = Arc::new(Login::new(ann(), Mechanism::ScramSha256, password("pencil")));
    let keys = async |iterations| {
        let play = Play {
            iterations,
            ..Play::default()
        };
        try_login(play, &login).await.0.unwrap();
        let derived = login.derived.lock().await;
        Arc::clone(&derived.as_ref().unwrap().keys)
    };
    let first = keys(4096).await;
    assert!(Arc::ptr_eq(&first, &keys(4096).await));
    let changed = keys(5000).await;
    assert!(!Arc::ptr_eq(&first, &changed));
    // Which log in without the password.
    let again = Arc::new(Login::new(ann(), Mechanism::ScramSha256, Secret::Keys(changed)));
    let play = Play {
        iterations: 5000,
        ..Play::default()
    };
    try_login(play, &again).await.0.unwrap();
    let (outcome, _node) = try_login(Play::default(), &again).await;
    assert!(
        outcome.unwrap_err().is_login_refused(),
        "they are those of other iterations"
    );
}

#[tokio::test]
async fn a_refusal_is_told_from_a_failure() {
    let login = Arc::new(Login::new(ann(), Mechanism::ScramSha256, password("pencils")));
    let (outcome, _node) = try_login(Play::default(), &login).await;
    let failure = outcome.unwrap_err();
    assert!(failure.is_login_refused());
    let text = failure.to_string();
    assert!(
        text.contains("ann@shop in by SCRAM-SHA-256: Authentication failed."),
        "{text}"
    );
    for (code, refused) in [(18, true), (11, true), (334, true), (91, false), (11600, false)] {
        let play = Play {
            speculates: false,
            error: Some((code, "no")),
            ..Play::default()
        };
        let failure = try_login(play, &login).await.0.unwrap_err();
        assert_eq!(failure.is_login_refused(), refused, "{failure}");
    }
}

#[tokio::test]
async fn an_impostor_and_one_who_asks_for_few_iterations_are_found_out() {
    let login = Arc::new(Login::new(ann(), Mechanism::ScramSha256, password("pencil")));
    let impostor = Play {
        impostor: true,
        ..Play::default()
    };
    let few = Play {
        iterations: 1000,
        ..Play::default()
    };
    for (play, expected) in [
        (impostor, ScramError::ServerSignature),
        (few, ScramError::Iterations(1000)),
    ] {
        let failure = try_login(play, &login).await.0.unwrap_err();
        assert!(!failure.is_login_refused());
        assert!(
            matches!(&failure.reason, Reason::Login(error) if **error == LoginError::Conversation(expected))
        );
    }
}

#[tokio::test]
async fn a_password_is_not_sent_where_others_can_read_it() {
    let plain = Arc::new(Login::new(ann(), Mechanism::Plain, password("pencil")));
    let (outcome, node) = try_login(Play::default(), &plain).await;
    let reason = outcome.unwrap_err().reason;
    assert!(matches!(reason, Reason::Login(error) if *error == LoginError::NeedsTls(Mechanism::Plain)));
    assert_eq!(node.names(), ["isMaster"]);
}

#[tokio::test]
async fn a_certificates_user_is_named_only_where_it_is_given() {
    for (subject, user) in [("", None), ("CN=ann,O=shop", Some("CN=ann,O=shop"))] {
        let login = Arc::new(Login::with_certificate(subject));
        let (outcome, node) = try_login(Play::default(), &login).await;
        outcome.unwrap();
        let got = node.got.lock().unwrap();
        assert_eq!(got[1].get_str("mechanism").unwrap(), "MONGODB-X509");
        assert_eq!(got[1].get_str("$db").unwrap(), "$external");
        assert_eq!(got[1].get_str("user").ok(), user);
    }
}

#[test]
fn a_login_shows_nothing_and_is_compared_by_all_it_knows() {
    let login = |name, secret| Login::negotiated(UserName::new("admin", name), password(secret));
    assert_eq!(format!("{:?}", login("ann", "pencil")), "Login(***)");
    assert!(login("ann", "pencil").is_same(&login("ann", "pencil")));
    assert_ne!(login("ann", "pencil"), login("ann", "pencils"));
    assert_ne!(login("ann", "pencil"), login("bob", "pencil"));
    assert_ne!(Login::testing(1), Login::testing(2));
    let one = Login::new(ann(), Mechanism::ScramSha256, password("pencil"));
    assert_ne!(one, Login::new(ann(), Mechanism::ScramSha1, password("pencil")));
}
