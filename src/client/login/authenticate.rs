//! `authenticate`: MONGODB-X509, by the certificate of the TLS handshake, and MONGODB-CR for drivers that know nothing else.
//!
//! The words and codes of X.509 are those of a `mongod` 6.0.5, those of MONGODB-CR those of a 3.6, the last that had it.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Logins, Refusal, admit::Proof, offered, text};
use crate::{
    audit::LoginRefusal,
    auth::{Mechanism, UserName, scram::Secret},
    client::session::Session,
    command::ErrorReply,
};

/// The database of users that certificates stand for.
const EXTERNAL: &str = "$external";

/// Serves `authenticate`.
///
/// # Errors
/// What the client is told.
pub(super) async fn serve(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
    db: &str,
) -> Result<RawDocumentBuf, ErrorReply> {
    let mechanism = body.get_str("mechanism").unwrap_or(Mechanism::MongodbCr.name());
    session.login_state().abandon();
    session.wait_before_login().await;
    let outcome = match offered(logins, mechanism) {
        Ok(Mechanism::X509) => x509(session, logins, body, db),
        Ok(Mechanism::MongodbCr) => cr(session, logins, body, db).await,
        Ok(_) => Err((None, Refusal::failed(LoginRefusal::Mechanism))),
        Err(refusal) => Err((None, refusal)),
    };
    outcome.map_err(|(user, refusal)| session.refuse_login(user.as_ref(), mechanism, refusal))
}

/// Logs in whom the client's certificate stands for.
pub(super) fn x509(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
    db: &str,
) -> Result<RawDocumentBuf, (Option<UserName>, Refusal)> {
    let refuse = |user: Option<&UserName>, message: &str| {
        let error = ErrorReply::authentication_failed(message);
        let reason = LoginRefusal::Certificate;
        let error = error.into();
        Err((user.cloned(), Refusal { reason, error }))
    };
    if offered(logins, Mechanism::X509.name()).is_err() || db != EXTERNAL {
        return refuse(
            None,
            "X.509 authentication must always use the $external database.",
        );
    }
    let Some(subject) = session.client.peer_subject().map(str::to_owned) else {
        return refuse(None, "No verified subject name available from client");
    };
    let user = UserName::new(EXTERNAL, &subject);
    if body.get_str("user").is_ok_and(|named| named != subject) {
        return refuse(
            Some(&user),
            "There is no x.509 client certificate matching the user.",
        );
    }
    let Some(acts_as) = logins.subjects.get(&*subject).cloned() else {
        tracing::warn!(%subject, "a certificate's owner cannot log in: no [[subject]] of the users file says as whom it acts");
        return refuse(Some(&user), "Authentication failed.");
    };
    let admitted = session.admit(logins, user.clone(), Mechanism::X509, Proof::Other, &acts_as);
    admitted.map_err(|refusal| (Some(user.clone()), refusal))?;
    Ok(reply(&user))
}

fn reply(user: &UserName) -> RawDocumentBuf {
    rawdoc! { "dbname": &*user.db, "user": &*user.name, "ok": 1.0 }
}

/// What the next MONGODB-CR login is to be proven with.
///
/// # Errors
/// When the operating system has no random bytes.
pub(super) fn nonce(session: &mut Session) -> Result<RawDocumentBuf, ErrorReply> {
    let mut random = [0; 8];
    if getrandom::fill(&mut random).is_err() {
        return Err(ErrorReply::authentication_failed("there are no random bytes"));
    }
    let nonce = format!("{:016x}", u64::from_be_bytes(random));
    session.login_state().nonce = Some(nonce.as_str().into());
    let mut reply = RawDocumentBuf::new();
    reply.append(cstr!("nonce"), nonce);
    reply.append(cstr!("ok"), 1.0);
    Ok(reply)
}

/// Logs in by MONGODB-CR: the client shows that it knows the digest of the password.
async fn cr(
    session: &mut Session,
    logins: &Arc<Logins>,
    body: &RawDocument,
    db: &str,
) -> Result<RawDocumentBuf, (Option<UserName>, Refusal)> {
    let field = |name| text(body, "authenticate", name).map_err(|error| (None, Refusal::malformed(error)));
    let (name, nonce, key) = (field("user")?, field("nonce")?, field("key")?);
    let user = UserName::new(db, name);
    let refuse = |reason| (Some(user.clone()), Refusal::failed(reason));
    // Each serves once, whatever comes of it.
    let given = session.login_state().nonce.take();
    if given.as_deref() != Some(nonce) {
        return Err(refuse(LoginRefusal::Malformed));
    }
    let found = logins.source.find(&user).await;
    let found = found.map_err(|refusal| (Some(user.clone()), refusal))?;
    let digest = found.as_ref().and_then(|found| found.cr_digest.clone());
    let is_known = digest.is_some();
    let digest = digest.map_or_else(|| Zeroizing::new("0".repeat(32)), |digest| digest.0);
    let fits: bool = proof(nonce, name, &digest)
        .as_bytes()
        .ct_eq(key.as_bytes())
        .into();
    match (fits, is_known, &found) {
        (true, true, Some(found)) if found.allow(session.peer.ip()) => {
            let proof = Proof::Secret(Secret::Sha1Digest(digest));
            let admitted = session.admit(logins, user.clone(), Mechanism::MongodbCr, proof, &found.acts_as);
            admitted.map_err(|refusal| (Some(user.clone()), refusal))?;
            Ok(reply(&user))
        }
        (true, true, _) => Err(refuse(LoginRefusal::Restricted)),
        (_, false, _) => Err(refuse(LoginRefusal::UnknownUser)),
        (false, true, _) => Err(refuse(LoginRefusal::WrongPassword)),
    }
}

/// What a client shows who knows the digest: a hash of the nonce, its name and the digest, in hexadecimal.
fn proof(nonce: &str, name: &str, digest: &str) -> String {
    let mut md5 = Md5::new();
    for part in [nonce, name, digest] {
        md5.update(part.as_bytes());
    }
    let hash = md5.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram_sha1_digest;

    #[test]
    fn the_proof_of_mongodb_cr_is_that_of_drivers() {
        // As PyMongo 2.9's _auth_key computes it.
        let digest = scram_sha1_digest("user", "pencil");
        assert_eq!(
            proof("2375531c32080ae8", "user", &digest),
            "21742f26431831d5cfca035a08c5bdf6"
        );
    }
}
