//! Listeners that do not stand for the whole cluster: what a session's client takes its listener for, and the routes that follow.

use bson::RawDocument;

use super::{
    Presentation, Reach,
    inbound::{Inbound, ReplyForm},
    options::canonical,
    session::Session,
};
use crate::{
    command::{ErrorReply, Request, rewrite},
    routing::{Alias, Route, redirect},
    topology::{TopologyVersion, UpstreamKind},
};

impl Session {
    /// Whether its commands reach one member alone, whose state is the client's to know.
    pub(super) fn reaches_one_member(&self) -> bool {
        matches!(self.listener.reach, Reach::Node(_))
    }

    /// Whether its client takes the proxy for a `mongos`, or for a balancer of them.
    pub(super) fn shows_mongos(&self) -> bool {
        if self.load_balanced {
            return true;
        }
        match (
            &self.listener.reach,
            self.listener.presents_as,
            self.upstream_kind(),
        ) {
            (Reach::Node(_), ..) | (.., UpstreamKind::Standalone) => false,
            (.., UpstreamKind::Sharded) | (_, Presentation::Mongos, _) => true,
            (_, Presentation::ReplicaSet, UpstreamKind::ReplicaSet) => false,
        }
    }

    /// By which address clients find this listener: as configured, else the one that this client dialled. A client with TLS tells
    /// the name that it dialled (SNI), which is also the one that certificates are for.
    pub(super) fn advertised(&self) -> String {
        if let Some(address) = &self.listener.advertise {
            return address.to_string();
        }
        let dialled = self.client.local_address();
        if let (Some(name), Some(address)) = (self.client.sni(), dialled) {
            return format!("{}:{}", name.to_ascii_lowercase(), address.port());
        }
        dialled.map_or_else(
            || self.listener.address.to_string(),
            |address| canonical(address).to_string(),
        )
    }

    /// The same for the other alias of the set that is presented.
    pub(super) fn advertised_twin(&self) -> Option<String> {
        let twin = self.listener.twin.as_ref()?;
        if let Some(address) = &twin.advertise {
            return Some(address.to_string());
        }
        Some(match self.client.sni() {
            Some(name) => format!("{}:{}", name.to_ascii_lowercase(), twin.address.port()),
            None => twin.address.to_string(),
        })
    }

    fn upstream_kind(&self) -> UpstreamKind {
        self.shared.cluster.load().presented.facts.kind
    }

    /// What the client takes the listener for, if not for the whole cluster or a standalone server.
    pub(super) fn alias(&self) -> Option<Alias> {
        match (&self.listener.reach, self.listener.presents_as) {
            (Reach::Node(_), _) => Some(Alias::Member),
            (Reach::Cluster, Presentation::Mongos) => None,
            _ if self.shows_mongos() || self.upstream_kind() == UpstreamKind::Standalone => None,
            (Reach::Secondaries, _) => Some(Alias::Secondary),
            (Reach::Cluster, Presentation::ReplicaSet) => Some(Alias::Primary),
        }
    }
}

/// Corrects the route for what the client takes the listener for.
///
/// # Errors
/// What a secondary answers to a command that only a primary takes.
pub(super) fn apply(session: &Session, inbound: &mut Inbound, route: Route) -> Result<Route, ErrorReply> {
    let Some(alias) = session.alias() else {
        return Ok(route);
    };
    let snapshot = session.shared.cluster.load();
    let wire = || snapshot.topology.wire_version_range().map_or(0, |(_, max)| max);
    let message = inbound.frame.bytes();
    let route = redirect(route, &inbound.request, message, alias, wire).map_err(|_| {
        let version = TopologyVersion {
            process_id: session.shared.process_id,
            counter: snapshot.presented.counter,
        };
        let is_old = matches!(inbound.reply_to.form, ReplyForm::Kept | ReplyForm::KeptUnawaited);
        let words = if is_old { "not master" } else { "not primary" };
        ErrorReply::not_primary(&inbound.request, version, words)
    })?;
    // A mongos chooses by it, and serves it.
    let is_member = alias != Alias::Primary && session.upstream_kind() != UpstreamKind::Sharded;
    if is_member && asks_for_primary(&inbound.request, message) {
        rewrite::accept_any_member(&mut inbound.frame, &inbound.request);
    }
    Ok(route)
}

/// Whether the read preference says in so many words that only a primary will do, which a secondary refuses.
fn asks_for_primary(request: &Request, message: &[u8]) -> bool {
    let Some(span) = request.read_preference else {
        return false;
    };
    RawDocument::from_bytes(span.of(message))
        .is_ok_and(|preference| matches!(preference.get_str("mode"), Ok("primary")))
}
