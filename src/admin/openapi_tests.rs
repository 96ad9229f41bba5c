//! The description for machines, and that for people, say what the table of routes says. Whether answers are as it describes them is tested on a live proxy
//! (`tests/integration/admin_answers.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    access::Need,
    routes::{ROUTES, Verb},
    show::OPENAPI,
};

fn description() -> Value {
    serde_json::from_str(OPENAPI).expect("openapi.json is no JSON")
}

/// Method and path of each operation, with the operation.
fn operations(description: &Value) -> BTreeMap<(String, String), &Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert((method.clone(), path.clone()), operation);
        }
    }
    operations
}

fn method(verb: Verb) -> String {
    match verb {
        Verb::Get => "get".to_owned(),
        Verb::Post => "post".to_owned(),
    }
}

#[test]
fn it_has_every_route_and_no_other() {
    let description = description();
    let described: BTreeSet<_> = operations(&description).into_keys().collect();
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| (method(route.method), route.path.to_owned()))
        .collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&routes).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in src/admin/openapi.json: {missing:?}; only there: {unknown:?}"
    );
}

#[test]
fn parameters_and_rights_are_those_of_the_routes() {
    let description = description();
    let operations = operations(&description);
    for route in ROUTES {
        let operation = operations[&(method(route.method), route.path.to_owned())];
        let empty = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&empty);
        let named = |place: &str| -> BTreeSet<&str> {
            let there = parameters.iter().filter(|parameter| parameter["in"] == place);
            there
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect()
        };
        let expected: BTreeSet<&str> = route.parameters.iter().copied().collect();
        assert_eq!(named("query"), expected, "{}", route.path);
        let braces: BTreeSet<&str> = route.path.split(['{', '}']).nth(1).into_iter().collect();
        assert_eq!(named("path"), braces, "{}", route.path);
        let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(is_open, route.need == Need::Nothing, "{}", route.path);
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("200"), "{}", route.path);
        assert_eq!(responses.contains_key("401"), !is_open, "{}", route.path);
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_referred_to() {
    fn collect<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "$ref" => drop(found.insert(text)),
                        other => collect(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let description = description();
    let mut references = BTreeSet::new();
    collect(&description, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            description.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    for name in description["components"]["schemas"].as_object().unwrap().keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&*reference), "nothing refers to {reference}");
    }
}

#[test]
fn the_page_for_people_has_every_route_with_its_parameters() {
    const PAGE: &str = include_str!("../../docs/admin.md");
    let rows: BTreeSet<_> = PAGE
        .lines()
        .filter(|line| line.starts_with("| GET") || line.starts_with("| POST"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[1].to_lowercase(), cells[2].clone(), cells[3].clone())
        })
        .collect();
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| {
            (
                method(route.method),
                route.path.to_owned(),
                route.parameters.join(", "),
            )
        })
        .collect();
    assert_eq!(rows, routes, "docs/admin.md, left, and the routes, right, differ");
}
