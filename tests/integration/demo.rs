//! The README's first command as a person runs it: what it shows works when it is pasted, and Ctrl-C leaves nothing.

use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidegate::sandbox::{Guard, free_ports};

use crate::support::{
    self, Client,
    client::{batch, eventually},
    http_get, run,
};

/// What the machine may be busy with besides; a start takes some four seconds.
const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const FAILURE_LIMIT: Duration = Duration::from_secs(10);
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);
const PORT_TRIES: usize = 5;
const POLL: Duration = Duration::from_millis(20);
const FIRST_STEP: &str = " s  mongod v";
/// The last line that is shown before it waits for Ctrl-C.
const LAST_LINE: &str = "Ctrl-C stops everything.\n";

/// `tidegate sandbox` on free ports, told to stop when dropped, and ended with the test process in any case.
struct Sandbox {
    listen: SocketAddr,
    admin: SocketAddr,
    /// `None` once it has been reaped.
    child: Option<Child>,
    guard: Guard,
    log: PathBuf,
    /// What was shown when the first step was.
    early: String,
    _folder: TempDir,
}

impl Sandbox {
    /// Starts it and waits until it shows its last line. Without `--admin` among `arguments`, that is a free port.
    fn start(arguments: &[&str]) -> Self {
        for _ in 0..PORT_TRIES {
            let mut sandbox = Self::spawn(arguments);
            let early = sandbox.wait_for(FIRST_STEP);
            let last = early.and_then(|early| {
                sandbox.early = early;
                sandbox.wait_for(LAST_LINE)
            });
            match last {
                Ok(_) => return sandbox,
                Err(why) if why.contains("Address already in use") => continue,
                Err(why) => panic!("{why}"),
            }
        }
        panic!("no ports were free for long enough in {PORT_TRIES} tries");
    }

    fn spawn(arguments: &[&str]) -> Self {
        let ports = free_ports(2).unwrap();
        let [listen, admin] = [0, 1].map(|i| SocketAddr::from(([127, 0, 0, 1], ports[i])));
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("shown");
        let (listens, serves) = (listen.to_string(), admin.to_string());
        let mut all = vec!["sandbox", "--listen", &listens];
        all.extend(arguments);
        if !arguments.contains(&"--admin") {
            all.extend(["--admin", &serves]);
        }
        let all: Vec<OsString> = all.into_iter().map(OsString::from).collect();
        // Grace for what it has started to end in order.
        let guard = Guard::for_kept(STOP_LIMIT.as_secs() as u32).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let child = guard.spawn(program, &all, &log).unwrap();
        Self {
            listen,
            admin,
            child: Some(child),
            guard,
            log,
            early: String::new(),
            _folder: folder,
        }
    }

    /// What a terminal would show by now.
    fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `part` is shown, and returns all that is shown at that moment.
    fn wait_for(&mut self, part: &str) -> Result<String, String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let ended = self.reap_if_ended();
            let shown = self.shown();
            if let Some(code) = ended {
                return Err(format!(
                    "it ended with {code:?} before it showed {part:?}\n{shown}"
                ));
            }
            if shown.contains(part) {
                return Ok(shown);
            }
            if Instant::now() >= deadline {
                return Err(format!("no {part:?} after {READY_LIMIT:?}\n{shown}"));
            }
            thread::sleep(POLL);
        }
    }

    /// The exit code, `None` within for a signal, if it has just been found ended.
    fn reap_if_ended(&mut self) -> Option<Option<i32>> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().unwrap()?;
        self.guard.forget(child.id());
        self.child = None;
        Some(status.code())
    }

    fn end_with(&mut self, signal: Signal) -> Option<Option<i32>> {
        kill_process(Pid::from_child(self.child.as_ref()?), signal).ok()?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(code) = self.reap_if_ended() {
                return Some(code);
            }
            thread::sleep(POLL);
        }
        None
    }

    /// Presses Ctrl-C, which must end it well and in time; returns all that was shown.
    fn interrupt(mut self) -> String {
        let code = self.end_with(Signal::INT);
        let shown = self.shown();
        assert_eq!(
            code,
            Some(Some(0)),
            "SIGINT ends it within {STOP_LIMIT:?}\n{shown}"
        );
        shown
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.end_with(Signal::TERM).is_none()
            && let Some(child) = self.child.as_mut()
        {
            let _ = self.guard.kill(child);
        }
    }
}

