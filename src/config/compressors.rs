//! Lists of compressors in the file.

use super::{
    reader::Section,
    schema,
    tree::{Node, Value},
};
use crate::wire::Compressor;

const FORM: &str = "must be \"all\", a list such as [\"zstd\", \"snappy\"], or [] for none";

/// The compressors that `key` lists, the preferred one first; `None` for all, in whatever order.
pub(super) fn compressors(section: &mut Section<'_>, key: &'static str) -> Option<Vec<Compressor>> {
    let node = section.take(key)?;
    let nodes = match node.value {
        Value::List(nodes) => nodes,
        Value::Text(text) if text == "all" => return None,
        _ => {
            section.mistake(key, FORM);
            return None;
        }
    };
    let mut list = Vec::new();
    for node in nodes {
        match named(&node) {
            Ok(compressor) if list.contains(&compressor) => {
                section.mistake(key, format!("{} is listed twice", compressor.name()));
            }
            Ok(compressor) => list.push(compressor),
            Err(problem) => section.mistake(key, problem),
        }
    }
    Some(list)
}

fn named(node: &Node) -> Result<Compressor, String> {
    let Value::Text(name) = &node.value else {
        return Err(FORM.to_owned());
    };
    name.parse().map_err(|_| unknown(name))
}

/// What is wrong with a name that no compressor has.
pub(super) fn unknown(name: &str) -> String {
    let names = Compressor::NEGOTIABLE.map(Compressor::name);
    let meant = schema::suggest(name, &names).map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("{name:?} is no compressor; there are {}{meant}", names.join(", "))
}
