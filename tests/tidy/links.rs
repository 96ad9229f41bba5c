//! Holds the links of the pages: each file is there, and each heading.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files below `folder` with one of these endings, build products and what is fetched left out.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || ["target", "node_modules"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files(&path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn all(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(Path::new(ROOT), endings, &mut found);
    found
}

/// The text outside of fenced code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Where each `[text](target)` leads.
fn links(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](").map(|(at, found)| at + found.len());
    starts
        .filter_map(|start| text[start..].split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// What a heading is called in links, as the forges that show these pages make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
    });
    kept.collect()
}

fn anchors(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// What is wrong with a link of the page at `path`.
fn broken(path: &Path, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => path.to_owned(),
        _ => path.parent().unwrap().join(file),
    };
    if !file.exists() {
        return Some(format!("{}: {target} is not there", path.display()));
    }
    if heading.is_empty() || anchors(&prose(&fs::read_to_string(file).unwrap())).contains(&heading.to_owned())
    {
        return None;
    }
    Some(format!("{}: {target} has no such heading", path.display()))
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut seen = 0;
    let mut faults = Vec::new();
    for path in all(&[".md"]) {
        let text = prose(&fs::read_to_string(&path).unwrap());
        for target in links(&text) {
            seen += 1;
            faults.extend(broken(&path, target));
        }
    }
    assert!(seen > 80, "{seen} links were found");
    super::assert_none(faults);
}

#[test]
fn pages_that_messages_and_files_name_are_there() {
    let mut seen = 0;
    let mut faults = Vec::new();
    for path in all(&[
        ".rs",
        ".toml",
        ".yaml",
        ".tpl",
        ".txt",
        ".py",
        ".json",
        "Dockerfile",
    ]) {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("docs/") {
            let rest = &text[at..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/_-.".contains(c)));
            let named = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            let is_ours = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
            // Those of measurements are made by the programs that name them.
            if is_ours && named.ends_with(".md") && !named.starts_with("docs/results/") {
                seen += 1;
                if !Path::new(ROOT).join(named).exists() {
                    faults.push(format!("{}: {named} is not there", path.display()));
                }
            }
        }
    }
    assert!(seen > 30, "{seen} pages were named");
    super::assert_none(faults);
}

#[test]
fn broken_links_are_found() {
    let page = Path::new(ROOT).join("docs/deploy.md");
    for target in [
        "drain.md",
        "../README.md#what-it-costs",
        "#behind-haproxy",
        "https://example.com/x",
    ] {
        assert_eq!(broken(&page, target), None, "{target}");
    }
    for target in ["gone.md", "drain.md#gone", "#gone"] {
        assert!(broken(&page, target).is_some(), "{target}");
    }
    assert_eq!(links("a [b](c.md#d) [e](f)"), ["c.md#d", "f"]);
    assert_eq!(
        anchor(" Where `replicaSet=` has to stay"),
        "where-replicaset-has-to-stay"
    );
}
