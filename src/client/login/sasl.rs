//! `saslStart` and `saslContinue`: the conversations of SCRAM, and the one message of PLAIN.
//!
//! The codes and words are those of a `mongod` 6.0.5. One conversation is under way at a time; whatever is wrong with a message ends it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{Binary, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, spec::BinarySubtype};
use zeroize::Zeroizing;

use super::{Logins, Refusal, admit::Proof, offered, plain, text};
use crate::{
    audit::LoginRefusal,
    auth::{
        ActsAs, Mechanism, UserName,
        scram::{Hash, Secret, nonce, server},
    },
    client::session::Session,
    command::ErrorReply,
};

/// Every conversation's number: a connection has one at a time.
const CONVERSATION: i32 = 1;

/// What is awaited next.
pub(super) enum Step {
    /// The proof.
    Proof(Box<Challenge>),
    /// An empty message, by which clients of old end a conversation that has succeeded.
    Farewell {
        /// Payloads are told as text.
        as_text: bool,
    },
}

/// A challenge that is to be answered.
pub(super) struct Challenge {
    user: UserName,
    mechanism: Mechanism,
    challenged: server::Challenged,
    acts_as: ActsAs,
    /// There is such a user, but not for a client from there.
    is_restricted: bool,
    /// There is such a user.
    is_known: bool,
    /// The user exists, and has no credentials for this mechanism.
    has_others_only: bool,
    /// The server's last word ends it.
    skips_farewell: bool,
    as_text: bool,
}

/// A message of a conversation.
pub(super) struct Start<'a> {
    pub(super) mechanism: &'a str,
    payload: Payload,
    skips_farewell: bool,
}

/// What a message carries: binary data, or the same as text in base64.
struct Payload {
    bytes: Zeroizing<Vec<u8>>,
    as_text: bool,
}

impl<'a> Start<'a> {
    /// Reads a `saslStart`.
    pub(super) fn read(body: &'a RawDocument) -> Result<Self, ErrorReply> {
        let mechanism = text(body, "saslStart", "mechanism")?;
        let payload = Payload::read(body, "saslStart")?;
        let options = body.get_document("options").ok();
        let skips = options.and_then(|options| options.get_bool("skipEmptyExchange").ok());
        Ok(Self {
            mechanism,
            payload,
            skips_farewell: skips.unwrap_or_default(),
        })
    }
}

impl Payload {
    fn read(body: &RawDocument, command: &str) -> Result<Self, ErrorReply> {
        match body.get("payload") {
            Ok(Some(RawBsonRef::Binary(binary))) => Ok(Self {
                bytes: binary.bytes.to_vec().into(),
                as_text: false,
            }),
            Ok(Some(RawBsonRef::String(text))) => {
                let bytes = BASE64_STANDARD.decode(text);
                let bytes = bytes.map_err(|_| ErrorReply::bad_value("the payload is not base64"))?;
                Ok(Self {
                    bytes: bytes.into(),
                    as_text: true,
                })
            }
            Ok(Some(_)) => Err(ErrorReply::bad_value(
                "the payload must be binary data, or base64 as a string",
            )),
            _ => Err(ErrorReply::missing_field(command, "payload")),
        }
    }
}

/// Begins a conversation.
///
/// # Errors
/// What the client is told; no conversation is under way then.
pub(super) async fn start(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
    db: &str,
) -> Result<RawDocumentBuf, ErrorReply> {
    session.login_state().abandon();
    let start = Start::read(body)?;
    let (mechanism, as_text) = (start.mechanism, start.payload.as_text);
    let began = begin(session, logins, start, db).await;
    match began {
        Ok((payload, done)) => {
            session.login_state().note_challenged();
            Ok(with_ok(reply(payload, done, as_text)))
        }
        Err((user, refusal)) => Err(session.refuse_login(user.as_ref(), mechanism, refusal)),
    }
}

/// Begins a conversation within a `hello`; `None` if that is not possible.
pub(super) async fn speculate(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
    db: &str,
) -> Option<RawDocumentBuf> {
    session.login_state().abandon();
    let start = Start::read(body).ok()?;
    // A password is judged where its sender hears of it.
    Mechanism::from_name(start.mechanism)?.scram_hash()?;
    let as_text = start.payload.as_text;
    let (payload, done) = begin(session, logins, start, db).await.ok()?;
    // Drivers that leave the mechanism open guess here, and take another by `saslSupportedMechs` when the guess is not answered.
    let state = session.login_state();
    if matches!(&state.step, Some(Step::Proof(challenge)) if challenge.has_others_only) {
        state.step = None;
        return None;
    }
    state.note_challenged();
    Some(reply(payload, done, as_text))
}

/// Begins a conversation: the payload of the answer, and whether that was all.
async fn begin(
    session: &mut Session,
    logins: &Arc<Logins>,
    start: Start<'_>,
    db: &str,
) -> Result<(Vec<u8>, bool), (Option<UserName>, Refusal)> {
    let mechanism = offered(logins, start.mechanism).map_err(|refusal| (None, refusal))?;
    session.wait_before_login().await;
    match mechanism.scram_hash() {
        Some(hash) => {
            let payload = challenge(session, logins, start, hash, db).await?;
            Ok((payload, false))
        }
        None if mechanism == Mechanism::Plain => {
            plain::log_in(session, logins, &start.payload.bytes, db).await?;
            Ok((Vec::new(), true))
        }
        None => Err((None, Refusal::failed(LoginRefusal::Mechanism))),
    }
}

