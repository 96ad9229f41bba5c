//! PLAIN (RFC 4616): the password itself, which the nodes judge, as they ask a directory about it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Logins, Refusal, admit::Proof, source};
use crate::{
    audit::LoginRefusal,
    auth::{ActsAs, Mechanism, UserName, scram::Secret},
    client::session::Session,
    command::ErrorReply,
    upstream::Login,
};

/// Logs the client in if the nodes log it in.
pub(super) async fn log_in(
    session: &mut Session,
    logins: &Arc<Logins>,
    payload: &[u8],
    db: &str,
) -> Result<(), (Option<UserName>, Refusal)> {
    if session.client.tls().is_none() {
        let error = ErrorReply::authentication_failed(
            "PLAIN sends the password as it is, and is taken over TLS only",
        );
        let reason = LoginRefusal::Mechanism;
        return Err((
            None,
            Refusal {
                reason,
                error: error.into(),
            },
        ));
    }
    let malformed = || (None, Refusal::failed(LoginRefusal::Malformed));
    let (name, password) = parse(payload).ok_or_else(malformed)?;
    let user = UserName::new(db, name);
    let password = Zeroizing::new(password.to_owned());
    let login = Arc::new(Login::new(
        user.clone(),
        Mechanism::Plain,
        Secret::Password(password.clone()),
    ));
    let judged = source::try_on_node(logins, &session.shared.cluster, &login).await;
    let admitted = judged.and_then(|()| {
        let proof = Proof::Secret(Secret::Password(password));
        session.admit(logins, user.clone(), Mechanism::Plain, proof, &ActsAs::Itself)
    });
    admitted.map_err(|refusal| (Some(user), refusal))
}

/// The name and the password. To act as another than the one who shows the password is not for clients.
fn parse(payload: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut parts = text.split('\0');
    let (acts_as, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && !name.is_empty() && !password.is_empty();
    (is_whole && (acts_as.is_empty() || acts_as == name)).then_some((name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_message_is_taken_apart_and_nobody_acts_as_another() {
        assert_eq!(parse(b"\0ann\0secret"), Some(("ann", "secret")));
        assert_eq!(parse(b"ann\0ann\0secret"), Some(("ann", "secret")));
        for wrong in [
            "bob\0ann\0secret",
            "\0ann",
            "\0\0secret",
            "\0ann\0",
            "\0ann\0a\0b",
            "",
            "ann",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parse(b"\0ann\0\xff"), None);
    }
}
