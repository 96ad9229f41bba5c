//! `$where` with variables of its own (BSON's "code with scope"), which servers since 4.4 refuse and some drivers always send.
//!
//! The variables become part of the function, whose text a server completes as mongod 4.2 did: what is no function is the body of one, and
//! what has no `return` is what it returns.

use std::fmt::Write as _;

use bson::{Bson, Document, JavaScriptCodeWithScope};
use serde_json::Value;

use crate::wire::{RawDoc, decode};

/// How such a `$where` begins as an element.
const SIGN: &[u8] = b"\x0f$where\0";
/// Larger documents are not searched: they are data, not conditions.
const MOST: usize = 64 << 10;

/// Whether what a command of this name holds are conditions: what stands in documents that are written is data, and stays as it is.
#[must_use]
pub fn holds_conditions(command: &[u8]) -> bool {
    matches!(
        command,
        b"count" | b"find" | b"distinct" | b"group" | b"mapReduce" | b"mapreduce"
    )
}

/// The document with every such `$where` as plain code; `None` if there is none, or none that can be put so.
#[must_use]
pub fn without_scopes(document: RawDoc<'_>) -> Option<Vec<u8>> {
    let bytes = document.bytes();
    if bytes.len() > MOST || !bytes.windows(SIGN.len()).any(|window| window == SIGN) {
        return None;
    }
    let mut document = decode(document).ok()?;
    let changed = in_document(&mut document);
    changed.then(|| document.to_vec().ok()).flatten()
}

fn in_document(document: &mut Document) -> bool {
    let mut changed = false;
    for (name, value) in document.iter_mut() {
        if name == "$where"
            && let Bson::JavaScriptCodeWithScope(code) = value
        {
            if let Some(plain) = plain(code) {
                *value = Bson::JavaScriptCode(plain);
                changed = true;
            }
        } else {
            changed |= in_value(value);
        }
    }
    changed
}

fn in_value(value: &mut Bson) -> bool {
    match value {
        Bson::Document(nested) => in_document(nested),
        Bson::Array(values) => values
            .iter_mut()
            .fold(false, |changed, value| in_value(value) | changed),
        _ => false,
    }
}

fn plain(JavaScriptCodeWithScope { code, scope }: &JavaScriptCodeWithScope) -> Option<String> {
    if scope.is_empty() {
        return Some(code.clone());
    }
    let mut function = "function() { ".to_owned();
    for (name, value) in scope {
        if !is_name(name) {
            return None;
        }
        let _ = write!(function, "var {name} = {}; ", literal(value)?);
    }
    let code = code.trim_start();
    let _ = if code.starts_with("function") {
        write!(function, "return ({code}).call(this); }}")
    } else if code.contains("return") || code.contains('\n') {
        write!(function, "{code} }}")
    } else {
        write!(function, "return {code}; }}")
    };
    Some(function)
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    characters.next().is_some_and(is_start) && characters.all(|c| is_start(c) || c.is_ascii_digit())
}

/// A value as a script writes it; `None` for those that have no such form, or another one on each server.
fn literal(value: &Bson) -> Option<String> {
    let value = match value {
        Bson::Int32(number) => (*number).into(),
        Bson::Boolean(truth) => (*truth).into(),
        Bson::Null => Value::Null,
        Bson::String(text) => text.as_str().into(),
        Bson::Double(number) if number.is_finite() => (*number).into(),
        Bson::Array(values) => {
            let values: Option<Vec<String>> = values.iter().map(literal).collect();
            return Some(format!("[{}]", values?.join(", ")));
        }
        Bson::Document(fields) => {
            let field = |(name, value): (&String, &Bson)| {
                let name = Value::from(name.as_str());
                Some(format!("{name}: {}", literal(value)?))
            };
            let fields: Option<Vec<String>> = fields.iter().map(field).collect();
            return Some(format!("({{{}}})", fields?.join(", ")));
        }
        _ => return None,
    };
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn with(code: &str, scope: Document) -> Bson {
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: code.to_owned(),
            scope,
        })
    }

    fn changed(document: &Document) -> Option<Document> {
        let bytes = document.to_vec().unwrap();
        let changed = without_scopes(RawDoc::prefix(&bytes).unwrap())?;
        Some(Document::from_reader(&changed[..]).unwrap())
    }

    #[test]
    fn variables_become_part_of_the_function() {
        let table = [
            ("this.x < 3", doc! {}, "this.x < 3"),
            (
                "this.x < i",
                doc! {"i": 3},
                "function() { var i = 3; return this.x < i; }",
            ),
            (
                "return this.s == s;",
                doc! {"s": "a\"b"},
                r#"function() { var s = "a\"b"; return this.s == s; }"#,
            ),
            (
                " function() { return this.x == d.a[1]; }",
                doc! {"d": {"a": [1.5, true]}},
                r#"function() { var d = ({"a": [1.5, true]}); return (function() { return this.x == d.a[1]; }).call(this); }"#,
            ),
        ];
        for (code, scope, expected) in table {
            let before = doc! {"$or": [{"$where": with(code, scope)}, {"a": 1}]};
            let after = doc! {"$or": [{"$where": Bson::JavaScriptCode(expected.to_owned())}, {"a": 1}]};
            assert_eq!(changed(&before), Some(after));
        }
    }

    #[test]
    fn what_cannot_be_put_so_or_is_data_stays() {
        for untouched in [
            doc! {"$where": "this.x"},
            doc! {"$where": with("i", doc! {"i": Bson::MaxKey})},
            doc! {"$where": with("i", doc! {"i; evil()": 1})},
            doc! {"code": with("i", doc! {})},
        ] {
            assert_eq!(changed(&untouched), None, "{untouched}");
        }
    }

    proptest! {
        #[test]
        fn damaged_documents_never_panic(at in 4usize..60, byte in any::<u8>()) {
            let mut bytes = doc! {"$where": with("this.x < i", doc! {"i": 3}), "b": 1}.to_vec().unwrap();
            let at = at % bytes.len();
            bytes[at.max(4)] = byte;
            if let Ok(document) = RawDoc::prefix(&bytes) {
                let _ = without_scopes(document);
            }
        }
    }
}
