//! Commands that concern more than one node.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bson::{Bson, Document, RawDocument, RawDocumentBuf};

use super::{
    account, again,
    choose::{Chosen, Patience},
    exchange::{Attempt, attempt},
    inbound::{Inbound, encode},
    relay,
    session::{End, Session},
    tell::tell,
};
use crate::{
    command::{ErrorReply, state_change},
    pool::Share,
    routing::Route,
    topology::ServerKind,
    wire::{self, RawDoc},
};

/// The arrays of a `killCursors` reply, the better outcome first.
const OUTCOMES: [&str; 4] = [
    "cursorsKilled",
    "cursorsAlive",
    "cursorsUnknown",
    "cursorsNotFound",
];
/// The index of `cursorsUnknown`: the node that may hold it could not be asked.
const UNKNOWN: usize = 2;
/// The index of `cursorsNotFound`.
const NOT_FOUND: usize = 3;

/// How long one node may take: the commands that fan out change its books only, and the other nodes wait behind it.
const PART_TIME: Duration = Duration::from_secs(10);
/// The largest command that is taken apart. Decoded, a body takes many times its bytes; ten thousand sessions need a
/// third of this.
const MAX_DECODED: usize = 1 << 20;

/// Serves a command for several nodes.
pub(super) async fn serve(
    session: &mut Session,
    inbound: &mut Inbound,
    route: &Route,
    patience: Patience,
) -> Result<(), End> {
    let served = match route {
        Route::KillCursors => kill_cursors(session, inbound, patience).await,
        Route::AllSecondaries => all_secondaries(session, inbound, patience).await,
        _ => all_nodes(session, inbound, patience).await,
    };
    account::note_fan_out(session, inbound, patience);
    served
}

