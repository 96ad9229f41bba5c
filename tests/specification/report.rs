//! Runs every file of a specification's folder, case by case, and says what ran.
//!
//! Invariants: a folder without files, a file without cases, an exemption that fits nothing and a failed case each
//! fail the test. Nothing is left out but by an exemption with its reason.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::fetch::specification_tests;

/// What does not run: a file (`valid-auth.json`, `replica-set/no-results.json`) or one of its cases
/// (`valid-auth.json: Escaped username`), and why it cannot apply to a proxy.
pub(crate) type Exemption = (&'static str, &'static str);

/// One case: its name, and what the file says of it.
pub(crate) type Case = (String, Value);

/// Runs `judge` on each case of each JSON file below `folder`; `judge` panics where the case fails. It gets the file's name
/// and the case. A file with a list of `tests` has a case for each, named by its `description`; any other file is one case.
pub(crate) fn run_cases(folder: &str, exemptions: &[Exemption], judge: impl FnMut(&str, &Value)) {
    run_split(folder, exemptions, cases_of, judge);
}

/// [`run_cases`] with another way to take the cases of a file apart.
pub(crate) fn run_split(
    folder: &str,
    exemptions: &[Exemption],
    mut split: impl FnMut(&str, Value) -> Vec<Case>,
    mut judge: impl FnMut(&str, &Value),
) {
    let root = specification_tests().join(folder);
    let files = files_below(&root);
    assert!(!files.is_empty(), "{} holds no tests", root.display());
    let mut unused: Vec<&Exemption> = exemptions.iter().collect();
    let mut exempt = |name: &str| {
        unused.retain(|(exempted, _)| *exempted != name);
        exemptions.iter().any(|(exempted, _)| *exempted == name)
    };
    let (mut ran, mut failed) = (0, Vec::new());
    for file in &files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        if exempt(name) {
            continue;
        }
        let text = fs::read(file).unwrap();
        let content = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cases = split(name, content);
        assert!(!cases.is_empty(), "{folder}/{name} holds no cases");
        for (description, case) in cases {
            let called = format!("{name}: {description}");
            if exempt(&called) {
                continue;
            }
            ran += 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| judge(name, &case))) {
                failed.push(format!("{called}: {}", text_of(&*panic)));
            }
        }
    }
    println!(
        "{folder}: {} files, {ran} cases ran, {} failed",
        files.len(),
        failed.len()
    );
    for (what, reason) in exemptions {
        println!("{folder}: not applicable: {what} ({reason})");
    }
    assert!(failed.is_empty(), "{folder}:\n{}", failed.join("\n"));
    assert!(
        unused.is_empty(),
        "{folder}: these exemptions fit no file or case: {unused:?}"
    );
}

fn cases_of(name: &str, mut content: Value) -> Vec<Case> {
    let description = |case: &Value, or: &str| case["description"].as_str().unwrap_or(or).to_owned();
    match content.get_mut("tests").map(Value::take) {
        Some(Value::Array(cases)) => {
            let numbered = cases.into_iter().enumerate();
            numbered
                .map(|(index, case)| (description(&case, &format!("number {index}")), case))
                .collect()
        }
        _ => vec![(description(&content, name), content)],
    }
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without text".to_owned())
}
