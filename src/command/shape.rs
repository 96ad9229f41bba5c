//! The shape of a command's filter: which fields are asked for and by which operators, without a single value.

use crate::wire::{
    Element, RawDoc,
    op_msg::{Layout, sequences},
};

/// What is longer is cut off.
const LONGEST: usize = 400;
/// What is nested deeper is left out.
const DEEPEST: usize = 8;
/// Of a longer name only the first part is shown.
const LONGEST_NAME: usize = 64;
const CUT: char = '…';

/// The shape of what a command selects by: its filter or pipeline, or the filter of its first statement. Empty if it has none.
#[must_use]
pub fn shape(message: &[u8], layout: &Layout) -> String {
    let mut shape = Shape(String::new());
    let Ok(body) = layout.body(message) else {
        return shape.0;
    };
    for element in body.iter().flatten() {
        match element.key {
            b"filter" | b"query" | b"pipeline" => {
                shape.value(&element, 0);
                return shape.0;
            }
            b"updates" | b"deletes" => {
                let first = element.as_array().and_then(|array| array.iter().next());
                if let Some(Ok(statement)) = first {
                    shape.statement(statement.as_doc());
                }
                return shape.0;
            }
            _ => {}
        }
    }
    for sequence in sequences(message) {
        if matches!(sequence.name, b"updates" | b"deletes") {
            shape.statement(RawDoc::prefix(sequence.documents).ok());
        }
    }
    shape.0
}

struct Shape(String);

impl Shape {
    fn is_full(&self) -> bool {
        self.0.len() >= LONGEST
    }

    fn statement(&mut self, statement: Option<RawDoc<'_>>) {
        if let Some(Ok(Some(filter))) = statement.map(|statement| statement.get("q")) {
            self.value(&filter, 0);
        }
    }

    fn value(&mut self, element: &Element<'_>, depth: usize) {
        if let Some(document) = element.as_doc() {
            self.list(document, depth, ['{', '}'], true);
        } else if let Some(array) = element.as_array() {
            self.list(array, depth, ['[', ']'], false);
        } else {
            self.0.push('?');
        }
    }

    fn list(&mut self, list: RawDoc<'_>, depth: usize, [open, close]: [char; 2], is_named: bool) {
        self.0.push(open);
        let (mut is_first, mut after_value) = (true, false);
        for element in list.iter().flatten() {
            let is_value = element.as_doc().is_none() && element.as_array().is_none();
            if !is_named && is_value && after_value {
                // How many values there are tells nothing of the shape.
                continue;
            }
            after_value = is_value;
            self.0.push_str(if is_first { "" } else { ", " });
            is_first = false;
            if self.is_full() || depth >= DEEPEST {
                self.0.push(CUT);
                break;
            }
            if is_named {
                self.name(element.key);
            }
            self.value(&element, depth + 1);
        }
        self.0.push(close);
    }

    fn name(&mut self, name: &[u8]) {
        let text = String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]);
        // A name must not break the line that it stands in.
        let shown = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        self.0.extend(shown);
        if name.len() > LONGEST_NAME {
            self.0.push(CUT);
        }
        self.0.push_str(": ");
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::op_msg;

    fn message(command: &Document) -> BytesMut {
        let mut message = BytesMut::new();
        let bytes = command.to_vec().unwrap();
        op_msg::encode(RawDoc::prefix(&bytes).unwrap(), 1, 0, 0, &mut message);
        message
    }

    fn of(command: &Document) -> String {
        let message = message(command);
        shape(&message, &Layout::parse(&message).unwrap())
    }

    #[test]
    fn names_and_operators_stay_and_values_go() {
        for (command, expected) in [
            (
                doc! { "find": "c", "filter": { "user": "bob", "age": { "$gt": 7, "$lt": 9 } }, "sort": { "a": 1 } },
                "{user: ?, age: {$gt: ?, $lt: ?}}",
            ),
            (
                doc! { "find": "c", "filter": { "id": { "$in": [1, 2, 3] }, "$or": [{ "a": 1 }, { "b": [] }] } },
                "{id: {$in: [?]}, $or: [{a: ?}, {b: []}]}",
            ),
            (doc! { "count": "c", "query": { "a": "secret" } }, "{a: ?}"),
            (
                doc! { "aggregate": "c", "pipeline": [{ "$match": { "a": 1 } }, { "$limit": 5 }] },
                "[{$match: {a: ?}}, {$limit: ?}]",
            ),
            (
                doc! { "delete": "c", "deletes": [{ "q": { "_id": 5 }, "limit": 1 }] },
                "{_id: ?}",
            ),
            (doc! { "insert": "c", "documents": [{ "a": "secret" }] }, ""),
            (doc! { "find": "c", "filter": 5 }, "?"),
            (doc! { "find": "c", "filter": { "a\nb": 1 } }, "{a\u{fffd}b: ?}"),
        ] {
            assert_eq!(of(&command), expected, "{command}");
        }
    }

    #[test]
    fn statements_of_a_document_sequence_are_found() {
        let (body, statement) = (
            doc! { "update": "c" },
            doc! { "q": { "a": "secret" }, "u": { "b": 1 } },
        );
        let mut message = message(&body);
        let statement = statement.to_vec().unwrap();
        let size = 4 + b"updates\0".len() + statement.len();
        message.extend_from_slice(&[1]);
        message.extend_from_slice(&(size as i32).to_le_bytes());
        message.extend_from_slice(b"updates\0");
        message.extend_from_slice(&statement);
        let length = (message.len() as i32).to_le_bytes();
        message[..4].copy_from_slice(&length);
        assert_eq!(shape(&message, &Layout::parse(&message).unwrap()), "{a: ?}");
    }

    #[test]
    fn it_is_bounded_in_length_and_depth() {
        let wide: Document = (0..10_000)
            .map(|number| (format!("field{number}"), 1.into()))
            .collect();
        let mut deep = doc! {};
        for _ in 0..150 {
            deep = doc! { "a": deep };
        }
        for filter in [wide, deep, doc! { "x".repeat(100_000): 1 }] {
            let shape = of(&doc! { "find": "c", "filter": filter });
            assert!(shape.len() < LONGEST + 200 && shape.contains(CUT), "{shape}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_ever_shown_and_damage_never_panics(at in 21_usize..150, with in any::<u8>(), value in "[A-Z]{4,9}") {
            let command = doc! {
                "find": "c", "filter": { "a": &value, "b": { "$in": [&value, { "c": &value }] }, "d": { "$regex": &value } },
            };
            let mut message = message(&command);
            prop_assert!(!shape(&message, &Layout::parse(&message).unwrap()).contains(&value));
            let at = at % message.len();
            message[at] = with;
            if let Ok(layout) = Layout::parse(&message) {
                let _ = shape(&message, &layout);
            }
        }
    }
}
