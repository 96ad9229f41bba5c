//! Judges JSON by a JSON Schema of the draft that OpenAPI 3.1 uses: the part of it that `src/admin/openapi.json` needs, and strictly: a
//! property that is not described is a mistake, and so is a keyword that is not understood here.

use serde_json::Value;

/// What is wrong with `value`; empty if nothing is. `root` is the document that references lead into.
pub(crate) fn mistakes(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut mistakes = Vec::new();
    judge(root, schema, value, "$", &mut mistakes);
    mistakes
}

fn judge(root: &Value, schema: &Value, value: &Value, at: &str, mistakes: &mut Vec<String>) {
    let keywords = schema
        .as_object()
        .unwrap_or_else(|| panic!("{at}: {schema} is no schema"));
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "description" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                judge(root, root.pointer(pointer).unwrap(), value, at, mistakes);
            }
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !types.iter().any(|name| is(name.as_str().unwrap(), value)) {
                    mistakes.push(format!("{at}: {value} is no {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    mistakes.push(format!("{at}: {value} is none of {rule}"));
                }
            }
            "minimum" | "maximum" => {
                let (number, bound) = (value.as_f64(), rule.as_f64().unwrap());
                let within = |number: f64| {
                    if keyword == "minimum" {
                        number >= bound
                    } else {
                        number <= bound
                    }
                };
                if number.is_some_and(|number| !within(number)) {
                    mistakes.push(format!("{at}: {value} is beyond the {keyword} {rule}"));
                }
            }
            "anyOf" => {
                let fits = |schema: &Value| self::mistakes(root, schema, value).is_empty();
                if !rule.as_array().unwrap().iter().any(fits) {
                    mistakes.push(format!("{at}: {value} fits none of {rule}"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    judge(root, rule, item, &format!("{at}[{index}]"), mistakes);
                }
            }
            "required" => {
                let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                for name in names.filter(|name| value.is_object() && value.get(name).is_none()) {
                    mistakes.push(format!("{at}: {name} is missing"));
                }
            }
            "properties" | "additionalProperties" => {}
            other => panic!("{at}: the keyword {other} is not understood"),
        }
    }
    let described = schema.get("properties");
    let others = schema.get("additionalProperties");
    if described.is_none() && others.is_none() {
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match described.and_then(|described| described.get(name)).or(others) {
            Some(schema) => judge(root, schema, value, &at, mistakes),
            None => mistakes.push(format!("{at} is not described")),
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("there is no type {other}"),
    }
}

#[test]
fn a_value_is_judged_by_every_keyword() {
    let root = serde_json::json!({
        "named": { "type": "object", "required": ["a"], "properties": {
            "a": { "type": ["integer", "null"], "minimum": 0 },
            "b": { "type": "array", "items": { "enum": ["x"] } },
            "c": { "anyOf": [{ "$ref": "#/named" }, { "type": "null" }] },
        } },
        "map": { "type": "object", "additionalProperties": { "type": "string" } },
    });
    for (schema, value, expected) in [
        (
            "named",
            serde_json::json!({ "a": 1, "b": ["x"], "c": { "a": null } }),
            0,
        ),
        ("named", serde_json::json!({}), 1),
        ("named", serde_json::json!({ "a": -1 }), 1),
        ("named", serde_json::json!({ "a": 1.5 }), 1),
        ("named", serde_json::json!({ "a": 1, "b": ["y", "x", 3] }), 2),
        ("named", serde_json::json!({ "a": 1, "c": {} }), 1),
        ("named", serde_json::json!({ "a": 1, "d": 1 }), 1),
        ("named", serde_json::json!([]), 1),
        ("map", serde_json::json!({ "k": "v" }), 0),
        ("map", serde_json::json!({ "k": 1 }), 1),
    ] {
        let found = mistakes(&root, &root[schema], &value);
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    }
}
