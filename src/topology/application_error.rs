//! What an error that a command met tells of the server.
//!
//! Pure. Two kinds tell something: that the connection broke after its handshake, and the "not writable primary" and "node is recovering"
//! errors that a server answers, which `command::state_change` finds. That a reply did not come in time, or that no connection
//! could be made, tells nothing here: it is for the server's monitor to say what it is.
//!
//! Source: "Application errors" of the Server Discovery and Monitoring specification.

use std::cmp::Ordering;

use super::{Address, ServerDescription, Topology, TopologyVersion};

/// An error that a command met on an established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationError {
    /// What happened.
    pub cause: ErrorCause,
    /// The generation of the pool when the connection was made on which it happened.
    pub generation: u64,
}

/// What happened to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCause {
    /// The connection broke, for this reason.
    Network(String),
    /// The server answered a "not writable primary" or "node is recovering" error.
    StateChange {
        /// The code that it answered.
        code: i32,
        /// The version of its state, from servers since 4.4.
        topology_version: Option<TopologyVersion>,
    },
}

/// What becomes of a server for an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Demotion {
    /// The Unknown description, for [`Topology::apply`].
    pub description: ServerDescription,
    /// Whether the connections of its pool are of no more use: it shuts down, or one of them broke.
    pub clears_pool: bool,
}

impl Topology {
    /// What an error means for the server where it happened; `None` if it is older than what is known. `generation` is that of the
    /// server's pool now.
    #[must_use]
    pub fn demotion(&self, address: &Address, error: &ApplicationError, generation: u64) -> Option<Demotion> {
        let known = self.get(address)?.topology_version.as_ref();
        if error.generation < generation {
            return None;
        }
        let unknown = |text| ServerDescription::unknown(address.clone(), Some(text));
        match &error.cause {
            ErrorCause::Network(reason) => Some(Demotion {
                description: unknown(format!("a command's connection broke: {reason}")),
                clears_pool: true,
            }),
            // Every change of state has a new version: an equal one is not news.
            ErrorCause::StateChange { topology_version, .. }
                if TopologyVersion::compare(known, topology_version.as_ref()) != Ordering::Less =>
            {
                None
            }
            ErrorCause::StateChange {
                code,
                topology_version,
            } => Some(Demotion {
                description: ServerDescription {
                    topology_version: *topology_version,
                    ..unknown(format!("it answered a command with code {code}"))
                },
                clears_pool: is_shutdown(*code),
            }),
        }
    }
}

/// Whether a server with this error shuts down ("node is shutting down" errors).
fn is_shutdown(code: i32) -> bool {
    matches!(code, 11600 | 91)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{address, primary, seeded},
        *,
    };

    fn version(process: u8, counter: i64) -> Option<TopologyVersion> {
        Some(TopologyVersion {
            process_id: bson::oid::ObjectId::from_bytes([process; 12]),
            counter,
        })
    }

    fn state_change(code: i32, topology_version: Option<TopologyVersion>) -> ErrorCause {
        ErrorCause::StateChange {
            code,
            topology_version,
        }
    }

    /// What an error of this generation means for a primary of version 5 whose pool was cleared twice.
    fn demotion(cause: ErrorCause, generation: u64) -> Option<Demotion> {
        let mut topology = seeded(&["a"], Some("rs"));
        let mut known = primary("a", &["a"], 1);
        known.topology_version = version(1, 5);
        assert!(topology.apply(known).applied);
        topology.demotion(&address("a"), &ApplicationError { cause, generation }, 2)
    }

    #[test]
    fn only_news_demote_a_server() {
        for (version, generation, is_news) in [
            (version(1, 4), 2, false),
            (version(1, 5), 2, false),
            (version(1, 6), 2, true),
            (version(2, 1), 2, true),
            (None, 2, true),
            (version(1, 6), 1, false),
        ] {
            let found = demotion(state_change(10107, version), generation);
            assert_eq!(found.is_some(), is_news, "{version:?}, generation {generation}");
            if let Some(found) = found {
                assert_eq!(found.description.topology_version, version);
            }
        }
    }

    #[test]
    fn a_connection_that_broke_demotes_unless_it_is_of_an_older_generation() {
        let broke = || ErrorCause::Network("reset".to_owned());
        assert_eq!(demotion(broke(), 1), None);
        let found = demotion(broke(), 2).unwrap();
        assert!(found.clears_pool);
        assert_eq!(found.description.topology_version, None);
        let error = found.description.error.unwrap();
        assert!(error.ends_with("reset"), "{error}");
    }

    #[test]
    fn of_state_changes_only_a_shutdown_clears_the_pool() {
        for (code, clears) in [
            (10107, false),
            (11602, false),
            (189, false),
            (11600, true),
            (91, true),
        ] {
            let found = demotion(state_change(code, None), 2).unwrap();
            assert_eq!(found.clears_pool, clears, "{code}");
        }
    }

    #[test]
    fn a_server_that_left_is_not_demoted() {
        let error = ApplicationError {
            cause: state_change(91, None),
            generation: 0,
        };
        assert_eq!(seeded(&["a"], None).demotion(&address("x"), &error, 0), None);
    }
}
