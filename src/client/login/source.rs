//! Where credentials come from.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Backend, Logins, Refusal};
use crate::{
    audit::{LoginRefusal, Name},
    auth::{ActsAs, CrDigest, Credentials, UserName, users_file::Entry},
    pool::Pool,
    topology::{Address, ServerKind},
    upstream::{Cluster, Login, connect_as},
};

/// Bytes of the longest name of a database (MongoDB's limit is 63).
const LONGEST_DATABASE: usize = 64;
/// Bytes of the longest user name that is looked for; subjects of certificates are long.
const LONGEST_NAME: usize = 1024;
/// How long a node may take to judge a login.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where credentials come from: the users file first, if there is one, then the cluster, if it is asked.
#[derive(Debug, Default)]
pub struct Source {
    /// Who stands in the users file.
    pub users: BTreeMap<UserName, Entry>,
    /// What the cluster knows; `None` where it is not asked.
    pub backend: Option<Backend>,
}

impl Source {
    /// What is known of a user; `None` if there is none of this name.
    pub(super) async fn find(&self, user: &UserName) -> Result<Option<Arc<Credentials>>, Refusal> {
        if user.db.len() > LONGEST_DATABASE || user.name.len() > LONGEST_NAME {
            // No such user can be made, and strangers choose what is looked for.
            return Ok(None);
        }
        if let Some(entry) = self.users.get(user) {
            return Ok(Some(Arc::new(of_entry(user, entry))));
        }
        let Some(backend) = &self.backend else {
            return Ok(None);
        };
        backend.find(user).await.map_err(|error| {
            tracing::warn!(user = %Name::from(&*user.name), %error, "a user's credentials cannot be read");
            Refusal::unavailable()
        })
    }

    /// A proof did not fit what is known of this user: it is read again if it is not fresh.
    pub(super) fn doubt(&self, user: &UserName) {
        if let Some(backend) = &self.backend {
            backend.doubt(user);
        }
    }

    /// Users or roles were changed through this proxy.
    pub(super) fn forget_all(&self) {
        if let Some(backend) = &self.backend {
            backend.forget_all();
        }
    }
}

fn of_entry(user: &UserName, entry: &Entry) -> Credentials {
    Credentials {
        scram_sha_1: entry.scram_sha_1.clone(),
        scram_sha_256: entry.scram_sha_256.clone(),
        cr_digest: entry.mongodb_cr.clone().map(CrDigest),
        acts_as: entry.act_as.clone().map_or(ActsAs::Itself, ActsAs::Named),
        ..Credentials::none(user.clone())
    }
}

/// The nodes that know users: the primary, which knows of every change, first.
pub(super) fn judges(cluster: &Cluster<Pool>) -> Vec<Address> {
    let snapshot = cluster.load();
    let mut nodes: Vec<_> = snapshot
        .topology
        .data_bearing()
        .map(|(_, server)| server)
        .collect();
    nodes.sort_by_key(|server| !matches!(server.kind, ServerKind::RsPrimary | ServerKind::Mongos));
    nodes.into_iter().map(|server| server.address.clone()).collect()
}

/// Has a node judge a login.
pub(super) async fn try_on_node(
    logins: &Logins,
    cluster: &Cluster<Pool>,
    login: &Arc<Login>,
) -> Result<(), Refusal> {
    for node in judges(cluster) {
        let attempt = connect_as(&node, &logins.upstream, Some(login));
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failure)) if failure.is_login_refused() => {
                tracing::debug!(%node, error = %failure, "login refused");
                return Err(Refusal::failed(LoginRefusal::WrongPassword));
            }
            Ok(Err(failure)) => tracing::debug!(%node, error = %failure, "login not judged"),
            Err(_) => tracing::debug!(%node, "login not judged in time"),
        }
    }
    Err(Refusal::unavailable())
}
