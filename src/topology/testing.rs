//! Short ways to write server descriptions and topologies down, for the tests of this module.

use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};

use super::{Address, ServerDescription, Topology, TopologyOptions};

pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(super) fn election(number: u8) -> ObjectId {
    ObjectId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

/// The description that a hello reply with these fields gives.
pub(super) fn hello(name: &str, fields: Document) -> ServerDescription {
    let mut reply = doc! { "ok": 1, "minWireVersion": 0, "maxWireVersion": 17 };
    reply.extend(fields);
    let reply = RawDocumentBuf::try_from(&reply).unwrap();
    ServerDescription::from_hello(
        address(name),
        &reply,
        Instant::now(),
        Some(Duration::from_millis(1)),
    )
}

fn member(name: &str, role: Document, hosts: &[&str]) -> ServerDescription {
    let mut fields = doc! { "setName": "rs", "me": format!("{name}:27017"), "hosts": hosts, "setVersion": 1 };
    fields.extend(role);
    hello(name, fields)
}

/// A primary that won this election.
pub(super) fn primary(name: &str, hosts: &[&str], number: u8) -> ServerDescription {
    member(
        name,
        doc! { "isWritablePrimary": true, "electionId": election(number) },
        hosts,
    )
}

pub(super) fn secondary(name: &str, hosts: &[&str]) -> ServerDescription {
    member(name, doc! { "secondary": true }, hosts)
}

pub(super) fn arbiter(name: &str, hosts: &[&str]) -> ServerDescription {
    member(name, doc! { "arbiterOnly": true }, hosts)
}

pub(super) fn other(name: &str, hosts: &[&str]) -> ServerDescription {
    member(name, doc! { "hidden": true, "secondary": true }, hosts)
}

pub(super) fn ghost(name: &str) -> ServerDescription {
    hello(name, doc! { "isreplicaset": true })
}

pub(super) fn standalone(name: &str) -> ServerDescription {
    hello(name, doc! { "isWritablePrimary": true })
}

pub(super) fn mongos(name: &str) -> ServerDescription {
    hello(name, doc! { "isWritablePrimary": true, "msg": "isdbgrid" })
}

pub(super) fn down(name: &str) -> ServerDescription {
    ServerDescription::unknown(address(name), Some("connection refused".into()))
}

/// A topology that was told nothing yet.
pub(super) fn seeded(seeds: &[&str], set_name: Option<&str>) -> Topology {
    Topology::new(TopologyOptions {
        seeds: seeds.iter().map(|seed| address(seed)).collect(),
        set_name: set_name.map(str::to_owned),
        ..TopologyOptions::default()
    })
}

/// A topology that was told all these.
pub(super) fn told(seeds: &[&str], descriptions: impl IntoIterator<Item = ServerDescription>) -> Topology {
    let mut topology = seeded(seeds, None);
    for description in descriptions {
        let _ = topology.apply(description);
    }
    topology
}

/// The servers as `host kind`, in order.
pub(super) fn servers(topology: &Topology) -> Vec<String> {
    topology
        .servers()
        .iter()
        .map(|server| format!("{} {}", server.address.host(), server.kind))
        .collect()
}
