//! Reads of `config.shards`, answered from the one shard that a replica set is.
//!
//! Pure. Only what can be answered exactly is: filters of equalities and the simplest operators, and pipelines of the shapes
//! by which drivers and tools look shards up or count them. A projection is not applied, a sort of one document changes
//! nothing. Whatever else is asked stays with the server, whose `config.shards` is empty.
//!
//! Sources: the MongoDB manual, "Config Database"; the CRUD specification for how drivers count.

use bson::{Bson, Document, doc};

use super::request::Request;

/// The reply to `find`, `count` or `aggregate` on `config.shards`; `None` if `command` asks for more than is known here.
#[must_use]
pub fn answer(command: &Document, shard: &Document) -> Option<Document> {
    match command.keys().next()?.as_str() {
        "find" => find(command, shard),
        "count" => {
            let found = matching(command.get("query"), shard)?;
            let n = i64::from(found);
            let skipped = (n - at_least_zero(command.get("skip"))?).max(0);
            let limit = at_least_zero_or_negated(command.get("limit"))?;
            let n = if limit == 0 { skipped } else { skipped.min(limit) };
            Some(doc! { "n": n as i32, "ok": 1.0 })
        }
        "aggregate" => aggregate(command, shard),
        _ => None,
    }
}

/// Whether the command's first field names the collection `shards`.
#[must_use]
pub fn is_about(request: &Request, message: &[u8]) -> bool {
    let first = request.layout.body(message).ok();
    let first = first.and_then(|body| body.iter().next()?.ok());
    first.is_some_and(|first| first.as_str_bytes() == Some(b"shards"))
}

fn find(command: &Document, shard: &Document) -> Option<Document> {
    // These would have to be refused or obeyed as a server does.
    if ["explain", "tailable", "awaitData", "min", "max", "returnKey"]
        .iter()
        .any(|key| command.contains_key(key))
    {
        return None;
    }
    let found = matching(command.get("filter"), shard)? && at_least_zero(command.get("skip"))? == 0;
    // No limit at all is written 0; a negative one was a way to say `singleBatch`.
    at_least_zero_or_negated(command.get("limit"))?;
    Some(cursor(found.then(|| shard.clone()).into_iter().collect()))
}

fn aggregate(command: &Document, shard: &Document) -> Option<Document> {
    // Without `cursor` a server refuses.
    if command.get_document("cursor").is_err() || command.contains_key("explain") {
        return None;
    }
    let mut documents = vec![shard.clone()];
    for stage in command.get_array("pipeline").ok()? {
        let stage = stage.as_document()?;
        let (name, value) = stage.iter().next().filter(|_| stage.len() == 1)?;
        documents = run(name, value, documents)?;
    }
    Some(cursor(documents))
}

/// One stage of a pipeline.
fn run(name: &str, value: &Bson, mut documents: Vec<Document>) -> Option<Vec<Document>> {
    match name {
        "$match" => {
            let mut kept = Vec::with_capacity(documents.len());
            for document in documents {
                if matching(Some(value), &document)? {
                    kept.push(document);
                }
            }
            Some(kept)
        }
        "$limit" => {
            let limit = integer(value).filter(|limit| *limit > 0)?;
            documents.truncate(usize::try_from(limit).ok()?);
            Some(documents)
        }
        "$skip" => {
            let skip = at_least_zero(Some(value))?;
            Some(documents.into_iter().skip(usize::try_from(skip).ok()?).collect())
        }
        "$sort" => Some(documents),
        "$count" => {
            let name = value.as_str().filter(|name| is_field_name(name))?;
            let count = documents.len() as i32;
            Some(Vec::from_iter((count > 0).then(|| doc! { name: count })))
        }
        "$group" => group(value.as_document()?, &documents),
        _ => None,
    }
}

/// `{_id: <constant>, n: {$sum: 1}}`, by which drivers count documents.
fn group(stage: &Document, documents: &[Document]) -> Option<Vec<Document>> {
    let id = stage
        .get("_id")
        .filter(|id| matches!(id, Bson::Null) || integer(id).is_some())?;
    let (name, sum) = stage
        .iter()
        .find(|(name, _)| *name != "_id")
        .filter(|_| stage.len() == 2)?;
    let sum = sum.as_document().filter(|sum| sum.len() == 1)?;
    if integer(sum.get("$sum")?)? != 1 || !is_field_name(name) {
        return None;
    }
    let count = documents.len() as i32;
    Some(Vec::from_iter(
        (count > 0).then(|| doc! { "_id": id.clone(), name: count }),
    ))
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0'])
}

