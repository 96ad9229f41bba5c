//! A replica set behind relays.

use bson::doc;
use tidegate::sandbox::{Options, ReplicaSet};

use super::{Ends, Relay};

/// A replica set whose members know each other, and are known to everyone, by the addresses of relays.
#[derive(Debug)]
pub(crate) struct RelayedSet {
    /// Its own methods speak to the members past the relays.
    pub(crate) set: ReplicaSet,
    /// One for each member, in order.
    pub(crate) relays: Vec<Relay>,
}

impl RelayedSet {
    /// Starts a set and its relays; faults will meet connections that hold `marker`.
    pub(crate) fn start(options: Options, marker: &'static str, seed: u64) -> Self {
        Self::start_with(options, marker, seed, None)
    }

    /// The same with relays that end the TLS of clients.
    pub(crate) fn start_with(options: Options, marker: &'static str, seed: u64, tls: Option<&Ends>) -> Self {
        let set = crate::support::start_set(Options {
            initiate: false,
            ..options
        });
        let relays: Vec<Relay> = set
            .addresses()
            .iter()
            .zip(0..)
            .map(|(target, number)| {
                Relay::start_with(target, marker, seed.wrapping_add(number << 32), tls.cloned())
            })
            .collect();
        let mut configuration = set.configuration();
        for (member, relay) in configuration
            .get_array_mut("members")
            .unwrap()
            .iter_mut()
            .zip(&relays)
        {
            let member = member.as_document_mut().unwrap();
            member.insert("host", relay.address().to_string());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            set.command(0, doc! {"replSetInitiate": configuration})
                .await
                .unwrap();
            set.wait_ready().await.unwrap();
        });
        Self { set, relays }
    }

    /// `mongodb://` URI of the relays.
    pub(crate) fn uri(&self) -> String {
        let hosts: Vec<String> = self.relays.iter().map(|r| r.address().to_string()).collect();
        format!(
            "mongodb://{}/?replicaSet={}",
            hosts.join(","),
            self.set.options().set_name
        )
    }
}
