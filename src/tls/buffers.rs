//! Each thread's scratch buffers: what is read is decoded in one, what is written is encrypted in the other. So a connection needs
//! none of its own while nothing of it is under way.

use std::cell::RefCell;

/// Ciphertext of something that is not whole yet, at most. Records are shorter; but a message of the handshake may span many.
pub(super) const UNFINISHED_MOST: usize = 64 << 10;
/// The longest record: its header, its plaintext, and what encryption may add (RFC 5246, 6.2.3).
const RECORD_LEN: usize = 5 + (16 << 10) + 2048;
/// Ciphertext that is decoded at a time: four records as they are in fact, whose plaintext is 64 KiB at most.
const INCOMING_LEN: usize = 4 * (5 + (16 << 10) + 256);

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(vec![0; UNFINISHED_MOST + RECORD_LEN]);
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `with` on the buffer for what is read, which it must not ask for again inside. `kept` bytes of it are for what was read
/// before; there is room for more behind them.
pub(super) fn incoming<R>(kept: usize, with: impl FnOnce(&mut [u8]) -> R) -> R {
    let length = INCOMING_LEN.max(kept + RECORD_LEN);
    INCOMING.with(|scratch| with(&mut scratch.borrow_mut()[..length]))
}

/// Runs `with` on the buffer for what is to be written, which it must not ask for again inside.
pub(super) fn outgoing<R>(with: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    OUTGOING.with(|scratch| with(&mut scratch.borrow_mut()))
}
