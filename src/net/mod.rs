//! Sockets that carry frames, for both sides: the client's and the nodes'.
//!
//! Invariants: an idle socket owns no buffer; one read fetches whatever a peer has sent, up to 64 KiB; a buffer
//! grows only with the bytes that arrive.

pub mod budget;
pub mod buffers;
pub mod compression;
mod loopback;
pub mod socket;
mod stream;
mod tcp;

pub use budget::{Budget, Permit};
pub use loopback::spare_congestion_control;
pub use socket::Socket;
pub use stream::Stream;
