//! The tests of the Read and Write Concern specification. A proxy has no concerns of its own: it reads those of a connection
//! string to judge it, and passes on what a client sends with its commands.

use serde_json::{Value as Json, json};
use tidegate::config::uri::{self, Options, Value};

use super::report::{Exemption, run_cases};

const DOCUMENT: &str =
    "concerns stand in the client's commands, which are passed on as they are; there is no API to set one";
const OPERATION: &str = "which commands carry a concern is up to the client's driver";

const EXEMPTIONS: &[Exemption] = &[
    ("document/read-concern.json", DOCUMENT),
    ("document/write-concern.json", DOCUMENT),
    ("operation/default-write-concern-2.6.json", OPERATION),
    ("operation/default-write-concern-3.2.json", OPERATION),
    ("operation/default-write-concern-3.4.json", OPERATION),
    ("operation/default-write-concern-4.2.json", OPERATION),
];

#[test]
fn read_write_concern() {
    run_cases("read_write_concern", EXEMPTIONS, |_, case| {
        let text = case["uri"].as_str().unwrap();
        let parsed = uri::parse(text);
        if case["valid"] == false {
            // The URI Options specification has values out of range ignored with a warning, where this one refuses them.
            let is_told = parsed.as_ref().map_or(true, |parsed| !parsed.warnings.is_empty());
            assert!(is_told, "{text} was taken");
            return;
        }
        let parsed = parsed.unwrap_or_else(|errors| panic!("{text} was refused: {errors:?}"));
        assert!(parsed.warnings.is_empty(), "{text}: {:?}", parsed.warnings);
        judge_concern(
            &case["readConcern"],
            &[("level", "readConcernLevel")],
            &parsed.options,
        );
        let names = [("w", "w"), ("wtimeoutMS", "wTimeoutMS"), ("journal", "journal")];
        judge_concern(&case["writeConcern"], &names, &parsed.options);
    });
}

fn judge_concern(expected: &Json, names: &[(&str, &str)], options: &Options) {
    if expected.is_null() {
        return;
    }
    for (field, option) in names {
        let found = options.get(option).map_or(Json::Null, |value| match value {
            Value::Text(text) => json!(text),
            Value::Boolean(value) => json!(value),
            Value::Integer(value) => json!(value),
            other => panic!("{option}: {other:?}"),
        });
        assert_eq!(expected[*field], found, "{field}");
    }
}
