//! The memory of which `mongos` runs a transaction.
//!
//! A transaction of a sharded cluster lives in the router that began it: statements that another one gets fail with
//! `NoSuchTransaction` (Transactions specification, "Sharded Transactions", pinning). Drivers pin to the address that they
//! know, which is the proxy's; what lies behind it is pinned here, by the session's id, from the statement that begins a
//! transaction until the session's next one begins: a commit may be sent again. Replica sets need none of this: there a
//! transaction lives on the primary.

use super::pins::{Key, Memory};
use crate::wire::RawDoc;

/// The type byte of BSON binary data.
const BINARY: u8 = 0x05;
/// In front of binary data: its length and subtype.
const BINARY_HEAD: usize = 5;

/// The `id` of an `lsid`: a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Reads the id from the bytes of an `lsid` document; `None` if it is none that a server would take.
    #[must_use]
    pub fn of(lsid: &[u8]) -> Option<Self> {
        let id = RawDoc::prefix(lsid).ok()?.get("id").ok()??;
        let uuid = id.value.get(BINARY_HEAD..).filter(|_| id.kind == BINARY)?;
        uuid.try_into().ok().map(Self)
    }
}

impl Key for SessionId {
    fn part(self) -> usize {
        // Version 4: all bits of the last bytes are random.
        usize::from(self.0[15])
    }
}

/// Sessions and the `mongos` that runs, or ran, the newest transaction of each.
pub type TransactionPins<N> = Memory<SessionId, N>;

/// Sessions with a transaction that is under way.
pub type OpenTransactions = Memory<SessionId, ()>;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use bson::{Binary, Document, doc, spec::BinarySubtype};
    use proptest::prelude::*;

    fn lsid(bytes: &[u8]) -> Document {
        let id = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: bytes.to_vec(),
        };
        doc! { "id": id, "uid": "of the user" }
    }

    fn of(lsid: &Document) -> Option<SessionId> {
        SessionId::of(&lsid.to_vec().unwrap())
    }

    #[test]
    fn only_ids_that_a_server_takes_are_remembered() {
        assert_eq!(of(&lsid(&[7; 16])), Some(SessionId([7; 16])));
        for wrong in [
            doc! {},
            doc! { "id": "x" },
            doc! { "id": 5 },
            lsid(&[7; 15]),
            lsid(&[]),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
        assert_eq!(SessionId::of(&[]), None);
    }

    #[test]
    fn the_newest_transaction_of_a_session_counts() {
        let (pins, now) = (TransactionPins::new(100), Instant::now());
        let (one, two) = (SessionId([1; 16]), SessionId([2; 16]));
        pins.insert(one, "a", now);
        pins.insert(two, "b", now);
        pins.insert(one, "c", now);
        assert_eq!((pins.get(one, now), pins.get(two, now)), (Some("c"), Some("b")));
        pins.remove(one);
        assert_eq!((pins.get(one, now), pins.len()), (None, 1));
    }

    proptest! {
        #[test]
        fn damaged_ids_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = SessionId::of(&bytes);
            let mut lsid = lsid(&[7; 16]).to_vec().unwrap();
            for (at, byte) in bytes.iter().enumerate() {
                let at = (at * 7 + usize::from(*byte)) % lsid.len();
                lsid[at] = *byte;
            }
            let _ = SessionId::of(&lsid);
        }
    }
}
