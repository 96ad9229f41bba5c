//! A node and a client around a proxy that valgrind(1) runs and counts.
//!
//! Both pause before they send anything, so that the proxy has always come to rest: whether a reply is there already when
//! it is first looked for would otherwise depend on the machine, and so would the count.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use bson::Document;
use rustix::process::{Pid, Signal, kill_process};
use tidegate::sandbox::{Guard, free_ports, temporary_folder};

use crate::wire::{self, Message};

/// Far longer than the proxy takes under valgrind from what it does to its next wait.
const PAUSE: Duration = Duration::from_millis(3);
/// Commands of each kind before those that are told of, so that pools and sessions are there.
const WARM_UP: usize = 10;
/// A start under valgrind takes seconds, and a stop too.
const LIMIT: Duration = Duration::from_secs(90);
const PORT_TRIES: usize = 5;

/// How many commands of each kind to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commands {
    pub(super) finds: usize,
    pub(super) updates: usize,
}

/// Instructions that a proxy executes from its start to its end, of which `commands` are a part.
pub(super) fn instructions(commands: Commands) -> u64 {
    for _ in 0..PORT_TRIES {
        match try_count(commands) {
            Ok(count) => return count,
            Err(log) if log.to_lowercase().contains("address already in use") => {}
            Err(log) => panic!("the proxy did not run under valgrind: {log}"),
        }
    }
    panic!("no ports were free for long enough in {PORT_TRIES} tries");
}

fn try_count(commands: Commands) -> Result<u64, String> {
    let node = node();
    let port = free_ports(1).unwrap()[0];
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let folder = temporary_folder().unwrap();
    let guard = Guard::for_temporary(&folder).unwrap();
    let (file, counts, log) = (
        folder.join("proxy.toml"),
        folder.join("counts"),
        folder.join("log"),
    );
    // Checks of the node take instructions, too, and more of them in a slower run.
    let options = "replicaSet=rs&heartbeatFrequencyMS=600000";
    let configuration = format!(
        "[upstream]\nuri = \"mongodb://{node}/?{options}\"\n[[listener]]\naddress = \"{address}\"\n[admin]\naddress = \"off\"\n"
    );
    fs::write(&file, configuration).unwrap();
    let arguments: [OsString; 6] = [
        "--tool=callgrind".into(),
        format!("--callgrind-out-file={}", counts.display()).into(),
        env!("CARGO_BIN_EXE_tidegate").into(),
        "run".into(),
        "--config".into(),
        file.into(),
    ];
    let program = which("valgrind");
    let mut process = guard.spawn(&program, &arguments, &log).unwrap();
    let told = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    converse(address, &mut process, commands).map_err(|error| format!("{error}\n{}", told()))?;
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let ended = wait_until(|| process.try_wait().unwrap().is_some());
    assert!(ended, "SIGINT did not end it\n{}", told());
    guard.forget(process.id());
    Ok(total(&counts).unwrap_or_else(|| panic!("callgrind wrote no sum\n{}", told())))
}

fn converse(address: SocketAddr, process: &mut Child, commands: Commands) -> io::Result<()> {
    let mut stream = None;
    wait_until(|| {
        stream = TcpStream::connect(address).ok();
        stream.is_some() || process.try_wait().unwrap().is_some()
    });
    let mut stream = stream.ok_or(ErrorKind::NotConnected)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut id = 0;
    let mut ask = |command: &Document, times: usize| -> io::Result<()> {
        for _ in 0..times {
            thread::sleep(PAUSE);
            id += 1;
            let reply = wire::ask(&mut stream, id, command)?;
            assert!(reply.get_f64("ok").is_ok_and(|ok| ok == 1.0), "{reply}");
        }
        Ok(())
    };
    ask(&wire::hello(), 1)?;
    let (find, update) = (wire::find(), wire::update());
    ask(&find, WARM_UP)?;
    ask(&update, WARM_UP)?;
    ask(&find, commands.finds)?;
    ask(&update, commands.updates)
}

/// A node that is the primary of its set, on threads that end with the process.
fn node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, address));
        }
    });
    address
}

fn serve(mut stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = Message::read(&mut stream)? {
        thread::sleep(PAUSE);
        let reply = match request.command() {
            "find" => wire::find_reply(),
            "update" => wire::update_reply(),
            _ => wire::hello_reply(&address.to_string()),
        };
        request.answer(&mut stream, &reply)?;
    }
    Ok(())
}

/// The sum that callgrind writes at the end of its file.
fn total(counts: &Path) -> Option<u64> {
    let text = fs::read_to_string(counts).ok()?;
    let mut sums = text.lines().filter_map(|line| line.strip_prefix("totals: "));
    sums.next_back()?.trim().parse().ok()
}

fn which(program: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is not on PATH; install it (apt-get install {program})"))
}

fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}