/// `killCursors`: each cursor on the node that holds it, those of unknown origin everywhere; the replies become one.
async fn kill_cursors(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Result<(), End> {
    let body = match decode(inbound) {
        Ok(body) => body,
        Err(error) => return say(session, &error.to_document(), inbound).await,
    };
    let ids: Vec<i64> = body
        .get_array("cursors")
        .map(|ids| ids.iter().filter_map(as_id).collect())
        .unwrap_or_default();
    let everywhere = session.data_bearing();
    if everywhere.is_empty() || ids.is_empty() {
        // The primary, once there is one, says what is wrong with a command without cursors.
        return one_node(session, inbound, patience).await;
    }
    let mut parts = by_node(session, &ids, &everywhere);
    for id in &ids {
        session.shared.pins.remove(*id);
    }
    if parts.len() == 1 {
        let (node, _) = parts.remove(0);
        return on_node(session, inbound, node, patience).await;
    }
    let mut outcomes = Outcomes::of(&ids);
    for (node, ids) in parts {
        let mut part = body.clone();
        part.insert("cursors", numbers(ids.iter().copied()));
        match run_on(session, &node, &part, patience).await {
            Ok(reply) if is_ok(&reply) => outcomes.take_in(reply),
            Ok(error) => return say(session, &to_raw(&error), inbound).await,
            Err(error) => {
                tracing::debug!(node = %node.pool.address(), error, "cursors not killed");
                outcomes.note(ids, UNKNOWN);
            }
        }
    }
    say(session, &to_raw(&outcomes.into_reply(&ids)), inbound).await
}

/// What became of each cursor, over all nodes that were asked.
struct Outcomes {
    /// The best outcome of each, as an index into [`OUTCOMES`].
    best: HashMap<i64, usize>,
    /// The reply with the newest operation time; it lends its other fields.
    newest: Document,
}

impl Outcomes {
    fn of(ids: &[i64]) -> Self {
        let best = ids.iter().map(|id| (*id, NOT_FOUND)).collect();
        Self {
            best,
            newest: Document::new(),
        }
    }

    fn note(&mut self, ids: impl IntoIterator<Item = i64>, outcome: usize) {
        for id in ids {
            self.best.entry(id).and_modify(|best| *best = outcome.min(*best));
        }
    }

    fn take_in(&mut self, reply: Document) {
        for (outcome, name) in OUTCOMES.iter().enumerate() {
            let ids: Vec<i64> = reply
                .get_array(name)
                .into_iter()
                .flatten()
                .filter_map(as_id)
                .collect();
            self.note(ids, outcome);
        }
        let time = |reply: &Document| reply.get_timestamp("operationTime").ok();
        if self.newest.is_empty() || time(&reply) > time(&self.newest) {
            self.newest = reply;
        }
    }

    fn into_reply(mut self, ids: &[i64]) -> Document {
        for (outcome, name) in OUTCOMES.iter().enumerate() {
            let of_it = ids
                .iter()
                .copied()
                .filter(|id| self.best.get(id) == Some(&outcome));
            self.newest.insert(*name, numbers(of_it));
        }
        self.newest.insert("ok", 1.0);
        self.newest
    }
}

fn numbers(ids: impl Iterator<Item = i64>) -> Vec<Bson> {
    ids.map(Bson::Int64).collect()
}

/// A command for every data-bearing node. The reply is the first error, else that of the primary.
async fn all_nodes(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Result<(), End> {
    let nodes = session.data_bearing();
    each(session, inbound, patience, nodes).await
}

/// A command for every secondary, answered likewise; without any it is left to the primary.
async fn all_secondaries(
    session: &mut Session,
    inbound: &mut Inbound,
    patience: Patience,
) -> Result<(), End> {
    let mut nodes = session.data_bearing();
    nodes.retain(|node| node.kind == ServerKind::RsSecondary);
    each(session, inbound, patience, nodes).await
}

async fn each(
    session: &mut Session,
    inbound: &mut Inbound,
    patience: Patience,
    nodes: Vec<Chosen>,
) -> Result<(), End> {
    let body = match decode(inbound) {
        Ok(body) if !nodes.is_empty() => body,
        Ok(_) => return one_node(session, inbound, patience).await,
        Err(error) => return say(session, &error.to_document(), inbound).await,
    };
    let mut answer: Option<Document> = None;
    for node in nodes {
        let reply = match run_on(session, &node, &body, patience).await {
            Ok(reply) => reply,
            Err(error) => to_document(&ErrorReply::unreachable(&inbound.request, error).to_document()),
        };
        if answer
            .as_ref()
            .is_none_or(|answer| is_ok(answer) && !is_ok(&reply))
        {
            answer = Some(reply);
        }
    }
    say(session, &to_raw(&answer.unwrap_or_default()), inbound).await
}

/// Leaves the command to the primary.
async fn one_node(session: &mut Session, inbound: &mut Inbound, patience: Patience) -> Result<(), End> {
    match again::wait(session, inbound, &Route::Primary, patience).await {
        Attempt::Reply(taken) => relay::give(session, taken, &inbound.request, inbound.reply_to).await,
        failed => tell(session, failed, inbound, patience).await,
    }
}

/// Leaves the command to one node.
async fn on_node(
    session: &mut Session,
    inbound: &mut Inbound,
    node: Chosen,
    patience: Patience,
) -> Result<(), End> {
    match attempt(session, inbound, &node, &patience).await {
        Attempt::Reply(taken) => relay::give(session, taken, &inbound.request, inbound.reply_to).await,
        failed => tell(session, failed, inbound, patience).await,
    }
}

/// The cursors by the node that each is asked of.
fn by_node(session: &Session, ids: &[i64], everywhere: &[Chosen]) -> Vec<(Chosen, Vec<i64>)> {
    let mut parts: Vec<(Chosen, Vec<i64>)> =
        everywhere.iter().map(|node| (node.clone(), Vec::new())).collect();
    for id in ids {
        let known = session.shared.pins.get(*id, Instant::now());
        let is_known_here = |node: &Chosen| {
            known
                .as_ref()
                .is_some_and(|known| known.node == *node.pool.address())
        };
        let anywhere = !everywhere.iter().any(is_known_here);
        for (node, part) in &mut parts {
            if anywhere || is_known_here(node) {
                part.push(*id);
            }
        }
    }
    parts.retain(|(_, part)| !part.is_empty());
    parts
}

async fn run_on(
    session: &mut Session,
    node: &Chosen,
    body: &Document,
    patience: Patience,
) -> Result<Document, String> {
    let identity = &session.identity;
    let mut lease = match node.pool.try_check_out(identity, session.core, Share::Ordinary) {
        Some(lease) => lease,
        None => {
            let wait = node.pool.wait(
                identity,
                session.core,
                Share::Ordinary,
                Instant::now().into(),
                patience.max_time_left(),
            );
            wait.await.map_err(|error| error.to_string())?
        }
    };
    let reply = tokio::time::timeout(PART_TIME, lease.run(&to_raw(body)))
        .await
        .map_err(|_| format!("no reply within {PART_TIME:?}"))?
        .map_err(|failure| {
            let (shared, core) = (&session.shared, session.core);
            shared.note_failure(core, node.pool.address(), lease.generation(), &failure);
            failure.to_string()
        })?;
    let raw = RawDoc::prefix(reply.as_bytes()).map_err(|error| error.to_string())?;
    match state_change::mask(raw) {
        Ok(Some(masked)) => {
            if let Some(state) = masked.node_state {
                let error = state.into_error(lease.generation());
                session.shared.cluster.report_error(node.pool.address(), error);
            }
            Ok(masked.reply)
        }
        _ => Ok(to_document(&reply)),
    }
}

async fn say(session: &mut Session, reply: &RawDocument, inbound: &Inbound) -> Result<(), End> {
    match encode(reply, inbound.reply_to)? {
        Some(reply) => session.answer(reply).await,
        None => Ok(()),
    }
}

fn decode(inbound: &Inbound) -> Result<Document, ErrorReply> {
    let invalid = |error| ErrorReply::invalid_message(&error);
    let body = inbound
        .request
        .layout
        .body(inbound.frame.bytes())
        .map_err(invalid)?;
    if body.bytes().len() > MAX_DECODED {
        return Err(ErrorReply::too_large(body.bytes().len(), MAX_DECODED));
    }
    wire::decode(body).map_err(invalid)
}

fn is_ok(reply: &Document) -> bool {
    matches!(reply.get("ok"), Some(Bson::Double(ok)) if *ok == 1.0)
        || matches!(reply.get("ok"), Some(Bson::Int32(1)))
}

fn as_id(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int64(id) => Some(*id),
        Bson::Int32(id) => Some(i64::from(*id)),
        _ => None,
    }
}

/// A document that came from the wire always encodes; should it not, the client gets an empty one.
fn to_raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap_or_default()
}

fn to_document(raw: &RawDocument) -> Document {
    Document::try_from(raw).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, rawdoc};
    use bytes::BytesMut;

    use super::*;
    use crate::{
        client::inbound::Inbound,
        wire::{Frame, op_msg},
    };

    fn inbound(body: &RawDocument) -> Inbound {
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 0, 0, &mut message);
        let mut inbound = Inbound::new(Frame::new(message).unwrap(), None);
        inbound.read().unwrap();
        inbound
    }

    #[test]
    fn a_body_that_would_fill_the_memory_is_not_decoded() {
        let kill = |count: i64| {
            let ids = RawArrayBuf::from_iter(1..=count);
            inbound(&rawdoc! { "killCursors": "tides", "cursors": ids, "$db": "test" })
        };
        assert!(decode(&kill(1000)).is_ok());
        assert_eq!(decode(&kill(100_000)).unwrap_err().code(), 10334);
    }
}
