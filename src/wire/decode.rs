//! Whole documents as values of `bson`, which reads what is nested by recursion: so how deep that goes is looked at first.

use bson::Document;

use super::{RawDoc, WireError, raw_doc::Elements};

/// How deep documents may be nested, as servers have it (`BSONDepth`).
pub const MOST_LEVELS: usize = 200;

const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const CODE_WITH_SCOPE: u8 = 0x0f;

/// Decodes a document of a message.
///
/// # Errors
/// When it is not valid, or nested deeper than servers take.
pub fn decode(document: RawDoc<'_>) -> Result<Document, WireError> {
    check_depth(document)?;
    Document::from_reader(document.bytes()).map_err(|_| WireError::Bson("a document cannot be decoded"))
}

/// Walks everything without recursion.
fn check_depth(document: RawDoc<'_>) -> Result<(), WireError> {
    let mut open: Vec<Elements<'_>> = vec![document.iter()];
    while let Some(innermost) = open.last_mut() {
        let Some(element) = innermost.next().transpose()? else {
            open.pop();
            continue;
        };
        let nested = match element.kind {
            DOCUMENT | ARRAY => RawDoc::prefix(element.value)?,
            CODE_WITH_SCOPE => scope(element.value)?,
            _ => continue,
        };
        if open.len() >= MOST_LEVELS {
            return Err(WireError::Bson("a document is nested too deep"));
        }
        open.push(nested.iter());
    }
    Ok(())
}

/// The document behind the text of JavaScript with a scope: a length, the text with a length of its own, the scope.
fn scope(value: &[u8]) -> Result<RawDoc<'_>, WireError> {
    const WRONG: WireError = WireError::Bson("JavaScript with a scope is cut off");
    let length = value.get(4..8).and_then(|raw| raw.try_into().ok());
    let length = usize::try_from(length.map_or(-1, i32::from_le_bytes)).map_err(|_| WRONG)?;
    RawDoc::prefix(value.get(8 + length..).ok_or(WRONG)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, JavaScriptCodeWithScope, doc};
    use proptest::prelude::*;

    /// A document within a document, so many of them.
    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = vec![5, 0, 0, 0, 0];
        for _ in 1..levels {
            let mut outer = ((bytes.len() + 8) as i32).to_le_bytes().to_vec();
            outer.extend([DOCUMENT, b'a', 0]);
            outer.extend(&bytes);
            outer.push(0);
            bytes = outer;
        }
        bytes
    }

    #[test]
    fn what_servers_take_is_decoded_and_what_goes_deeper_is_refused() {
        for (levels, taken) in [
            (1, true),
            (MOST_LEVELS, true),
            (MOST_LEVELS + 1, false),
            (100_000, false),
        ] {
            let bytes = nested(levels);
            assert_eq!(decode(RawDoc::prefix(&bytes).unwrap()).is_ok(), taken, "{levels}");
        }
        let code = Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "1".to_owned(),
            scope: doc! { "a": [{ "b": 1 }] },
        });
        let document = doc! { "where": code, "n": 1 };
        let bytes = document.to_vec().unwrap();
        assert_eq!(decode(RawDoc::prefix(&bytes).unwrap()).unwrap(), document);
    }

    #[test]
    fn scopes_are_looked_into() {
        let deep = nested(MOST_LEVELS);
        let mut value = ((4 + 4 + 1 + deep.len()) as i32).to_le_bytes().to_vec();
        value.extend([1, 0, 0, 0, 0]);
        value.extend(&deep);
        let mut bytes = ((4 + 3 + value.len() + 1) as i32).to_le_bytes().to_vec();
        bytes.extend([CODE_WITH_SCOPE, b'w', 0]);
        bytes.extend(&value);
        bytes.push(0);
        assert!(decode(RawDoc::prefix(&bytes).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 5..200)) {
            let mut bytes = bytes;
            let length = bytes.len();
            bytes[..4].copy_from_slice(&(length as i32).to_le_bytes());
            bytes[length - 1] = 0;
            let _ = decode(RawDoc::prefix(&bytes).unwrap());
        }
    }
}
