//! The options of a connection string: read by the table, whatever becomes of them.
//!
//! As the Connection String specification asks, an option that is unknown, and a value that is not valid, are ignored
//! with a warning. Where that would be unsafe the value is an error.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    UriError, decode, table,
    value::{self, Kind, Value},
};
use crate::{
    config::{compressors, schema},
    wire::Compressor,
};

/// The options that were given and are valid, by standard name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    values: BTreeMap<&'static str, Value>,
    /// Every option of the specification that was written, whether or not its value is valid.
    pub(super) given: BTreeSet<&'static str>,
}

impl Options {
    /// The value of an option by its standard name. `ssl` is another name for `tls`, under which its value stands.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Every option that was given and is valid, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// The text of an option that has one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An option that is true or false.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// An option that is a number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Takes over what `defaults` has and this has not.
    pub(super) fn fill_up(&mut self, defaults: Self) {
        for (name, value) in defaults.values {
            if self.given.insert(name) {
                self.values.insert(name, value);
            }
        }
    }

    /// Sets an option that was not given.
    pub(super) fn default_to(&mut self, name: &'static str, value: Value) {
        self.values.entry(name).or_insert(value);
    }
}

/// The options as they were written, names and values decoded.
pub(super) fn pairs(query: &str, errors: &mut Vec<UriError>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (index, text) in query.split('&').enumerate().filter(|(_, text)| !text.is_empty()) {
        let position = index + 1;
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            errors.push(UriError::OptionForm { position });
            continue;
        };
        match (decode(name), decode(value)) {
            (Some(name), Some(value)) => pairs.push((name, value)),
            _ => errors.push(UriError::PercentEncoding {
                part: format!("option {position}"),
            }),
        }
    }
    pairs
}

/// Reads every option by its row.
pub(super) fn read(
    pairs: &[(String, String)],
    errors: &mut Vec<UriError>,
    warnings: &mut Vec<String>,
) -> Options {
    // The values of each option in their order; keyed by standard name, so that messages come in a fixed order.
    let mut given: BTreeMap<&'static str, (Kind, Vec<&str>)> = BTreeMap::new();
    let mut renamed = Vec::new();
    for (name, value) in pairs {
        match (table::find(name), table::renamed(name)) {
            (Some(row), _) => given
                .entry(row.name)
                .or_insert((row.kind, Vec::new()))
                .1
                .push(value),
            (None, Some(row)) => renamed.push((name, row, value)),
            (None, None) => warnings.push(unknown(name)),
        }
    }
    for (old, row, value) in renamed {
        let now = row.name;
        match given.contains_key(now) {
            true => warnings.push(format!("{old} is ignored: {now}, its name by now, is given too")),
            false => {
                warnings.push(format!("{old} is called {now} by now"));
                given.insert(now, (row.kind, vec![value]));
            }
        }
    }
    let mut options = Options::default();
    for (name, (kind, values)) in given {
        options.given.insert(name);
        let value = match name {
            "tls" | "ssl" => tls(name, &values, errors),
            "authSource" if values.contains(&"") => {
                // Authentication specification, "Connection String Options".
                let right = "the name of a database";
                errors.push(UriError::Value { option: name, right });
                None
            }
            "readPreferenceTags" => tag_sets(name, &values, warnings),
            "compressors" => single(name, kind, &known_compressors(&values, warnings), warnings),
            _ => single(name, kind, &values, warnings),
        };
        let Some(value) = value else { continue };
        let name = if name == "ssl" { "tls" } else { name };
        let other = options.values.insert(name, value.clone());
        if other.is_some_and(|other| other != value) {
            options.values.remove(name);
            errors.push(UriError::Conflict(
                "tls (or ssl) is both true and false".to_owned(),
            ));
        }
    }
    options
}

fn unknown(name: &str) -> String {
    let names: Vec<_> = table::OPTIONS.iter().map(|row| row.name).collect();
    let meant = schema::suggest(name, &names).map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("{name:?} is ignored: there is no such option{meant}")
}

/// Of an option that was given more than once the last counts.
fn single(
    name: &'static str,
    kind: Kind,
    values: &[impl AsRef<str>],
    warnings: &mut Vec<String>,
) -> Option<Value> {
    if values.len() > 1 {
        warnings.push(format!("{name} is given more than once; the last counts"));
    }
    let text = values.last()?.as_ref();
    match value::read(kind, text) {
        Ok(value) => Some(value),
        Err(right) => {
            // What is long, or may be a secret, is not shown.
            let shown = match kind {
                Kind::Secret | Kind::Properties | Kind::AppName => "...",
                _ if text.len() > 64 => "...",
                _ => text,
            };
            warnings.push(format!("{name}={shown} is ignored: it must be {right}"));
            None
        }
    }
}

/// Unknown compressors are left out (OP_COMPRESSED specification, "compressors"); where none is known all stay, to be told of.
fn known_compressors(values: &[&str], warnings: &mut Vec<String>) -> Vec<String> {
    let known = |text: &&str| {
        let (known, unknown): (Vec<&str>, Vec<&str>) = text
            .split(',')
            .partition(|name| name.parse::<Compressor>().is_ok());
        if known.is_empty() {
            return (*text).to_owned();
        }
        let unknown = unknown.into_iter().filter(|name| name.len() <= 64);
        warnings.extend(unknown.map(|name| format!("compressors: {}", compressors::unknown(name))));
        known.join(",")
    };
    values.iter().map(known).collect()
}

/// Repetitions may agree. What is neither true nor false is an error: to ignore it might send in the clear what should
/// not be.
fn tls(name: &'static str, values: &[&str], errors: &mut Vec<UriError>) -> Option<Value> {
    let read: Option<Vec<bool>> = values.iter().map(|value| value.parse().ok()).collect();
    let Some(read) = read else {
        let right = "true or false";
        errors.push(UriError::Value { option: name, right });
        return None;
    };
    if read.contains(&true) && read.contains(&false) {
        errors.push(UriError::Conflict(
            "tls (or ssl) is both true and false".to_owned(),
        ));
        return None;
    }
    read.first().copied().map(Value::Boolean)
}

fn tag_sets(name: &'static str, values: &[&str], warnings: &mut Vec<String>) -> Option<Value> {
    let mut sets = Vec::new();
    for text in values {
        match value::read(Kind::TagSets, text) {
            Ok(Value::TagSets(set)) => sets.extend(set),
            Ok(_) => {}
            Err(right) => warnings.push(format!("{name}={text} is ignored: it must be {right}")),
        }
    }
    (!sets.is_empty()).then_some(Value::TagSets(sets))
}
