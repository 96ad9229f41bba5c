//! Holds the commands that the pages show: the command line takes each of them.

use std::{fs, path::Path};

use clap::{Parser, error::ErrorKind};

use super::Cli;

/// The pages for those who run it.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let all = docs.chain([
        root.join("README.md"),
        root.join("proxy.toml"),
        root.join("packaging/tidegate.service"),
    ]);
    all.filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The commands of a page: in code between backticks, and on lines that are indented or a comment's.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.strip_prefix("    ").or_else(|| line.strip_prefix("#   "));
        match code {
            Some(code) => found.extend(command(code)),
            None => found.extend(line.split('`').skip(1).step_by(2).filter_map(command)),
        }
        let started = line.split_once('=').map_or("", |(_, value)| value);
        found.extend(
            started
                .starts_with("/usr/local/bin/")
                .then(|| command(started))
                .flatten(),
        );
    }
    found
}

/// The command in a line of a shell, if it is one of ours, without what is said about it.
fn command(code: &str) -> Option<String> {
    let code = code.trim_start_matches("$ ");
    let code = code.split(" #").next().unwrap_or_default();
    let ours = ["tidegate ", "/usr/local/bin/tidegate "];
    let arguments = ours
        .iter()
        .find_map(|name| code.strip_prefix(name))
        .or_else(|| code.split_once(" -- tidegate ").map(|(_, rest)| rest))
        .or_else(|| code.split_once("cargo run --release -- ").map(|(_, rest)| rest))?;
    // Two blanks are followed by an explanation.
    let arguments = arguments.trim_start().split("  ").next().unwrap_or_default();
    Some(format!("tidegate {}", arguments.trim_end()))
}

/// A word with an example in the place of what stands for a value.
fn filled(word: &str) -> &str {
    match word.split('|').next().unwrap_or(word) {
        "ID" => "7",
        "DURATION" => "5m",
        "[LEVEL]" => "debug",
        other => other,
    }
}

#[test]
fn every_command_in_the_pages_is_taken() {
    let mut seen = 0;
    for (page, text) in pages() {
        for command in commands(&text) {
            seen += 1;
            let words: Vec<_> = command.split_whitespace().map(filled).collect();
            let Err(error) = Cli::try_parse_from(&words) else {
                continue;
            };
            // A command may be named without what it needs.
            let is_named = words.len() == 2 && error.kind() == ErrorKind::MissingRequiredArgument;
            assert!(is_named, "{page}: {command}: {error}");
        }
    }
    assert!(seen > 50, "{seen} commands were found");
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let page = "Use `tidegate status --ready` and\n\n    $ tidegate reload\n    kubectl exec deploy/x -- tidegate pause  # all of it\n\
        # ExecStart=x\nExecStart=/usr/local/bin/tidegate run --config a\n#   tidegate drain    ends it\n    helm test tidegate\nor `tidegated`";
    let found = [
        "tidegate status --ready",
        "tidegate reload",
        "tidegate pause",
        "tidegate run --config a",
        "tidegate drain",
    ];
    assert_eq!(commands(page), found);
}
