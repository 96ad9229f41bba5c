//! OP_INSERT, OP_UPDATE and OP_DELETE, which have no reply: the client may ask for the outcome with `getLastError`.

use super::fields::{Fields, Namespace};
use crate::wire::{RawDoc, WireError};

const CONTINUE_ON_ERROR: u32 = 1;
const UPSERT: u32 = 1;
const MULTI: u32 = 1 << 1;
const SINGLE_REMOVE: u32 = 1;

/// A checked OP_INSERT.
#[derive(Debug, Clone, Copy)]
pub struct Insert<'a> {
    /// Where to.
    pub namespace: Namespace<'a>,
    /// Whether the rest is inserted if one document cannot be.
    pub continue_on_error: bool,
    /// The documents, one behind the other; at least one.
    pub documents: &'a [u8],
}

impl<'a> Insert<'a> {
    /// Reads the payload of an OP_INSERT (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, reserved flag bits are set, the namespace is not UTF-8 or has no dot, or the documents do not fill
    /// the message exactly.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        let flags = fields.flags("OP_INSERT flags", CONTINUE_ON_ERROR)?;
        let namespace = fields.namespace()?;
        let documents = fields.rest();
        fields.document()?;
        while !fields.rest().is_empty() {
            fields.document()?;
        }
        Ok(Self {
            namespace,
            continue_on_error: flags & CONTINUE_ON_ERROR != 0,
            documents,
        })
    }

    /// Cuts the documents into parts of at most `most` documents and `bytes` bytes; a larger document is a part of its own.
    pub fn parts(&self, most: usize, bytes: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.documents;
        std::iter::from_fn(move || {
            let mut end = 0;
            for _ in 0..most {
                let Ok(next) = RawDoc::prefix(&rest[end..]) else {
                    break;
                };
                let next = end + next.bytes().len();
                if end > 0 && next > bytes {
                    break;
                }
                end = next;
            }
            let (part, behind) = rest.split_at(end);
            rest = behind;
            (!part.is_empty()).then_some(part)
        })
    }
}

/// A checked OP_UPDATE.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Where.
    pub namespace: Namespace<'a>,
    /// Whether a document is inserted if none matches.
    pub upsert: bool,
    /// Whether all documents that match are changed, not only the first.
    pub multi: bool,
    /// Which documents.
    pub selector: RawDoc<'a>,
    /// The replacement, or update operators.
    pub update: RawDoc<'a>,
}

impl<'a> Update<'a> {
    /// Reads the payload of an OP_UPDATE (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, reserved flag bits are set, the namespace is not UTF-8 or has no dot, or bytes are left over.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        fields.skip_reserved()?;
        let namespace = fields.namespace()?;
        let flags = fields.flags("OP_UPDATE flags", UPSERT | MULTI)?;
        let update = Self {
            namespace,
            upsert: flags & UPSERT != 0,
            multi: flags & MULTI != 0,
            selector: fields.document()?,
            update: fields.document()?,
        };
        fields.end()?;
        Ok(update)
    }
}

/// A checked OP_DELETE.
#[derive(Debug, Clone, Copy)]
pub struct Delete<'a> {
    /// Where.
    pub namespace: Namespace<'a>,
    /// Whether only the first document that matches goes.
    pub single: bool,
    /// Which documents.
    pub selector: RawDoc<'a>,
}

impl<'a> Delete<'a> {
    /// Reads the payload of an OP_DELETE (what follows the header).
    ///
    /// # Errors
    /// When a field is cut off, reserved flag bits are set, the namespace is not UTF-8 or has no dot, or bytes are left over.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(payload);
        fields.skip_reserved()?;
        let namespace = fields.namespace()?;
        let flags = fields.flags("OP_DELETE flags", SINGLE_REMOVE)?;
        let delete = Self {
            namespace,
            single: flags & SINGLE_REMOVE != 0,
            selector: fields.document()?,
        };
        fields.end()?;
        Ok(delete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn document(n: i32) -> Vec<u8> {
        doc! {"n": n}.to_vec().unwrap()
    }

    fn flagged(flags: u32) -> [u8; 4] {
        flags.to_le_bytes()
    }

    /// Every shorter form of a message is refused, and so is a longer one.
    fn assert_exact<T>(whole: &[u8], parse: impl Fn(&[u8]) -> Result<T, WireError>) {
        assert!(parse(whole).is_ok());
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(parse(&[whole, &[0]].concat()).is_err(), "a byte more");
    }

    #[test]
    fn inserts_have_documents_to_their_end() {
        let head = [&flagged(1)[..], b"d.c\0"].concat();
        let one = [&head[..], &document(1)].concat();
        assert_exact(&one, |bytes| Insert::parse(bytes).map(drop));
        let three = [&one[..], &document(2), &document(3)].concat();
        let insert = Insert::parse(&three).unwrap();
        assert!(insert.continue_on_error);
        let length = document(1).len();
        for (most, bytes, expected) in [
            (2, usize::MAX, vec![2, 1]),
            (9, usize::MAX, vec![3]),
            (9, 2 * length, vec![2, 1]),
            (9, 2 * length - 1, vec![1, 1, 1]),
            (9, 1, vec![1, 1, 1]),
        ] {
            let parts: Vec<usize> = insert
                .parts(most, bytes)
                .map(|part| part.len() / length)
                .collect();
            assert_eq!(parts, expected, "{most} documents, {bytes} bytes");
        }
        assert!(Insert::parse(&[&flagged(2)[..], b"d.c\0", &document(1)].concat()).is_err());
    }

    #[test]
    fn updates_and_deletes_are_read_whole_or_refused() {
        let update = [&[0; 4][..], b"d.c\0", &flagged(3), &document(1), &document(2)].concat();
        assert_exact(&update, |bytes| Update::parse(bytes).map(drop));
        let parsed = Update::parse(&update).unwrap();
        assert!(parsed.upsert && parsed.multi);
        assert_eq!(parsed.update.bytes(), document(2));
        let delete = [&[0; 4][..], b"d.c\0", &flagged(1), &document(1)].concat();
        assert_exact(&delete, |bytes| Delete::parse(bytes).map(drop));
        assert!(Delete::parse(&delete).unwrap().single);
        for flags in [2, 1 << 31] {
            let reserved = [&[0; 4][..], b"d.c\0", &flagged(flags), &document(1)].concat();
            assert!(Delete::parse(&reserved).is_err(), "{flags:#x}");
        }
        let reserved = [&[0; 4][..], b"d.c\0", &flagged(4), &document(1), &document(2)].concat();
        assert!(Update::parse(&reserved).is_err());
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Insert::parse(&bytes).map(|insert| insert.parts(2, 50).count());
            let _ = Update::parse(&bytes);
            let _ = Delete::parse(&bytes);
        }
    }
}
