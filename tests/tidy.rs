//! Holds what `ARCHITECTURE.md` says of the sources: which module may import which, and how long a file gets; and the links of the pages.
//!
//! The sources are read as text. Comments and literals are left out; test modules count like all else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "tidy/links.rs"]
mod links;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The layers from bottom to top: a module may import modules of lower layers only. Modules of the same layer do not
/// know each other.
const LAYERS: &[&[&str]] = &[
    &["wire", "topology", "auth"],
    &["net", "command"],
    &["routing", "failover"],
    &["upstream"],
    &["pool"],
    &["client"],
    &["replication"],
    &["admin"],
    &["config"],
    &["app"],
    &["cli"],
    &["main"],
];
/// All may import these, and these import none.
const LEAVES: &[&str] = &["audit", "shutdown", "telemetry", "tls"];
/// Beside the layers: may import `upstream` and below ...
const SANDBOX: &str = "sandbox";
const SANDBOX_ABOVE: &str = "upstream";
/// ... and is imported by these alone.
const SANDBOX_USERS: &[&str] = &["app", "cli"];

const MOST_LINES: usize = 500;
/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[(
    "topology/machine_tests.rs",
    "one table of cases for one state machine, read side by side",
)];

/// Words that mark unfinished work.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "unimplemented!", "todo!"];

