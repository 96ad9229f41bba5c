//! What a session's `hello` shows: by its listener, by what the client takes the proxy for, and by what stands behind.

use std::sync::atomic::Ordering::Relaxed;

use bson::DateTime;

use super::{
    document::{Member, Role, Terms},
    fields::Fields,
};
use crate::{
    client::{Presentation, Reach, inbound::Inbound, session::Session},
    command::ErrorReply,
    pool::Pool,
    topology::{
        Address, Common, Presented, ServerDescription, ServerKind, TopologyVersion, UpstreamKind, last_write,
    },
    upstream::Snapshot,
};

/// What is to be shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// This.
    Now(Role, Box<Terms>),
    /// Nothing is known yet: no node has ever answered.
    NotYet,
    /// There is nothing to show, and why.
    Error(ErrorReply),
}

/// What this session's client is shown now.
pub(super) fn show(session: &Session, inbound: &Inbound, fields: &Fields, now: DateTime) -> Shown {
    let snapshot = session.shared.cluster.load();
    match &session.listener.reach {
        Reach::Node(node) if !fields.load_balanced => show_node(session, inbound, &snapshot, node, now),
        _ => show_set(session, &snapshot.presented, fields, now),
    }
}

fn show_set(session: &Session, presented: &Presented, fields: &Fields, now: DateTime) -> Shown {
    let facts = &presented.facts;
    let Some(common) = facts.common else {
        return Shown::NotYet;
    };
    let terms = Terms {
        common: capped(session, common),
        version: Some(TopologyVersion {
            process_id: session.shared.process_id,
            counter: presented.counter,
        }),
        connection_id: session.id,
        compressors: session.compressors,
        now,
    };
    let role = match (facts.kind, session.listener.presents_as) {
        _ if fields.load_balanced => Role::Service(session.shared.service_id),
        (UpstreamKind::Standalone, _) => Role::Standalone,
        (UpstreamKind::Sharded, Presentation::ReplicaSet) => {
            tell_of_mongos(session);
            Role::Mongos
        }
        (_, Presentation::Mongos) => Role::Mongos,
        (UpstreamKind::ReplicaSet, Presentation::ReplicaSet) => match &facts.set_name {
            Some(name) => Role::Member(alias(session, presented, name)),
            // All that answer wait to be initiated.
            None => Role::Ghost,
        },
    };
    Shown::Now(role, Box::new(terms))
}

/// What all nodes have in common, as far as this listener shows it.
fn capped(session: &Session, common: Common) -> Common {
    let most = session.listener.max_wire_version.unwrap_or(i32::MAX);
    Common {
        max_wire_version: common.max_wire_version.min(most),
        ..common
    }
}

fn tell_of_mongos(session: &Session) {
    if !session.shared.told_of_mongos.swap(true, Relaxed) {
        tracing::warn!(
            listener = %session.listener.address,
            "presents itself as mongos, not as the configured replica set: the upstream is a sharded cluster"
        );
    }
}

/// The set's primary or secondary that this listener stands for.
fn alias(session: &Session, presented: &Presented, set_name: &str) -> Member {
    let facts = &presented.facts;
    let is_primary = session.listener.reach != Reach::Secondaries;
    let me = session.advertised();
    let twin = session.advertised_twin();
    let (primary, secondary) = if is_primary {
        (Some(me.clone()), twin)
    } else {
        (twin, Some(me.clone()))
    };
    Member {
        set_name: set_name.to_owned(),
        set_version: facts.set_version,
        hosts: primary.iter().chain(&secondary).cloned().collect(),
        me,
        primary,
        is_primary,
        // Shown as a secondary while there is none, it would be chosen in vain.
        is_secondary: !is_primary && facts.has_secondary,
        election_id: facts.election_id,
        last_write: if is_primary {
            presented.last_write
        } else {
            presented.secondary_last_write
        },
        ..Member::default()
    }
}

/// The one member that this listener reaches, as it is now.
fn show_node(
    session: &Session,
    inbound: &Inbound,
    snapshot: &Snapshot<Pool>,
    node: &Address,
    now: DateTime,
) -> Shown {
    let Some(server) = snapshot.topology.get(node) else {
        return Shown::NotYet;
    };
    let common = match (server.is_reachable(), snapshot.topology.common(), &server.error) {
        (true, Some(common), _) => common,
        (_, _, Some(error)) => {
            let message = format!("{node} cannot be reached: {error}");
            return Shown::Error(ErrorReply::unreachable(&inbound.request, message));
        }
        _ => return Shown::NotYet,
    };
    if let Some(error) = stranger(session, inbound, server) {
        return Shown::Error(error);
    }
    let role = match server.kind {
        ServerKind::Standalone | ServerKind::Unknown => Role::Standalone,
        ServerKind::Mongos => Role::Mongos,
        ServerKind::RsGhost => Role::Ghost,
        _ => Role::Member(member(server, session.advertised())),
    };
    let terms = Terms {
        common: capped(session, common),
        version: server.topology_version,
        connection_id: session.id,
        compressors: session.compressors,
        now,
    };
    Shown::Now(role, Box::new(terms))
}

/// Why the node is not shown, if it belongs to another set than the other nodes do.
fn stranger(session: &Session, inbound: &Inbound, server: &ServerDescription) -> Option<ErrorReply> {
    let set = session.shared.set.as_ref()?.load();
    let (expected, found) = (
        set.presented.facts.set_name.as_deref()?,
        server.set_name.as_deref()?,
    );
    if expected == found {
        return None;
    }
    let message = format!(
        "{} is a member of replica set {found:?}, not of {expected:?}: check the node of listener {}",
        server.address, session.listener.address
    );
    if !session.shared.told_of_stranger.swap(true, Relaxed) {
        tracing::warn!("{message}");
    }
    Some(ErrorReply::unreachable(&inbound.request, message))
}

fn member(server: &ServerDescription, me: String) -> Member {
    let is_primary = server.kind == ServerKind::RsPrimary;
    Member {
        set_name: server.set_name.clone().unwrap_or_default(),
        set_version: server.set_version,
        hosts: vec![me.clone()],
        primary: is_primary.then(|| me.clone()),
        me,
        is_primary,
        is_secondary: server.secondary,
        is_arbiter: server.kind == ServerKind::RsArbiter,
        is_hidden: server.hidden,
        is_passive: server.passive,
        delay_secs: server.secondary_delay_secs,
        tags: server.tags.clone(),
        election_id: server.election_id,
        last_write: last_write(server),
    }
}
