//! `group` (servers until 4.0) as an aggregation with a JavaScript accumulator (4.4 and later).
//!
//! The accumulator is one for all documents and does what `group` did: it keeps the groups in the order in which they were met, each
//! beginning with its key and a copy of `initial`, and calls `$reduce` with a document and its group. The functions' own variables
//! (code with scope) become global ones, as they were. The pipeline must not spill: parts of it could not be merged.

use bson::{Bson, Document, doc};

use super::{carry, integer, javascript, whole};
use crate::command::ErrorReply;

/// The most groups there may be, as servers had it.
const MOST_KEYS: usize = 20_000;

const INIT: &str = "function(initial, names, scope) {
  return {initial: initial, names: names, scope: scope, index: {}, groups: [], count: 0};
}";
/// A copy of what is a document or an array; values of all other types are never changed in place.
const COPY: &str = "var others = [ObjectId, Timestamp, BinData, NumberLong, NumberInt, NumberDecimal, RegExp, Date, DBRef, Function];
  var copy = function(value) {
    if (Array.isArray(value)) { return value.map(copy); }
    if (value === null || typeof value !== 'object' || others.some(function(type) { return value instanceof type; })) { return value; }
    var copied = {};
    for (var name in value) { copied[name] = copy(value[name]); }
    return copied;
  };";
const MERGE: &str = "function(one, other) { throw new Error('group cannot be merged'); }";

/// The `aggregate` that does what this `group` does.
///
/// # Errors
/// When a field is missing or of the wrong type.
pub fn to_aggregate(command: &Document) -> Result<Document, ErrorReply> {
    let invalid = |what: &str| ErrorReply::failed_to_parse(format!("group: {what}"));
    let Some(Bson::Document(group)) = command.get("group") else {
        return Err(invalid("its value must be a document"));
    };
    let Some(Bson::String(collection)) = group.get("ns") else {
        return Err(invalid("ns must be the name of a collection"));
    };
    let Some(Bson::Document(initial)) = group.get("initial") else {
        return Err(invalid("initial must be a document"));
    };
    let mut scope = Document::new();
    let mut code = |name: &str| -> Result<Option<String>, ErrorReply> {
        let Some(value) = group.get(name).filter(|value| **value != Bson::Null) else {
            return Ok(None);
        };
        let (code, variables) =
            javascript(value).ok_or_else(|| invalid(&format!("{name} must be JavaScript code")))?;
        scope.extend(variables.cloned().unwrap_or_default());
        Ok(Some(code.to_owned()))
    };
    let reduce = code("$reduce")?.ok_or_else(|| invalid("$reduce is missing"))?;
    let (key_function, finalize) = (code("$keyf")?, code("finalize")?);
    let names: Vec<String> = match group.get("key") {
        Some(Bson::Document(key)) => key.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let values: Vec<Document> = names
        .iter()
        .map(|name| doc! { "$ifNull": [format!("${name}"), Bson::Null] })
        .collect();
    let accumulator = doc! {
        "init": js(INIT.to_owned()),
        "initArgs": [{"$literal": initial}, {"$literal": names}, {"$literal": scope}],
        "accumulate": js(accumulate(&reduce, key_function.as_deref())),
        "accumulateArgs": ["$$ROOT", values],
        "merge": js(MERGE.to_owned()),
        "finalize": js(end(finalize.as_deref())),
        "lang": "js",
    };
    let mut pipeline = Vec::new();
    match group.get("cond").or_else(|| group.get("condition")) {
        Some(Bson::Document(condition)) if !condition.is_empty() => {
            pipeline.push(doc! { "$match": condition.clone() });
        }
        _ => {}
    }
    pipeline.push(doc! { "$group": { "_id": Bson::Null, "of": { "$accumulator": accumulator } } });
    let mut aggregate = doc! { "aggregate": collection, "pipeline": pipeline, "cursor": whole::cursor(), "allowDiskUse": false };
    carry(command, &mut aggregate);
    if let Some(collation @ Bson::Document(_)) = group.get("collation") {
        aggregate.insert("collation", collation.clone());
    }
    Ok(aggregate)
}

/// The reply of `group` from what the aggregation gave: one document, or none if no document was met.
#[must_use]
pub fn to_reply(mut results: Vec<Document>) -> Document {
    let of = results.pop().and_then(|mut result| result.remove("of"));
    let Some(Bson::Document(mut of)) = of else {
        return doc! { "retval": [], "count": 0_i64, "keys": 0_i64, "ok": 1.0 };
    };
    let mut number = |name: &str| of.remove(name).as_ref().and_then(integer).unwrap_or_default();
    let (count, keys) = (number("count"), number("keys"));
    let groups = of.remove("groups").unwrap_or(Bson::Array(Vec::new()));
    doc! { "retval": groups, "count": count, "keys": keys, "ok": 1.0 }
}

fn js(code: String) -> Bson {
    Bson::JavaScriptCode(code)
}

/// What happens with each document. The client's code was the right side of an assignment on servers, so it is here, with a line end
/// behind it in case that it ends in a comment.
fn accumulate(reduce: &str, key_function: Option<&str>) -> String {
    let key = match key_function {
        Some(code) => format!("var keyf = {code}\n;\n  var key = keyf(doc);"),
        None => "var key = {};
  for (var i = 0; i < values.length; i++) { key[state.names[i]] = values[i]; }"
            .to_owned(),
    };
    format!(
        "function(state, doc, values) {{
  for (var name in state.scope) {{ this[name] = state.scope[name]; }}
  {key}
  {COPY}
  var told = {{}};
  for (var name in key) {{
    var value = key[name];
    var is_exact = value instanceof NumberLong && Math.abs(value.toNumber()) <= 9007199254740991;
    told[name] = is_exact ? value.toNumber() : value;
  }}
  var id = tojson(told, '', true);
  var at = state.index[id];
  if (at === undefined) {{
    at = state.groups.length;
    if (at >= {MOST_KEYS}) {{ throw new Error('group cannot handle more than {MOST_KEYS} keys'); }}
    var group = {{}};
    for (var name in key) {{ group[name] = key[name]; }}
    for (var name in state.initial) {{ group[name] = copy(state.initial[name]); }}
    state.groups.push(group);
    state.index[id] = at;
  }}
  state.count++;
  var reduce = {reduce}
;
  reduce(doc, state.groups[at]);
  return state;
}}"
    )
}

