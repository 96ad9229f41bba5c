//! Bounds-checked peeking into raw BSON (bsonspec.org, version 1.1).
//!
//! A walk skips values by their length fields: it costs per field, not per byte, and validates exactly what it steps
//! over at this level. Nested documents are checked when they are walked themselves, or by the server.

use super::WireError;

const TRUNCATED: WireError = WireError::Bson("a value runs past the end of its document");

/// A BSON document as bytes. Invariant: the length field equals the slice's length, and the last byte is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawDoc<'a>(&'a [u8]);

impl<'a> RawDoc<'a> {
    /// Takes the document at the start of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// When the length field is below 5 or above what is there, or the terminator is missing.
    pub fn prefix(bytes: &'a [u8]) -> Result<Self, WireError> {
        let length = read_len(bytes).ok_or(WireError::Bson("a document is cut off in its length"))?;
        if length < 5 {
            return Err(WireError::Bson("a document's length is below 5"));
        }
        let doc = bytes
            .get(..length)
            .ok_or(WireError::Bson("a document's length is beyond its message"))?;
        if doc[length - 1] != 0 {
            return Err(WireError::Bson("a document has no terminator"));
        }
        Ok(Self(doc))
    }

    /// The document's bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Walks the fields at the top level, in order.
    #[must_use]
    pub fn iter(self) -> Elements<'a> {
        Elements { doc: self.0, at: 4 }
    }

    /// The first field of that name.
    ///
    /// # Errors
    /// When the fields before it cannot be walked.
    pub fn get(self, key: &str) -> Result<Option<Element<'a>>, WireError> {
        for element in self.iter() {
            let element = element?;
            if element.key == key.as_bytes() {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }
}

impl<'a> IntoIterator for RawDoc<'a> {
    type Item = Result<Element<'a>, WireError>;
    type IntoIter = Elements<'a>;
    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// The BSON type byte.
    pub kind: u8,
    /// The name, without its terminator; not checked to be UTF-8.
    pub key: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
    /// Where the type byte lies in the document.
    pub start: usize,
    /// Where the value lies in the document.
    pub value_start: usize,
}

impl<'a> Element<'a> {
    /// A number of any numeric type as an integer; fractions are cut off.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.kind {
            0x01 => Some(f64::from_le_bytes(self.value.try_into().ok()?) as i64),
            0x10 => Some(i64::from(i32::from_le_bytes(self.value.try_into().ok()?))),
            0x12 => Some(i64::from_le_bytes(self.value.try_into().ok()?)),
            _ => None,
        }
    }

    /// A boolean, or a number as MongoDB takes it for one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.kind {
            0x08 => self.value.first().map(|b| *b != 0),
            0x01 => Some(f64::from_le_bytes(self.value.try_into().ok()?) != 0.0),
            _ => self.as_i64().map(|n| n != 0),
        }
    }

    /// A string's bytes, without length and terminator.
    #[must_use]
    pub fn as_str_bytes(&self) -> Option<&'a [u8]> {
        if self.kind == 0x02 {
            self.value.get(4..self.value.len() - 1)
        } else {
            None
        }
    }

    /// A string that is valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_str_bytes()?).ok()
    }

    /// A nested document.
    #[must_use]
    pub fn as_doc(&self) -> Option<RawDoc<'a>> {
        if self.kind == 0x03 {
            RawDoc::prefix(self.value).ok()
        } else {
            None
        }
    }

    /// A nested array, as the document that it is.
    #[must_use]
    pub fn as_array(&self) -> Option<RawDoc<'a>> {
        if self.kind == 0x04 {
            RawDoc::prefix(self.value).ok()
        } else {
            None
        }
    }

    /// The offset just behind this field in its document.
    #[must_use]
    pub fn end(&self) -> usize {
        self.value_start + self.value.len()
    }
}

/// An iterator over a document's fields; ends after the first error.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    doc: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, WireError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let last = self.doc.len() - 1;
        if self.at >= last {
            return None;
        }
        // No closure: what it captures would be written to memory for each field, in case that one is at fault.
        let (doc, start) = (self.doc, self.at);
        match self.step(last) {
            Some(element) => Some(Ok(element)),
            None => {
                self.at = doc.len();
                Some(Err(fault(&doc[start..last])))
            }
        }
    }
}

