//! The cluster as MongoDB's Server Discovery and Monitoring and Server Selection specifications see it.
//!
//! Pure: no sockets, no clock, no randomness. Times and random numbers are arguments, so every rule can be
//! tested by a table. The life of one `hello` reply: [`ServerDescription::from_hello`] turns it into a
//! description, [`Topology::apply`] takes that in and says what changed, and whoever drives the machine
//! publishes the result as a snapshot. [`select`] then finds a server in such a snapshot.
//!
//! Invariants: at most one primary is known at any time; a snapshot's servers are sorted by address and
//! have distinct addresses, so that an index names a server of that one snapshot.

mod address;
mod application_error;
mod cluster_time;
mod event;
mod hello;
mod machine;
mod presented;
mod read_preference;
mod read_preference_parse;
mod replica_set;
mod rtt;
mod selection;
mod server;
mod srv_hosts;
mod staleness;
#[cfg(test)]
mod testing;
mod view;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use application_error::{ApplicationError, Demotion, ErrorCause};
pub use cluster_time::ClusterTime;
pub use event::{Change, Event, RemovalReason};
pub use machine::{Topology, TopologyKind, TopologyOptions};
pub use presented::{Facts, LastWrite, Presented, UpstreamKind, last_write};
pub use read_preference::{Mode, ReadPreference, SMALLEST_MAX_STALENESS, TagSet};
pub use read_preference_parse::ReadPreferenceError;
pub use rtt::RttAverage;
pub use selection::{Criteria, SelectionError, SelectionOptions, select, select_excluding, select_without};
pub use server::{OpTime, ServerDescription, ServerKind, TopologyVersion};
pub use srv_hosts::{choose_hosts, shares_domain};
pub use staleness::StalenessEstimate;
pub use view::{Common, Limits, MAX_WIRE_VERSION, MIN_WIRE_VERSION};
