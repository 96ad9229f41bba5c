//! `aggregate` without a cursor, `group`, `geoNear`, and refusals that say the way out.

use std::time::Instant;

use bson::{Document, RawDocument, RawDocumentBuf};

use super::{Instead, documents, reply, whole};
use crate::{
    client::{
        inbound::{Inbound, encode},
        legacy::{self, Asked},
        session::{End, Session},
    },
    command::{
        ErrorReply, Old, Request,
        legacy::message,
        old::{self, Removed, geo_near, group, whole::Whole},
        rewrite,
    },
    net::compression::off_core,
    routing::Route,
    telemetry::{CommandRefusal, Count},
    topology::UpstreamKind,
    wire::{Frame, MAX_MESSAGE_LEN, WireError, op_msg},
};

const REINDEX: &str = "reIndex runs on standalone servers only since MongoDB 5.0: drop the index and create it again, or let a member \
                       copy all data anew (initial sync), which builds its indexes";
const NO_ACCUMULATOR: &str = "it was removed in MongoDB 4.2, and servers before 4.4 have nothing that does the same: run an aggregate \
                              with the stage $group";
/// The first wire version (MongoDB 4.4) with `$accumulator`.
const ACCUMULATOR: i32 = 9;
/// Results above this many bytes are copied off the core.
const ON_CORE: usize = 1 << 20;

/// Sends an old command on where the nodes take it in spite of their version.
pub(in crate::client) fn apply(session: &Session, route: Route) -> Route {
    match route {
        Route::Old(Old::ReIndex)
            if session.shared.cluster.load().presented.facts.kind != UpstreamKind::ReplicaSet =>
        {
            Route::Primary
        }
        other => other,
    }
}

/// Answers a command that the nodes do not have (any more).
///
/// # Errors
/// Those that end the session.
pub(in crate::client) async fn serve(session: &mut Session, inbound: &Inbound, old: Old) -> Result<(), End> {
    let name = inbound.request.name(inbound.frame.bytes());
    let answered = match old {
        Old::ReIndex => Err(refused(session, &ErrorReply::illegal_operation(REINDEX))),
        Old::Removed(Removed { way_out, .. }) => Err(refused(session, &ErrorReply::removed(name, way_out))),
        Old::Group if wire_version(session) < ACCUMULATOR => {
            Err(refused(session, &ErrorReply::removed(name, NO_ACCUMULATOR)))
        }
        Old::Group => run_group(session, inbound).await,
        Old::GeoNear => run_geo_near(session, inbound).await,
        // These are told from their successors before they are routed.
        Old::Aggregate | Old::CountCatalog | Old::InsertIndexes | Old::ListIndexes => Err(Instead::Gone),
    };
    let answer = match answered {
        Ok(reply) | Err(Instead::Reply(reply)) => reply,
        Err(Instead::Gone) => return Ok(()),
        Err(Instead::End(end)) => return Err(end),
    };
    answer_with(session, inbound, &raw(&answer)?).await
}

fn refused(session: &Session, error: &ErrorReply) -> Instead {
    session.counters().commands_refused.one();
    session.counters().reasons.one(CommandRefusal::Invalid);
    Instead::from(error)
}

/// The highest wire version that all nodes speak; as if they were new while none has been seen.
pub(super) fn wire_version(session: &Session) -> i32 {
    let range = session.shared.cluster.load().topology.wire_version_range();
    range.map_or(i32::MAX, |(_, max)| max)
}

/// `aggregate` by OP_QUERY with neither `cursor` nor `explain`: its result in one document.
pub(super) async fn aggregate(session: &mut Session, mut command: Frame) -> Result<Asked, Instead> {
    let layout = op_msg::Layout::parse(command.bytes())?;
    let mut request = Request::peek(command.bytes(), layout)?;
    rewrite::append_field(&mut command, &mut request, old::whole::CURSOR)
        .map_err(|length| ErrorReply::too_large(length, MAX_MESSAGE_LEN))?;
    let asked = reply(session, command).await?;
    whole(session, &asked).await?;
    let Asked { frame, room } = asked;
    let is_large = frame.bytes().len() > ON_CORE;
    let copy = move || {
        let result = Whole::of(legacy::body(&frame)?)?.map(|whole| whole.to_result());
        let result = result.unwrap_or_default();
        message(RawDocument::from_bytes(&result).map_err(|_| WireError::Bson("a result cannot be read"))?)
    };
    let frame = if is_large {
        off_core(copy).await.map_err(End::Io)??
    } else {
        copy()?
    };
    Ok(Asked { frame, room })
}

async fn run_group(session: &mut Session, inbound: &Inbound) -> Result<Document, Instead> {
    let aggregate = group::to_aggregate(&decode(inbound)?)?;
    Ok(group::to_reply(documents(session, &aggregate).await?))
}

async fn run_geo_near(session: &mut Session, inbound: &Inbound) -> Result<Document, Instead> {
    let aggregate = geo_near::to_aggregate(&decode(inbound)?)?;
    let begun = Instant::now();
    let results = documents(session, &aggregate).await?;
    Ok(geo_near::to_reply(results, begun.elapsed()))
}

fn decode(inbound: &Inbound) -> Result<Document, Instead> {
    let body = inbound.request.layout.body(inbound.frame.bytes())?;
    Ok(old::decode(body)?)
}

fn raw(document: &Document) -> Result<RawDocumentBuf, End> {
    RawDocumentBuf::try_from(document)
        .map_err(|_| End::Protocol(WireError::Bson("a reply cannot be encoded")))
}

/// Gives the client a reply in the form that it wants.
async fn answer_with(session: &mut Session, inbound: &Inbound, reply: &RawDocument) -> Result<(), End> {
    match encode(reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}
