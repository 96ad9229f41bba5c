//! How the sandbox talks to nodes that demand logins: as the members do among themselves.
//!
//! Invariant: the key is in the set's folder only, in a file of mode 0600, and goes with the folder.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{Document, RawDocumentBuf};

use super::{Error, call::call_within, call::refusal};
use crate::{
    auth::{Mechanism, UserName, scram::Secret},
    topology::Address,
    upstream::{self, Failure, Login, Reason},
};

/// The user that members are to each other (`internalSecurity` in the server); its password is the key.
const MEMBER: (&str, &str) = ("local", "__system");

/// What a caller shows to one node. Each node keeps its own salt for the members' user, so that each has its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    login: Option<Arc<Login>>,
}

impl Access {
    /// The access of the members that have this key file; of everybody without one.
    pub(super) fn of(key_file: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = key_file else {
            return Ok(Self::default());
        };
        let key = fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))?;
        let (db, name) = MEMBER;
        let secret = Secret::Password(key.trim().to_owned().into());
        let login = Login::new(UserName::new(db, name), Mechanism::ScramSha256, secret);
        Ok(Self {
            login: Some(Arc::new(login)),
        })
    }

    /// Runs `command` on the node at `address`.
    pub(super) async fn call(
        &self,
        address: &str,
        command: Document,
        limit: Duration,
    ) -> Result<Document, Error> {
        let Some(login) = &self.login else {
            return call_within(address, command, limit).await;
        };
        let failed = |source: io::Error| Error::Call {
            address: address.to_owned(),
            source,
        };
        let message = RawDocumentBuf::try_from(&command).map_err(|error| failed(io::Error::other(error)))?;
        let node: Address = address.parse().map_err(|error| failed(io::Error::other(error)))?;
        let options = upstream::Options::default();
        let exchange = async {
            let mut connection = upstream::connect_as(&node, &options, Some(login))
                .await?
                .connection;
            connection.run(&message).await
        };
        let late = |_| Failure::not_sent(Reason::ReplyTimeout(limit));
        let reply = tokio::time::timeout(limit, exchange).await.map_err(late);
        let reply = reply.and_then(|reply| reply);
        let reply = reply.map_err(|failure| failed(io::Error::other(failure)))?;
        let reply = Document::try_from(reply).map_err(|error| failed(io::Error::other(error)))?;
        refusal(address, &command, reply)
    }
}

/// The set's key file, made where there is none yet.
pub(super) fn key_file(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("key");
    let mut random = [0; 48];
    getrandom::fill(&mut random)
        .map_err(|error| Error::io("making a key")(io::Error::other(error.to_string())))?;
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(BASE64_STANDARD.encode(random).as_bytes()));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(format!("making {}", path.display()))(error))
        }
        _ => Ok(path),
    }
}