impl<'a> Elements<'a> {
    /// Steps over one field, if it is in order; what is wrong with it is asked afterwards. It is part of each loop that walks a document,
    /// so that a field stays in registers: what a call returns is written to memory and read again at once.
    #[inline(always)]
    fn step(&mut self, last: usize) -> Option<Element<'a>> {
        let start = self.at;
        let (kind, body) = self.doc.get(start..last)?.split_first()?;
        let key_len = c_string_len(body)?;
        let (key, rest) = (&body[..key_len], &body[key_len + 1..]);
        let length = match FIXED_LEN[usize::from(*kind)] {
            VARIES => variable_len(*kind, rest).ok()?,
            fixed => usize::from(fixed),
        };
        let value = rest.get(..length)?;
        let value_start = start + 1 + key_len + 1;
        self.at = value_start + length;
        Some(Element {
            kind: *kind,
            key,
            value,
            start,
            value_start,
        })
    }
}

/// What is wrong with the field that `field` begins with.
#[cold]
fn fault(field: &[u8]) -> WireError {
    let Some((kind, body)) = field.split_first().filter(|(kind, _)| **kind != 0) else {
        return WireError::Bson("a document ends before its length says");
    };
    let Some(key_len) = c_string_len(body) else {
        return WireError::Bson("a field's name has no end");
    };
    let length = match FIXED_LEN[usize::from(*kind)] {
        VARIES => variable_len(*kind, &body[key_len + 1..]),
        _ => Err(TRUNCATED),
    };
    length.err().unwrap_or(TRUNCATED)
}

/// Bytes before the first 0. Names are short: eight bytes at a time in a register take fewer instructions than a loop over each, or
/// than a search that is made for long texts.
#[inline]
fn c_string_len(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        // The lowest of these bits stands for the first byte that is 0.
        let zeros = word.wrapping_sub(ONES) & !word & TOPS;
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let tail = bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
    Some(at + tail)
}

fn read_len(bytes: &[u8]) -> Option<usize> {
    let raw = bytes.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*raw)).ok()
}

/// The bytes of a value of each type; [`VARIES`] for those that tell their length, and for what is no type.
static FIXED_LEN: [u8; 256] = {
    let mut fixed = [VARIES; 256];
    let table: [(usize, u8); 12] = [
        (0x01, 8),
        (0x06, 0),
        (0x07, 12),
        (0x08, 1),
        (0x09, 8),
        (0x0A, 0),
        (0x10, 4),
        (0x11, 8),
        (0x12, 8),
        (0x13, 16),
        (0x7F, 0),
        (0xFF, 0),
    ];
    let mut at = 0;
    while at < table.len() {
        fixed[table[at].0] = table[at].1;
        at += 1;
    }
    fixed
};
const VARIES: u8 = 0xFF;

/// The length of a value of type `kind` at the start of `rest`, which tells it; may be more than there is.
#[inline(always)]
fn variable_len(kind: u8, rest: &[u8]) -> Result<usize, WireError> {
    match (kind, read_len(rest)) {
        (0x03 | 0x04, Some(length @ 5..)) => Ok(length),
        (0x02, Some(length @ 1..)) if rest.get(4 + length - 1) == Some(&0) => Ok(4 + length),
        _ => rare_len(kind, rest),
    }
}

/// The same for the types that are seldom met, and for what is wrong.
#[inline(never)]
fn rare_len(kind: u8, rest: &[u8]) -> Result<usize, WireError> {
    let prefixed = || read_len(rest).ok_or(WireError::Bson("a value has a negative or cut-off length"));
    Ok(match kind {
        0x02 | 0x0D | 0x0E => string_len(rest, prefixed()?)?,
        0x03 | 0x04 => match prefixed()? {
            0..5 => return Err(WireError::Bson("a nested document's length is below 5")),
            n => n,
        },
        0x05 => 4 + 1 + prefixed()?,
        0x0B => {
            let pattern = c_string_len(rest).ok_or(TRUNCATED)? + 1;
            pattern + c_string_len(&rest[pattern..]).ok_or(TRUNCATED)? + 1
        }
        0x0C => string_len(rest, prefixed()?)? + 12,
        0x0F => match prefixed()? {
            0..14 => return Err(WireError::Bson("code with scope is too short")),
            n => n,
        },
        _ => return Err(WireError::Bson("a field has an unknown type")),
    })
}

