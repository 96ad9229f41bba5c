//! Reading a client's `$readPreference`, with the errors that a `mongod` 6.0 answers to a bad one.
//!
//! Codes, texts and the order of the checks are those of `mongod` 6.0.5. One thing is stricter: a tag set
//! that is no document of strings, which a `mongod` accepts because it never looks at tags, is refused here,
//! where tags decide where a read goes.

use bson::{Bson, RawBsonRef, RawDocument, spec::ElementType};

use super::{Mode, ReadPreference, TagSet};

/// The code of bytes that are no BSON.
const INVALID_BSON: i32 = 22;

/// Why a read preference was refused, in the form of a server's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadPreferenceError {
    /// The error code.
    pub code: i32,
    /// The name of the code.
    pub code_name: &'static str,
    /// What is wrong, as a `mongod` words it.
    pub message: String,
}

impl ReadPreferenceError {
    fn bad_value(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            code_name: "BadValue",
            message: message.into(),
        }
    }

    fn type_mismatch(message: impl Into<String>) -> Self {
        Self {
            code: 14,
            code_name: "TypeMismatch",
            message: message.into(),
        }
    }

    fn invalid_bson(error: &bson::error::Error) -> Self {
        Self {
            code: INVALID_BSON,
            code_name: "InvalidBSON",
            message: format!("invalid $readPreference: {error}"),
        }
    }

    pub(super) fn unknown_mode(mode: &str) -> Self {
        Self::bad_value(format!(
            "Could not parse $readPreference mode '{mode}'. Only the modes 'primary', 'primaryPreferred', \
             'secondary', 'secondaryPreferred', and 'nearest' are supported. :: caused by :: Enumeration \
             value '{mode}' for field 'mode' is not a valid value."
        ))
    }

    pub(super) fn malformed_tag(pair: &str) -> Self {
        Self::bad_value(format!(
            "read preference tag {pair:?} is not of the form name:value"
        ))
    }

    pub(super) fn tags_with_primary() -> Self {
        Self::bad_value("Only empty tags are allowed with primary read preference")
    }

    pub(super) fn negative_staleness() -> Self {
        Self::bad_value("maxStalenessSeconds must be a non-negative integer")
    }

    pub(super) fn staleness_too_large() -> Self {
        Self::bad_value(format!("maxStalenessSeconds value can not exceed {}", i64::MAX))
    }

    pub(super) fn staleness_with_primary() -> Self {
        Self::bad_value("maxStalenessSeconds can not be set for the primary mode")
    }

    pub(super) fn staleness_too_small() -> Self {
        Self {
            code: 160,
            code_name: "MaxStalenessOutOfRange",
            message: "maxStalenessSeconds value can not be less than 90".to_owned(),
        }
    }

    /// For a `$readPreference` that is no document at all.
    #[must_use]
    pub fn not_a_document(value: RawBsonRef<'_>) -> Self {
        Self::type_mismatch(format!(
            "$readPreference has incorrect type: expected object but got {}",
            type_name(value)
        ))
    }
}

/// The fields that matter; unknown ones are ignored, as a server does. Of a repeated field the last counts.
#[derive(Default)]
struct Fields<'a> {
    mode: Option<RawBsonRef<'a>>,
    tags: Option<RawBsonRef<'a>>,
    max_staleness: Option<RawBsonRef<'a>>,
    hedge: Option<RawBsonRef<'a>>,
}

pub(super) fn parse(document: &RawDocument) -> Result<ReadPreference, ReadPreferenceError> {
    let mut fields = Fields::default();
    for element in document {
        let (key, value) = element.map_err(|error| ReadPreferenceError::invalid_bson(&error))?;
        match key.as_str() {
            "mode" => fields.mode = Some(value),
            "tags" => fields.tags = Some(value),
            "maxStalenessSeconds" => fields.max_staleness = Some(value),
            "hedge" => fields.hedge = Some(value),
            _ => {}
        }
    }
    let mode = parse_mode(fields.mode)?;
    check_hedge(mode, fields.hedge)?;
    let tag_sets = parse_tag_sets(mode, fields.tags)?;
    let seconds = fields.max_staleness.map_or(Ok(0), parse_seconds)?;
    ReadPreference::checked(mode, tag_sets, seconds)
}

fn parse_mode(value: Option<RawBsonRef<'_>>) -> Result<Mode, ReadPreferenceError> {
    match value {
        Some(RawBsonRef::String(name)) => name.parse(),
        Some(other) => Err(ReadPreferenceError::type_mismatch(format!(
            "\"mode\" had the wrong type. Expected string, found {}",
            type_name(other)
        ))),
        None => Err(ReadPreferenceError {
            code: 4,
            code_name: "NoSuchKey",
            message: "Missing expected field \"mode\"".to_owned(),
        }),
    }
}

