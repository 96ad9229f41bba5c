//! `insert` into `system.indexes` and `listIndexes` by OP_QUERY.

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::{Instead, reply};
use crate::{
    client::{
        legacy::{self, Asked},
        session::{End, Session},
    },
    command::{
        legacy::message,
        old::{self, catalog, indexes},
    },
    wire::{Frame, RawDoc, WireError},
};

/// Creates the indexes whose specifications are inserted, and answers as for an `insert` of documents.
pub(super) async fn insert(session: &mut Session, command: &Frame) -> Result<Frame, Instead> {
    let body = legacy::body(command)?;
    let (mut documents, mut database, mut concern) = (Vec::new(), "", None);
    for element in body {
        let element = element?;
        match element.key {
            b"documents" => documents = specifications(element.as_array())?,
            b"$db" => database = element.as_str().unwrap_or_default(),
            b"writeConcern" => concern = element.as_doc().map(old::decode).transpose()?,
            _ => {}
        }
    }
    let created = match indexes::from_insert(database, &documents) {
        Ok(created) => created,
        Err(error) => return Ok(answer(0, Some((error.code(), error.message())))?),
    };
    let mut n = 0;
    for (_, command) in created {
        let count = command
            .get_array("indexes")
            .map_or(0, |indexes| indexes.into_iter().count());
        match reply(session, with_concern(command, concern.as_ref())?).await {
            Ok(_) => n += i32::try_from(count).unwrap_or(i32::MAX),
            Err(Instead::Reply(error)) => {
                let code = error.get_i32("code").unwrap_or_default();
                let message = error.get_str("errmsg").unwrap_or_default();
                return Ok(answer(n, Some((code, message)))?);
            }
            Err(instead) => return Err(instead),
        }
    }
    Ok(answer(n, None)?)
}

/// The documents of an array, one behind the other.
fn specifications(array: Option<RawDoc<'_>>) -> Result<Vec<u8>, WireError> {
    let mut documents = Vec::new();
    for element in array.into_iter().flatten() {
        if let Some(document) = element?.as_doc() {
            documents.extend_from_slice(document.bytes());
        }
    }
    Ok(documents)
}

fn with_concern(mut command: RawDocumentBuf, concern: Option<&Document>) -> Result<Frame, WireError> {
    if let Some(concern) = concern.and_then(|concern| RawDocumentBuf::try_from(concern).ok()) {
        command.append(bson::raw::cstr!("writeConcern"), concern);
    }
    message(&command)
}

/// The reply of an `insert` of which `n` documents went well, and the next one failed.
fn answer(n: i32, failed: Option<(i32, &str)>) -> Result<Frame, WireError> {
    let mut reply = doc! { "n": n, "ok": 1.0 };
    if let Some((code, message)) = failed {
        reply.insert(
            "writeErrors",
            vec![doc! { "index": n, "code": code, "errmsg": message }],
        );
    }
    old::message(&reply, 0)
}

/// Runs a `listIndexes` and names the collection in each document again.
pub(super) async fn list(session: &mut Session, command: Frame) -> Result<Option<Asked>, End> {
    let asked_for = old::decode(legacy::body(&command)?).unwrap_or_default();
    let Some(asked) = legacy::ask(session, command, true).await? else {
        return Ok(None);
    };
    let names = (asked_for.get_str("$db"), asked_for.get_str("listIndexes"));
    let (Ok(database), Ok(collection)) = names else {
        return Ok(Some(asked));
    };
    // What cannot be decoded goes to the client as it is.
    let Ok(mut reply) = old::decode_reply(asked.body()?) else {
        return Ok(Some(asked));
    };
    let Ok(Bson::Array(batch)) = reply
        .get_document_mut("cursor")
        .map(|cursor| cursor.entry("firstBatch".to_owned()).or_insert(Bson::Null))
    else {
        return Ok(Some(asked));
    };
    let documents = std::mem::take(batch).into_iter().filter_map(|index| match index {
        Bson::Document(index) => Some(index),
        _ => None,
    });
    let named = catalog::index_documents(database, collection, documents.collect());
    batch.extend(named.into_iter().map(Bson::Document));
    let Asked { room, .. } = asked;
    let frame = old::message(&reply, 0)?;
    Ok(Some(Asked { frame, room }))
}
