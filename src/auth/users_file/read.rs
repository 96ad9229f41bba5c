//! From TOML to users, identities and subjects, reporting every entry that is wrong.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use super::{Entry, SERVICE, UpstreamIdentity, UsersFile, UsersFileError};
use crate::auth::{
    Mechanism, UserName,
    scram::{Hash, Verifier},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: Vec<User>,
    #[serde(default)]
    identity: Vec<Identity>,
    #[serde(default)]
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    db: String,
    act_as: Option<String>,
    #[serde(rename = "scram-sha-1")]
    scram_sha_1: Option<Parts>,
    #[serde(rename = "scram-sha-256")]
    scram_sha_256: Option<Parts>,
    mongodb_cr: Option<Zeroizing<String>>,
    #[serde(alias = "pwd")]
    password: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    iterations: u32,
    salt: String,
    stored_key: Zeroizing<String>,
    server_key: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    name: String,
    user: String,
    auth_source: Option<String>,
    mechanism: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(alias = "pwd")]
    password: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    act_as: String,
}

impl FromStr for UsersFile {
    type Err = Vec<UsersFileError>;

    /// Reads a users file.
    ///
    /// # Errors
    /// Every entry that is wrong; alone what is wrong with its form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file: File = toml::from_str(text).map_err(|error| vec![form(text, &error)])?;
        let (mut read, mut errors) = (Self::default(), Vec::new());
        for user in file.user {
            let of = UserName::new(&user.db, &user.name);
            let name = format!("user {of}");
            match entry(user, &name) {
                Err(error) => errors.push(error),
                Ok(entry) => {
                    if read.users.insert(of, entry).is_some() {
                        errors.push(wrong(&name, "stands here twice"));
                    }
                }
            }
        }
        for given in file.identity {
            let name = format!("identity {}", given.name);
            let key: Box<str> = given.name.as_str().into();
            match identity(given, &name) {
                Err(error) => errors.push(error),
                Ok(identity) => {
                    if read.identities.insert(key, identity).is_some() {
                        errors.push(wrong(&name, "stands here twice"));
                    }
                }
            }
        }
        for Subject { name, act_as } in file.subject {
            if read
                .subjects
                .insert(name.as_str().into(), act_as.into())
                .is_some()
            {
                errors.push(wrong(&format!("subject {name}"), "stands here twice"));
            }
        }
        if errors.is_empty() {
            // An identity that could not be read would be missed here, too.
            let unknown = read.unknown_identities().into_iter();
            errors.extend(unknown.map(|name| {
                let what = "is acted as, and there is no [[identity]] of this name";
                wrong(&format!("identity {name}"), what)
            }));
        }
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
}

/// An error of form, without what stands in the file: a serde message may quote a value, and a value may be a secret.
fn form(text: &str, error: &toml::de::Error) -> UsersFileError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = 1 + text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    let message = error.message();
    let names_keys = ["unknown field", "missing field", "duplicate"]
        .iter()
        .any(|start| message.starts_with(start));
    let what = if names_keys {
        message.to_owned()
    } else if message.starts_with("invalid type") {
        "a value is of the wrong type".to_owned()
    } else {
        "it is not valid TOML".to_owned()
    };
    UsersFileError::Form { line, what }
}

fn wrong(entry: &str, what: &str) -> UsersFileError {
    UsersFileError::Entry {
        entry: entry.to_owned(),
        what: what.to_owned(),
    }
}

fn entry(user: User, name: &str) -> Result<Entry, UsersFileError> {
    if user.password.is_some() {
        return Err(UsersFileError::Password {
            entry: name.to_owned(),
        });
    }
    if user.name.is_empty() || user.db.is_empty() {
        return Err(wrong(name, "name and db must not be empty"));
    }
    let read = Entry {
        act_as: user.act_as.map(Into::into),
        scram_sha_1: verifier(Hash::Sha1, user.scram_sha_1, name)?,
        scram_sha_256: verifier(Hash::Sha256, user.scram_sha_256, name)?,
        mongodb_cr: user.mongodb_cr,
    };
    let is_digest = |digest: &Zeroizing<String>| {
        digest.len() == 32
            && digest
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if read.mongodb_cr.as_ref().is_some_and(|digest| !is_digest(digest)) {
        return Err(wrong(
            name,
            "mongodb_cr must be 32 hexadecimal digits in lower case",
        ));
    }
    if read.scram_sha_1.is_none() && read.scram_sha_256.is_none() && read.mongodb_cr.is_none() {
        let what = "has nothing to log in with: give scram-sha-256, scram-sha-1 or mongodb_cr";
        return Err(wrong(name, what));
    }
    Ok(read)
}

fn verifier(hash: Hash, parts: Option<Parts>, name: &str) -> Result<Option<Arc<Verifier>>, UsersFileError> {
    let Some(parts) = parts else { return Ok(None) };
    let decode = |text: &str| BASE64_STANDARD.decode(text).map(Zeroizing::new);
    let decoded = (
        decode(&parts.salt),
        decode(&parts.stored_key),
        decode(&parts.server_key),
    );
    let (Ok(salt), Ok(stored_key), Ok(server_key)) = decoded else {
        let what = format!("the salt or a key of {} is not base64", hash.mechanism());
        return Err(wrong(name, &what));
    };
    match Verifier::new(hash, &salt, parts.iterations, &stored_key, &server_key) {
        Ok(verifier) => Ok(Some(Arc::new(verifier))),
        Err(error) => Err(wrong(name, &format!("{}: {error}", hash.mechanism()))),
    }
}

fn identity(given: Identity, name: &str) -> Result<UpstreamIdentity, UsersFileError> {
    if given.password.is_some() {
        return Err(UsersFileError::Password {
            entry: name.to_owned(),
        });
    }
    if given.name.is_empty() || given.name == SERVICE {
        return Err(wrong(
            name,
            "this name is taken: it stands for the user of [upstream] uri",
        ));
    }
    let mechanism = given.mechanism.map(|text| {
        let known = Mechanism::from_name(&text);
        known
            .filter(|mechanism| mechanism.scram_hash().is_some() || *mechanism == Mechanism::Plain)
            .ok_or_else(|| wrong(name, "mechanism must be SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN"))
    });
    let password_file = given.password_file.filter(|path| !path.as_os_str().is_empty());
    let Some(password_file) = password_file else {
        return Err(wrong(
            name,
            "password_file is missing: the file that holds the user's password",
        ));
    };
    Ok(UpstreamIdentity {
        user: UserName::new(given.auth_source.as_deref().unwrap_or("admin"), &given.user),
        mechanism: mechanism.transpose()?,
        password_file,
        secret: None,
    })
}
