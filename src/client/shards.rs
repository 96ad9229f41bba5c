//! What a `mongos` answers and a member of a replica set does not: who the shards are, and a refusal of what needs a sharded
//! cluster.
//!
//! Only where a `mongos` is presented in front of a replica set. The set is then the one shard, and its host is the address
//! under which clients find this listener, never those of the nodes: tools dial what they read here. With a real `mongos`
//! upstream, and on other presentations, all of this is forwarded.
//!
//! Other collections of `config` that describe a sharded cluster (`version`, `mongos`, `databases`, `collections`, `chunks`,
//! `settings`) are left as empty as the set has them: nothing is sharded, `mongodump` has nothing of them to dump, and
//! `sh.status()` says that sharding is not enabled, which is true.

use bson::{Document, RawDocumentBuf, doc};

use super::{inbound::Inbound, session::Session};
use crate::{
    command::{Class, ErrorReply, Sharding, config_shards, rewrite},
    topology::UpstreamKind,
    wire::{self, Frame},
};

/// Larger commands on `config.shards` are no look-ups.
const MAX_DECODED: usize = 16 << 10;
/// Why a command that needs a sharded cluster is refused.
const NOT_SHARDED: &str =
    "nothing here is sharded: this proxy presents itself as a mongos in front of one replica set";

/// Whether [`answer`] may have an answer to this request. Costs a comparison for most.
pub(super) fn concerns(inbound: &Inbound) -> bool {
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    match request.class() {
        Class::Sharding(_) => true,
        Class::Read => {
            request.db(message) == b"config"
                && !request.in_transaction
                && config_shards::is_about(request, message)
        }
        _ => false,
    }
}

/// The reply of the `mongos` that is presented; `None` if the request is to be forwarded.
pub(super) fn answer(session: &Session, inbound: &Inbound) -> Option<RawDocumentBuf> {
    let set_name = presented_set(session)?;
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    if let Some(error) = super::hello::refusal(inbound) {
        // None of the sharding commands is part of an API version; `find` and its like are.
        let is_strict = error.code() == ErrorReply::api_strict(b"").code();
        if !is_strict || request.class() != Class::Read {
            return Some(error.to_document());
        }
    }
    let address = session.advertised();
    let shard = doc! { "_id": &set_name, "host": format!("{set_name}/{address}"), "state": 1 };
    let reply = match request.class() {
        Class::Sharding(Sharding::IsDbGrid) => {
            doc! { "isdbgrid": 1, "hostname": address, "ok": 1.0 }
        }
        Class::Sharding(_) if request.db(message) != b"admin" => {
            return Some(ErrorReply::admin_only(request.name(message)).to_document());
        }
        Class::Sharding(Sharding::ListShards) => doc! { "shards": [shard], "ok": 1.0 },
        Class::Sharding(Sharding::ShardMap) => shard_map(&set_name, &address),
        // There is no balancer, so it is as a balancer that was switched off.
        Class::Sharding(Sharding::BalancerStatus) => {
            doc! { "mode": "off", "inBalancerRound": false, "numBalancerRounds": 0_i64, "ok": 1.0 }
        }
        Class::Sharding(Sharding::Impossible) => {
            return Some(ErrorReply::refused(request.name(message), NOT_SHARDED).to_document());
        }
        _ => config_shards::answer(&decode(inbound)?, &shard)?,
    };
    RawDocumentBuf::try_from(&reply).ok()
}

/// Adds the `recoveryToken` that a `mongos` gives with each reply in a transaction, and that drivers send back when they end
/// it (Transactions specification, "recoveryToken field"). A replica set needs none, and takes one of this shape.
pub(super) fn add_recovery_token(session: &Session, reply: &mut Frame) {
    if let Some(set_name) = presented_set(session) {
        let token = bson::rawdoc! { "recoveryToken": { "recoveryShardId": set_name } };
        let bytes = token.as_bytes();
        rewrite::append_to_reply(reply, &bytes[4..bytes.len() - 1]);
    }
}

/// The name of the replica set, if this listener presents a `mongos` in front of one.
fn presented_set(session: &Session) -> Option<String> {
    if !session.shows_mongos() {
        return None;
    }
    // What is known of the set whichever way it is reached, also over a direct connection to one member.
    let facts = &session.shared.cluster.load().presented.facts;
    let is_set = facts.kind == UpstreamKind::ReplicaSet;
    facts.set_name.as_deref().filter(|_| is_set).map(str::to_owned)
}

fn shard_map(set_name: &str, address: &str) -> Document {
    let shard = format!("{set_name}/{address}");
    doc! {
        "map": { set_name: &shard },
        "hosts": { address: set_name },
        "connStrings": { &shard: set_name },
        "ok": 1.0,
    }
}

fn decode(inbound: &Inbound) -> Option<Document> {
    let body = inbound.request.layout.body(inbound.frame.bytes()).ok()?;
    let is_small = body.bytes().len() <= MAX_DECODED;
    is_small.then(|| wire::decode(body).ok()).flatten()
}