/// The server's first message of SCRAM. Of a user that does not exist it is made up, so that the answer tells nobody.
async fn challenge(
    session: &mut Session,
    logins: &Arc<Logins>,
    start: Start<'_>,
    hash: Hash,
    db: &str,
) -> Result<Vec<u8>, (Option<UserName>, Refusal)> {
    let first = server::ClientFirst::parse(hash, &start.payload.bytes);
    let first = first.map_err(|error| {
        tracing::debug!(peer = %session.peer, %error, "login refused");
        (None, Refusal::failed(LoginRefusal::Malformed))
    })?;
    let user = UserName::new(db, first.user_name());
    let found = logins.source.find(&user).await;
    let found = found.map_err(|refusal| (Some(user.clone()), refusal))?;
    let verifier = found.as_ref().and_then(|found| found.verifier(hash)).cloned();
    let is_known = verifier.is_some();
    let verifier = verifier.unwrap_or_else(|| Arc::new(logins.stand_in(hash, &user)));
    let mut random = Zeroizing::new([0; 24]);
    if getrandom::fill(&mut *random).is_err() {
        return Err((Some(user), Refusal::failed(LoginRefusal::Unavailable)));
    }
    let (challenged, payload) = first.challenge(verifier, &nonce(*random));
    let address = session.peer.ip();
    let challenge = Challenge {
        user,
        mechanism: hash.mechanism(),
        challenged,
        is_restricted: found.as_ref().is_some_and(|found| !found.allow(address)),
        acts_as: found
            .as_ref()
            .map(|found| found.acts_as.clone())
            .unwrap_or_default(),
        is_known,
        has_others_only: found.is_some() && !is_known,
        skips_farewell: start.skips_farewell,
        as_text: start.payload.as_text,
    };
    session.login_state().step = Some(Step::Proof(Box::new(challenge)));
    Ok(payload)
}

/// Goes on with the conversation that is under way.
///
/// # Errors
/// What the client is told; the conversation is over then.
pub(super) async fn go_on(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
) -> Result<RawDocumentBuf, ErrorReply> {
    let step = session.login_state().step.take();
    let step = step.ok_or_else(|| ErrorReply::protocol("no login is under way"))?;
    let payload = continuation(body).inspect_err(|_| session.login_state().abandon())?;
    match step {
        Step::Proof(challenge) => {
            let (user, mechanism) = (challenge.user.clone(), challenge.mechanism);
            let outcome = judge(session, logins, *challenge, &payload.bytes).await;
            outcome.map_err(|refusal| session.refuse_login(Some(&user), mechanism.name(), refusal))
        }
        Step::Farewell { as_text } if payload.bytes.is_empty() => {
            Ok(with_ok(reply(Vec::new(), true, as_text)))
        }
        Step::Farewell { .. } => Err(ErrorReply::protocol("the login has ended")),
    }
}

/// What a `saslContinue` carries, if it belongs to the conversation.
fn continuation(body: &RawDocument) -> Result<Payload, ErrorReply> {
    let id = match body.get("conversationId") {
        Ok(Some(id)) => id
            .as_i32()
            .or_else(|| id.as_i64().and_then(|id| id.try_into().ok())),
        _ => return Err(ErrorReply::missing_field("saslContinue", "conversationId")),
    };
    if id != Some(CONVERSATION) {
        return Err(ErrorReply::protocol(
            "the login under way has another conversationId",
        ));
    }
    Payload::read(body, "saslContinue")
}

async fn judge(
    session: &mut Session,
    logins: &Arc<Logins>,
    challenge: Challenge,
    payload: &[u8],
) -> Result<RawDocumentBuf, Refusal> {
    let Challenge { user, mechanism, .. } = challenge;
    // Others that began at the same time may have failed meanwhile.
    session.wait_before_login().await;
    let (last, keys) = match challenge.challenged.finish(payload) {
        Ok(proven) => proven,
        Err(error) => {
            tracing::debug!(peer = %session.peer, %user, %error, "login refused");
            // The password may have been changed since it was read.
            logins.source.doubt(&user);
            return Err(Refusal::failed(match challenge.is_known {
                _ if error.is_malformed() => LoginRefusal::Malformed,
                true => LoginRefusal::WrongPassword,
                false => LoginRefusal::UnknownUser,
            }));
        }
    };
    if challenge.is_restricted {
        return Err(Refusal::failed(LoginRefusal::Restricted));
    }
    let proof = Proof::Secret(Secret::Keys(Arc::new(keys)));
    session.admit(logins, user, mechanism, proof, &challenge.acts_as)?;
    let (done, as_text) = (challenge.skips_farewell, challenge.as_text);
    if !done {
        session.login_state().step = Some(Step::Farewell { as_text });
    }
    Ok(with_ok(reply(last, done, as_text)))
}

fn reply(payload: Vec<u8>, done: bool, as_text: bool) -> RawDocumentBuf {
    let mut reply = RawDocumentBuf::new();
    reply.append(cstr!("conversationId"), CONVERSATION);
    reply.append(cstr!("done"), done);
    if as_text {
        reply.append(cstr!("payload"), BASE64_STANDARD.encode(payload));
    } else {
        let binary = Binary {
            subtype: BinarySubtype::Generic,
            bytes: payload,
        };
        reply.append(cstr!("payload"), binary);
    }
    reply
}

fn with_ok(mut reply: RawDocumentBuf) -> RawDocumentBuf {
    reply.append(cstr!("ok"), 1.0);
    reply
}
