//! What can be wrong with a message.

use std::io;

/// A message that breaks the wire protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The header's length field is below the size of a header or above the limit.
    #[error("message length {length} is outside 16..={max}")]
    Length {
        /// The length that the header claims.
        length: i32,
        /// The limit in force.
        max: usize,
    },
    /// The header names an opcode that no MongoDB version has.
    #[error("unknown opcode {0}")]
    OpCode(i32),
    /// The bytes belong to another protocol.
    #[error("this looks like {0}, not like a MongoDB client")]
    Foreign(&'static str),
    /// A known opcode that is not served in this place.
    #[error("opcode {0:?} is not served here")]
    Unsupported(super::OpCode),
    /// The message ends before a field that it must have.
    #[error("message is truncated in {0}")]
    Truncated(&'static str),
    /// An OP_MSG sets a required flag bit (0 to 15) that is not known.
    #[error("OP_MSG has unknown required flag bits {0:#06x}")]
    Flags(u32),
    /// A legacy message sets flag bits that the protocol reserves.
    #[error("{0}: the reserved bits {1:#x} are set")]
    Reserved(&'static str, u32),
    /// An OP_MSG section kind that is neither 0 nor 1.
    #[error("OP_MSG has a section of unknown kind {0}")]
    SectionKind(u8),
    /// An OP_MSG without a body (section of kind 0).
    #[error("OP_MSG has no body section")]
    NoBody,
    /// An OP_MSG with more than one body (section of kind 0).
    #[error("OP_MSG has more than one body section")]
    TwoBodies,
    /// More document sequences (sections of kind 1) than any command takes.
    #[error("OP_MSG has more than {0} document sequences")]
    TooManySequences(usize),
    /// The OP_MSG checksum differs from the message.
    #[error("OP_MSG checksum is {found:#010x}, the message's is {computed:#010x}")]
    Checksum {
        /// The checksum that the message carries.
        found: u32,
        /// The CRC-32C of its bytes.
        computed: u32,
    },
    /// An OP_COMPRESSED names a compressor that does not exist.
    #[error("OP_COMPRESSED has the unknown compressor {0}")]
    UnknownCompressor(u8),
    /// An OP_COMPRESSED by a compressor that is not offered in this place.
    #[error("messages compressed by {} are not taken here", .0.name())]
    UnwantedCompressor(super::Compressor),
    /// An OP_COMPRESSED within another.
    #[error("OP_COMPRESSED within OP_COMPRESSED")]
    NestedCompression,
    /// An OP_COMPRESSED announces a size that no message of its length can have.
    #[error("OP_COMPRESSED announces {size} bytes, where at most {max} are possible")]
    Announced {
        /// The announced size of the payload.
        size: i32,
        /// The most that the limit on messages and the compressed bytes allow.
        max: usize,
    },
    /// An OP_COMPRESSED whose payload is damaged, or does not have the announced size.
    #[error("OP_COMPRESSED by {} does not inflate to the announced {announced} bytes", .compressor.name())]
    Inflate {
        /// The compressor that it names.
        compressor: super::Compressor,
        /// The announced size of the payload.
        announced: usize,
    },
    /// A BSON document with a wrong length, type or terminator.
    #[error("invalid BSON: {0}")]
    Bson(&'static str),
    /// The decoder was used on a stream that failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl WireError {
    /// Whether framing is intact behind this error, so that an error reply can be sent and the connection kept.
    ///
    /// A wrong checksum, length or opcode leaves no trust in the stream: such a connection is closed, as `mongod` does.
    #[must_use]
    pub fn is_answerable(&self) -> bool {
        matches!(
            self,
            Self::Bson(_) | Self::NoBody | Self::TwoBodies | Self::SectionKind(_) | Self::Truncated(_)
        )
    }
}