/// The programs, by name, of all processes with `folder` among their arguments, as the kernel knows them.
fn programs_of(folder: &Path) -> Vec<String> {
    let mention = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines
        .filter(|line| line.contains(mention))
        .map(|line| {
            let program = line.split('\0').next().unwrap_or_default();
            program.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect()
}

fn count(programs: &[String], name: &str) -> usize {
    programs.iter().filter(|program| *program == name).count()
}

/// What stands between two parts of a text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text
        .split_once(before)
        .and_then(|(_, rest)| rest.split_once(after));
    found
        .unwrap_or_else(|| panic!("nothing between {before:?} and {after:?} in {text}"))
        .0
}

async fn documents(client: &mut Client, collection: &str) -> Vec<Document> {
    let reply = client.succeed("test", doc! { "find": collection }).await;
    batch(&reply).0
}

#[tokio::test]
async fn what_it_shows_can_be_pasted_and_ctrl_c_leaves_nothing() {
    let sandbox = Sandbox::start(&[]);
    let uri = format!("mongodb://{}/", sandbox.listen);
    let dashboard = format!("http://{}/", sandbox.admin);
    let shown = sandbox.shown();
    // An election lies between the first step and the last line.
    assert!(
        !sandbox.early.contains("is ready"),
        "steps are shown as they happen: {}",
        sandbox.early
    );
    assert_steps(&shown);
    for line in [
        format!("  applications    {uri}\n"),
        format!("  dashboard       {dashboard}\n"),
        format!("\nmongosh \"{uri}\" --eval 'db.tides.insertOne({{height: 3}}); db.tides.find()'\n"),
    ] {
        assert!(shown.contains(&line), "{line:?} is not in {shown}");
    }
    let folder = Path::new(between(&shown, "data in ", ", which is removed"));
    assert!(folder.is_dir(), "{shown}");
    assert_eq!(count(&programs_of(folder), "mongod"), 3, "{shown}");
    for path in ["/readyz", "/status"] {
        let (code, body) = http_get(sandbox.admin, path).unwrap();
        assert_eq!(code, 200, "{path}: {body}");
    }

    let example = between(&shown, "or with Python", "Ctrl-C")
        .split_once("\n\n")
        .unwrap()
        .1;
    let mut python = Command::new(support::python());
    let output = run(python.args(["-c", example]), SCRIPT_LIMIT);
    assert!(output.status.success(), "{output:#?}");
    let mut client = Client::connect(sandbox.listen).await;
    let inserted = documents(&mut client, "tides").await;
    assert_eq!(inserted.len(), 1, "{inserted:?}");
    let id = inserted[0].get_object_id("_id").unwrap().to_hex();
    let printed = format!("{{'_id': ObjectId('{id}'), 'height': 3}}");
    assert_eq!(output.stdout.trim(), printed);

    let shown = sandbox.interrupt();
    assert_eq!(programs_of(folder), [""; 0], "{shown}");
    assert!(!folder.exists(), "{shown}");
    let fate = format!("stopped; {} is removed\n", folder.display());
    assert!(shown.ends_with(&fate), "{shown}");
}

#[tokio::test]
async fn a_named_folder_keeps_the_data_of_nodes_and_arbiter_for_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().canonicalize().unwrap().join("data");
    let arguments = [
        "--data",
        data.to_str().unwrap(),
        "--nodes",
        "2",
        "--arbiters",
        "1",
        "--admin",
        "off",
    ];
    let height = doc! { "_id": 1, "height": 3 };

    let sandbox = Sandbox::start(&arguments);
    let shown = sandbox.shown();
    for line in [
        format!(" s  data in {}, which is kept\n", data.display()),
        "\n  dashboard       off\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line:?} is not in {shown}");
    }
    let mut client = Client::connect(sandbox.listen).await;
    // What the primary tells of the others is as old as their last heartbeat.
    eventually(
        "all members are known to be up",
        Duration::from_secs(20),
        async || roles(&mut client).await == ["ARBITER", "PRIMARY", "SECONDARY"],
    )
    .await;
    assert_eq!(count(&programs_of(&data), "mongod"), 3);
    let insert = doc! { "insert": "kept", "documents": [&height], "writeConcern": { "w": "majority" } };
    client.succeed("test", insert).await;
    assert_kept(&sandbox.interrupt(), &data);

    let sandbox = Sandbox::start(&arguments);
    let mut client = Client::connect(sandbox.listen).await;
    assert_eq!(documents(&mut client, "kept").await, [height]);
    assert_kept(&sandbox.interrupt(), &data);
}

/// Each step of a first start is shown on a line of its own, in order, with the seconds since the start.
fn assert_steps(shown: &str) {
    let mut rest = shown;
    for step in [
        FIRST_STEP,
        " s  data in ",
        " s  node ",
        " answers at 127.0.0.1:",
        " initiated\n",
        " is primary\n",
        " s  replica set ready: mongodb://",
        "\nTidegate is ready.\n",
    ] {
        let found = rest.find(step);
        let at = found.unwrap_or_else(|| panic!("{step:?} is missing, or not in its place, in {shown}"));
        rest = &rest[at..];
    }
    let seconds: Vec<f64> = shown
        .lines()
        .filter_map(|line| line.split_once(" s  ")?.0.trim().parse().ok())
        .collect();
    assert!(seconds.len() >= 7 && seconds.is_sorted(), "{seconds:?}: {shown}");
}

/// The states of all members, sorted, as the primary tells them through the proxy.
async fn roles(client: &mut Client) -> Vec<String> {
    let status = client.succeed("admin", doc! { "replSetGetStatus": 1 }).await;
    let members = status.get_array("members").unwrap().iter();
    let mut roles: Vec<String> = members
        .map(|member| {
            member
                .as_document()
                .unwrap()
                .get_str("stateStr")
                .unwrap()
                .to_owned()
        })
        .collect();
    roles.sort();
    roles
}

fn assert_kept(shown: &str, data: &Path) {
    let fate = format!(
        "stopped; {} is kept, and used again by the same command\n",
        data.display()
    );
    assert!(shown.ends_with(&fate), "{shown}");
    assert_eq!(programs_of(data), [""; 0], "{shown}");
    assert!(data.is_dir(), "{shown}");
}

#[test]
fn an_address_in_use_is_named_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let free = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    for (listen, admin) in [(&address, &free), (&free, &address)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(["sandbox", "--listen", listen, "--admin", admin, "--data"])
            .arg(&data)
            // Looking for mongod first would end in another message.
            .env("TIDEGATE_MONGOD", home.path().join("no-mongod"));
        let output = run(&mut command, FAILURE_LIMIT);
        assert_eq!(output.status.code(), Some(1), "{output:#?}");
        assert!(
            output.stderr.contains(&address) && output.stderr.contains("in use"),
            "{output:#?}"
        );
        assert_eq!(output.stdout, "", "no step is shown");
        assert!(!data.exists(), "no folder is made");
    }
}
