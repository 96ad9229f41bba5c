//! The configuration as a tree of values, each with the place where it was given: TOML text to tree.
//!
//! The tree is typed by `resolve`, not by serde's derive: a derived reader stops at its first mistake.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::mistake::{Place, Report};

/// A table: keys to what stands there.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was given.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value as it was written.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    /// `None` where it is beyond 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    /// What no setting is: a fraction, a date.
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Other(kind) => kind,
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A file's name and the offsets of its lines.
struct File {
    name: Arc<str>,
    line_starts: Vec<usize>,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            line_starts,
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        Place::File {
            name: self.name.clone(),
            line,
        }
    }
}

/// Reads TOML text. Every fault of its syntax is reported; what could be read nevertheless is returned.
pub(super) fn parse(name: &str, text: &str, report: &mut Report) -> Table {
    let file = File::new(name, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = file.place(error.span().unwrap_or(0..0).start);
        // The message alone: the error's own `Display` quotes the line, which may hold a secret.
        report.syntax_fault(place, error.message().trim().replace('\n', ", "));
    }
    convert_table(table.into_inner(), &|span| file.place(span.start))
}

/// Reads one TOML value (`[{ dc = "ams" }]`) that was given at `place`; `None` where it is no TOML value.
pub(super) fn parse_value(text: &str, place: &Place) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(Node {
        value: convert(value.into_inner(), &|_| place.clone()),
        place: place.clone(),
    })
}

// The depth of both recursions is bounded by the TOML parser's own limit on nesting.
fn convert_table(table: DeTable<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let node = Node {
                place: place(key.span()),
                value: convert(value.into_inner(), place),
            };
            (key.into_inner().into_owned(), node)
        })
        .collect()
}

fn convert(value: DeValue<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| Node {
                    place: place(item.span()),
                    value: convert(item.into_inner(), place),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, place)),
    }
}
