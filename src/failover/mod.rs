//! What becomes of a command while the replica set changes: it waits, goes again, or fails.
//!
//! The verdict is a pure function; the gate is where commands wait.

pub mod gate;
mod options;
pub mod verdict;

pub use gate::{Full, Gate, GateStatus, Place, Turn};
pub use options::Options;
pub use verdict::{Attempts, Outcome, Repeat, Sent, Verdict, is_transient, verdict};
