//! The commands that ask the admin endpoint, as an operator runs them: over TLS, by a token, and what they say where that fails.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tidegate::sandbox::free_ports;

use crate::support::{Output, certificates::Authority, run};

const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "full-Zk3x9Qp7Lw5v";
const READ_TOKEN: &str = "read-Hn8c2Vt6Yb1m";

/// A proxy without a replica set, whose admin endpoint speaks TLS and demands a token.
struct Locked {
    process: Child,
    authority: Authority,
    folder: tempfile::TempDir,
    port: u16,
}

impl Locked {
    fn start() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let ports = free_ports(2).unwrap();
        let text = format!(
            "[upstream]\nuri = 'mongodb://127.0.0.1:1/?replicaSet=none'\n[[listener]]\naddress = '127.0.0.1:{}'\n\
             [admin]\naddress = '127.0.0.1:{}'\ntoken = '{TOKEN}'\nread_token = '{READ_TOKEN}'\n\
             [admin.tls]\ncertificate = {:?}\n",
            ports[0],
            ports[1],
            authority.server()
        );
        let file = folder.path().join("proxy.toml");
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--config"]).arg(file);
        command.stdout(Stdio::null()).stderr(log);
        let locked = Self {
            process: command.spawn().unwrap(),
            authority,
            folder,
            port: ports[1],
        };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", locked.port)).is_err() {
            let log = fs::read_to_string(locked.folder.path().join("log")).unwrap();
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        locked
    }

    /// Runs a command with this token.
    fn ask(&self, arguments: &[&str], admin: &str, ca: Option<&Path>, token: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).args(["--admin", admin]);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        match token {
            Some(token) => command.env("TIDEGATE_TOKEN", token),
            None => command.env_remove("TIDEGATE_TOKEN"),
        };
        run(&mut command, LIMIT)
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_command_works_over_tls_and_its_json_is_json() {
    let locked = Locked::start();
    let (url, ca) = (locked.url(), locked.authority.ca());
    for (arguments, code) in [
        ("status", 0),
        ("topology", 0),
        ("pools", 0),
        ("clients", 0),
        ("cursors", 0),
        ("config", 0),
        ("pause", 0),
        ("resume", 0),
        ("reload", 0),
        ("log-level debug --for 1m", 0),
        ("log-level", 0),
        ("avoid 127.0.0.1:1", 0),
        ("avoid 127.0.0.1:1 --off", 0),
        ("reconnect 127.0.0.1:1", 1),
        ("reconnect nowhere:1", 1),
        ("avoid nowhere:1", 1),
        ("log-level loud", 1),
        ("kill 4711", 1),
        ("drain", 0),
    ] {
        let mut arguments: Vec<_> = arguments.split(' ').collect();
        for json in [false, true] {
            if json {
                arguments.push("--json");
            }
            let output = locked.ask(&arguments, &url, Some(&ca), Some(TOKEN));
            let context = format!("{arguments:?}: {output:#?}");
            assert_eq!(output.status.code(), Some(code), "{context}");
            assert_eq!(output.stdout.is_empty(), code == 1, "{context}");
            assert_eq!(output.stderr.is_empty(), code == 0, "{context}");
            if json && code == 0 {
                serde_json::from_str::<Value>(&output.stdout).expect(&context);
            }
            assert!(!format!("{output:?}").contains(TOKEN), "{context}");
        }
    }
}

#[test]
fn commands_that_are_refused_say_why_and_what_to_do() {
    let locked = Locked::start();
    let (url, ca) = (locked.url(), locked.authority.ca());
    let another = Authority::new();
    let other = another.ca();
    let nothing = PathBuf::from("/no/such/ca.pem");
    let plain = format!("http://127.0.0.1:{}", locked.port);
    let free = format!("https://127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let ready = locked.ask(&["status", "--ready"], &url, Some(&ca), None);
    assert!(
        ready.status.code() == Some(1) && ready.stderr.contains("not ready: no node"),
        "{ready:#?}"
    );
    for (command, admin, ca, token, says) in [
        (
            "status",
            &*url,
            Some(&ca),
            None,
            ["demands a token", "--token-file"],
        ),
        (
            "status",
            &url,
            Some(&ca),
            Some("a-token-of-nobody"),
            ["takes another token", "--token-file"],
        ),
        (
            "status",
            &url,
            Some(&ca),
            Some("short"),
            ["TIDEGATE_TOKEN holds no token", "at least 16"],
        ),
        (
            "pause",
            &url,
            Some(&ca),
            Some(READ_TOKEN),
            ["this token is for reading", "[admin] token"],
        ),
        (
            "status",
            &url,
            None,
            Some(TOKEN),
            ["cannot speak TLS with localhost", "--ca"],
        ),
        (
            "status",
            &url,
            Some(&other),
            Some(TOKEN),
            ["cannot speak TLS with localhost", "--ca"],
        ),
        (
            "status",
            &url,
            Some(&nothing),
            Some(TOKEN),
            ["/no/such/ca.pem", "No such file"],
        ),
        (
            "status",
            &plain,
            None,
            Some(TOKEN),
            ["does not answer as an admin endpoint does", "--admin"],
        ),
        (
            "status",
            &free,
            Some(&ca),
            Some(TOKEN),
            ["is it running?", "--admin"],
        ),
        (
            "status",
            "http://127.0.0.1:99999",
            None,
            None,
            ["http://127.0.0.1:99999", "its port is none"],
        ),
        (
            "status",
            "ftp://127.0.0.1",
            None,
            None,
            ["is not the address", "ftp://127.0.0.1"],
        ),
    ] {
        let output = locked.ask(&[command], admin, ca.map(PathBuf::as_path), token);
        assert_eq!(output.status.code(), Some(1), "{admin}: {output:#?}");
        assert!(output.stdout.is_empty(), "{output:#?}");
        for said in says {
            assert!(output.stderr.contains(said), "{said:?}: {output:#?}");
        }
    }
}
