//! Each core's scratch buffer and its free list of small buffers.
//!
//! Reads fill the scratch buffer; only bytes that must outlive the read move to a buffer of their own, and small ones go
//! back to the list when their message is done. So idle connections hold no memory, and the steady state allocates none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes that one read takes at most.
pub const SCRATCH_LEN: usize = 64 << 10;
/// Buffers that grew beyond this are given back to the allocator.
const KEEP_CAPACITY: usize = 16 << 10;
/// Most free buffers that a core keeps.
const KEEP_COUNT: usize = 512;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_LEN]);
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Runs `with` on this core's scratch buffer, which it must not ask for again inside.
pub fn scratch<R>(with: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|scratch| with(&mut scratch.borrow_mut()))
}

/// An empty buffer, one with capacity if the core has any.
#[must_use]
pub fn take() -> BytesMut {
    FREE.with(|free| free.borrow_mut().pop()).unwrap_or_default()
}

/// Gives a buffer back for the next [`take`].
pub fn give(mut buffer: BytesMut) {
    buffer.clear();
    // The rest of a larger allocation is small to look at, but keeps all of it: ask for what lies before it.
    let _ = buffer.try_reclaim(KEEP_CAPACITY + 1);
    if (1..=KEEP_CAPACITY).contains(&buffer.capacity()) {
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEEP_COUNT {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::wire::{FrameDecoder, RawDoc, op_msg};

    #[test]
    fn small_buffers_are_used_again_and_large_ones_are_not_kept() {
        give(BytesMut::with_capacity(KEEP_CAPACITY * 2));
        assert_eq!(take().capacity(), 0);
        let mut small = BytesMut::with_capacity(100);
        small.extend_from_slice(b"left over");
        give(small);
        let again = take();
        assert!(again.is_empty() && again.capacity() >= 100);
    }

    /// The capacity of a buffer together with what its allocation has before it.
    fn whole_capacity(mut buffer: BytesMut) -> usize {
        buffer.clear();
        let _ = buffer.try_reclaim(KEEP_CAPACITY + 1);
        buffer.capacity()
    }

    fn pings(count: usize) -> BytesMut {
        let body = bson::rawdoc! { "ping": 1, "$db": "admin" };
        let mut stream = BytesMut::new();
        for id in 0..count {
            let body = RawDoc::prefix(body.as_bytes()).unwrap();
            op_msg::encode(body, id as i32, 0, 0, &mut stream);
        }
        stream
    }

    #[test]
    fn messages_that_came_together_keep_none_of_the_buffer_that_they_came_in() {
        let mut stream = pings(1000);
        let frames = std::iter::from_fn(|| FrameDecoder.decode(&mut stream).unwrap());
        let frames: Vec<_> = frames.collect();
        assert_eq!(frames.len(), 1000);
        frames.into_iter().for_each(|frame| give(frame.into_bytes()));
        let mut kept: Vec<_> = (0..KEEP_COUNT).map(|_| take()).collect();
        while let Some(buffer) = kept.pop() {
            assert!(whole_capacity(buffer) <= KEEP_CAPACITY);
        }
    }

    #[test]
    fn a_small_message_behind_a_large_one_does_not_keep_its_buffer() {
        let mut stream = BytesMut::zeroed(8 << 20);
        stream.extend_from_slice(&pings(1));
        drop(stream.split_to(8 << 20));
        let frame = FrameDecoder.decode(&mut stream).unwrap().unwrap();
        give(frame.into_bytes());
        assert!(whole_capacity(take()) <= KEEP_CAPACITY);
    }
}
