//! OP_COMPRESSED for the raw client, laid out after its specification.

use std::io::{self, Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use super::raw;

pub(crate) const OP_COMPRESSED: i32 = 2012;

pub(crate) const NOOP: u8 = 0;
pub(crate) const SNAPPY: u8 = 1;
pub(crate) const ZLIB: u8 = 2;
pub(crate) const ZSTD: u8 = 3;

/// Each compressor that can be negotiated, by its name.
pub(crate) const COMPRESSORS: [(u8, &str); 3] = [(SNAPPY, "snappy"), (ZLIB, "zlib"), (ZSTD, "zstd")];

/// A payload by one of the compressors.
pub(crate) fn compress(compressor: u8, payload: &[u8]) -> Vec<u8> {
    match compressor {
        SNAPPY => snap::raw::Encoder::new().compress_vec(payload).unwrap(),
        ZLIB => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(payload).unwrap();
            encoder.finish().unwrap()
        }
        ZSTD => zstd::bulk::compress(payload, 0).unwrap(),
        _ => payload.to_vec(),
    }
}

/// A whole message wrapped.
pub(crate) fn wrap(compressor: u8, message: &[u8]) -> Vec<u8> {
    let payload = &message[16..];
    wrap_as(
        compressor,
        message,
        payload.len() as i32,
        &compress(compressor, payload),
    )
}

/// `message` wrapped, with this said of its size, and with these bytes in place of its compressed payload.
pub(crate) fn wrap_as(compressor: u8, message: &[u8], announced: i32, compressed: &[u8]) -> Vec<u8> {
    let id = i32::from_le_bytes(*message[4..].first_chunk().unwrap());
    let fields = [
        &message[12..16],
        &announced.to_le_bytes(),
        &[compressor],
        compressed,
    ];
    raw::frame(id, OP_COMPRESSED, &fields.concat())
}

/// The message inside, and the compressor by which it came.
pub(crate) fn unwrap(message: &[u8]) -> io::Result<(Vec<u8>, u8)> {
    let (fields, compressed) = message[16..]
        .split_first_chunk::<9>()
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let announced = i32::from_le_bytes(*fields[4..].first_chunk().unwrap()) as usize;
    let payload = match fields[8] {
        SNAPPY => snap::raw::Decoder::new().decompress_vec(compressed)?,
        ZLIB => {
            let mut payload = Vec::new();
            ZlibDecoder::new(compressed).read_to_end(&mut payload)?;
            payload
        }
        ZSTD => zstd::bulk::decompress(compressed, announced)?,
        other => return Err(io::Error::other(format!("a reply by compressor {other}"))),
    };
    if payload.len() != announced {
        let what = format!("{} bytes announced, {} found", announced, payload.len());
        return Err(io::Error::other(what));
    }
    let length = (16 + announced) as i32;
    let header = [&length.to_le_bytes(), &message[4..12], &fields[..4]].concat();
    Ok(([header, payload].concat(), fields[8]))
}
