//! Where a command goes: a pure decision over the request, and the memory of where cursors live.

pub mod decide;
pub mod pins;

pub use decide::{Route, decide, needs_read_preference};
pub use pins::{Pinned, Pins};
