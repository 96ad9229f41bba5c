//! What becomes of a command while the replica set changes: it waits, goes again, or fails.
//!
//! The verdict is a pure function; the gate is where commands wait; the proxy's own sessions make writes recognisable.

pub mod gate;
mod options;
pub mod sessions;
pub mod verdict;

pub use gate::{Full, Gate, GateStatus, Place, Turn};
pub use options::Options;
pub use sessions::{Lent, ServerSessions, SessionCounts};
pub use verdict::{Attempts, Outcome, Repeat, Sent, Verdict, is_transient, verdict};
