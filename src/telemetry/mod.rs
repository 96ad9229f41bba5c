//! Logging, and every metric's name, once.

pub mod busiest;
pub mod counters;
pub mod histogram;
pub mod log;
pub mod reasons;

pub use busiest::Busiest;
pub use counters::{Counters, PerCore};
pub use histogram::{Durations, Histogram, Timed, Timings};
pub use reasons::{ClientRefusal, Close, CommandRefusal, Count, Counted, Pin, Retry, Wait};
