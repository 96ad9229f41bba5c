//! The commands of a login (MongoDB Authentication specification).

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use zeroize::Zeroizing;

use super::{
    Derived, Login, LoginError, Speculation,
    handshake::{binary, full_name, negotiated, start},
};
use crate::{
    auth::{
        Mechanism, UserName,
        scram::{
            Hash, Keys, ScramError, Secret,
            client::{Asked, Conversation},
        },
    },
    upstream::{Connection, Failure, Reason},
};

/// Logs a connection in that has been opened and has nobody logged in. Cancel safe: a cancelled login leaves the connection
/// unclean.
///
/// # Errors
/// Always [`crate::failover::Sent::NotSent`]; [`Reason::Login`] where the node did not let the user in. The connection must not be
/// used then.
pub async fn login(connection: &mut Connection, login: &Login) -> Result<(), Failure> {
    let hello = if login.mechanism.is_none() {
        let ask = rawdoc! { "hello": 1, "saslSupportedMechs": full_name(&login.user), "$db": "admin" };
        run(connection, &ask).await?
    } else {
        RawDocumentBuf::new()
    };
    go_on(connection, login, None, &hello).await
}

/// Goes on behind the handshake, which said what `speculation` had begun, and brought `hello`.
pub(in crate::upstream) async fn go_on(
    connection: &mut Connection,
    login: &Login,
    speculation: Option<Speculation>,
    hello: &RawDocument,
) -> Result<(), Failure> {
    if let Some(speculation) = speculation
        && let Ok(taken_up) = hello.get_document("speculativeAuthenticate")
    {
        let step = Step::read(taken_up)?;
        return scram(
            connection,
            login,
            speculation.hash,
            speculation.conversation,
            step,
        )
        .await;
    }
    let mechanism = login.mechanism.unwrap_or_else(|| negotiated(hello));
    match (mechanism, &login.secret) {
        (Mechanism::ScramSha1 | Mechanism::ScramSha256, _) => {
            let hash = mechanism.scram_hash().unwrap_or(Hash::Sha256);
            let (conversation, mut command) = start(hash, &login.user)?;
            command.append(cstr!("$db"), &*login.user.db);
            let reply = ask(connection, &login.user, mechanism, &command).await?;
            let step = Step::read(&reply)?;
            scram(connection, login, hash, conversation, step).await
        }
        (Mechanism::X509, _) => x509(connection, &login.user).await,
        (Mechanism::Plain, Some(Secret::Password(password))) => {
            plain(connection, &login.user, password).await
        }
        (Mechanism::Plain | Mechanism::MongodbCr, _) => Err(LoginError::Unusable(mechanism).into()),
    }
}

/// The rest of a SCRAM conversation.
async fn scram(
    connection: &mut Connection,
    login: &Login,
    hash: Hash,
    conversation: Conversation,
    first: Step,
) -> Result<(), Failure> {
    let mechanism = hash.mechanism();
    let asked = conversation.read(&first.payload).map_err(LoginError::from)?;
    let keys = login.keys(&asked, hash).await?;
    let (awaiting, proof) = asked.answer(keys).map_err(LoginError::from)?;
    let say = |payload| {
        rawdoc! {
            "saslContinue": 1,
            "conversationId": first.conversation_id,
            "payload": binary(payload),
            "$db": &*login.user.db,
        }
    };
    let reply = ask(connection, &login.user, mechanism, &say(proof)).await?;
    let last = Step::read(&reply)?;
    awaiting.verify(&last.payload).map_err(LoginError::from)?;
    if !last.done {
        let reply = ask(connection, &login.user, mechanism, &say(Vec::new())).await?;
        if !Step::read(&reply)?.done {
            return Err(LoginError::Reply("the conversation does not end").into());
        }
    }
    Ok(())
}

async fn x509(connection: &mut Connection, user: &UserName) -> Result<(), Failure> {
    let mut command = rawdoc! { "authenticate": 1, "mechanism": Mechanism::X509.name() };
    if !user.name.is_empty() {
        command.append(cstr!("user"), &*user.name);
    }
    command.append(cstr!("$db"), &*user.db);
    ask(connection, user, Mechanism::X509, &command).await.map(drop)
}

