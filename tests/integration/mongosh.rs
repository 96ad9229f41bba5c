//! What people do with `mongosh`, everyday and rare, has the same outcome through the proxy as directly.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;
use tidegate::sandbox::{MemberOptions, Options, ReplicaSet};

use crate::support::{self, Proxy, shared_proxy, shared_set, start_set};

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn everyday_commands_have_the_same_outcome() {
    same_outcome("everyday.js", shared_set(), shared_proxy());
}

#[test]
fn what_people_type_line_by_line_has_the_same_outcome() {
    let direct = steps("commands.js", &shared_set().uri(), "mongosh_lines_direct");
    assert!(direct.len() >= 50, "{} lines", direct.len());
    equal(
        &direct,
        &steps("commands.js", &shared_proxy().uri(), "mongosh_lines_proxy"),
    );
    // And where the connection string names the set.
    let listener = "presents_as = 'replica_set'\nsecondary_address = '127.0.0.1:0'";
    let proxy = Proxy::start_with(&shared_set().uri(), "", listener, "");
    let uri = format!("{}?replicaSet={}", proxy.uri(), shared_set().options().set_name);
    equal(&direct, &steps("commands.js", &uri, "mongosh_lines_alias"));
}

#[test]
fn large_and_far_reaching_steps_have_the_same_outcome() {
    let member = |dc: &str, role: &str| MemberOptions {
        tags: [("dc", dc), ("role", role)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..MemberOptions::default()
    };
    // A set of its own: the script changes its configuration, and counts the reads of each node, which other tests
    // and mirrored reads would blur.
    let set = start_set(Options {
        members: vec![member("east", "a"), member("east", "b"), member("west", "c")],
        mongod_arguments: ["--setParameter", "mirrorReads={samplingRate: 0.0}"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    });
    let proxy = Proxy::start(&set.uri(), "");
    same_outcome("breadth.js", &set, &proxy);
}

#[test]
fn a_shell_goes_on_after_it_stepped_the_primary_down() {
    // A set of its own: an election would disturb the tests that share one.
    let set = start_set(Options::default());
    let proxy = Proxy::start(&set.uri(), "");
    steps("stepdown.js", &proxy.uri(), "mongosh_stepdown");
}

fn same_outcome(script: &str, set: &ReplicaSet, proxy: &Proxy) {
    let direct = steps(script, &set.uri(), "mongosh_direct");
    equal(&direct, &steps(script, &proxy.uri(), "mongosh_proxy"));
}

fn equal(direct: &[Value], proxied: &[Value]) {
    for (direct, proxied) in direct.iter().zip(proxied) {
        let step = &direct["step"];
        assert_eq!(
            direct, proxied,
            "{step} differs: directly left, through the proxy right"
        );
    }
    assert_eq!(direct.len(), proxied.len());
}

/// What a script tells of its steps. Its last line must tell as many, and no failure.
fn steps(script: &str, uri: &str, database: &str) -> Vec<Value> {
    let home = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mongosh");
    let variables = format!("var database = '{database}', nodes = 3");
    let mut command = Command::new(support::mongosh());
    command
        .args([uri, "--quiet", "--norc", "--eval", &variables])
        .arg("--file")
        .arg(folder.join("steps.js"))
        .arg("--file")
        .arg(folder.join(script))
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
