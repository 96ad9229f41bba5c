//! OP_QUERY: a query for documents, or a command.

use super::{
    AWAIT_DATA, EXHAUST, NO_CURSOR_TIMEOUT, OPLOG_REPLAY, PARTIAL, SECONDARY_OK, TAILABLE, fields::Fields,
};
use crate::wire::{RawDoc, WireError};

const KNOWN: u32 =
    TAILABLE | SECONDARY_OK | OPLOG_REPLAY | NO_CURSOR_TIMEOUT | AWAIT_DATA | EXHAUST | PARTIAL;

/// A checked OP_QUERY.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The flag bits.
    pub flags: u32,
    /// The database part of the full collection name.
    pub database: &'a str,
    /// The collection part; `$cmd` for commands.
    pub collection: &'a str,
    /// How many documents to leave out.
    pub number_to_skip: i32,
    /// How many documents the client wants: 0 leaves it to the server, 1 and negative numbers are limits, others the size of
    /// the first batch.
    pub number_to_return: i32,
    /// The query, or the command; a query may stand in it beside its modifiers.
    pub document: RawDoc<'a>,
    /// Which fields are wanted.
    pub selector: Option<RawDoc<'a>>,
}

impl<'a> Query<'a> {
    /// Reads the payload of an OP_QUERY (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, reserved flag bits are set, the namespace is not UTF-8 or has no dot, or bytes are left over.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        let flags = fields.flags("OP_QUERY flags", KNOWN)?;
        let namespace = fields.namespace()?;
        let number_to_skip = fields.i32("OP_QUERY numbers")?;
        let number_to_return = fields.i32("OP_QUERY numbers")?;
        let document = fields.document()?;
        let selector = if fields.rest().is_empty() {
            None
        } else {
            Some(fields.document()?)
        };
        fields.end()?;
        Ok(Self {
            flags,
            database: namespace.database,
            collection: namespace.collection,
            number_to_skip,
            number_to_return,
            document,
            selector,
        })
    }

    /// Whether this is a command, not a query for documents.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.collection == "$cmd"
    }

    /// Whether a flag bit is set.
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn payload(namespace: &str, tail: &[u8]) -> Vec<u8> {
        let command = doc! {"isMaster": 1}.to_vec().unwrap();
        let numbers = [3i32.to_le_bytes(), (-1i32).to_le_bytes()].concat();
        [
            &SECONDARY_OK.to_le_bytes()[..],
            namespace.as_bytes(),
            &[0],
            &numbers,
            &command,
            tail,
        ]
        .concat()
    }

    #[test]
    fn a_command_is_recognised() {
        let bytes = payload("admin.$cmd", &[]);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!(
            (
                query.database,
                query.collection,
                query.number_to_skip,
                query.number_to_return
            ),
            ("admin", "$cmd", 3, -1)
        );
        assert!(query.is_command() && query.has(SECONDARY_OK) && query.selector.is_none());
        assert!(!Query::parse(&payload("db.c.$cmd", &[])).unwrap().is_command());
        assert!(
            Query::parse(&payload("db.c", &[5, 0, 0, 0, 0]))
                .unwrap()
                .selector
                .is_some(),
            "a field selector may follow"
        );
    }

    #[test]
    fn malformed_queries_are_refused() {
        let whole = payload("admin.$cmd", &[]);
        for len in 0..whole.len() {
            assert!(Query::parse(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(Query::parse(&payload("nodot", &[])).is_err());
        assert!(
            Query::parse(&payload("a.b", &[5, 0, 0, 0, 0, 1])).is_err(),
            "left-over bytes"
        );
        assert!(
            Query::parse(&payload("a.b", &[9, 0, 0, 0, 0])).is_err(),
            "a selector that lies about its length"
        );
        for bit in [0, 8, 31] {
            let mut reserved = whole.clone();
            reserved[bit / 8] |= 1 << (bit % 8);
            assert!(
                matches!(Query::parse(&reserved), Err(WireError::Reserved(..))),
                "bit {bit}"
            );
        }
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Query::parse(&bytes);
        }
    }
}
