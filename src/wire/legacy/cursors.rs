//! OP_GET_MORE and OP_KILL_CURSORS.

use super::fields::{Fields, Namespace};
use crate::wire::WireError;

/// A checked OP_GET_MORE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetMore<'a> {
    /// Where the cursor was opened.
    pub namespace: Namespace<'a>,
    /// How many documents at most; 0 leaves it to the server.
    pub number_to_return: i32,
    /// The cursor.
    pub cursor_id: i64,
}

impl<'a> GetMore<'a> {
    /// Reads the payload of an OP_GET_MORE (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, the namespace is not UTF-8 or has no dot, or bytes are left over.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        fields.skip_reserved()?;
        let get_more = Self {
            namespace: fields.namespace()?,
            number_to_return: fields.i32("OP_GET_MORE number")?,
            cursor_id: fields.i64("OP_GET_MORE cursor")?,
        };
        fields.end()?;
        Ok(get_more)
    }
}

/// A checked OP_KILL_CURSORS.
#[derive(Debug, Clone, Copy)]
pub struct KillCursors<'a>(&'a [u8]);

impl<'a> KillCursors<'a> {
    /// Reads the payload of an OP_KILL_CURSORS (what follows the header).
    ///
    /// # Errors
    /// When it does not hold exactly as many cursors as it says, or none.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        fields.skip_reserved()?;
        let count = fields.i32("OP_KILL_CURSORS count")?;
        let bytes = fields.rest();
        if usize::try_from(count).is_ok_and(|count| count > 0 && count.checked_mul(8) == Some(bytes.len())) {
            Ok(Self(bytes))
        } else {
            Err(WireError::Bson(
                "OP_KILL_CURSORS does not hold as many cursors as it says",
            ))
        }
    }

    /// The cursors.
    pub fn ids(&self) -> impl Iterator<Item = i64> + use<'a> {
        let (ids, _) = self.0.as_chunks::<8>();
        ids.iter().map(|id| i64::from_le_bytes(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_get_more_is_read_whole_or_refused() {
        let whole = [
            &[0; 4][..],
            b"d.c.e\0",
            &7i32.to_le_bytes(),
            &(-9i64).to_le_bytes(),
        ]
        .concat();
        let get_more = GetMore::parse(&whole).unwrap();
        assert_eq!(
            (get_more.namespace.database, get_more.namespace.collection),
            ("d", "c.e")
        );
        assert_eq!((get_more.number_to_return, get_more.cursor_id), (7, -9));
        for len in 0..whole.len() {
            assert!(GetMore::parse(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(GetMore::parse(&[&whole[..], &[0]].concat()).is_err());
    }

    #[test]
    fn cursors_to_kill_are_counted() {
        let with_count = |count: i32, bytes: usize| {
            let ids: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
            [&[0; 4][..], &count.to_le_bytes(), &ids].concat()
        };
        let two = with_count(2, 16);
        let ids: Vec<i64> = KillCursors::parse(&two).unwrap().ids().collect();
        assert_eq!(ids, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        for (count, bytes) in [(0, 0), (1, 0), (1, 7), (1, 9), (2, 8), (-1, 8), (i32::MAX, 8)] {
            assert!(
                KillCursors::parse(&with_count(count, bytes)).is_err(),
                "{count} in {bytes} bytes"
            );
        }
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = GetMore::parse(&bytes);
            let _ = KillCursors::parse(&bytes).map(|kill| kill.ids().count());
        }
    }
}
