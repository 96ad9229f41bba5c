//! From the Extended JSON of the tests to BSON, as far as `hello` replies and errors need it.

use bson::{Bson, Document, RawDocumentBuf, oid::ObjectId};
use serde_json::Value;

/// A JSON object as a raw document.
pub(crate) fn raw_document(value: &Value) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document(value)).unwrap()
}

fn document(value: &Value) -> Document {
    let fields = value.as_object().unwrap().iter();
    fields.map(|(key, value)| (key.clone(), bson(value))).collect()
}

fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => Bson::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
            None => Bson::Double(number.as_f64().unwrap()),
        },
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(values) => Bson::Array(values.iter().map(bson).collect()),
        Value::Object(_) => match (value["$oid"].as_str(), value["$numberLong"].as_str()) {
            (Some(id), _) => Bson::ObjectId(ObjectId::parse_str(id).unwrap()),
            (_, Some(number)) => Bson::Int64(number.parse().unwrap()),
            _ => {
                let document = document(value);
                let unknown = document.keys().find(|key| key.starts_with('$'));
                assert!(unknown.is_none(), "{unknown:?} is not understood here");
                Bson::Document(document)
            }
        },
    }
}

/// A whole number, plain or as `$numberLong`.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    let long = || value["$numberLong"].as_str()?.parse().ok();
    value.as_i64().or_else(long)
}
