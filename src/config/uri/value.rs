//! The values of options: what each may be, by the URI Options specification.

use super::Secret;
use crate::{
    config::{read_preference::mode_named, values::LONGEST},
    topology::TagSet,
};

/// A value that was given and is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A string that nothing may show.
    Secret(Secret),
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number; times are in the unit that the option's name ends in.
    Integer(i64),
    /// `compressors`: names, first choice first.
    List(Vec<String>),
    /// `authMechanismProperties`: names and their values, some of which are secret.
    Properties(Vec<(String, Secret)>),
    /// `readPreferenceTags`: first choice first.
    TagSets(Vec<TagSet>),
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// At most 128 bytes, by the Handshake specification.
    AppName,
    Secret,
    Boolean,
    /// From the first to the second number.
    Integer(i64, i64),
    /// At least so many milliseconds.
    Millis(i64),
    /// -1 stands for no bound (Max Staleness specification).
    Staleness,
    /// A number of nodes, or the name of a write concern.
    W,
    OneOf(&'static [&'static str]),
    /// A read preference's mode.
    Mode,
    /// Each repetition is one tag set.
    TagSets,
    Properties,
    /// Names out of these, with commas between them.
    List(&'static [&'static str]),
    /// By RFC 6335, section 5.1, but for the length, which a label of the DNS with its underscore bounds.
    ServiceName,
}

/// Options without another bound are 32 bits wide.
pub(super) const MOST: i64 = i32::MAX as i64;

/// Reads one value. The error says what would be right, to be read after "it must be".
pub(super) fn read(kind: Kind, text: &str) -> Result<Value, String> {
    if text.is_empty() && !matches!(kind, Kind::TagSets) {
        return Err("not empty".to_owned());
    }
    let word = |right: &str| Err(right.to_owned());
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::AppName if text.len() > 128 => word("at most 128 bytes"),
        Kind::AppName => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::new(text))),
        Kind::Boolean => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| "true or false".to_owned()),
        Kind::Integer(least, most) => {
            integer(text, least, most).ok_or_else(|| format!("a number from {least} to {most}"))
        }
        Kind::Millis(least) => {
            let most = i64::try_from(LONGEST.as_millis()).unwrap_or(i64::MAX);
            integer(text, least, most)
                .ok_or_else(|| format!("a number of milliseconds from {least} to {most}"))
        }
        Kind::Staleness => match text.parse() {
            Ok(seconds @ (-1 | 1..)) if seconds <= LONGEST.as_secs() as i64 => Ok(Value::Integer(seconds)),
            _ => word("a number of seconds, or -1 for no bound"),
        },
        Kind::W => match text.parse::<i64>() {
            Ok(number) if (0..=MOST).contains(&number) => Ok(Value::Integer(number)),
            Ok(_) => word("a number of nodes, or the name of a write concern"),
            Err(_) => Ok(Value::Text(text.to_owned())),
        },
        Kind::OneOf(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::OneOf(words) => Err(format!("one of {}", words.join(", "))),
        Kind::Mode => mode_named(text).map(|_| Value::Text(text.to_owned())),
        Kind::TagSets => match text.parse() {
            Ok(set) => Ok(Value::TagSets(vec![set])),
            Err(_) => word("written dc:ny,rack:1"),
        },
        Kind::Properties => properties(text).map_or_else(|| word("written NAME:value,NAME2:value2"), Ok),
        Kind::List(words) => {
            let names: Vec<_> = text.split(',').map(str::to_owned).collect();
            match names.iter().all(|name| words.contains(&name.as_str())) {
                true => Ok(Value::List(names)),
                false => Err(format!("some of {}, with commas between them", words.join(", "))),
            }
        }
        Kind::ServiceName if is_service_name(text) => Ok(Value::Text(text.to_owned())),
        Kind::ServiceName => word("letters, digits and single hyphens between them, at most 62"),
    }
}

fn integer(text: &str, least: i64, most: i64) -> Option<Value> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))?;
    Some(Value::Integer(number))
}

fn properties(text: &str) -> Option<Value> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(':').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), Secret::new(value)))
    };
    text.split(',')
        .map(pair)
        .collect::<Option<_>>()
        .map(Value::Properties)
}

fn is_service_name(text: &str) -> bool {
    let characters = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let hyphens = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    let has_letter = text.bytes().any(|c| c.is_ascii_alphabetic());
    text.len() <= 62 && characters && !hyphens && has_letter
}