/// What happens at the end: the client's function may change a group or give something in its place.
fn end(finalize: Option<&str>) -> String {
    let each = finalize.map_or(String::new(), |code| {
        format!(
            "for (var name in state.scope) {{ this[name] = state.scope[name]; }}
  var finalize = {code}
;
  for (var i = 0; i < state.groups.length; i++) {{
    var instead = finalize(state.groups[i]);
    if (instead !== undefined) {{ state.groups[i] = instead; }}
  }}"
        )
    });
    format!(
        "function(state) {{
  {each}
  return {{groups: state.groups, count: state.count, keys: state.groups.length}};
}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> Bson {
        js(text.to_owned())
    }

    fn group() -> Document {
        doc! {"ns": "c", "key": {"a": 1, "b.c": true}, "cond": {"x": 1}, "initial": {"n": 0}, "$reduce": code("function(o, p) {}")}
    }

    #[test]
    fn a_group_becomes_an_accumulator_over_the_matching_documents() {
        let command = doc! {"group": group(), "$db": "d", "$readPreference": {"mode": "nearest"}};
        let aggregate = to_aggregate(&command).unwrap();
        assert_eq!(aggregate.get_str("aggregate").unwrap(), "c");
        assert_eq!(
            aggregate.get_document("$readPreference").unwrap(),
            &doc! {"mode": "nearest"}
        );
        assert!(!aggregate.get_bool("allowDiskUse").unwrap());
        let pipeline = aggregate.get_array("pipeline").unwrap();
        assert_eq!(pipeline[0], Bson::Document(doc! {"$match": {"x": 1}}));
        let stage = pipeline[1].as_document().unwrap().get_document("$group").unwrap();
        let accumulator = stage
            .get_document("of")
            .unwrap()
            .get_document("$accumulator")
            .unwrap();
        let values = accumulator.get_array("accumulateArgs").unwrap();
        let expected = vec![
            doc! {"$ifNull": ["$a", Bson::Null]},
            doc! {"$ifNull": ["$b.c", Bson::Null]},
        ];
        assert_eq!(values[1], Bson::from(expected));
    }

    #[test]
    fn the_scopes_of_functions_come_along() {
        let with = |code: &str, scope: Document| {
            Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
                code: code.to_owned(),
                scope,
            })
        };
        let mut group = group();
        group.remove("cond");
        group.insert("$reduce", with("function(o, p) { p.n += x; }", doc! {"x": 5}));
        group.insert(
            "$keyf",
            with("function(o) { return {y: y}; } // end", doc! {"y": 6}),
        );
        let aggregate = to_aggregate(&doc! {"group": group, "$db": "d"}).unwrap();
        let text = aggregate.to_string();
        assert!(text.contains("keyf(doc)") && !text.contains("$match"), "{text}");
        let stage = aggregate.get_array("pipeline").unwrap()[0].as_document().unwrap();
        let accumulator = stage
            .get_document("$group")
            .and_then(|group| group.get_document("of")?.get_document("$accumulator"))
            .unwrap();
        assert_eq!(
            accumulator.get_array("initArgs").unwrap()[2],
            Bson::Document(doc! {"$literal": {"x": 5, "y": 6}})
        );
    }

    #[test]
    fn what_is_no_group_is_refused() {
        for (field, value) in [
            ("ns", Bson::Int32(1)),
            ("initial", Bson::Null),
            ("$reduce", Bson::Null),
            ("$reduce", Bson::Int32(1)),
            ("finalize", Bson::Boolean(true)),
        ] {
            let mut group = group();
            group.insert(field, value);
            let error = to_aggregate(&doc! {"group": group, "$db": "d"}).unwrap_err();
            assert_eq!(error.code(), 9, "{field}");
        }
        assert!(to_aggregate(&doc! {"group": "c", "$db": "d"}).is_err());
    }

    #[test]
    fn the_reply_has_its_old_shape() {
        let of = doc! {"groups": [{"a": 1.0}], "count": 3.0, "keys": 1.0};
        assert_eq!(
            to_reply(vec![doc! {"_id": Bson::Null, "of": of}]),
            doc! {"retval": [{"a": 1.0}], "count": 3_i64, "keys": 1_i64, "ok": 1.0}
        );
        assert_eq!(
            to_reply(Vec::new()),
            doc! {"retval": [], "count": 0_i64, "keys": 0_i64, "ok": 1.0}
        );
    }

    proptest! {
        #[test]
        fn odd_fields_never_panic(name in "ns|key|cond|initial|\\$reduce|\\$keyf|finalize|[$.a-c]{0,4}", value in any::<i32>()) {
            let mut odd = group();
            odd.insert(name.clone(), value);
            let _ = to_aggregate(&doc! {"group": odd, "$db": "d"});
            let mut odd = group();
            odd.insert("key", doc! {name: value});
            let _ = to_aggregate(&doc! {"group": odd, "$db": "d"});
            let _ = to_reply(vec![doc! {"of": {"count": value, "groups": value}}]);
        }
    }
}
