//! Commands of old servers, answered through their successors (`command::old`), and what was no command then.
//!
//! All of it asks the nodes by commands of today (`legacy::ask`) and gives their answers the old shape.

mod catalog;
mod commands;
mod indexes;

use bson::{Document, RawDocument};

use super::{
    legacy::{self, Asked},
    session::{End, Session},
};
use crate::{
    command::{
        ErrorReply, Old,
        old::{self, whole::Whole},
    },
    wire::{Frame, WireError},
};

pub(super) use catalog::{find, is_pseudo};
pub(super) use commands::{apply, serve};

/// Why there is no answer of the shape that was hoped for.
enum Instead {
    /// This is the answer, an error.
    Reply(Document),
    /// The client went away.
    Gone,
    /// The session ends.
    End(End),
}

impl From<End> for Instead {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<WireError> for Instead {
    fn from(error: WireError) -> Self {
        Self::End(End::Protocol(error))
    }
}

impl From<&ErrorReply> for Instead {
    fn from(error: &ErrorReply) -> Self {
        Document::try_from(&*error.to_document()).map_or(Self::Gone, Self::Reply)
    }
}

impl From<ErrorReply> for Instead {
    fn from(error: ErrorReply) -> Self {
        Self::from(&error)
    }
}

/// Has a command that came by OP_QUERY executed, as servers did when drivers sent it so. `None` if the client went away.
///
/// # Errors
/// Those that end the session.
pub(super) async fn ask(session: &mut Session, command: Frame, awaited: bool) -> Result<Option<Asked>, End> {
    let command = old::fields::repair(command)?;
    let body = legacy::body(&command)?;
    let name = body
        .iter()
        .next()
        .transpose()?
        .map_or(&b""[..], |first| first.key);
    // A denied command becomes no other: it is refused as what it is.
    let old = Old::of_op_query(body).filter(|_| !session.denies(name));
    let answer = match old {
        Some(Old::Aggregate) => Box::pin(commands::aggregate(session, command)).await,
        Some(Old::CountCatalog) => Box::pin(catalog::count(session, &command)).await.map(Asked::from),
        Some(Old::InsertIndexes) => Box::pin(indexes::insert(session, &command))
            .await
            .map(Asked::from),
        Some(Old::ListIndexes) => return Box::pin(indexes::list(session, command)).await,
        _ => return legacy::ask(session, command, awaited).await,
    };
    answered(answer)
}

/// An answer of the proxy's as if a node had given it.
fn answered(answer: Result<Asked, Instead>) -> Result<Option<Asked>, End> {
    match answer {
        Ok(asked) => Ok(Some(asked)),
        Err(Instead::Reply(error)) => Ok(Some(old::message(&error, 0)?.into())),
        Err(Instead::Gone) => Ok(None),
        Err(Instead::End(end)) => Err(end),
    }
}

impl From<Frame> for Asked {
    fn from(frame: Frame) -> Self {
        Self { frame, room: None }
    }
}

/// The reply to a command of the proxy's own making, if it is no error.
async fn reply(session: &mut Session, command: Frame) -> Result<Asked, Instead> {
    let Some(asked) = legacy::ask(session, command, true).await? else {
        return Err(Instead::Gone);
    };
    let ok = asked.body()?.get("ok")?;
    if ok.and_then(|ok| ok.as_bool()) == Some(true) {
        return Ok(asked);
    }
    Err(Instead::Reply(old::decode_reply(asked.body()?)?))
}

/// All documents that a command gives by a cursor.
async fn documents(session: &mut Session, command: &Document) -> Result<Vec<Document>, Instead> {
    let asked = reply(session, old::message(command, 0)?).await?;
    let whole = whole(session, &asked).await?;
    Ok(whole.documents()?)
}

/// What a reply with a cursor holds, all of it.
async fn whole<'a>(session: &mut Session, asked: &'a Asked) -> Result<Whole<'a>, Instead> {
    let Some(whole) = Whole::of(asked.body()?)? else {
        return Err(Instead::Reply(old::decode_reply(asked.body()?)?));
    };
    if whole.id != 0 {
        legacy::drop_cursor(session, whole.id).await?;
        return Err(ErrorReply::aggregation_too_large().into());
    }
    Ok(whole)
}

/// A reply as a message.
fn message(reply: &RawDocument) -> Result<Frame, Instead> {
    Ok(crate::command::legacy::message(reply)?)
}
