//! The compressors of OP_COMPRESSED, each as a function from one slice into another.
//!
//! Invariant: nothing is ever written beyond the slice that the caller gave, so a stream that holds more than was
//! announced ends in an error and not in memory. The slices come from the allocator zeroed and untouched, so what a lying
//! announcement asks for is address space, not memory.

use std::{cell::RefCell, str::FromStr};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::bulk;

use super::WireError;

/// A compressor, by its number in OP_COMPRESSED (OP_COMPRESSED specification, "Compressor IDs").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compressor {
    /// The message as it is; for tests, and never negotiated.
    Noop = 0,
    /// Snappy, in its raw format.
    Snappy = 1,
    /// zlib (RFC 1950).
    Zlib = 2,
    /// Zstandard (RFC 8878).
    Zstd = 3,
}

/// A name that no compressor has, or none that can be negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of snappy, zlib, zstd")]
pub struct UnknownCompressor;

impl Compressor {
    /// Those that can be negotiated, in the order in which a server prefers nothing.
    pub const NEGOTIABLE: [Self; 3] = [Self::Snappy, Self::Zlib, Self::Zstd];

    /// The name in a handshake.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// The most bytes that `compressed` bytes can stand for, by the format alone: what is announced beyond that is a lie.
    #[must_use]
    pub(super) fn most_inflated(self, compressed: usize) -> usize {
        let ratio = match self {
            Self::Noop => 1,
            // A copy of 64 bytes takes 3.
            Self::Snappy => 22,
            // A match of 258 bytes takes 2 bits.
            Self::Zlib => 1032,
            // A block of 128 KiB takes 4 bytes.
            Self::Zstd => 32 << 10,
        };
        compressed.saturating_mul(ratio)
    }

    /// The most bytes that `length` bytes can take when they are compressed.
    #[must_use]
    pub(super) fn most_deflated(self, length: usize) -> usize {
        match self {
            Self::Noop => length,
            Self::Snappy => snap::raw::max_compress_len(length),
            // Fast levels write literals by the fixed code, in up to 9 bits; level 0 stores blocks behind 5 bytes each.
            Self::Zlib => length + length / 8 + length / 64 + 64,
            Self::Zstd => zstd::zstd_safe::compress_bound(length),
        }
    }

    /// Inflates `input` into `output`, which it must fill exactly.
    ///
    /// # Errors
    /// When it is damaged or cut off, or stands for more or fewer bytes.
    pub(super) fn inflate(self, input: &[u8], output: &mut [u8]) -> Result<(), WireError> {
        let filled = match self {
            Self::Noop => copy(input, output),
            Self::Snappy => unsnappy(input, output),
            Self::Zlib => CODECS.with_borrow_mut(|codecs| unzlib(&mut codecs.inflate, input, output)),
            Self::Zstd => CODECS.with_borrow_mut(|codecs| codecs.unzstd(input, output)),
        };
        filled.ok_or(WireError::Inflate {
            compressor: self,
            announced: output.len(),
        })
    }

    /// Compresses `input` into `output` and returns how many bytes it takes; `None` if there is no room. `zlib_level` is -1 for
    /// the default, or 0 to 9.
    pub(super) fn deflate(self, input: &[u8], output: &mut [u8], zlib_level: i8) -> Option<usize> {
        match self {
            Self::Noop => copy(input, output.get_mut(..input.len())?).map(|()| input.len()),
            Self::Snappy => snap::raw::Encoder::new().compress(input, output).ok(),
            Self::Zlib => CODECS.with_borrow_mut(|codecs| codecs.zlib(input, output, zlib_level)),
            Self::Zstd => CODECS.with_borrow_mut(|codecs| codecs.zstd(input, output)),
        }
    }
}

impl FromStr for Compressor {
    type Err = UnknownCompressor;

    /// Reads the name of a compressor that can be negotiated.
    fn from_str(name: &str) -> Result<Self, UnknownCompressor> {
        let mut all = Self::NEGOTIABLE.into_iter();
        all.find(|compressor| compressor.name() == name)
            .ok_or(UnknownCompressor)
    }
}

impl TryFrom<u8> for Compressor {
    type Error = WireError;

    fn try_from(id: u8) -> Result<Self, WireError> {
        Ok(match id {
            0 => Self::Noop,
            1 => Self::Snappy,
            2 => Self::Zlib,
            3 => Self::Zstd,
            other => return Err(WireError::UnknownCompressor(other)),
        })
    }
}

thread_local! {
    /// What zlib and zstd work with takes some hundred KiB, dear to make anew for a small message.
    static CODECS: RefCell<Codecs> = RefCell::default();
}

#[derive(Default)]
struct Codecs {
    inflate: Option<Decompress>,
    deflate: Option<(i8, Compress)>,
    unzstd: Option<bulk::Decompressor<'static>>,
    zstd: Option<bulk::Compressor<'static>>,
}

impl Codecs {
    fn unzstd(&mut self, input: &[u8], output: &mut [u8]) -> Option<()> {
        let codec = match &mut self.unzstd {
            Some(codec) => codec,
            none => none.insert(bulk::Decompressor::new().ok()?),
        };
        let length = codec.decompress_to_buffer(input, output).ok()?;
        (length == output.len()).then_some(())
    }

    fn zstd(&mut self, input: &[u8], output: &mut [u8]) -> Option<usize> {
        let codec = match &mut self.zstd {
            Some(codec) => codec,
            none => none.insert(bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).ok()?),
        };
        codec.compress_to_buffer(input, output).ok()
    }

    fn zlib(&mut self, input: &[u8], output: &mut [u8], level: i8) -> Option<usize> {
        if self
            .deflate
            .as_ref()
            .is_none_or(|(made_for, _)| *made_for != level)
        {
            let level_of = u32::try_from(level).map_or(Compression::default(), Compression::new);
            self.deflate = Some((level, Compress::new(level_of, true)));
        }
        let (_, codec) = self.deflate.as_mut()?;
        codec.reset();
        let status = codec.compress(input, output, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd).then_some(codec.total_out() as usize)
    }
}

fn copy(input: &[u8], output: &mut [u8]) -> Option<()> {
    if input.len() != output.len() {
        return None;
    }
    output.copy_from_slice(input);
    Some(())
}

fn unsnappy(input: &[u8], output: &mut [u8]) -> Option<()> {
    if snap::raw::decompress_len(input).ok()? != output.len() {
        return None;
    }
    let length = snap::raw::Decoder::new().decompress(input, output).ok()?;
    (length == output.len()).then_some(())
}

/// Bytes behind the end of the stream are passed over, as a `mongod` does.
fn unzlib(codec: &mut Option<Decompress>, input: &[u8], output: &mut [u8]) -> Option<()> {
    let codec = codec.get_or_insert_with(|| Decompress::new(true));
    codec.reset(true);
    let mut status = codec.decompress(input, output, FlushDecompress::Finish).ok()?;
    if status != Status::StreamEnd && codec.total_out() as usize == output.len() {
        // All bytes are there, but not yet the end and the checksum behind them.
        let rest = input.get(codec.total_in() as usize..)?;
        status = codec
            .decompress(rest, &mut [0; 1], FlushDecompress::Finish)
            .ok()?;
    }
    (status == Status::StreamEnd && codec.total_out() as usize == output.len()).then_some(())
}

#[cfg(test)]
#[path = "compressor_tests.rs"]
mod tests;