/// A source file of the crate, and what the rules need to know of it.
struct Source {
    /// Relative to `src/`.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super::` lead from the file's own items to the crate's root.
    fn depth(&self) -> usize {
        let folders = self.path.matches('/').count();
        if self.path.ends_with("/mod.rs") {
            folders
        } else {
            folders + 1
        }
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn is_known(module: &str) -> bool {
    layer(module).is_some() || LEAVES.contains(&module) || module == SANDBOX
}

fn may_import(from: &str, to: &str) -> bool {
    if from == to || LEAVES.contains(&to) {
        return from == to || !LEAVES.contains(&from);
    }
    if to == SANDBOX {
        return SANDBOX_USERS.contains(&from);
    }
    match (layer(from), layer(to)) {
        (Some(from), Some(to)) => to < from,
        (None, Some(to)) => from == SANDBOX && Some(to) <= layer(SANDBOX_ABOVE),
        _ => false,
    }
}

/// Blanks comments and the contents of string and character literals, so that what is left is code.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = comment_length(rest)
            .or_else(|| literal_length(rest, code.last().copied()))
            .unwrap_or(0);
        if length == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.push(b' ');
            at += length;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn comment_length(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

fn literal_length(rest: &[u8], before: Option<u8>) -> Option<usize> {
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if rest[0] == b'r' && (!in_word || matches!(before, Some(b'b' | b'c'))) {
        let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let end: Vec<u8> = [b'"']
                .into_iter()
                .chain(std::iter::repeat_n(b'#', hashes))
                .collect();
            let start = 2 + hashes;
            let found = rest[start..].windows(end.len()).position(|window| window == end);
            return Some(found.map_or(rest.len(), |at| start + at + end.len()));
        }
    }
    match rest {
        [b'"', ..] => quoted_length(rest, b'"'),
        // A lifetime has no closing quote after one character; an escape always is a literal.
        [b'\'', b'\\', ..] => quoted_length(rest, b'\''),
        [b'\'', after @ ..] => {
            let width = std::str::from_utf8(&after[..after.len().min(4)])
                .map_or_else(|e| e.valid_up_to(), str::len)
                .min(4);
            let text = String::from_utf8_lossy(&after[..width]).into_owned();
            let first = text.chars().next()?.len_utf8();
            (after.get(first) == Some(&b'\'')).then_some(first + 2)
        }
        _ => None,
    }
}

fn quoted_length(rest: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    Some((at + 1).min(rest.len()))
}

/// The top-level modules that `source` names, by `crate::`, `tidegate::` (in `main.rs`) or enough `super::`.
fn imports(source: &Source) -> BTreeSet<String> {
    let code: String = code_of(&source.text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let code = code
        .replace(" ::", "::")
        .replace(":: ", "::")
        .replace("{ ", "{")
        .replace(", ", ",");
    let mut found = BTreeSet::new();
    let roots: &[&str] = if source.module() == "main" {
        &["crate::", "tidegate::"]
    } else {
        &["crate::"]
    };
    for root in roots {
        for (at, _) in code.match_indices(root) {
            if !ends_in_word(&code[..at]) {
                found.extend(names(&code[at + root.len()..]));
            }
        }
    }
    for (at, _) in code.match_indices("super::") {
        if ends_in_word(&code[..at]) || code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut supers = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, supers) = (next, supers + 1);
        }
        // Inline modules make the way to the root longer, never shorter: what is left after that many steps may
        // belong to a module itself, so only names of top-level modules count.
        if supers >= source.depth() {
            found.extend(names(rest).into_iter().filter(|name| is_known(name)));
        }
    }
    found.remove("self");
    found
}

fn ends_in_word(before: &str) -> bool {
    before
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The first segments of the path, or of the paths in braces, that `rest` begins with.
fn names(rest: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Every breach of the import rules in `source`.
fn forbidden_edges(source: &Source) -> Vec<String> {
    let from = source.module();
    // The list of modules itself.
    if from == "lib" {
        return Vec::new();
    }
    if !is_known(from) {
        return vec![format!(
            "{}: module `{from}` has no layer: give it one in tests/tidy.rs",
            source.path
        )];
    }
    let forbidden = imports(source).into_iter().filter(|to| !may_import(from, to));
    forbidden
        .map(|to| format!("{}: `{from}` must not import `{to}`", source.path))
        .collect()
}

/// Every breach of the other rules in `source`.
fn untidiness(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    let listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    if lines > MOST_LINES && !listed {
        faults.push(format!(
            "{}: {lines} lines, more than {MOST_LINES}: it holds more than one idea",
            source.path
        ));
    }
    if lines <= MOST_LINES && listed {
        faults.push(format!(
            "{}: short enough now, take it off LONG_FILES in tests/tidy.rs",
            source.path
        ));
    }
    if !source.text.starts_with("//!") {
        faults.push(format!(
            "{}: does not begin with `//!` and the module's job",
            source.path
        ));
    }
    for word in UNFINISHED {
        let mut places = source.text.match_indices(word);
        if places.any(|(at, _)| !ends_in_word(&source.text[..at])) {
            faults.push(format!("{}: holds `{word}`", source.path));
        }
    }
    faults
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources): (Vec<PathBuf>, _) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources
}

fn assert_none(faults: Vec<String>) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn imports_go_down_the_layers_only() {
    let sources = sources();
    assert!(
        sources.iter().any(|source| source.path == "main.rs"),
        "the sources were not found"
    );
    assert_none(sources.iter().flat_map(forbidden_edges).collect());
}

#[test]
fn files_are_short_begin_with_their_job_and_hold_no_unfinished_work() {
    let sources = sources();
    let missing = LONG_FILES
        .iter()
        .filter(|(path, _)| sources.iter().all(|source| source.path != *path));
    let missing: Vec<String> = missing
        .map(|(path, _)| format!("LONG_FILES names {path}, which is gone"))
        .collect();
    assert_none(missing);
    assert_none(sources.iter().flat_map(untidiness).collect());
}

#[test]
fn the_scanner_finds_every_way_to_import() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("wire/mod.rs", "use crate::pool::Options;", &["pool"]),
        (
            "wire/a.rs",
            "use crate::{command::{table, row}, topology, pool::*, self as tidegate};",
            &["command", "pool", "topology"],
        ),
        (
            "wire/a.rs",
            "use crate::{\n    command,\n    // client,\n    pool,\n};",
            &["command", "pool"],
        ),
        (
            "wire/a.rs",
            "fn f() -> crate::client::Limits { crate :: pool::new() }",
            &["client", "pool"],
        ),
        ("wire/a.rs", "pub(in crate::wire) fn f() {}", &["wire"]),
        (
            "wire/a.rs",
            "macro_rules! m { () => { $crate::app::run() } }",
            &["app"],
        ),
        (
            "wire/a.rs",
            "// use crate::pool;\n/// [`crate::client`]\n/* /* crate::app */ crate::cli */\nfn f() {}",
            &[],
        ),
        (
            "wire/a.rs",
            r####"const A: &str = "crate::pool \" crate::app"; const B: &str = r#"crate::cli " "#;"####,
            &[],
        ),
        (
            "wire/a.rs",
            "fn f<'a>(x: &'a u8) -> char { if *x > 0 { '\"' } else { crate::pool::c('\\'') } }",
            &["pool"],
        ),
        ("wire/a.rs", "use my_crate::pool;", &[]),
        ("wire/mod.rs", "use super::pool::Options;", &["pool"]),
        ("wire/a.rs", "use super::pool::Options;", &[]),
        (
            "wire/a.rs",
            "use super::super::{pool, command};",
            &["command", "pool"],
        ),
        (
            "wire/a.rs",
            "mod tests { use super::*; use super::super::super::client::x; }",
            &["client"],
        ),
        ("shutdown.rs", "use super::app;", &["app"]),
        ("main.rs", "fn main() { tidegate::cli::main() }", &["cli"]),
        (
            "wire/a.rs",
            "#[cfg(test)]\nmod tests { use crate::config::Config; }",
            &["config"],
        ),
    ];
    for (path, text, expected) in cases {
        let source = Source {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(imports(&source), expected, "{path}: {text}");
    }
}

#[test]
fn the_rules_forbid_what_the_design_forbids() {
    let allowed = [
        ("command", "wire"),
        ("cli", "config"),
        ("main", "cli"),
        ("sandbox", "upstream"),
        ("sandbox", "wire"),
        ("app", "sandbox"),
        ("wire", "telemetry"),
        ("pool", "pool"),
        ("tls", "tls"),
    ];
    let forbidden = [
        ("wire", "command"),
        ("wire", "topology"),
        ("routing", "failover"),
        ("pool", "config"),
        ("upstream", "pool"),
        ("sandbox", "pool"),
        ("sandbox", "config"),
        ("admin", "sandbox"),
        ("upstream", "sandbox"),
        ("telemetry", "wire"),
        ("tls", "shutdown"),
        ("wire", "SomeType"),
    ];
    for (from, to) in allowed {
        assert!(may_import(from, to), "{from} -> {to}");
    }
    for (from, to) in forbidden {
        assert!(!may_import(from, to), "{from} -> {to}");
        let source = Source {
            path: format!("{from}/a.rs"),
            text: format!("//! x\nuse crate::{to}::y;"),
        };
        assert_eq!(forbidden_edges(&source).len(), 1, "{from} -> {to}");
    }
    let unlisted = Source {
        path: "novelty/mod.rs".to_owned(),
        text: "//! x".to_owned(),
    };
    assert_eq!(forbidden_edges(&unlisted).len(), 1);
}

#[test]
fn untidy_files_are_found() {
    let tidy = "//! Does one thing.\nfn f() {}\n";
    let cases = [
        (tidy.to_owned(), 0),
        ("fn f() {}\n".to_owned(), 1),
        (format!("{tidy}// TODO: more\n"), 1),
        (format!("{tidy}fn g() {{ unimplemented!() }}\n"), 1),
        (format!("{tidy}{}", "\n".repeat(MOST_LINES)), 1),
    ];
    for (text, faults) in cases {
        let found = untidiness(&Source {
            path: "wire/a.rs".to_owned(),
            text,
        });
        assert_eq!(found.len(), faults, "{found:?}");
    }
}
