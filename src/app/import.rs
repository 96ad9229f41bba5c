//! `tidegate user import`: copies verifiers from the cluster into a users file.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tempfile::NamedTempFile;

use super::{
    Error,
    check::discover,
    runtime,
    seeds::{look_up, with_seedlist},
};
use crate::{
    auth::{Credentials, CredentialsError, UserName, UsersFile},
    config::{Config, UsersError, read_users},
    topology::{Address, ServerKind, Topology},
    upstream::{self, Connection, connect_as},
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of an import.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// The users whose verifiers are in the file now.
    pub users: Vec<UserName>,
    /// Users without SCRAM credentials, such as those of `$external`.
    pub left_out: Vec<UserName>,
}

/// Why an import failed. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The connection string names no user.
    #[error(
        "[upstream] uri names no user to read the cluster's users as; see docs/authentication.md for the command that makes one"
    )]
    NoUser,
    /// The nodes cannot be found or used.
    #[error(transparent)]
    Nodes(#[from] Error),
    /// The node does not tell.
    #[error("{node} does not tell its users: {why}")]
    Refused {
        /// The node.
        node: Address,
        /// Its words, and what to do.
        why: String,
    },
    /// There is no such user.
    #[error("there is no user {0} in the cluster")]
    Unknown(UserName),
    /// What the cluster keeps of a user cannot be used.
    #[error("what the cluster keeps of a user cannot be used: {0}")]
    Unusable(#[from] CredentialsError),
    /// The file that is there cannot be used.
    #[error(transparent)]
    File(#[from] UsersError),
    /// The file cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

/// Copies the verifiers of one user, or of all, from the cluster into the file at `path`, which is made with mode 0600 if it is not
/// there. What else the file says stays. Either all of it is written or nothing.
///
/// # Errors
/// When the users cannot be read or the file not be written.
pub fn import_users(config: &Config, path: &Path, which: Option<&UserName>) -> Result<Imported, ImportError> {
    let mut file = match path.exists() {
        true => read_users(path)?,
        false => UsersFile::default(),
    };
    let documents = runtime()?.block_on(read(config, which))?;
    if let (Some(user), true) = (which, documents.is_empty()) {
        return Err(ImportError::Unknown(user.clone()));
    }
    let imported = take_over(&mut file, &documents)?;
    write(path, &file).map_err(|why| ImportError::Write {
        path: path.to_owned(),
        why,
    })?;
    Ok(imported)
}

/// Puts the verifiers of these documents of `admin.system.users` into the file.
fn take_over(file: &mut UsersFile, documents: &[RawDocumentBuf]) -> Result<Imported, ImportError> {
    let (mut users, mut left_out) = (Vec::new(), Vec::new());
    for document in documents {
        let read = Credentials::read(document)?;
        if read.scram_sha_1.is_none() && read.scram_sha_256.is_none() {
            left_out.push(read.user);
            continue;
        }
        let entry = file.users.entry(read.user.clone()).or_default();
        entry.scram_sha_1 = read.scram_sha_1;
        entry.scram_sha_256 = read.scram_sha_256;
        users.push(read.user);
    }
    Ok(Imported { users, left_out })
}

/// The documents of `admin.system.users`: one or all.
async fn read(config: &Config, which: Option<&UserName>) -> Result<Vec<RawDocumentBuf>, ImportError> {
    let mut config = config.clone();
    if let Some(seedlist) = look_up(&config).await.map_err(Error::Srv)? {
        config = with_seedlist(&config, seedlist)?;
    }
    let Some(service) = &config.upstream.service else {
        return Err(ImportError::NoUser);
    };
    let found = discover(&config.upstream).await;
    // Tells why no node can be used, or does not let the user in.
    found.report(&config.pool, config.upstream.server_selection_timeout)?;
    let node =
        node(&found.topology).ok_or_else(|| Error::Check("no node that holds data answers".to_owned()))?;
    let refused = |why: String| ImportError::Refused {
        node: node.clone(),
        why,
    };
    let opened = connect_as(&node, &config.upstream, Some(service)).await;
    let mut connection = opened.map_err(|failure| refused(failure.to_string()))?.connection;
    let filter = match which {
        Some(user) => rawdoc! { "user": &*user.name, "db": &*user.db },
        None => rawdoc! {},
    };
    let find = rawdoc! {
        "find": "system.users",
        "filter": filter,
        "$db": "admin",
        "$readPreference": { "mode": "primaryPreferred" },
    };
    let mut documents = Vec::new();
    let mut cursor = batch(&mut connection, &find, "firstBatch", &mut documents)
        .await
        .map_err(refused)?;
    while cursor != 0 {
        let more = rawdoc! { "getMore": cursor, "collection": "system.users", "$db": "admin" };
        cursor = batch(&mut connection, &more, "nextBatch", &mut documents)
            .await
            .map_err(refused)?;
    }
    Ok(documents)
}

/// The primary, or else any node that holds data.
fn node(topology: &Topology) -> Option<Address> {
    let mut nodes: Vec<_> = topology.data_bearing().map(|(_, server)| server).collect();
    nodes.sort_by_key(|server| server.kind == ServerKind::RsSecondary);
    nodes.first().map(|server| server.address.clone())
}

/// Runs a command that answers with a batch; returns the cursor's id.
async fn batch(
    connection: &mut Connection,
    command: &RawDocument,
    name: &str,
    documents: &mut Vec<RawDocumentBuf>,
) -> Result<i64, String> {
    let reply = tokio::time::timeout(PATIENCE, connection.run(command)).await;
    let reply: RawDocumentBuf = match reply {
        Ok(Ok(reply)) => reply,
        Ok(Err(failure)) => return Err(failure.to_string()),
        Err(_) => return Err(upstream::Reason::ReplyTimeout(PATIENCE).to_string()),
    };
    let Ok(cursor) = reply.get_document("cursor") else {
        let said = reply.get_str("errmsg").unwrap_or("it answers without a cursor");
        return Err(format!(
            "{said} (the user of [upstream] uri needs a role with find on admin.system.users)"
        ));
    };
    let told = cursor.get_array(name).map_err(|error| error.to_string())?;
    for document in told {
        let document = document.ok().and_then(|document| document.as_document());
        documents.extend(document.map(RawDocument::to_owned));
    }
    Ok(cursor.get_i64("id").unwrap_or_default())
}

/// Replaces the file as a whole: who reads it meanwhile sees the old one or the new one. Its mode is 0600 from the start.
fn write(path: &Path, file: &UsersFile) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(file.to_toml().as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base64::{Engine, prelude::BASE64_STANDARD};
    use bson::{Document, doc};

    use super::*;

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn kept(user: &str, salt: u8) -> Document {
        let key = |length: usize| BASE64_STANDARD.encode(vec![salt; length]);
        doc! {
            "user": user, "db": "shop",
            "credentials": { "SCRAM-SHA-256": {
                "iterationCount": 15_000, "salt": key(28), "storedKey": key(32), "serverKey": key(32),
            } },
        }
    }

    #[test]
    fn verifiers_are_replaced_and_all_else_stays() {
        let mut file = UsersFile::default();
        take_over(&mut file, &[raw(&kept("ann", 1)), raw(&kept("bob", 1))]).unwrap();
        let ann = UserName::new("shop", "ann");
        file.users.get_mut(&ann).unwrap().act_as = Some("service".into());
        let external = doc! { "user": "CN=x", "db": "$external", "credentials": { "external": true } };
        let imported = take_over(&mut file, &[raw(&kept("ann", 2)), raw(&external)]).unwrap();
        assert_eq!(imported.users, std::slice::from_ref(&ann));
        assert_eq!(imported.left_out, [UserName::new("$external", "CN=x")]);
        let entry = &file.users[&ann];
        assert_eq!(entry.scram_sha_256.as_ref().unwrap().salt(), [2; 28]);
        assert_eq!(entry.act_as.as_deref(), Some("service"));
        assert_eq!(file.users.len(), 2);
        let mut broken = kept("eve", 1);
        let scram = broken.get_document_mut("credentials").unwrap();
        scram
            .get_document_mut("SCRAM-SHA-256")
            .unwrap()
            .insert("storedKey", "AAAA");
        assert!(matches!(
            take_over(&mut file, &[raw(&broken)]),
            Err(ImportError::Unusable(_))
        ));
    }

    #[test]
    fn the_file_is_its_owners_and_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::default();
        for count in 1..=2 {
            take_over(&mut file, &[raw(&kept(&format!("user{count}"), 1))]).unwrap();
            write(&path, &file).unwrap();
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert_eq!(read_users(&path).unwrap().users.len(), count);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
