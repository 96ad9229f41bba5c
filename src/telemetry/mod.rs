//! Logging and metrics.

pub mod log;