fn cursor(first_batch: Vec<Document>) -> Document {
    doc! { "cursor": { "firstBatch": first_batch, "id": 0_i64, "ns": "config.shards" }, "ok": 1.0 }
}

/// Whether `filter` takes `document`; `None` if it says more than is understood here.
fn matching(filter: Option<&Bson>, document: &Document) -> Option<bool> {
    let filter = match filter {
        None | Some(Bson::Null) => return Some(true),
        Some(filter) => filter.as_document()?,
    };
    let mut all = true;
    for (field, condition) in filter {
        // Operators and paths.
        if field.starts_with('$') || field.contains('.') {
            return None;
        }
        all &= holds(condition, document.get(field))?;
    }
    Some(all)
}

fn holds(condition: &Bson, value: Option<&Bson>) -> Option<bool> {
    let operators = match condition {
        Bson::Document(document) if document.keys().any(|key| key.starts_with('$')) => document,
        literal => return equals(literal, value),
    };
    let mut all = true;
    for (operator, operand) in operators {
        all &= match operator.as_str() {
            "$eq" => equals(operand, value)?,
            "$ne" => !equals(operand, value)?,
            "$exists" => truth(operand)? == value.is_some(),
            "$in" => is_one_of(operand, value)?,
            "$nin" => !is_one_of(operand, value)?,
            _ => return None,
        };
    }
    Some(all)
}

fn is_one_of(operand: &Bson, value: Option<&Bson>) -> Option<bool> {
    let mut found = false;
    for literal in operand.as_array()? {
        found |= equals(literal, value)?;
    }
    Some(found)
}

/// As a server compares a scalar: numbers of all types with each other, null with what is not there.
fn equals(literal: &Bson, value: Option<&Bson>) -> Option<bool> {
    match (literal, value) {
        (Bson::Document(_) | Bson::Array(_) | Bson::RegularExpression(_) | Bson::Decimal128(_), _) => None,
        (Bson::Null, None) => Some(true),
        (_, None) => Some(false),
        (literal, Some(value)) => Some(match (number(literal), number(value)) {
            (Some(literal), Some(value)) => literal == value,
            _ => literal == value,
        }),
    }
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    }
}

fn truth(value: &Bson) -> Option<bool> {
    match value {
        Bson::Boolean(truth) => Some(*truth),
        other => number(other).map(|n| n != 0.0),
    }
}

fn integer(value: &Bson) -> Option<i64> {
    number(value).filter(|n| n.fract() == 0.0).map(|n| n as i64)
}

fn at_least_zero(value: Option<&Bson>) -> Option<i64> {
    value.map_or(Some(0), integer).filter(|value| *value >= 0)
}

