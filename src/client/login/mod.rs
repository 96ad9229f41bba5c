//! Clients' logins: Tidegate judges them itself, and acts towards the nodes as the very user who has logged in.
//!
//! A login binds to one connection, and the nodes' connections are shared: so no command of a login is ever passed on. The client
//! proves its password to Tidegate, which learns from the proof the key by which it logs its own connections in as that user
//! (`pool::Identity`). Roles, and what they allow, are the nodes' business alone.
//!
//! Invariant: a session's identity is changed here only, by a login that has succeeded or by a logout; before, it is nobody's, and the
//! nodes themselves would refuse what it asks for.

mod admit;
mod attempt;
mod authenticate;
mod backend;
mod forgotten;
mod gate;
mod hello;
mod kept;
mod plain;
mod sasl;
mod source;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use zeroize::Zeroizing;

pub use backend::Backend;
pub use source::Source;
pub(super) use {
    attempt::UnderWay,
    forgotten::{apply, note_change, note_reply, refused},
    gate::{is_open, turn_away},
    hello::{Answers, answer as answer_hello},
};

use super::{
    inbound::{Inbound, encode},
    local,
    session::{End, Session},
};
use crate::{
    audit::{Event, LoginRefusal, User},
    auth::{
        self, ActsAs, Mechanism, UserName, UsersFile,
        scram::{Hash, Iterations, Verifier},
        users_file::{SERVICE, UpstreamIdentity},
    },
    command::{ErrorReply, LoginCommand},
    pool::{Identities, Identity},
    telemetry::{CommandRefusal, Count},
    upstream::{self, Login},
    wire::WireError,
};

/// How clients of this process log in.
pub struct Logins {
    options: auth::Options,
    /// How nodes are reached.
    upstream: Arc<upstream::Options>,
    source: Source,
    identities: Arc<Identities>,
    /// Those that the operator has named, for users that act as another.
    named: BTreeMap<Box<str>, Identity>,
    /// As whom the owner of a certificate of this subject acts.
    subjects: BTreeMap<Box<str>, ActsAs>,
    /// Makes the answers about users that do not exist.
    secret: Arc<Zeroizing<[u8; 32]>>,
    /// What users of the users file have.
    usual_in_file: Iterations,
}

impl Logins {
    /// Logins judged by what `source` and the users file know.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn new(
        options: auth::Options,
        source: Source,
        upstream: Arc<upstream::Options>,
        file: UsersFile,
    ) -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        let (secret, identities) = (Arc::new(secret), Arc::default());
        Ok(Self::known(options, source, upstream, file, identities, secret))
    }

    /// The same with another users file and other mechanisms. Who has logged in stays so.
    #[must_use]
    pub fn renewed(&self, options: auth::Options, file: UsersFile) -> Self {
        let source = Source {
            backend: self.source.backend.clone(),
            ..Source::default()
        };
        let (upstream, identities) = (Arc::clone(&self.upstream), Arc::clone(&self.identities));
        Self::known(
            options,
            source,
            upstream,
            file,
            identities,
            Arc::clone(&self.secret),
        )
    }

    fn known(
        options: auth::Options,
        source: Source,
        upstream: Arc<upstream::Options>,
        file: UsersFile,
        identities: Arc<Identities>,
        secret: Arc<Zeroizing<[u8; 32]>>,
    ) -> Self {
        let mut named = BTreeMap::from([(SERVICE.into(), Identity::SERVICE)]);
        for (name, identity) in file.identities {
            if let Some(login) = login_of(identity) {
                named.insert(name, identities.admit(&Arc::new(login)));
            }
        }
        let subjects = file.subjects.into_iter();
        let mut source = source;
        source.users.extend(file.users);
        let in_file = source.users.values();
        let in_file = in_file.flat_map(|entry| entry.scram_sha_1.iter().chain(&entry.scram_sha_256));
        let usual_in_file = Iterations::of(in_file.map(Arc::as_ref));
        Self {
            options,
            upstream,
            source,
            identities,
            named,
            subjects: subjects
                .map(|(subject, name)| (subject, ActsAs::Named(name)))
                .collect(),
            secret,
            usual_in_file,
        }
    }

    /// What stands in for the verifier of a user that does not exist. Look for the user before: by that the backend learns what is usual.
    fn stand_in(&self, hash: Hash, user: &UserName) -> Verifier {
        let backend = self.source.backend.as_ref();
        let usual = backend.map_or(self.usual_in_file, Backend::usual_iterations);
        Verifier::unknown(hash, user, &self.secret, usual)
    }
}

/// How an upstream identity logs in; `None` if its password has not been read.
fn login_of(identity: UpstreamIdentity) -> Option<Login> {
    let secret = identity.secret?;
    Some(match identity.mechanism {
        Some(mechanism) => Login::new(identity.user, mechanism, secret),
        None => Login::negotiated(identity.user, secret),
    })
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.options.source;
        f.debug_struct("Logins")
            .field("source", &source)
            .finish_non_exhaustive()
    }
}

/// How far a client's login has got.
#[derive(Default)]
pub(super) struct State {
    step: Option<sasl::Step>,
    /// The login under way, as far as others wait for it.
    attempt: Option<attempt::Attempt>,
    /// Who has logged in.
    user: Option<UserName>,
    /// What MONGODB-CR is to be proven with.
    nonce: Option<Box<str>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why a login came to nothing.
#[derive(Debug)]
struct Refusal {
    reason: LoginRefusal,
    error: Box<ErrorReply>,
}

impl Refusal {
    /// What all clients are told whose name, password or proof is wrong: which of them it was is for the audit log alone.
    fn failed(reason: LoginRefusal) -> Self {
        Self {
            reason,
            error: ErrorReply::authentication_failed("Authentication failed.").into(),
        }
    }

