//! A running proxy is replaced by the next process, on the same host.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    time::Duration,
};

use bson::doc;
use rustix::process::Signal;

use crate::support::{
    Proxy,
    client::{Client, eventually},
    http_get, python, run, shared_set,
    steady::Steady,
};

const DB: &str = "upgrade";
const LIMIT: Duration = Duration::from_secs(30);
const DRAIN: &str = "[drain]\ndeadline = '20s'\n";

#[tokio::test]
async fn upgrades_under_load_refuse_reset_and_fail_nobody() {
    let mut proxy = Proxy::upgradable(&shared_set().uri(), DRAIN);
    let load = Steady::start(proxy.address, 0, 6, Duration::from_millis(1));
    for _ in 0..3 {
        let mut stays = Client::connect(proxy.address).await;
        let cursor = open_cursor(&mut stays).await;
        let commands = load.commands();
        eventually("the clients are at work", LIMIT, async || {
            load.commands() > commands + 300
        })
        .await;
        let next = proxy.upgrade();
        assert_ne!(proxy.pid(), next.pid());
        // The one before has a client with a cursor, and lets it end that.
        assert_eq!(
            next.status()["pid"],
            next.pid(),
            "the admin endpoint was left to the next one, too"
        );
        stays
            .succeed(DB, doc! { "getMore": cursor, "collection": "c" })
            .await;
        stays.closed().await;
        let (status, log) = std::mem::replace(&mut proxy, next).ended_within(LIMIT);
        assert!(
            status.success() && log.contains("the next process has taken over"),
            "{log}"
        );
    }
    let seen = load.stop();
    assert_eq!((seen.failed, &seen.errors), (0, &Vec::new()), "{seen:?}");
    assert!(seen.visits > 100, "{seen:?}");
}

async fn open_cursor(client: &mut Client) -> i64 {
    let documents = [doc! { "n": 1 }, doc! { "n": 2 }, doc! { "n": 3 }];
    client
        .succeed(DB, doc! { "insert": "c", "documents": documents })
        .await;
    let opened = client.succeed(DB, doc! { "find": "c", "batchSize": 1 }).await;
    crate::support::client::batch(&opened).1
}

#[tokio::test]
async fn a_next_process_that_cannot_serve_leaves_the_running_one_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local.sock");
    let with_local = format!("[[listener]]\naddress = {local:?}\n{DRAIN}");
    let proxy = Proxy::upgradable(&shared_set().uri(), &with_local);
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "ping": 1 }).await;
    let mode = fs::metadata(proxy.upgrade_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It has no listener for the socket that is passed to it.
    let elsewhere = tidegate::sandbox::free_ports(1).unwrap()[0];
    let uri = shared_set().uri();
    let text = format!(
        "[upstream]\nuri = {uri:?}\n[[listener]]\naddress = '127.0.0.1:{elsewhere}'\n[[listener]]\naddress = {local:?}\n[admin]\naddress = 'off'\n"
    );
    let file = folder.path().join("proxy.toml");
    fs::write(&file, text).unwrap();
    let mut next = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    next.args(["run", "--config"])
        .arg(&file)
        .arg("--take-over")
        .arg(proxy.upgrade_socket());
    let output = run(&mut next, LIMIT);
    assert!(
        !output.status.success() && output.stderr.contains(&proxy.address.to_string()),
        "{output:?}"
    );
    eventually("the running one has seen that", LIMIT, async || {
        proxy.log().contains("the next process did not take over")
    })
    .await;
    client.succeed(DB, doc! { "ping": 1 }).await;
    assert!(UnixStream::connect(&local).is_ok(), "its file is gone");
    Client::connect(proxy.address)
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
    assert_eq!(http_get(proxy.admin, "/readyz").unwrap().0, 200);
    // It can still be taken over.
    let next = proxy.upgrade();
    drop(client);
    assert!(proxy.ended_within(LIMIT).0.success());
    assert!(UnixStream::connect(&local).is_ok(), "its file is gone");
    Client::connect(next.address)
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
}

#[tokio::test]
async fn a_next_process_that_nobody_can_take_over_from_serves_all_the_same() {
    let proxy = Proxy::upgradable(&shared_set().uri(), DRAIN);
    let folder = tempfile::tempdir().unwrap();
    let (file, blocked) = (folder.path().join("proxy.toml"), folder.path().join("blocked"));
    fs::write(&blocked, "no socket").unwrap();
    let (uri, address, admin) = (shared_set().uri(), proxy.address, proxy.admin);
    let text = format!(
        "[upstream]\nuri = {uri:?}\n[[listener]]\naddress = '{address}'\n[admin]\naddress = '{admin}'\n[upgrade]\nsocket = {blocked:?}\n"
    );
    fs::write(&file, text).unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut next = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    next.args(["run", "--config"])
        .arg(&file)
        .arg("--take-over")
        .arg(proxy.upgrade_socket())
        .stderr(log);
    let mut next = next.spawn().unwrap();
    assert!(proxy.ended_within(LIMIT).0.success());
    let told = || fs::read_to_string(folder.path().join("log")).unwrap();
    eventually("it tells that", LIMIT, async || {
        told().contains("no next one can take over")
    })
    .await;
    Client::connect(address)
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
    let pid = rustix::process::Pid::from_child(&next);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(next.wait().unwrap().success());
}

#[test]
fn where_nobody_runs_a_take_over_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    fs::write(
        &file,
        "[upstream]\nuri = 'mongodb://127.0.0.1:1'\n[admin]\naddress = 'off'\n",
    )
    .unwrap();
    let mut next = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    next.args(["run", "--config"])
        .arg(&file)
        .args(["--take-over", "/no/such.sock"]);
    let output = run(&mut next, LIMIT);
    assert!(
        !output.status.success() && output.stderr.contains("/no/such.sock"),
        "{output:?}"
    );
}

