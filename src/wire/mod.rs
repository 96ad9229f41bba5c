//! MongoDB wire protocol messages: bytes to messages and back, without IO.
//!
//! Invariants: nothing here allocates more than the bytes at hand justify, every length field is checked
//! before it is used, and no input panics. Messages stay bytes: the modules find places in them and patch
//! them there.

pub mod codec;
pub mod compressor;
pub mod decode;
pub mod error;
pub mod header;
pub mod legacy;
pub mod legacy_translate;
pub mod op_compressed;
pub mod op_msg;
pub mod raw_doc;

pub use codec::{Frame, FrameDecoder};
pub use compressor::Compressor;
pub use decode::decode;
pub use error::WireError;
pub use header::{HEADER_LEN, Header, MAX_MESSAGE_LEN, OpCode};
pub use raw_doc::{Element, RawDoc};
