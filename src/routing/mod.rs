//! Where a command goes: a pure decision over the request, and the memory of where cursors and transactions
//! live.

pub mod alias;
pub mod decide;
pub mod pins;
pub mod transactions;

pub use alias::{Alias, NotPrimary, redirect};
pub use decide::{Route, decide, needs_read_preference, tells_read_preference};
pub use pins::{Pinned, Pins};
pub use transactions::{OpenTransactions, SessionId, TransactionPins};