#[tokio::test]
async fn who_reloads_while_a_next_process_takes_over_is_told_to_come_again() {
    let proxy = Proxy::upgradable(&shared_set().uri(), DRAIN);
    let next = UnixStream::connect(proxy.upgrade_socket()).unwrap();
    eventually("it has the sockets", LIMIT, async || {
        proxy.log().contains("the next process takes over")
    })
    .await;
    let (code, answer) = proxy.post("/reload");
    assert!(code == 422 && answer.contains("is taking over"), "{answer}");
    drop(next);
    eventually("it is gone", LIMIT, async || proxy.post("/reload").0 == 200).await;
    assert_eq!(proxy.metric("tidegate_config_reloads_total"), 1.0);
}

#[tokio::test]
async fn a_next_process_that_says_that_it_serves_and_ends_leaves_the_running_one_at_work() {
    let proxy = Proxy::upgradable(&shared_set().uri(), DRAIN);
    let mut next = UnixStream::connect(proxy.upgrade_socket()).unwrap();
    eventually("it has the sockets", LIMIT, async || {
        proxy.log().contains("the next process takes over")
    })
    .await;
    // So that it hears of both at once.
    proxy.halt();
    next.write_all(b"r").unwrap();
    drop(next);
    proxy.signal(Signal::CONT);
    eventually("it has seen that", LIMIT, async || {
        proxy
            .log()
            .contains("the next process ended as soon as it served")
    })
    .await;
    Client::connect(proxy.address)
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
    assert_eq!(http_get(proxy.admin, "/readyz").unwrap().0, 200);
    let next = proxy.upgrade();
    assert!(proxy.ended_within(LIMIT).0.success());
    Client::connect(next.address)
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
}

#[tokio::test]
async fn a_unix_socket_that_is_taken_over_gets_the_access_mode_of_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local.sock");
    let sections = |mode: &str| {
        let upgrade = folder.path().join("upgrade.sock");
        format!(
            "[[listener]]\naddress = {local:?}\nunix_mode = '{mode}'\n[upgrade]\nsocket = {upgrade:?}\n{DRAIN}"
        )
    };
    let proxy = Proxy::start(&shared_set().uri(), &sections("0666"));
    let mode = || fs::metadata(&local).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o666);
    let (uri, address, admin) = (shared_set().uri(), proxy.address, proxy.admin);
    let _next = Proxy::start_at_with(&uri, address, admin, &sections("0600"));
    assert!(proxy.ended_within(LIMIT).0.success());
    assert_eq!(mode(), 0o600);
    assert!(UnixStream::connect(&local).is_ok());
}

/// Binds sockets as systemd does, and becomes the program that it is told.
const ACTIVATE: &str = "
import os, socket, sys
sockets = []
for port in sys.argv[1].split(','):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(('127.0.0.1', int(port)))
    one.listen(100)
    sockets.append(one)
for number, one in enumerate(sockets):
    os.dup2(one.fileno(), 100 + number)
for number in range(len(sockets)):
    os.dup2(100 + number, 3 + number)
os.environ['LISTEN_FDS'] = str(len(sockets))
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test]
async fn sockets_of_the_service_manager_are_used_and_it_is_told_when_that_is_so() {
    let ports = tidegate::sandbox::free_ports(3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, notify) = (folder.path().join("proxy.toml"), folder.path().join("notify"));
    let uri = shared_set().uri();
    let text = format!(
        "[upstream]\nuri = {uri:?}\n[[listener]]\naddress = '127.0.0.1:{}'\n[admin]\naddress = '127.0.0.1:{}'\n",
        ports[0], ports[1]
    );
    fs::write(&file, text).unwrap();
    let told = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(LIMIT)).unwrap();
    let activated = |ports: &str| {
        let mut command = Command::new(python());
        command.args([
            "-c",
            ACTIVATE,
            ports,
            env!("CARGO_BIN_EXE_tidegate"),
            "run",
            "--config",
        ]);
        command.arg(&file).env("NOTIFY_SOCKET", &notify);
        command
    };
    let mut child = activated(&format!("{},{}", ports[0], ports[1]))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next_told = || {
        let mut text = [0; 256];
        let length = told.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert!(next_told().starts_with("READY=1\n"));
    Client::connect(("127.0.0.1", ports[0]))
        .await
        .succeed(DB, doc! { "ping": 1 })
        .await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert!(next_told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(next_told().starts_with("READY=1\n"));
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(next_told(), "STOPPING=1\n");
    assert!(child.wait().unwrap().success());
    // A socket that no listener has.
    let output = run(&mut activated(&format!("{},{}", ports[0], ports[2])), LIMIT);
    let wrong = format!("127.0.0.1:{}", ports[2]);
    assert!(
        !output.status.success() && output.stderr.contains(&wrong),
        "{output:?}"
    );
}

#[test]
fn who_listens_there_and_hands_nothing_over_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("proxy.toml"), folder.path().join("x.sock"));
    let listener = UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || drop(listener.accept().unwrap()));
    fs::write(
        &file,
        "[upstream]\nuri = 'mongodb://127.0.0.1:1'\n[upgrade]\nsocket = 'x.sock'\n[admin]\naddress = 'off'\n",
    )
    .unwrap();
    let mut next = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(next.args(["run", "--config"]).arg(&file), LIMIT);
    assert!(
        !output.status.success() && output.stderr.contains("cannot take over"),
        "{output:?}"
    );
    other.join().unwrap();
}
