//! A real local replica set, for the demo, the tests and the benches.
//!
//! Real `mongod` processes on loopback ports, so that what is shown and tested is what MongoDB does. Invariants:
//! nothing outlives its owner, however the owner ends (see [`Guard`]), and nothing listens on anything but 127.0.0.1.

mod access;
mod call;
pub mod demo;
mod error;
mod fetch;
mod folder;
mod guard;
mod members;
pub mod mongod;
mod node;
mod options;
mod ports;
mod replica_set;
mod start;

pub use call::{CALL_TIMEOUT, call, call_within};
pub use error::Error;
pub use guard::{Guard, temporary_folder};
pub use members::MemberState;
pub use options::{MemberOptions, Options};
pub use ports::free_ports;
pub use replica_set::ReplicaSet;
pub use start::Step;
