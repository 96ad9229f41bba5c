//! Logging, and every metric's name, once.

pub mod counters;
pub mod log;

pub use counters::{Counters, PerCore};
