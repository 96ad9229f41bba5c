//! What a `hello` asks about logins: which mechanisms a user has, and to begin one at once (MongoDB Authentication specification,
//! "Mechanism Negotiation" and "Speculative Authentication").
//!
//! What cannot be begun is left out of the answer, without a word, as `mongod` does it: the client begins anew by `saslStart`, and hears
//! then what is wrong. The codes are those of a `mongod` 6.0.5.

use std::sync::Arc;

use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr};

use super::{Logins, authenticate, sasl};
use crate::{
    auth::{Mechanism, UserName},
    client::{inbound::Inbound, session::Session},
    command::ErrorReply,
};

/// What a `hello` asks about logins.
struct Asks {
    mechanisms_of: Option<UserName>,
    begin: Option<RawDocumentBuf>,
}

/// What goes into its answer.
#[derive(Debug, Default)]
pub(in crate::client) struct Answers {
    mechanisms: Option<RawArrayBuf>,
    begun: Option<RawDocumentBuf>,
}

impl Answers {
    /// Adds them to the answer.
    pub(in crate::client) fn append_to(&self, hello: &mut RawDocumentBuf) {
        if let Some(mechanisms) = &self.mechanisms {
            hello.append(cstr!("saslSupportedMechs"), mechanisms.clone());
        }
        if let Some(begun) = &self.begun {
            hello.append(cstr!("speculativeAuthenticate"), begun.clone());
        }
    }
}

/// Answers what a `hello` asks about logins.
///
/// # Errors
/// When it asks wrong.
pub(in crate::client) async fn answer(
    session: &mut Session,
    inbound: &Inbound,
) -> Result<Answers, ErrorReply> {
    let Some(logins) = session.shared.logins() else {
        return Ok(Answers::default());
    };
    let message = inbound.frame.bytes();
    let body = inbound.request.layout.body(message);
    let body = body.map_err(|error| ErrorReply::invalid_message(&error))?;
    let Ok(body) = RawDocument::from_bytes(body.bytes()) else {
        return Ok(Answers::default());
    };
    let name = String::from_utf8_lossy(inbound.request.name(message));
    let asks = Asks::read(&name, body)?;
    if asks.mechanisms_of.is_none() && asks.begin.is_none() {
        return Ok(Answers::default());
    }
    session.note_no_monitor();
    session.login_state().abandon();
    let answers = look_up(session, &logins, asks).await;
    session.login_state().forget_unanswered();
    answers
}

async fn look_up(session: &mut Session, logins: &Arc<Logins>, asks: Asks) -> Result<Answers, ErrorReply> {
    let mut answers = Answers::default();
    if let Some(user) = asks.mechanisms_of {
        session.wait_before_login().await;
        answers.mechanisms = mechanisms(logins, &user).await?;
    }
    if let Some(begin) = asks.begin {
        answers.begun = speculate(session, logins, &begin).await;
    }
    Ok(answers)
}

impl Asks {
    fn read(name: &str, body: &RawDocument) -> Result<Self, ErrorReply> {
        let mechanisms_of = match body.get("saslSupportedMechs") {
            Ok(Some(RawBsonRef::String(text))) => Some(split(text)?),
            Ok(Some(RawBsonRef::Document(user))) => match (user.get_str("db"), user.get_str("user")) {
                (Ok(db), Ok(user)) => Some(UserName::new(db, user)),
                _ => {
                    return Err(ErrorReply::bad_value(
                        "the user of saslSupportedMechs has no db or no user",
                    ));
                }
            },
            // Another type has been refused before.
            _ => None,
        };
        let field = "speculativeAuthenticate";
        let begin = match body.get(field) {
            Ok(None | Some(RawBsonRef::Null)) | Err(_) => None,
            Ok(Some(RawBsonRef::Document(begin))) => Some(begin.to_owned()),
            Ok(Some(_)) => return Err(ErrorReply::type_mismatch(name, field, "object")),
        };
        if let Some(begin) = &begin {
            match begin.iter().next() {
                Some(Ok((first, _))) if first == "saslStart" || first == "authenticate" => {}
                Some(Ok((first, _))) => return Err(ErrorReply::unknown_speculation(name, first.as_str())),
                _ => {
                    let problem = format!("{name}.{field} must be a non-empty Object");
                    return Err(ErrorReply::bad_value(problem));
                }
            }
        }
        Ok(Self { mechanisms_of, begin })
    }
}

/// `db.user`: the database has no dot.
fn split(text: &str) -> Result<UserName, ErrorReply> {
    let (db, name) = text
        .split_once('.')
        .ok_or_else(|| ErrorReply::bad_value("UserName must contain a '.' separated database.user pair"))?;
    Ok(UserName::new(db, name))
}

/// The mechanisms that a user may use here; `None` if there is no such user.
async fn mechanisms(logins: &Logins, user: &UserName) -> Result<Option<RawArrayBuf>, ErrorReply> {
    let found = logins.source.find(user).await.map_err(|refusal| *refusal.error)?;
    let Some(found) = found else {
        return Ok(None);
    };
    let offered = [Mechanism::ScramSha1, Mechanism::ScramSha256]
        .into_iter()
        .filter(|mechanism| {
            let hash = mechanism.scram_hash();
            logins.options.offers(*mechanism) && hash.is_some_and(|hash| found.verifier(hash).is_some())
        });
    Ok(Some(offered.map(Mechanism::name).collect()))
}

/// Begins a login; `None` if it cannot be begun.
async fn speculate(
    session: &mut Session,
    logins: &Arc<Logins>,
    begin: &RawDocument,
) -> Option<RawDocumentBuf> {
    let db = begin.get_str("db").ok()?;
    if begin.get("saslStart").ok()?.is_some() {
        return sasl::speculate(session, logins, begin, db).await;
    }
    let mut reply = authenticate::x509(session, logins, begin, db).ok()?;
    // It is a part of another answer.
    reply = reply
        .iter()
        .filter_map(Result::ok)
        .filter(|(key, _)| *key != "ok")
        .fold(RawDocumentBuf::new(), |mut all, (key, value)| {
            all.append(key, value.to_owned());
            all
        });
    Some(reply)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn code(hello: &RawDocument) -> Option<i32> {
        Asks::read("hello", hello).err().map(|error| error.code())
    }

    #[test]
    fn what_is_asked_wrong_gets_the_codes_of_a_server() {
        for (hello, expected) in [
            (rawdoc! { "hello": 1 }, None),
            (rawdoc! { "saslSupportedMechs": "admin.ann" }, None),
            (rawdoc! { "saslSupportedMechs": "ann" }, Some(2)),
            (
                rawdoc! { "saslSupportedMechs": { "user": "ann", "db": "admin" } },
                None,
            ),
            (rawdoc! { "saslSupportedMechs": { "user": "ann" } }, Some(2)),
            (rawdoc! { "speculativeAuthenticate": 5 }, Some(14)),
            (rawdoc! { "speculativeAuthenticate": {} }, Some(2)),
            (rawdoc! { "speculativeAuthenticate": { "x": 1 } }, Some(51769)),
            (rawdoc! { "speculativeAuthenticate": { "saslStart": 1 } }, None),
        ] {
            assert_eq!(code(&hello), expected, "{hello:?}");
        }
    }

    #[test]
    fn a_name_may_have_dots_and_a_database_has_none() {
        assert_eq!(split("shop.ann.b").unwrap(), UserName::new("shop", "ann.b"));
        assert_eq!(
            split("$external.CN=a.b").unwrap(),
            UserName::new("$external", "CN=a.b")
        );
    }
}
