//! `mapReduce` as current servers take it: code without scopes of its own, and no options that are gone.

use bson::{Bson, Document};

use super::{integer, javascript};

/// Options that servers since 4.4 do not know.
const GONE: [&str; 2] = ["keeptemp", "keepTemp"];

/// Changes the command; what a server would refuse anyway is left for it to say so.
pub(super) fn repair(command: &mut Document) {
    let mut scope = match command.get("scope") {
        Some(Bson::Document(scope)) => scope.clone(),
        _ => Document::new(),
    };
    for name in ["map", "reduce", "finalize"] {
        let Some((code, Some(variables))) = command.get(name).and_then(javascript) else {
            continue;
        };
        let code = code.to_owned();
        scope.extend(variables.clone());
        command.insert(name, Bson::JavaScriptCode(code));
    }
    if !scope.is_empty() {
        command.insert("scope", scope);
    }
    if let Some(Bson::Document(out)) = command.get_mut("out") {
        // Nothing but the collection says now whether it is sharded, and writes are never in one piece.
        out.remove("sharded");
        if matches!(out.get_bool("inline"), Ok(true)) {
            out.insert("inline", 1);
        }
        if matches!(out.get_bool("nonAtomic"), Ok(false)) {
            out.remove("nonAtomic");
        }
    }
    if command.get("limit").and_then(integer) == Some(0) {
        command.remove("limit");
    }
    for name in GONE {
        command.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{JavaScriptCodeWithScope, doc};

    fn with(code: &str, scope: Document) -> Bson {
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: code.to_owned(),
            scope,
        })
    }

    #[test]
    fn scopes_of_functions_become_the_commands() {
        let code = |text: &str| Bson::JavaScriptCode(text.to_owned());
        let mut command = doc! {
            "mapReduce": "c", "map": with("m", doc! {}), "reduce": with("r", doc! {"x": 1}), "finalize": code("f"),
            "scope": {"y": 2}, "out": {"merge": "o", "sharded": true, "nonAtomic": false}, "keeptemp": true, "limit": 0,
        };
        repair(&mut command);
        assert_eq!(
            command,
            doc! {
                "mapReduce": "c", "map": code("m"), "reduce": code("r"), "finalize": code("f"),
                "scope": {"y": 2, "x": 1}, "out": {"merge": "o"},
            }
        );
    }

    #[test]
    fn inline_is_a_number() {
        let mut command = doc! {"mapReduce": "c", "map": "m", "reduce": "r", "out": {"inline": true}};
        repair(&mut command);
        assert_eq!(command.get_document("out").ok(), Some(&doc! {"inline": 1}));
    }

    #[test]
    fn what_is_current_stays_as_it_is() {
        let current = doc! {
            "mapReduce": "c", "map": "m", "reduce": "r", "out": {"merge": "o", "nonAtomic": true}, "limit": 5, "scope": {},
        };
        let mut command = current.clone();
        repair(&mut command);
        assert_eq!(command, current);
    }
}
