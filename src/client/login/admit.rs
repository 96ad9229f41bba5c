//! What a login that has succeeded makes of a session.

use std::sync::Arc;

use super::{Logins, Refusal};
use crate::{
    audit::{Event, LoginRefusal, User},
    auth::{ActsAs, Mechanism, UserName, scram::Secret},
    client::session::Session,
    command::ErrorReply,
    pool::Identity,
    upstream::Login,
};

/// By what a client has shown who it is.
pub(super) enum Proof {
    /// It knows this, by which its user logs in to the nodes, too.
    Secret(Secret),
    /// By something that is of no use towards the nodes.
    Other,
}

impl Logins {
    /// As whom the commands of a user reach the nodes.
    fn identity(
        &self,
        user: &UserName,
        mechanism: Mechanism,
        proof: Proof,
        acts_as: &ActsAs,
    ) -> Result<Identity, Refusal> {
        let unavailable = || Refusal::failed(LoginRefusal::Unavailable);
        match (acts_as, proof) {
            (ActsAs::Named(name), _) => {
                let named = self.named.get(name).cloned();
                if named.is_none() {
                    tracing::warn!(%user, acts_as = %name, "a user cannot log in: there is no upstream identity of this name");
                }
                named.ok_or_else(unavailable)
            }
            (ActsAs::Itself, Proof::Secret(secret)) => {
                // The digest of MONGODB-CR is what SCRAM-SHA-1 takes for the password.
                let towards_nodes = match mechanism {
                    Mechanism::MongodbCr => Mechanism::ScramSha1,
                    other => other,
                };
                let login = Login::new(user.clone(), towards_nodes, secret);
                Ok(self.identities.admit(&Arc::new(login)))
            }
            (ActsAs::Itself, Proof::Other) => Err(unavailable()),
        }
    }
}

impl Session {
    /// Logs the client in as `user`.
    pub(super) fn admit(
        &mut self,
        logins: &Logins,
        user: UserName,
        mechanism: Mechanism,
        proof: Proof,
        acts_as: &ActsAs,
    ) -> Result<(), Refusal> {
        let already = self.login_state().user.as_ref();
        if let Some(already) = already.filter(|already| **already != user) {
            let error = ErrorReply::already_authenticated(&already.to_string(), already.db == user.db);
            return Err(Refusal {
                reason: LoginRefusal::Mechanism,
                error: error.into(),
            });
        }
        self.identity = logins.identity(&user, mechanism, proof, acts_as)?;
        self.login_state().give_attempt_back();
        self.note_logged_in();
        self.counters().logins.one();
        self.shared.audit.report(&Event::Login {
            origin: self.origin(),
            user: User::new(&user.name, &user.db),
            mechanism: mechanism.name().into(),
        });
        tracing::debug!(peer = %self.peer, %user, %mechanism, "client logged in");
        self.entry.note_user(Some(user.to_string()));
        self.login_state().user = Some(user);
        Ok(())
    }
}
