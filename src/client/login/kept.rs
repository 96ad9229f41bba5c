//! What a cluster keeps of users and roles: the commands that read it, and what their replies tell.

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use crate::{
    auth::{Restrictions, scram::Hash},
    upstream::Connection,
};

/// Users whose iterations are looked at to know what is usual.
const SAMPLE: usize = 500;
/// Most roles whose restrictions one user can inherit.
const MOST_ROLES: usize = 1000;

/// An error that a node answers.
pub(super) struct NodeError {
    pub(super) code: i32,
    pub(super) message: String,
}

/// Reads up to `limit` documents of a collection of `admin`.
pub(super) fn find(collection: &str, filter: RawDocumentBuf, limit: i32) -> RawDocumentBuf {
    rawdoc! {
        "find": collection,
        "filter": filter,
        "limit": limit,
        "singleBatch": true,
        "$db": "admin",
        "$readPreference": { "mode": "primaryPreferred" },
    }
}

/// Asks how many iterations users have: always the same users, so that the answer changes only with them.
pub(super) fn sample() -> RawDocumentBuf {
    let limit = i32::try_from(SAMPLE).unwrap_or(i32::MAX);
    let mut find = find("system.users", rawdoc! {}, limit);
    let projection = rawdoc! { "credentials.SCRAM-SHA-1.iterationCount": 1, "credentials.SCRAM-SHA-256.iterationCount": 1 };
    find.append(cstr!("projection"), projection);
    find
}

/// The iterations of a user, for each mechanism that it has.
pub(super) fn counts(user: &RawDocument) -> Vec<(Hash, u32)> {
    let count = |hash: Hash| {
        let all = user.get_document("credentials").ok()?;
        let kept = all.get_document(hash.mechanism().name()).ok()?;
        let count = kept.get_i32("iterationCount").ok()?;
        Some((hash, u32::try_from(count).ok()?))
    };
    [Hash::Sha1, Hash::Sha256].into_iter().filter_map(count).collect()
}

/// The documents of a reply.
pub(super) fn first_batch(reply: &RawDocument) -> Result<Vec<&RawDocument>, NodeError> {
    let cursor = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    match cursor {
        Ok(batch) => Ok(batch
            .into_iter()
            .filter_map(|document| document.ok()?.as_document())
            .collect()),
        Err(_) => Err(NodeError {
            code: reply.get_i32("code").unwrap_or_default(),
            message: reply
                .get_str("errmsg")
                .unwrap_or("it answered without a cursor")
                .to_owned(),
        }),
    }
}

/// The ids of the roles that a user or role has.
pub(super) fn role_ids(document: &RawDocument) -> Vec<String> {
    let roles = document.get_array("roles").into_iter().flatten();
    let id = |role: &RawDocument| {
        Some(format!(
            "{}.{}",
            role.get_str("db").ok()?,
            role.get_str("role").ok()?
        ))
    };
    roles.filter_map(|role| id(role.ok()?.as_document()?)).collect()
}

/// The restrictions of these roles and of those that they have. Built-in roles are not kept, and have none.
pub(super) async fn inherited(
    connection: &mut Connection,
    mut roles: Vec<String>,
) -> Result<Vec<Restrictions>, NodeError> {
    let mut seen: Vec<String> = Vec::new();
    let mut restrictions = Vec::new();
    loop {
        let mut ids = RawArrayBuf::new();
        roles.iter().for_each(|id| ids.push(id.as_str()));
        let limit = i32::try_from(MOST_ROLES).unwrap_or(i32::MAX);
        let ask = find("system.roles", rawdoc! { "_id": { "$in": ids } }, limit);
        let reply = connection.run(&ask).await.map_err(|failure| NodeError {
            code: 0,
            message: failure.to_string(),
        })?;
        seen.append(&mut roles);
        for role in first_batch(&reply)? {
            if let Ok(list) = role.get_array("authenticationRestrictions") {
                restrictions.push(Restrictions::read(list));
            }
            roles.extend(role_ids(role).into_iter().filter(|id| !seen.contains(id)));
        }
        if roles.is_empty() || seen.len() > MOST_ROLES {
            return Ok(restrictions);
        }
    }
}
