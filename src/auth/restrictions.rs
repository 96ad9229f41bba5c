//! From where a user may log in (`authenticationRestrictions` of users and roles).
//!
//! A set is what one user or one role says: a list of alternatives, of which one must hold whole. All sets must hold. Only
//! `clientSource` is judged: `serverAddress` names an address of the node, which sees for itself over which one it was reached.

use std::net::IpAddr;

use bson::{RawArray, RawBsonRef};

use super::{Network, NetworkError};

/// What one user or role demands. Without alternatives it demands nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Alternative {
    /// `None` where it does not say from where; an empty list, as one that cannot be read, lets nobody in.
    client_source: Option<Vec<Network>>,
}

impl Restrictions {
    /// Reads the list that `admin.system.users` and `admin.system.roles` keep. What cannot be read demands what nobody fulfils.
    #[must_use]
    pub fn read(list: &RawArray) -> Self {
        let alternatives = list.into_iter().map(|alternative| {
            let document = match alternative {
                Ok(RawBsonRef::Document(document)) => document,
                _ => return Alternative::IMPOSSIBLE,
            };
            match document.get("clientSource") {
                Ok(None) => Alternative { client_source: None },
                Ok(Some(RawBsonRef::Array(sources))) => Alternative {
                    client_source: Some(networks(sources)),
                },
                Ok(Some(RawBsonRef::String(source))) => Alternative {
                    client_source: Some(network(source).into_iter().collect()),
                },
                _ => Alternative::IMPOSSIBLE,
            }
        });
        Self {
            alternatives: alternatives.collect(),
        }
    }

    /// Whether a client of this address may log in; `None` stands for one on this host, by a Unix domain socket.
    #[must_use]
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        self.alternatives.is_empty() || self.alternatives.iter().any(|one| one.allows(address))
    }
}

impl Alternative {
    const IMPOSSIBLE: Self = Self {
        client_source: Some(Vec::new()),
    };

    fn allows(&self, address: Option<IpAddr>) -> bool {
        match (&self.client_source, address) {
            (None, _) => true,
            (Some(networks), Some(address)) => networks.iter().any(|network| network.contains(address)),
            (Some(_), None) => false,
        }
    }
}

/// The networks of a list; those that cannot be read let nobody in.
fn networks(sources: &RawArray) -> Vec<Network> {
    let texts = sources.into_iter().filter_map(Result::ok);
    texts.filter_map(|text| network(text.as_str()?)).collect()
}

/// Servers overlook bits behind the prefix.
fn network(text: &str) -> Option<Network> {
    match text.parse() {
        Ok(network) | Err(NetworkError::HostBits(_, network, _)) => Some(network),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawArrayBuf, RawDocumentBuf, bson, doc};

    use super::*;

    fn read(list: Bson) -> Restrictions {
        let raw = RawDocumentBuf::try_from(&doc! { "list": list }).unwrap();
        Restrictions::read(raw.get_array("list").unwrap())
    }

    fn allows(restrictions: &Restrictions, address: &str) -> bool {
        restrictions.allow(Some(address.parse().unwrap()))
    }

    #[test]
    fn without_any_everybody_may_log_in_from_everywhere() {
        let none = Restrictions::read(&RawArrayBuf::new());
        assert!(allows(&none, "10.0.0.1") && none.allow(None));
    }

    #[test]
    fn one_of_the_alternatives_must_hold() {
        let two = read(bson!([
            { "clientSource": ["10.0.0.0/8", "192.168.1.7"] },
            { "clientSource": ["fd00::/8"], "serverAddress": ["10.0.0.1"] },
        ]));
        for (address, may) in [
            ("10.1.2.3", true),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("fd00::1", true),
            ("::ffff:10.1.1.1", true),
        ] {
            assert_eq!(allows(&two, address), may, "{address}");
        }
        assert!(!two.allow(None), "a Unix domain socket has no address");
    }

    #[test]
    fn the_address_of_the_server_is_the_nodes_to_judge() {
        assert!(allows(
            &read(bson!([{ "serverAddress": ["10.0.0.1"] }])),
            "1.2.3.4"
        ));
    }

    #[test]
    fn what_cannot_be_read_lets_nobody_in() {
        for list in [
            bson!([5]),
            bson!([{ "clientSource": 5 }]),
            bson!([{ "clientSource": ["x"] }]),
        ] {
            assert!(!allows(&read(list.clone()), "10.0.0.1"), "{list}");
        }
    }

    #[test]
    fn a_network_written_with_bits_behind_its_prefix_is_read_as_servers_do() {
        assert!(allows(
            &read(bson!([{ "clientSource": ["10.1.2.3/8"] }])),
            "10.9.9.9"
        ));
    }
}
