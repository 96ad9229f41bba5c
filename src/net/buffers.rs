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
    use super::*;

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
}
