//! The legacy opcodes that still open conversations: OP_QUERY, and OP_REPLY which answers it.

use bytes::{BufMut, BytesMut};

use super::{HEADER_LEN, Header, OpCode, RawDoc, WireError};

/// OP_QUERY flag: the client accepts an answer of a secondary (`slaveOk`).
pub const SECONDARY_OK: u32 = 1 << 2;

/// OP_REPLY flag: OP_GET_MORE named a cursor that the server does not know.
pub const CURSOR_NOT_FOUND: u32 = 1;
/// OP_REPLY flag: the query failed, the one document says why in `$err`.
pub const QUERY_FAILURE: u32 = 1 << 1;
/// OP_REPLY flag: the server can wait on tailable cursors. Every server since 1.6 sets it.
pub const AWAIT_CAPABLE: u32 = 1 << 3;

/// A checked OP_QUERY.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The flag bits.
    pub flags: u32,
    /// The database part of the full collection name.
    pub database: &'a str,
    /// The collection part; `$cmd` for commands.
    pub collection: &'a str,
    /// How many documents the client wants; -1 or 1 for commands.
    pub number_to_return: i32,
    /// The query, or the command.
    pub document: RawDoc<'a>,
}

impl<'a> Query<'a> {
    /// Reads the payload of an OP_QUERY (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, the namespace is not UTF-8 or has no dot, or bytes are left over.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let flags = payload
            .first_chunk::<4>()
            .ok_or(WireError::Truncated("OP_QUERY flags"))?;
        let rest = &payload[4..];
        let name_len = rest
            .iter()
            .position(|b| *b == 0)
            .ok_or(WireError::Truncated("OP_QUERY namespace"))?;
        let namespace = std::str::from_utf8(&rest[..name_len])
            .map_err(|_| WireError::Bson("a namespace is not UTF-8"))?;
        let (database, collection) = namespace
            .split_once('.')
            .ok_or(WireError::Bson("a namespace has no dot"))?;
        let rest = &rest[name_len + 1..];
        let numbers = rest
            .first_chunk::<8>()
            .ok_or(WireError::Truncated("OP_QUERY numbers"))?;
        let document = RawDoc::prefix(&rest[8..])?;
        let behind = &rest[8 + document.bytes().len()..];
        if !behind.is_empty() && RawDoc::prefix(behind)?.bytes().len() != behind.len() {
            return Err(WireError::Bson("bytes are left over behind an OP_QUERY"));
        }
        let number_to_return = i32::from_le_bytes([numbers[4], numbers[5], numbers[6], numbers[7]]);
        Ok(Self {
            flags: u32::from_le_bytes(*flags),
            database,
            collection,
            number_to_return,
            document,
        })
    }

    /// Whether this is a command, not a query for documents.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.collection == "$cmd"
    }
}

/// Appends an OP_REPLY with one document to `out`.
pub fn encode_reply(document: RawDoc<'_>, flags: u32, request_id: i32, response_to: i32, out: &mut BytesMut) {
    let length = HEADER_LEN + 20 + document.bytes().len();
    out.reserve(length);
    out.put_slice(
        &Header {
            length,
            request_id,
            response_to,
            op_code: OpCode::Reply,
        }
        .to_bytes(),
    );
    out.put_u32_le(flags);
    out.put_i64_le(0); // cursor
    out.put_i32_le(0); // starting from
    out.put_i32_le(1); // number returned
    out.put_slice(document.bytes());
}

/// Appends an OP_REPLY without documents to `out`, as the answer to an OP_GET_MORE whose cursor is not known.
pub fn encode_cursor_not_found(request_id: i32, response_to: i32, out: &mut BytesMut) {
    let header = Header {
        length: HEADER_LEN + 20,
        request_id,
        response_to,
        op_code: OpCode::Reply,
    };
    out.put_slice(&header.to_bytes());
    out.put_u32_le(CURSOR_NOT_FOUND | AWAIT_CAPABLE);
    out.put_bytes(0, 16);
}

/// The one document of an OP_REPLY (what follows the header), as a `hello` by OP_QUERY gets it.
///
/// # Errors
/// When there is not exactly one, or it is cut off.
pub fn reply_document(payload: &[u8]) -> Result<RawDoc<'_>, WireError> {
    if payload.get(16..20) != Some(&1i32.to_le_bytes()) {
        return Err(WireError::Truncated("OP_REPLY"));
    }
    RawDoc::prefix(&payload[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn payload(namespace: &str, tail: &[u8]) -> Vec<u8> {
        let command = doc! {"isMaster": 1}.to_vec().unwrap();
        let numbers = [0i32.to_le_bytes(), (-1i32).to_le_bytes()].concat();
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
            (query.database, query.collection, query.number_to_return),
            ("admin", "$cmd", -1)
        );
        assert!(query.is_command() && query.flags & SECONDARY_OK != 0);
        assert!(!Query::parse(&payload("db.c.$cmd", &[])).unwrap().is_command());
        assert!(
            Query::parse(&payload("db.c", &[5, 0, 0, 0, 0])).is_ok(),
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
    }

    #[test]
    fn a_reply_is_read_back() {
        let document = doc! {"ok": 1.0}.to_vec().unwrap();
        let mut out = BytesMut::new();
        encode_reply(RawDoc::prefix(&document).unwrap(), AWAIT_CAPABLE, 1, 2, &mut out);
        assert_eq!(reply_document(&out[HEADER_LEN..]).unwrap().bytes(), &document[..]);
        let mut out = BytesMut::new();
        encode_cursor_not_found(1, 2, &mut out);
        assert_eq!(out.len(), 36);
        assert!(reply_document(&out[HEADER_LEN..]).is_err());
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Query::parse(&bytes);
            let _ = reply_document(&bytes);
        }
    }
}
