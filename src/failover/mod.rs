//! What to do after a failure: the verdict, a pure function.
//!
//! The gate and the proxy's own sessions for exactly-once retry will stand here too.

pub mod verdict;

pub use verdict::{Attempts, Sent, Verdict, after_error, after_failure, is_transient};
