//! Logging, and every metric's name, once.

pub mod counters;

pub use counters::{Counters, PerCore};