fn at_least_zero_or_negated(value: Option<&Bson>) -> Option<i64> {
    value.map_or(Some(0), integer).map(i64::saturating_abs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shard() -> Document {
        doc! { "_id": "set", "host": "set/127.0.0.1:27017", "state": 1 }
    }

    /// How many documents or, by the first value of the batch, how many were counted.
    fn found(command: &Document) -> Option<i64> {
        let reply = answer(command, &shard())?;
        if let Ok(n) = reply.get_i32("n") {
            return Some(i64::from(n));
        }
        let cursor = reply.get_document("cursor").unwrap();
        assert_eq!(cursor.get_i64("id").unwrap(), 0);
        assert_eq!(cursor.get_str("ns").unwrap(), "config.shards");
        let batch = cursor.get_array("firstBatch").unwrap();
        match batch.first().and_then(Bson::as_document) {
            Some(counted) if !counted.contains_key("host") => counted.values().last().and_then(integer),
            _ => Some(batch.len() as i64),
        }
    }

    #[test]
    fn filters_that_are_understood_are_obeyed() {
        let table = [
            (doc! {}, Some(1)),
            (doc! { "_id": "set" }, Some(1)),
            (doc! { "_id": "other" }, Some(0)),
            (doc! { "_id": "set", "state": 1i64 }, Some(1)),
            (doc! { "state": 1.0, "host": "x" }, Some(0)),
            (doc! { "draining": true }, Some(0)),
            (doc! { "draining": Bson::Null }, Some(1)),
            (doc! { "draining": { "$ne": true } }, Some(1)),
            (doc! { "draining": { "$exists": false } }, Some(1)),
            (doc! { "state": { "$eq": 1 }, "host": { "$exists": 1 } }, Some(1)),
            (doc! { "_id": { "$in": ["a", "set"] } }, Some(1)),
            (doc! { "_id": { "$nin": ["a", "set"] } }, Some(0)),
            (doc! { "_id": { "$gt": "a" } }, None),
            (doc! { "$or": [{ "_id": "set" }] }, None),
            (doc! { "tags.x": 1 }, None),
            (doc! { "_id": { "a": 1 } }, None),
        ];
        for (filter, expected) in table {
            let find = doc! { "find": "shards", "filter": filter.clone(), "limit": 1, "singleBatch": true };
            let count = doc! { "count": "shards", "query": filter.clone() };
            let aggregate = doc! { "aggregate": "shards", "pipeline": [{ "$match": filter }, { "$count": "n" }], "cursor": {} };
            assert_eq!(found(&find), expected, "{find}");
            assert_eq!(found(&count), expected, "{count}");
            assert_eq!(found(&aggregate), expected, "{aggregate}");
        }
    }

    #[test]
    fn the_shapes_that_tools_send_are_answered_and_others_left_alone() {
        let one = || doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } };
        let table = [
            (doc! { "find": "shards" }, Some(1)),
            (doc! { "find": "shards", "skip": 1 }, Some(0)),
            (
                doc! { "find": "shards", "limit": -1, "sort": { "_id": 1 } },
                Some(1),
            ),
            (doc! { "find": "shards", "skip": -1 }, None),
            (doc! { "find": "shards", "tailable": true }, None),
            (doc! { "find": "shards", "filter": 1 }, None),
            (doc! { "count": "shards" }, Some(1)),
            (doc! { "count": "shards", "skip": 2, "limit": 5 }, Some(0)),
            (
                doc! { "aggregate": "shards", "pipeline": [], "cursor": {} },
                Some(1),
            ),
            (doc! { "aggregate": "shards", "pipeline": [] }, None),
            (
                doc! { "aggregate": "shards", "pipeline": [one()], "cursor": { "batchSize": 5 } },
                Some(1),
            ),
            (
                doc! { "aggregate": "shards", "pipeline": [{ "$match": { "_id": "x" } }, one()], "cursor": {} },
                Some(0),
            ),
            (
                doc! { "aggregate": "shards", "pipeline": [{ "$sort": { "_id": 1 } }, { "$skip": 1 }, { "$limit": 3 }], "cursor": {} },
                Some(0),
            ),
            (
                doc! { "aggregate": "shards", "pipeline": [{ "$lookup": {} }], "cursor": {} },
                None,
            ),
            (doc! { "distinct": "shards", "key": "_id" }, None),
        ];
        for (command, expected) in table {
            assert_eq!(found(&command), expected, "{command}");
        }
    }

    proptest! {
        #[test]
        fn any_filter_gets_the_shard_or_nothing_or_no_answer(
            field in "(_id|host|state|[$a-z.]{0,4})",
            operator in "(|\\$eq|\\$ne|\\$in|\\$exists|\\$[a-z]{0,3})",
            value in prop_oneof![
                any::<i32>().prop_map(Bson::Int32),
                any::<f64>().prop_map(Bson::Double),
                "[a-z]{0,3}".prop_map(Bson::String),
                Just(Bson::Null),
                Just(Bson::Array(vec![Bson::String("set".to_owned()), Bson::Int32(1)])),
            ],
        ) {
            let condition = if operator.is_empty() { value } else { Bson::Document(doc! { operator: value }) };
            let command = doc! { "find": "shards", "filter": { field: condition } };
            if let Some(reply) = answer(&command, &shard()) {
                let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
                prop_assert!(batch.is_empty() || batch == &vec![Bson::Document(shard())]);
            }
        }
    }
}
