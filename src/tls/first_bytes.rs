//! Whether a connection's first bytes begin a TLS handshake or a MongoDB message.

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstBytes {
    /// They begin a TLS handshake.
    Tls,
    /// They do not.
    Plain,
    /// There are too few to tell.
    Undecided,
}

/// As many bytes as are ever needed: up to the end of a MongoDB header's `responseTo`.
pub(super) const DECIDING: usize = 12;

/// Tells by at most twelve bytes.
///
/// A ClientHello (RFC 8446, 4.1.2 and 5.1) is a record of type 22 (`0x16`) and of version `3.x`, then its length, the message's
/// type 1, its length, and the version `0x03 0x03`. The first two bytes alone are not enough: a MongoDB message of 790 bytes begins
/// `0x16 0x03 0x00 0x00`, one of 66,326 bytes `0x16 0x03 0x01 0x00`. But where the handshake has its version a MongoDB header has its
/// `responseTo`, which in a request is 0, or -1 from some old tools: in neither are its second and third bytes 3. And a request that
/// did name another one would need a `requestID` of just the right bytes, too.
#[must_use]
pub fn first_bytes(bytes: &[u8]) -> FirstBytes {
    // What each byte has to be; the rest are lengths.
    let expected: [fn(u8) -> bool; DECIDING] = [
        |byte| byte == 22,
        |byte| byte == 3,
        |byte| byte <= 4,
        |_| true,
        |_| true,
        |byte| byte == 1,
        // A ClientHello of above 64 KiB is none that a driver sends.
        |byte| byte == 0,
        |_| true,
        |_| true,
        |byte| byte == 3,
        |byte| byte <= 3,
        |_| true,
    ];
    if !bytes.iter().zip(expected).all(|(byte, fits)| fits(*byte)) {
        FirstBytes::Plain
    } else if bytes.len() >= DECIDING {
        FirstBytes::Tls
    } else {
        FirstBytes::Undecided
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(length: i32, request_id: i32, response_to: i32) -> Vec<u8> {
        [length, request_id, response_to, 2013]
            .into_iter()
            .flat_map(i32::to_le_bytes)
            .collect()
    }

    #[test]
    fn messages_whose_length_looks_like_a_record_are_plain() {
        for length in [790, 66_326, 0x0002_0316, 0x0003_0316, 0x0103_0316] {
            for response_to in [0, -1] {
                let bytes = header(length, 0x0100, response_to);
                assert_eq!(first_bytes(&bytes), FirstBytes::Plain, "{length}");
            }
        }
    }

    #[test]
    fn a_client_hello_is_told_from_its_first_twelve_bytes_on() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0x77, 0xdd, 0x07];
        for length in 0..DECIDING {
            assert_eq!(first_bytes(&hello[..length]), FirstBytes::Undecided, "{length}");
        }
        assert_eq!(first_bytes(&hello[..DECIDING]), FirstBytes::Tls);
        assert_eq!(first_bytes(&hello), FirstBytes::Tls);
    }

    proptest! {
        #[test]
        fn no_request_is_taken_for_a_handshake(length in 16i32.., id: i32, response_to in -1i32..=0) {
            prop_assert_eq!(first_bytes(&header(length, id, response_to)), FirstBytes::Plain);
        }

        #[test]
        fn more_bytes_never_change_an_answer(bytes: [u8; 16], cut in 0usize..16) {
            let early = first_bytes(&bytes[..cut]);
            prop_assert!(early == FirstBytes::Undecided || early == first_bytes(&bytes));
        }
    }
}
