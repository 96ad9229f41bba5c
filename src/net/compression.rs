//! Inflating and compressing of whole messages, off the core where it takes long.
//!
//! A core serves many clients: what takes longer than some 100 µs goes to threads that block nobody, and of these no more work
//! at once than the machine has cores, however many messages wait. The caller has room in the byte budget for both forms.

use std::{io, sync::LazyLock, thread};

use bytes::BytesMut;
use tokio::sync::Semaphore;

use super::buffers;
use crate::wire::{Compressor, Frame, WireError, op_compressed};

/// Messages up to this many bytes in both forms are dealt with on the core.
const ON_CORE: usize = 64 << 10;

static WORKERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, usize::from)));

/// Inflates an OP_COMPRESSED, which is kept along ([`Frame::with_packed`]). A cancelled call drops the message.
///
/// # Errors
/// As [`op_compressed::inflate`]; `Io` where the process is stopping.
pub async fn inflate(frame: Frame) -> Result<(Frame, Compressor), WireError> {
    let envelope = op_compressed::Envelope::peek(frame.bytes(), &frame.header())?;
    if envelope.inside.length.max(frame.bytes().len()) <= ON_CORE {
        return unpack(frame);
    }
    off_core(move || unpack(frame)).await?
}

fn unpack(frame: Frame) -> Result<(Frame, Compressor), WireError> {
    let (inflated, compressor) = op_compressed::inflate(&frame)?;
    Ok((inflated.with_packed(compressor, frame.into_bytes()), compressor))
}

/// Compresses `message`, as [`op_compressed::deflate`]; gives it back together with the compressed form. A cancelled call drops it.
///
/// # Errors
/// Only where the process is stopping.
pub async fn deflate(
    message: BytesMut,
    compressor: Compressor,
    zlib_level: i8,
) -> io::Result<(BytesMut, Option<BytesMut>)> {
    let is_small = message.len() <= ON_CORE;
    let work = move || {
        let deflated = op_compressed::deflate(&message, compressor, zlib_level);
        (message, deflated)
    };
    if is_small {
        return Ok(work());
    }
    off_core(work).await
}

/// The compressed form of a message that is small enough to be compressed on the spot; else the message as it is, as the
/// specification allows.
#[must_use]
pub fn deflate_small(message: BytesMut, compressor: Compressor, zlib_level: i8) -> BytesMut {
    if message.len() > ON_CORE {
        return message;
    }
    let Some(deflated) = op_compressed::deflate(&message, compressor, zlib_level) else {
        return message;
    };
    buffers::give(message);
    deflated
}

/// Does work off the core: on no more threads than there are cores. A cancelled call lets it finish and drops the result.
///
/// # Errors
/// Only where the process is stopping, or the work panicked.
pub async fn off_core<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let worker = WORKERS.acquire().await.map_err(io::Error::other)?;
    let worked = tokio::task::spawn_blocking(move || {
        // Work whose caller has gone still takes its worker until it is done.
        let _worker = worker;
        work()
    });
    worked.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RawDoc, op_msg};

    fn message(length: usize) -> BytesMut {
        let body = bson::rawdoc! { "tide": "~".repeat(length) };
        let mut out = BytesMut::new();
        op_msg::encode(RawDoc::prefix(body.as_bytes()).unwrap(), 1, 2, 0, &mut out);
        out
    }

    #[tokio::test]
    async fn small_and_large_messages_come_back() {
        for length in [10, ON_CORE + 10, 5 << 20] {
            for compressor in Compressor::NEGOTIABLE {
                let (kept, deflated) = deflate(message(length), compressor, -1).await.unwrap();
                assert_eq!(kept, message(length));
                let frame = Frame::new(deflated.unwrap()).unwrap();
                let (inflated, by) = inflate(frame).await.unwrap();
                assert_eq!((inflated.bytes(), by), (&message(length)[..], compressor));
            }
        }
    }

    #[tokio::test]
    async fn the_core_goes_on_while_a_large_message_is_dealt_with() {
        let mut large = std::pin::pin!(deflate(message(20 << 20), Compressor::Zlib, 9));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(large.as_mut().poll(cx).is_pending()));
        assert!(once.await, "a core would be busy all the while");
        assert!(large.await.unwrap().1.is_some());
    }

    #[tokio::test]
    async fn a_broken_message_is_an_error_wherever_it_is_inflated() {
        for length in [100, 1 << 20] {
            let (_, deflated) = deflate(message(length), Compressor::Zlib, -1).await.unwrap();
            let mut bytes = deflated.unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            let error = inflate(Frame::new(bytes).unwrap()).await.unwrap_err();
            assert!(matches!(error, WireError::Inflate { .. }), "{error}");
        }
    }
}
