//! The replica set that tests, benches and the demo stand on does what it says, and leaves nothing behind.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bson::doc;
use serde_json::json;
use tidegate::sandbox::{Error, MemberState, Options, ReplicaSet};

use crate::support::{self, Proxy, http_get, run_mongosh, run_python, shared_proxy, shared_set, start_set};

/// Set in the process that a test starts to be the owner of a set and to come to a bad end; names a file to report to.
const OWNER_REPORT: &str = "TIDEGATE_TEST_OWNER_REPORT";
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);

/// Whether any process has `folder` among its arguments. Asked of the kernel, not of the code under test.
fn processes_of(folder: &Path) -> Vec<u32> {
    let mention = folder.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.windows(mention.len()).any(|window| window == mention)
    })
    .collect()
}

fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn assert_gone(folder: &Path) {
    wait_until("every process has ended", CLEANUP_LIMIT, || {
        processes_of(folder).is_empty()
    });
    wait_until("the folder is removed", CLEANUP_LIMIT, || !folder.exists());
}

#[tokio::test]
async fn a_set_starts_with_nodes_and_arbiters_and_leaves_nothing() {
    let set = start_set(Options {
        nodes: 2,
        arbiters: 1,
        ..Options::default()
    });
    let states = set.states().await;
    assert_eq!(states[2], MemberState::Arbiter);
    assert!(states[..2].contains(&MemberState::Primary) && states[..2].contains(&MemberState::Secondary));
    assert_eq!(
        set.uri().matches("127.0.0.1:").count(),
        2,
        "arbiters are not for clients: {}",
        set.uri()
    );
    let settings = set.command(0, doc! { "replSetGetConfig": 1 }).await.unwrap();
    let settings = settings
        .get_document("config")
        .unwrap()
        .get_document("settings")
        .unwrap()
        .clone();
    assert_eq!(settings.get_i32("electionTimeoutMillis").unwrap(), 2000);
    assert_eq!(settings.get_i32("heartbeatIntervalMillis").unwrap(), 500);
    // The guard's command line names the folder too.
    assert_eq!(processes_of(set.folder()).len(), 4);
    let folder = set.folder().to_owned();
    drop(set);
    assert_eq!(processes_of(&folder), Vec::<u32>::new());
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_set_survives_what_its_owner_does_to_it() {
    let set = start_set(Options::default());
    let primary = set.primary().await.unwrap();
    let insert = doc! { "insert": "tides", "documents": [{ "_id": 1 }], "writeConcern": { "w": "majority" }, "$db": "t" };
    set.command(primary, insert).await.unwrap();

    set.step_down().await.unwrap();
    let second = set.primary().await.unwrap();
    assert_ne!(second, primary);
    set.wait_ready().await.unwrap();

    set.kill(second).unwrap();
    assert!(matches!(
        set.command(second, doc! { "ping": 1 }).await,
        Err(Error::Call { .. })
    ));
    let third = set.primary().await.unwrap();
    assert_ne!(third, second);
    set.restart(second).await.unwrap();
    set.wait_ready().await.unwrap();

    set.pause(second).unwrap();
    assert_eq!(set.states().await[second], MemberState::Down);
    set.resume(second).unwrap();
    set.wait_ready().await.unwrap();
    let found = set
        .command(
            set.primary().await.unwrap(),
            doc! { "count": "tides", "$db": "t" },
        )
        .await
        .unwrap();
    assert_eq!(found.get_i32("n").unwrap(), 1);
    set.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_uninitiated_set_waits_for_its_configuration() {
    let set = start_set(Options {
        nodes: 1,
        initiate: false,
        ..Options::default()
    });
    assert_eq!(set.states().await, [MemberState::Other]);
    set.command(0, doc! { "replSetInitiate": set.configuration() })
        .await
        .unwrap();
    set.wait_ready().await.unwrap();
}

#[tokio::test]
async fn a_kept_set_starts_again_with_its_data_on_its_ports() {
    let data = tempfile::tempdir().unwrap();
    let options = Options {
        nodes: 1,
        data: Some(data.path().to_owned()),
        ..Options::default()
    };
    let set = start_set(options.clone());
    let uri = set.uri();
    let insert = doc! { "insert": "tides", "documents": [{ "_id": 1 }], "$db": "t" };
    set.command(0, insert).await.unwrap();
    let second = ReplicaSet::start(options.clone(), |_| {}).await.unwrap_err();
    assert!(
        second.to_string().contains("in use by another running sandbox"),
        "{second}"
    );
    set.shutdown().await.unwrap();
    assert_eq!(processes_of(data.path()), Vec::<u32>::new());

    let set = start_set(options);
    assert_eq!(set.uri(), uri);
    let found = set
        .command(0, doc! { "count": "tides", "$db": "t" })
        .await
        .unwrap();
    assert_eq!(found.get_i32("n").unwrap(), 1);
    set.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_mongod_that_ends_at_once_is_shown_with_its_log() {
    let arguments = vec!["--noSuchOption".to_owned()];
    let options = Options {
        nodes: 1,
        mongod_arguments: arguments,
        ..Options::default()
    };
    let error = ReplicaSet::start(options, |_| {}).await.unwrap_err();
    let Error::Node { log, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("noSuchOption"), "{error}");
    assert_gone(log.parent().unwrap().parent().unwrap());
}

/// Runs `this_test` of this program again in a process that owns a set, and lets `end` bring that process to its end.
fn owner_that_ends(this_test: &str, end: impl FnOnce(&mut std::process::Child)) -> (PathBuf, Vec<u32>) {
    let report = tempfile::NamedTempFile::new().unwrap();
    let mut owner = Command::new(env::current_exe().unwrap())
        .args([this_test, "--exact", "--nocapture"])
        .env(OWNER_REPORT, report.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    wait_until("the owner has started its set", Duration::from_secs(120), || {
        assert!(
            owner.try_wait().unwrap().is_none_or(|status| status.success()),
            "the owner failed"
        );
        lines = fs::read_to_string(report.path())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.last().is_some_and(|line| line == "end")
    });
    end(&mut owner);
    owner.wait().unwrap();
    let folder = PathBuf::from(&lines[0]);
    (
        folder,
        lines[1..lines.len() - 1]
            .iter()
            .map(|pid| pid.parse().unwrap())
            .collect(),
    )
}

/// The other side of [`owner_that_ends`]: starts a set, reports its folder and pids, and returns it.
fn be_the_owner() -> Option<ReplicaSet> {
    let report = env::var_os(OWNER_REPORT)?;
    let set = start_set(Options {
        nodes: 2,
        ..Options::default()
    });
    let pids: String = set.pids().iter().map(|pid| format!("{pid}\n")).collect();
    let mut file = File::create(report).unwrap();
    file.write_all(format!("{}\n{pids}end\n", set.folder().display()).as_bytes())
        .unwrap();
    Some(set)
}

#[test]
fn nothing_is_left_of_an_owner_that_was_killed() {
    if let Some(_set) = be_the_owner() {
        // Its killer has long been here by the end of this; if not, the test must not go on for ever.
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let (folder, pids) = owner_that_ends("sandbox::nothing_is_left_of_an_owner_that_was_killed", |owner| {
        owner.kill().unwrap();
    });
    assert_eq!(pids.len(), 2);
    assert_gone(&folder);
}

#[test]
fn nothing_is_left_of_an_owner_that_exits_without_dropping_it() {
    if let Some(set) = be_the_owner() {
        std::mem::forget(set);
        std::process::exit(0);
    }
    let this_test = "sandbox::nothing_is_left_of_an_owner_that_exits_without_dropping_it";
    let (folder, pids) = owner_that_ends(this_test, |_| {});
    assert_eq!(pids.len(), 2);
    assert_gone(&folder);
}

#[test]
fn the_pinned_drivers_reach_the_shared_set() {
    let set = shared_set();
    assert_eq!(support::python(), support::python());
    let seen = run_python("support/python/members.py", &[&set.uri()]);
    assert_eq!(seen["pymongo"], "4.17.0");
    let members: BTreeMap<String, serde_json::Value> = serde_json::from_value(seen["tags"].clone()).unwrap();
    assert_eq!(members[set.address(0)], json!({ "dc": "east", "role": "a" }));
    assert_eq!(members[set.address(2)], json!({ "dc": "west", "role": "c" }));
    let hello = run_mongosh(&set.uri(), "db.hello()");
    assert_eq!(hello["setName"], "sandbox");
    assert_eq!(hello["isWritablePrimary"], true);
}

#[test]
fn the_shared_proxy_serves_the_shared_set() {
    let proxy = shared_proxy();
    assert_eq!(http_get(proxy.admin, "/livez").unwrap().0, 200);
    let hello = run_mongosh(&proxy.uri(), "db.hello()");
    assert_eq!(hello["msg"], "isdbgrid");
    assert!(!proxy.status()["topology"].is_null(), "{}", proxy.status());
}

#[test]
fn a_proxy_that_cannot_start_is_shown_with_its_log() {
    let failure =
        std::panic::catch_unwind(|| Proxy::start(&shared_set().uri(), "[no_such_section]")).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(message.contains("no_such_section"), "{message}");
}
