//! Commands of old servers, answered through their successors (`command::old`).

use bson::{RawDocument, rawdoc};

use super::{
    inbound::{Inbound, encode},
    local,
    session::{End, Session},
};
use crate::{
    command::{ErrorReply, Old, old::Removed},
    routing::Route,
    topology::UpstreamKind,
};

const REINDEX: &str = "reIndex runs on standalone servers only since MongoDB 5.0: drop the index and create it again, or let a member \
                       copy all data anew (initial sync), which builds its indexes";

/// Sends an old command on where the nodes take it in spite of their version.
pub(super) fn apply(session: &Session, route: Route) -> Route {
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
pub(super) async fn serve(session: &mut Session, inbound: &Inbound, old: Old) -> Result<(), End> {
    match old {
        Old::GetNonce => {
            // Nobody can log in by it, so it need not be hard to guess.
            let nonce = format!("{:016x}", fastrand::u64(..));
            local::say(session, &rawdoc! { "nonce": nonce, "ok": 1.0 }, inbound).await
        }
        Old::ReIndex => refuse(session, inbound, &ErrorReply::illegal_operation(REINDEX)).await,
        Old::Removed(Removed { way_out, .. }) => {
            let error = ErrorReply::removed(inbound.request.name(inbound.frame.bytes()), way_out);
            refuse(session, inbound, &error).await
        }
        Old::Aggregate | Old::CountCatalog | Old::Group | Old::GeoNear => {
            let error = ErrorReply::removed(inbound.request.name(inbound.frame.bytes()), "use aggregate");
            refuse(session, inbound, &error).await
        }
    }
}

async fn refuse(session: &mut Session, inbound: &Inbound, error: &ErrorReply) -> Result<(), End> {
    session.counters().commands_refused.one();
    answer(session, inbound, &error.to_document()).await
}

/// Gives the client a reply in the form that it wants.
async fn answer(session: &mut Session, inbound: &Inbound, reply: &RawDocument) -> Result<(), End> {
    match encode(reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}
