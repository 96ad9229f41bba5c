//! Where clients come in and what they are, for `/status`.

use super::status::{Driver, LegacyClient, Listener};
use crate::{
    client::{Drivers, LegacyClients, ListenerOptions, Reach},
    topology::Address,
};

pub(super) fn listener(options: &ListenerOptions) -> Listener {
    let reaches = match &options.reach {
        Reach::Node(node) => node.to_string(),
        Reach::Secondaries => "secondaries".to_owned(),
        Reach::Cluster => "cluster".to_owned(),
    };
    Listener {
        address: options.address.to_string(),
        presents_as: options.shown_as().to_owned(),
        reaches,
        advertise: options.advertise.as_ref().map(Address::to_string),
        read_preference: options.read_preference.to_string(),
    }
}

pub(super) fn drivers(counted: &Drivers) -> Vec<Driver> {
    let counted = counted.list().into_iter();
    counted
        .map(|(name, version, connected)| Driver {
            name,
            version,
            connected,
        })
        .collect()
}

pub(super) fn legacy_clients(seen: &LegacyClients) -> Vec<LegacyClient> {
    let seen = seen.list().into_iter();
    seen.map(|(client, used)| {
        let (driver, version) = client.driver.unzip();
        LegacyClient {
            application: client.application,
            driver,
            version,
            address: client.address.map(|address| address.to_string()),
            opcodes: used.opcodes().map(str::to_owned).collect(),
            connections: used.connections,
            last_seconds_ago: used.last.elapsed().as_secs_f64(),
        }
    })
    .collect()
}
