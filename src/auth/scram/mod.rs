//! SCRAM, the salted challenge response mechanism (RFC 5802, RFC 7677), on both sides and as MongoDB speaks it.
//!
//! A client shows that it knows the password without telling it, and learns that the server knows the verifier. What the proof
//! gives away to the server is the `ClientKey`: enough to log in again as that user wherever the salt and the iterations are
//! the same ([`Keys`]), and no more.
//!
//! Invariant: each step takes the conversation by value, so that no message can be replayed or come out of turn.

pub mod client;
mod error;
mod hash;
mod iterations;
mod keys;
mod message;
pub mod server;
mod verifier;

pub use error::ScramError;
pub use hash::Hash;
pub use iterations::Iterations;
pub use keys::{Key, Keys, Secret};
pub use message::{MOST_BYTES, nonce};
pub use verifier::Verifier;

/// The iterations below which no server is answered (RFC 7677, section 4; MongoDB Authentication specification): an attacker
/// who asks for few could guess the password from the proof.
pub const LEAST_ITERATIONS: u32 = 4096;
/// The iterations above which no server is answered: some half a second of computing.
pub const MOST_ITERATIONS: u32 = 1_000_000;

#[cfg(test)]
#[path = "tampering_tests.rs"]
mod tampering_tests;
#[cfg(test)]
#[path = "vector_tests.rs"]
mod vector_tests;
