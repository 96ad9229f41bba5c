//! Programs run to their end, within a time limit, with their output at hand when they fail.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// For one script; a test that needs longer should be several.
pub(crate) const SCRIPT_LIMIT: Duration = Duration::from_secs(240);

/// What a program that has ended left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The last line of the standard output as JSON; `Null` if there is none.
    pub(crate) fn json(&self) -> Value {
        let Some(line) = self.stdout.lines().rev().find(|line| !line.trim().is_empty()) else {
            return Value::Null;
        };
        serde_json::from_str(line).unwrap_or_else(|e| panic!("the last line is no JSON ({e}): {self:#?}"))
    }
}

/// Runs `command`, whatever its exit status; kills it and panics after `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Output {
    let folder = tempfile::tempdir().unwrap();
    // Files rather than pipes: nothing has to read them for the program to go on.
    let (out, err) = (folder.path().join("stdout"), folder.path().join("stderr"));
    command
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} cannot be run: {e}"));
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Output {
                status,
                stdout: read(&out),
                stderr: read(&err),
            };
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{command:?} took longer than {limit:?}\n--- stdout\n{}\n--- stderr\n{}",
                read(&out),
                read(&err)
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `command` and panics with its output if it fails.
pub(crate) fn run_well(command: &mut Command, limit: Duration) -> Output {
    let output = run(command, limit);
    if !output.status.success() {
        panic!(
            "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
            output.status, output.stdout, output.stderr
        );
    }
    output
}

/// Runs a Python script (relative to `tests/`) in the pinned environment and returns the JSON of its last line.
pub(crate) fn run_python(script: impl AsRef<Path>, arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut command = Command::new(super::python());
    // -B: no compiled files among the sources.
    command.args(["-B", "-u"]).arg(script).args(arguments);
    run_well(&mut command, SCRIPT_LIMIT).json()
}

/// Runs JavaScript in the pinned `mongosh`, connected to `uri`, and returns the JSON of its last line: scripts end
/// with an expression, which is printed as relaxed Extended JSON.
pub(crate) fn run_mongosh(uri: &str, script: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(super::mongosh());
    command
        .args([uri, "--quiet", "--norc", "--json=relaxed", "--eval", script])
        // It keeps logs and history in the home folder.
        .env("HOME", home.path());
    let output = run_well(&mut command, SCRIPT_LIMIT);
    serde_json::from_str(output.stdout.trim()).unwrap_or_else(|e| panic!("no JSON ({e}): {output:#?}"))
}