fn string_len(rest: &[u8], length: usize) -> Result<usize, WireError> {
    if length == 0 {
        return Err(WireError::Bson("a string's length is 0"));
    }
    match rest.get(4 + length - 1) {
        Some(0) => Ok(4 + length),
        Some(_) => Err(WireError::Bson("a string has no terminator")),
        None => Err(TRUNCATED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc, oid::ObjectId, spec::BinarySubtype};
    use proptest::prelude::*;

    fn every_type() -> Vec<u8> {
        doc! {
            "double": 1.5, "string": "s\u{e9}", "doc": {"a": 1}, "array": [1, "x"],
            "binary": bson::Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 3] },
            "undefined": Bson::Undefined, "oid": ObjectId::from_bytes([7; 12]), "bool": true,
            "date": bson::DateTime::from_millis(5), "null": Bson::Null,
            "regex": bson::Regex { pattern: bson::raw::CString::try_from("a.b".to_owned()).unwrap(),
                                   options: bson::raw::CString::try_from("i".to_owned()).unwrap() },
            "code": Bson::JavaScriptCode("f()".into()), "symbol": Bson::Symbol("y".into()),
            "scope": Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "g".into(), scope: doc! {"x": 1} }),
            "int": 42, "timestamp": bson::Timestamp { time: 1, increment: 2 }, "long": 1i64 << 40,
            "decimal": Bson::Decimal128("1.5".parse().unwrap()), "min": Bson::MinKey, "max": Bson::MaxKey,
        }
        .to_vec()
        .unwrap()
    }

    #[test]
    fn a_walk_meets_every_type_in_order() {
        let bytes = every_type();
        let keys: Vec<_> = RawDoc::prefix(&bytes)
            .unwrap()
            .iter()
            .map(|e| e.unwrap().key.to_vec())
            .collect();
        assert_eq!(keys.len(), 20);
        assert_eq!(keys[0], b"double");
        assert_eq!(keys[19], b"max");
        let doc = RawDoc::prefix(&bytes).unwrap();
        assert_eq!(doc.get("int").unwrap().unwrap().as_i64(), Some(42));
        assert_eq!(doc.get("long").unwrap().unwrap().as_i64(), Some(1 << 40));
        assert_eq!(doc.get("string").unwrap().unwrap().as_str(), Some("s\u{e9}"));
        assert_eq!(doc.get("double").unwrap().unwrap().as_bool(), Some(true));
        assert!(doc.get("absent").unwrap().is_none());
    }

    #[test]
    fn documents_with_lying_lengths_are_refused() {
        for bytes in [
            &b""[..],
            &[5, 0, 0],
            &[4, 0, 0, 0, 0],
            &[6, 0, 0, 0, 0],
            &[5, 0, 0, 0, 1],
            &[0xff; 8],
        ] {
            assert!(RawDoc::prefix(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(RawDoc::prefix(&[5, 0, 0, 0, 0, 9, 9]).unwrap().bytes().len(), 5);
    }

    proptest! {
        #[test]
        fn the_end_of_a_name_is_its_first_zero(
            bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(0), 1 => Just(1), 1 => Just(0x80)], 0..40),
        ) {
            prop_assert_eq!(c_string_len(&bytes), bytes.iter().position(|byte| *byte == 0));
        }

        #[test]
        fn a_damaged_document_never_panics_and_never_yields_bytes_outside_it(
            at in 0usize..400, with in any::<u8>(), cut in 0usize..400,
        ) {
            let mut bytes = every_type();
            let at = at % bytes.len();
            bytes[at] = with;
            bytes.truncate(bytes.len() - cut % bytes.len());
            if let Ok(doc) = RawDoc::prefix(&bytes) {
                for element in doc.iter() {
                    let Ok(element) = element else { break };
                    prop_assert!(element.end() < doc.bytes().len());
                    let _ = (element.as_i64(), element.as_bool(), element.as_str(), element.as_doc(), element.as_array());
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(doc) = RawDoc::prefix(&bytes) {
                let _ = doc.iter().count();
            }
        }
    }
}
