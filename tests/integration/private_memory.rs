//! What of a running proxy other processes can see, and that the scan for secrets finds what is there.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::SecretsScan;

const LIMIT: Duration = Duration::from_secs(30);
/// A user that is not root on any system (`nobody`).
const NOBODY: u32 = 65_534;

/// A process of this test's own, killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process as nobody if this is root, so that what it owns is told from what root owns.
fn start(command: &mut Command) -> Running {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(command.current_dir("/").spawn().unwrap())
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether another process of the same user can read the memory of this one.
fn is_readable(pid: u32) -> bool {
    // The environment is part of the memory, and read by the same right.
    let mut command = Command::new("cat");
    command.arg(format!("/proc/{pid}/environ"));
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn nobody_but_root_can_look_into_a_running_proxy_and_it_leaves_no_core_dump() {
    // A copy that nobody may execute, wherever the build is.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tidegate");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let proxy = start(
        Command::new(&program)
            .arg("run")
            .env("TIDEGATE_UPSTREAM__URI", "mongodb://127.0.0.1:1")
            .env("TIDEGATE_LISTENER__0__ADDRESS", "127.0.0.1:0")
            .env("TIDEGATE_ADMIN__ADDRESS", "off"),
    );
    let pid = proxy.0.id();
    let limits = || fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let dumps_nothing = |limits: &str| {
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        core.is_some_and(|line| line.split_ascii_whitespace().filter(|word| *word == "0").count() == 2)
    };
    wait_for("no core dumps", || dumps_nothing(&limits()));
    // What belongs to a process that is not dumpable belongs to root (proc(5)).
    wait_for("files of root's", || {
        fs::metadata(format!("/proc/{pid}/environ")).is_ok_and(|file| file.uid() == 0)
    });
    assert!(!is_readable(pid));
    // The test could fail: any other process of that user is an open book.
    let other = start(&mut Command::new("cat"));
    wait_for("another process", || is_readable(other.0.id()));
}

#[test]
fn the_scan_for_secrets_finds_what_is_there_and_nothing_else() {
    let secret = "kp7Qd2-vW9zRt4yLx";
    let mut child = Running(
        Command::new("cat")
            .env("A_SECRET", secret)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = child.0.id();
    wait_for("its own program", || {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"cat"))
    });
    let scan = SecretsScan::new().forbid("the secret", secret);
    let found = scan.in_memory(pid).unwrap();
    assert!(
        found
            .iter()
            .any(|found| found.starts_with("the secret in memory")),
        "{found:?}"
    );
    let other = SecretsScan::new().forbid("another", secret.chars().rev().collect::<String>());
    assert!(other.in_memory(pid).unwrap().is_empty());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert!(
        scan.in_memory(pid).is_err(),
        "a process that is gone is not a clean one"
    );

    let texts = [
        (format!("x{secret}y"), true),
        ("a3A3UWQyLXZXOXpSdDR5".to_owned(), true),
        ("6b703751".to_owned(), false),
        ("6b703751 64322d7657397a52743479".replace(' ', "") + "4c78", true),
        (secret[1..].to_owned(), false),
        (String::new(), false),
    ];
    for (text, holds) in texts {
        assert_eq!(!scan.in_text("a text", &text).is_empty(), holds, "{text}");
    }
}
