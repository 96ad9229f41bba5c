//! The everyday commands of `mongosh` have the same outcome through the proxy as directly.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;
use tidegate::sandbox::Options;

use crate::support::{self, Proxy, shared_proxy, shared_set, start_set};

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn everyday_commands_have_the_same_outcome() {
    let direct = steps("everyday.js", &shared_set().uri(), "mongosh_direct");
    let proxied = steps("everyday.js", &shared_proxy().uri(), "mongosh_proxy");
    for (direct, proxied) in direct.iter().zip(&proxied) {
        let step = &direct["step"];
        assert_eq!(
            direct, proxied,
            "{step} differs: directly left, through the proxy right"
        );
    }
    assert_eq!(direct.len(), proxied.len());
}

#[test]
fn a_shell_goes_on_after_it_stepped_the_primary_down() {
    // A set of its own: an election would disturb the tests that share one.
    let set = start_set(Options::default());
    let proxy = Proxy::start(&set.uri(), "");
    steps("stepdown.js", &proxy.uri(), "mongosh_stepdown");
}

/// What a script tells of its steps. Its last line must tell as many, and no failure.
fn steps(script: &str, uri: &str, database: &str) -> Vec<Value> {
    let home = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mongosh")
        .join(script);
    let variables = format!("var database = '{database}', nodes = 3");
    let mut command = Command::new(support::mongosh());
    command
        .args([uri, "--quiet", "--norc", "--eval", &variables, "--file"])
        .arg(script)
        // It keeps logs and history in the home folder.
        .env("HOME", home.path());
    let output = support::run(&mut command, DEADLINE);
    assert!(output.status.success(), "{output:#?}");
    let mut lines: Vec<Value> = output
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let summary = lines.pop().unwrap_or_default();
    assert_eq!(summary["failures"], 0, "{output:#?}");
    assert_eq!(summary["steps"], lines.len(), "{output:#?}");
    lines
}