/// Sends the password as it is (RFC 4616), so only where nobody else can read it.
async fn plain(connection: &mut Connection, user: &UserName, password: &str) -> Result<(), Failure> {
    if !connection.is_encrypted() {
        return Err(LoginError::NeedsTls(Mechanism::Plain).into());
    }
    let payload = Zeroizing::new(format!("\0{}\0{password}", user.name));
    let command = rawdoc! {
        "saslStart": 1,
        "mechanism": Mechanism::Plain.name(),
        "payload": binary(payload.as_bytes().to_vec()),
        "$db": &*user.db,
    };
    let reply = ask(connection, user, Mechanism::Plain, &command).await?;
    if Step::read(&reply)?.done {
        Ok(())
    } else {
        Err(LoginError::Reply("the conversation does not end").into())
    }
}

impl Login {
    /// The keys for the server's challenge. Those of a password are computed once, off this thread, whoever asks meanwhile.
    async fn keys(&self, asked: &Asked, hash: Hash) -> Result<Arc<Keys>, Failure> {
        let secret = match &self.secret {
            Some(Secret::Keys(keys)) => return Ok(Arc::clone(keys)),
            Some(secret) => secret.clone(),
            None => return Err(LoginError::from(ScramError::OtherMechanism).into()),
        };
        let mut derived = self.derived.lock().await;
        if let Some(derived) = &*derived
            && derived.keys.hash == hash
            && *derived.salt == *asked.salt()
            && derived.iterations == asked.iterations()
        {
            return Ok(Arc::clone(&derived.keys));
        }
        let (user, salt, iterations) = (self.user.clone(), asked.salt().to_vec(), asked.iterations());
        let computing = tokio::task::spawn_blocking(move || {
            let keys = secret.keys(hash, &user, &salt, iterations)?;
            Ok(Derived {
                salt: salt.into(),
                iterations,
                keys,
            })
        });
        // It does not panic; it is cancelled when the runtime ends.
        let computed = computing.await.map_err(|_| Failure::not_sent(Reason::Closed))?;
        let computed = derived.insert(computed.map_err(LoginError::Conversation)?);
        Ok(Arc::clone(&computed.keys))
    }
}

/// What a node answers to `saslStart` and `saslContinue`.
struct Step {
    conversation_id: i32,
    done: bool,
    payload: Vec<u8>,
}

impl Step {
    fn read(reply: &RawDocument) -> Result<Self, LoginError> {
        let payload = reply
            .get_binary("payload")
            .map_err(|_| LoginError::Reply("a reply has no payload"))?;
        let conversation_id = reply
            .get_i32("conversationId")
            .map_err(|_| LoginError::Reply("a reply has no conversationId"))?;
        Ok(Self {
            conversation_id,
            done: reply.get_bool("done").unwrap_or(false),
            payload: payload.bytes.to_vec(),
        })
    }
}

/// Runs a command of a login, which has to succeed.
async fn ask(
    connection: &mut Connection,
    user: &UserName,
    mechanism: Mechanism,
    command: &RawDocument,
) -> Result<RawDocumentBuf, Failure> {
    let reply = run(connection, command).await?;
    if is_ok(&reply) {
        return Ok(reply);
    }
    let code = reply.get_i32("code").unwrap_or_default();
    let message = reply.get_str("errmsg").unwrap_or("no reason given").to_owned();
    Err(LoginError::of_reply(user, mechanism, code, message).into())
}

async fn run(connection: &mut Connection, command: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    let reply = connection.run(command).await;
    reply.map_err(|failure| Failure::not_sent(failure.reason))
}

/// Whether a reply says that its command succeeded.
pub(in crate::upstream) fn is_ok(reply: &RawDocument) -> bool {
    reply
        .get("ok")
        .is_ok_and(|ok| ok.is_some_and(|ok| ok.as_f64() == Some(1.0) || ok.as_i32() == Some(1)))
}

impl From<LoginError> for Failure {
    /// Nothing of what the connection is for was sent.
    fn from(error: LoginError) -> Self {
        Self::not_sent(Reason::Login(Box::new(error)))
    }
}