/// Hedging concerns sharded clusters only; the option is checked and otherwise left to the server.
fn check_hedge(mode: Mode, value: Option<RawBsonRef<'_>>) -> Result<(), ReadPreferenceError> {
    let hedge = match value {
        None => return Ok(()),
        Some(RawBsonRef::Document(hedge)) => hedge,
        Some(other) => {
            return Err(ReadPreferenceError::type_mismatch(format!(
                "hedge field must be of type object if provided; found hedge: {}",
                Bson::try_from(other).map_or_else(|_| type_name(other).to_owned(), |value| value.to_string())
            )));
        }
    };
    let mut enabled = true;
    for element in hedge {
        let (key, value) = element.map_err(|error| ReadPreferenceError::invalid_bson(&error))?;
        match (key.as_str(), value) {
            ("enabled", RawBsonRef::Boolean(value)) => enabled = value,
            ("enabled", RawBsonRef::Null | RawBsonRef::Undefined) => {}
            ("enabled", other) => {
                return Err(ReadPreferenceError::type_mismatch(format!(
                    "BSON field 'hedge.enabled' is the wrong type '{}', expected type 'bool'",
                    type_name(other)
                )));
            }
            (other, _) => {
                return Err(ReadPreferenceError {
                    code: 40415,
                    code_name: "Location40415",
                    message: format!("BSON field 'hedge.{other}' is an unknown field."),
                });
            }
        }
    }
    if enabled && mode == Mode::Primary {
        return Err(ReadPreferenceError {
            code: 72,
            code_name: "InvalidOptions",
            message: "cannot enable hedging for $readPreference mode \"primaryOnly\"".to_owned(),
        });
    }
    Ok(())
}

fn parse_tag_sets(mode: Mode, value: Option<RawBsonRef<'_>>) -> Result<Vec<TagSet>, ReadPreferenceError> {
    let array = match value {
        None => return Ok(Vec::new()),
        Some(RawBsonRef::Array(array)) => array,
        Some(other) => {
            return Err(ReadPreferenceError::type_mismatch(format!(
                "\"tags\" had the wrong type. Expected array, found {}",
                type_name(other)
            )));
        }
    };
    let sets = array.into_iter().map(|set| match set {
        Err(error) => Err(ReadPreferenceError::invalid_bson(&error)),
        Ok(RawBsonRef::Document(set)) => parse_tags(set),
        Ok(other) => Err(ReadPreferenceError::bad_value(format!(
            "each read preference tag set must be an object, but found {}",
            type_name(other)
        ))),
    });
    let sets: Result<Vec<_>, _> = sets.collect();
    match sets {
        Ok(sets) => ReadPreference::check_tags(mode, &sets).map(|()| sets),
        // With mode primary it does not matter what is wrong with the tags.
        Err(error) if mode == Mode::Primary && error.code != INVALID_BSON => {
            Err(ReadPreferenceError::tags_with_primary())
        }
        Err(error) => Err(error),
    }
}

fn parse_tags(set: &RawDocument) -> Result<TagSet, ReadPreferenceError> {
    let mut tags = Vec::new();
    for element in set {
        match element.map_err(|error| ReadPreferenceError::invalid_bson(&error))? {
            (name, RawBsonRef::String(value)) => tags.push((name.as_str().to_owned(), value.to_owned())),
            (name, other) => {
                return Err(ReadPreferenceError::bad_value(format!(
                    "read preference tag '{}' must be a string, but found {}",
                    name.as_str(),
                    type_name(other)
                )));
            }
        }
    }
    Ok(TagSet(tags))
}

/// A whole number of seconds, written in any numeric type.
fn parse_seconds(value: RawBsonRef<'_>) -> Result<i64, ReadPreferenceError> {
    let shown = match value {
        RawBsonRef::Int32(seconds) => return Ok(seconds.into()),
        RawBsonRef::Int64(seconds) => return Ok(seconds),
        // Below 2^63 in absolute value the cast of a whole double is exact.
        RawBsonRef::Double(seconds)
            if seconds.fract() == 0.0 && seconds.abs() < 9_223_372_036_854_775_808.0 =>
        {
            return Ok(seconds as i64);
        }
        RawBsonRef::Double(seconds) => seconds.to_string(),
        RawBsonRef::Decimal128(decimal) => {
            let text = decimal.to_string();
            match text.parse() {
                Ok(seconds) => return Ok(seconds),
                Err(_) => text,
            }
        }
        other => {
            return Err(ReadPreferenceError::type_mismatch(format!(
                "Expected field \"maxStalenessSeconds\" to have numeric type, but found {}",
                type_name(other)
            )));
        }
    };
    Err(ReadPreferenceError::bad_value(format!(
        "Expected field \"maxStalenessSeconds\" to have a value exactly representable as a 64-bit integer, \
         but found maxStalenessSeconds: {shown}"
    )))
}

/// The name of a BSON type in a server's messages.
fn type_name(value: RawBsonRef<'_>) -> &'static str {
    match value.element_type() {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MinKey => "minKey",
        ElementType::MaxKey => "maxKey",
    }
}

#[cfg(test)]
#[path = "read_preference_tests.rs"]
mod tests;
