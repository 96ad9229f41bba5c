//! Queries on `system.indexes`, `system.namespaces` and `$cmd.sys.*`, which are collections no more.

use bson::{Document, doc, rawdoc};

use super::{Instead, answered, commands::wire_version, documents, message, reply};
use crate::{
    client::{
        legacy::Asked,
        session::{End, Session},
    },
    command::old::{
        self,
        catalog::{self, Catalog, Wanted},
        select::{Selected, Selection},
        system_commands::SystemCommand,
    },
    wire::{
        Frame, WireError,
        legacy::{Query, SECONDARY_OK},
    },
};

/// `NamespaceNotFound`: a collection that is not there has no indexes.
const NOT_FOUND: i32 = 26;

/// Whether queries on this collection are answered here.
pub(in crate::client) fn is_pseudo(collection: &str) -> bool {
    collection.starts_with("system.") && Catalog::of(collection).is_some()
        || collection.starts_with("$cmd.") && SystemCommand::of(collection).is_some()
}

/// Answers an OP_QUERY on such a collection, in the shape of a reply to `find`. `None` if the client went away.
///
/// # Errors
/// Those that end the session.
pub(in crate::client) async fn find(session: &mut Session, query: &Query<'_>) -> Result<Option<Asked>, End> {
    answered(run(session, query).await)
}

async fn run(session: &mut Session, query: &Query<'_>) -> Result<Asked, Instead> {
    let document = old::decode(query.document)?;
    if let Some(command) = SystemCommand::of(query.collection) {
        let answer = match command.to_command(&document) {
            Ok(run) => command.to_answer(outcome(session, &run).await?),
            Err(answer) => answer,
        };
        return found(query.collection, vec![answer]).map(Asked::from);
    }
    let Some(catalog) = Catalog::of(query.collection) else {
        return Err(WireError::Bson("no such collection of the catalog").into());
    };
    let preference = document.get("$readPreference").cloned();
    let mut like = Document::new();
    if let Some(preference) = preference {
        like.insert("$readPreference", preference);
    } else if query.has(SECONDARY_OK) {
        like.insert("$readPreference", doc! { "mode": "secondaryPreferred" });
    }
    let selector = query.selector.map(old::decode).transpose()?;
    let (skip, number) = (query.number_to_skip, query.number_to_return);
    let selection = Selection::of_query(document, selector, skip, number);
    match select(session, catalog, query.database, &selection, &like).await? {
        Selected::Here(documents) => found(query.collection, documents).map(Asked::from),
        Selected::Ask(command) => reply(session, old::message(&command, 0)?).await,
    }
}

/// Answers a `count` of documents of the catalog.
pub(super) async fn count(session: &mut Session, command: &Frame) -> Result<Frame, Instead> {
    let body = crate::client::legacy::body(command)?;
    let command = old::decode(body)?;
    let (collection, database) = (command.get_str("count"), command.get_str("$db"));
    let (Ok(collection), Ok(database)) = (collection, database) else {
        return Err(WireError::Bson("a count names no collection").into());
    };
    let Some(catalog) = Catalog::of(collection) else {
        return Err(WireError::Bson("no such collection of the catalog").into());
    };
    let selection = Selection::of_count(&command);
    let common = ["$readPreference", "lsid"].into_iter();
    let like = common.filter_map(|key| Some((key.to_owned(), command.get(key)?.clone())));
    let n = match select(session, catalog, database, &selection, &like.collect()).await? {
        Selected::Here(documents) => documents.len(),
        Selected::Ask(command) => documents(session, &command).await?.len(),
    };
    message(&rawdoc! { "n": i32::try_from(n).unwrap_or(i32::MAX), "ok": 1.0 })
}

/// Carries a selection out over the catalog of a database, as far as that is possible here. What `like` says in general, such as its
/// read preference, holds for the commands that are asked.
async fn select(
    session: &mut Session,
    catalog: Catalog,
    database: &str,
    selection: &Selection,
    like: &Document,
) -> Result<Selected, Instead> {
    let wanted = catalog::wanted(catalog, database, selection.only(catalog.key()));
    let documents = match catalog {
        Catalog::Indexes => indexes(session, database, &wanted, like).await?,
        Catalog::Namespaces => namespaces(session, database, &wanted, like).await?,
    };
    let selected = selection.apply(database, documents, wire_version(session))?;
    Ok(match selected {
        Selected::Ask(mut command) => {
            old::carry(like, &mut command);
            Selected::Ask(command)
        }
        here => here,
    })
}

async fn indexes(
    session: &mut Session,
    database: &str,
    wanted: &Wanted,
    like: &Document,
) -> Result<Vec<Document>, Instead> {
    let collections = match wanted {
        Wanted::Nothing | Wanted::Names => Vec::new(),
        Wanted::One(collection) => vec![collection.clone()],
        Wanted::All => catalog::with_indexes(&collections(session, database, like).await?),
    };
    indexes_of(session, database, &collections, like).await
}

async fn namespaces(
    session: &mut Session,
    database: &str,
    wanted: &Wanted,
    like: &Document,
) -> Result<Vec<Document>, Instead> {
    let collections = match wanted {
        Wanted::Nothing => Vec::new(),
        _ => collections(session, database, like).await?,
    };
    let indexes = match wanted {
        Wanted::All => {
            let with = catalog::with_indexes(&collections);
            indexes_of(session, database, &with, like).await?
        }
        _ => Vec::new(),
    };
    Ok(catalog::namespace_documents(database, &collections, &indexes))
}

async fn collections(
    session: &mut Session,
    database: &str,
    like: &Document,
) -> Result<Vec<Document>, Instead> {
    let mut command = catalog::list_collections(database);
    old::carry(like, &mut command);
    documents(session, &command).await
}

async fn indexes_of(
    session: &mut Session,
    database: &str,
    collections: &[String],
    like: &Document,
) -> Result<Vec<Document>, Instead> {
    let mut all = Vec::new();
    for collection in collections {
        let mut command = catalog::list_indexes(database, collection);
        old::carry(like, &mut command);
        match documents(session, &command).await {
            Ok(indexes) => all.extend(catalog::index_documents(database, collection, indexes)),
            // It was dropped meanwhile, or never was.
            Err(Instead::Reply(error)) if matches!(error.get_i32("code"), Ok(NOT_FOUND)) => {}
            Err(instead) => return Err(instead),
        }
    }
    Ok(all)
}

/// The reply to a command, an error or not.
async fn outcome(session: &mut Session, command: &Document) -> Result<Document, Instead> {
    match reply(session, old::message(command, 0)?).await {
        Ok(asked) => Ok(old::decode_reply(asked.body()?)?),
        Err(Instead::Reply(error)) => Ok(error),
        Err(instead) => Err(instead),
    }
}

/// Documents in the shape of a reply to `find`, all in one batch.
fn found(collection: &str, documents: Vec<Document>) -> Result<Frame, Instead> {
    let reply = doc! { "cursor": { "firstBatch": documents, "id": 0_i64, "ns": collection }, "ok": 1.0 };
    Ok(old::message(&reply, 0)?)
}