    /// It cannot be judged now: that says nothing of the password, and drivers are to try again.
    fn unavailable() -> Self {
        Self {
            reason: LoginRefusal::Unavailable,
            error: ErrorReply::login_unavailable().into(),
        }
    }

    fn malformed(error: ErrorReply) -> Self {
        Self {
            reason: LoginRefusal::Malformed,
            error: error.into(),
        }
    }

    /// Whether it may have been an attempt to guess a password.
    fn is_guess(&self) -> bool {
        !matches!(self.reason, LoginRefusal::Unavailable | LoginRefusal::Mechanism)
    }
}

/// Serves a command of a login.
pub(super) async fn serve(
    session: &mut Session,
    command: LoginCommand,
    inbound: &Inbound,
) -> Result<(), End> {
    let message = inbound.frame.bytes();
    let Some(logins) = session.shared.logins() else {
        return without_logins(session, command, inbound).await;
    };
    let body = inbound.request.layout.body(message).and_then(|body| {
        RawDocument::from_bytes(body.bytes()).map_err(|_| WireError::Bson("a command is no document"))
    });
    let outcome = match (body, std::str::from_utf8(inbound.request.db(message))) {
        (Ok(body), Ok(db)) => match command {
            LoginCommand::SaslStart => sasl::start(session, &logins, body, db).await,
            LoginCommand::SaslContinue => sasl::go_on(session, &logins, body).await,
            LoginCommand::Authenticate => authenticate::serve(session, &logins, body, db).await,
            LoginCommand::GetNonce => authenticate::nonce(session),
            LoginCommand::Logout => Ok(logout(session, db)),
        },
        (Err(error), _) => Err(ErrorReply::invalid_message(&error)),
        (_, Err(_)) => Err(ErrorReply::db_not_a_string()),
    };
    match outcome {
        Ok(reply) => local::say(session, &reply, inbound).await,
        Err(error) => say_error(session, &error, inbound).await,
    }
}

/// Where nobody need log in, nobody can.
async fn without_logins(session: &mut Session, command: LoginCommand, inbound: &Inbound) -> Result<(), End> {
    match command {
        LoginCommand::Logout => local::say(session, &rawdoc! { "ok": 1.0 }, inbound).await,
        // Nobody can log in by it, so it need not be hard to guess.
        LoginCommand::GetNonce => {
            let nonce = format!("{:016x}", fastrand::u64(..));
            local::say(session, &rawdoc! { "nonce": nonce, "ok": 1.0 }, inbound).await
        }
        _ => {
            let name = inbound.request.name(inbound.frame.bytes());
            say_error(session, &ErrorReply::refused(name, gate::NO_AUTH), inbound).await
        }
    }
}

async fn say_error(session: &mut Session, error: &ErrorReply, inbound: &Inbound) -> Result<(), End> {
    session.counters().commands_refused.one();
    session.counters().reasons.one(CommandRefusal::Login);
    match encode(&error.to_document(), inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

/// Ends the login, if it was at this database; as `mongod` does, it says nothing of it.
fn logout(session: &mut Session, db: &str) -> RawDocumentBuf {
    let is_here = |state: &State| state.user.as_ref().is_some_and(|user| &*user.db == db);
    if session.login.as_deref().is_some_and(is_here) {
        end(session);
    }
    rawdoc! { "ok": 1.0 }
}

/// Takes the client for nobody again.
pub(super) fn end(session: &mut Session) {
    let Some(user) = session.login.take().and_then(|state| state.user) else {
        return;
    };
    session.identity = Identity::nobody();
    session.entry.note_user(None);
    session.note_logged_out();
    session.shared.audit.report(&Event::Logout {
        origin: session.origin(),
        user: User::new(&user.name, &user.db),
    });
}

impl Session {
    /// The state of this client's login.
    fn login_state(&mut self) -> &mut State {
        self.login.get_or_insert_default()
    }

    /// Takes note of a login that came to nothing, and says what the client is told.
    fn refuse_login(&mut self, user: Option<&UserName>, mechanism: &str, refusal: Refusal) -> ErrorReply {
        self.counters().logins_refused.one();
        if refusal.is_guess() {
            self.login_state().fail_attempt();
        } else {
            self.login_state().give_attempt_back();
        }
        self.shared.audit.report(&Event::LoginRefused {
            origin: self.origin(),
            user: user.map(|user| User::new(&user.name, &user.db)),
            mechanism: mechanism.into(),
            reason: refusal.reason,
        });
        tracing::info!(peer = %self.peer, reason = refusal.reason.name(), "login refused");
        *refusal.error
    }
}

#[cfg(test)]
#[path = "played_tests.rs"]
mod played_tests;

/// The mechanism of this name, if clients may use it.
fn offered(logins: &Logins, name: &str) -> Result<Mechanism, Refusal> {
    let mechanism = Mechanism::from_name(name).filter(|mechanism| logins.options.offers(*mechanism));
    mechanism.ok_or_else(|| Refusal {
        reason: LoginRefusal::Mechanism,
        error: ErrorReply::mechanism_unavailable(name).into(),
    })
}

/// What a `saslStart` or the like has under this name, as text.
fn text<'a>(body: &'a RawDocument, command: &str, name: &str) -> Result<&'a str, ErrorReply> {
    match body.get(name) {
        Ok(Some(bson::RawBsonRef::String(text))) => Ok(text),
        Ok(Some(_)) => Err(ErrorReply::type_mismatch(command, name, "string")),
        _ => Err(ErrorReply::missing_field(command, name)),
    }
}
