//! The fields that legacy messages are made of, read one after the other.

use crate::wire::{RawDoc, WireError};

/// A full collection name, taken apart at its first dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace<'a> {
    /// The database.
    pub database: &'a str,
    /// The collection; may have dots of its own, and be empty.
    pub collection: &'a str,
}

/// What is left of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated(what))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        self.take(what).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        self.take(what).map(i64::from_le_bytes)
    }

    /// Flag bits, of which only those in `known` may be set.
    pub(super) fn flags(&mut self, what: &'static str, known: u32) -> Result<u32, WireError> {
        let flags = u32::from_le_bytes(self.take(what)?);
        if flags & !known == 0 {
            Ok(flags)
        } else {
            Err(WireError::Reserved(what, flags & !known))
        }
    }

    /// The 32 bits that the protocol reserves; what clients put there, servers never looked at.
    pub(super) fn skip_reserved(&mut self) -> Result<(), WireError> {
        self.take::<4>("a legacy message's first field").map(drop)
    }

    pub(super) fn namespace(&mut self) -> Result<Namespace<'a>, WireError> {
        let length = self.0.iter().position(|byte| *byte == 0);
        let length = length.ok_or(WireError::Truncated("a namespace"))?;
        let name = std::str::from_utf8(&self.0[..length])
            .map_err(|_| WireError::Bson("a namespace is not UTF-8"))?;
        self.0 = &self.0[length + 1..];
        let (database, collection) = name
            .split_once('.')
            .ok_or(WireError::Bson("a namespace has no dot"))?;
        Ok(Namespace { database, collection })
    }

    pub(super) fn document(&mut self) -> Result<RawDoc<'a>, WireError> {
        let document = RawDoc::prefix(self.0)?;
        self.0 = &self.0[document.bytes().len()..];
        Ok(document)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left over.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::Bson("bytes are left over behind a legacy message"))
        }
    }
}
