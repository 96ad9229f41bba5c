//! Proxies as processes of their own, as an operator would run them.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, FileType, Mode},
    process::{Pid, Signal, kill_process},
};
use tidegate::sandbox::{Guard, free_ports, temporary_folder};

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const PORT_TRIES: usize = 5;
const POLL: Duration = Duration::from_millis(20);

/// `tidegate run` on free ports; other methods than `log` need it to be running. Stopped with SIGINT when dropped, and with the test process in any case.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where applications connect.
    pub(crate) address: SocketAddr,
    /// The admin endpoint.
    pub(crate) admin: SocketAddr,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
    guard: Guard,
    upgrades: Option<Upgrades>,
}

/// How the next process is to be started.
#[derive(Debug, Clone)]
struct Upgrades {
    uri: String,
    sections: String,
    /// Where the processes meet.
    folder: Arc<tempfile::TempDir>,
}

impl Upgrades {
    fn sections(&self) -> String {
        format!("[upgrade]\nsocket = {:?}\n{}", self.socket(), self.sections)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }
}

impl Proxy {
    /// Starts a proxy for `uri` and waits until `/readyz` says so. `sections` is TOML that comes after `[upstream]`,
    /// one `[[listener]]` and `[admin]`, such as `[pool]` or further listeners.
    pub(crate) fn start(uri: &str, sections: &str) -> Self {
        Self::start_with(uri, "", "", sections)
    }

    /// [`start`](Self::start) with further keys for `[upstream]` and for the first `[[listener]]`.
    pub(crate) fn start_with(uri: &str, upstream: &str, listener: &str, sections: &str) -> Self {
        for _ in 0..PORT_TRIES {
            let proxy = Self::spawn(uri, upstream, listener, sections);
            match proxy.wait_for("/readyz") {
                Ok(()) => return proxy,
                Err(why) if why.to_lowercase().contains("address already in use") => continue,
                Err(why) => panic!("the proxy did not become ready: {why}"),
            }
        }
        panic!("no ports were free for long enough in {PORT_TRIES} tries");
    }

    /// Starts a proxy with the whole of a configuration, which is made for the addresses of its listener and its admin endpoint,
    /// and waits until it is ready.
    pub(crate) fn start_from(configuration: &dyn Fn([SocketAddr; 2]) -> String) -> Self {
        for _ in 0..PORT_TRIES {
            let addresses = Self::free_addresses();
            let proxy = Self::spawn_configured(addresses, &configuration(addresses));
            match proxy.wait_for("/readyz") {
                Ok(()) => return proxy,
                Err(why) if why.to_lowercase().contains("address already in use") => continue,
                Err(why) => panic!("the proxy did not become ready: {why}"),
            }
        }
        panic!("no ports were free for long enough in {PORT_TRIES} tries");
    }

    /// Starts a proxy and waits only until it serves HTTP, for sets that never become ready or not yet.
    pub(crate) fn start_unready(uri: &str, sections: &str) -> Self {
        for _ in 0..PORT_TRIES {
            let proxy = Self::spawn(uri, "", "", sections);
            match proxy.wait_for("/livez") {
                Ok(()) => return proxy,
                Err(why) if why.to_lowercase().contains("address already in use") => continue,
                Err(why) => panic!("the proxy did not start: {why}"),
            }
        }
        panic!("no ports were free for long enough in {PORT_TRIES} tries");
    }

    /// Starts a proxy that the next process can take over.
    pub(crate) fn upgradable(uri: &str, sections: &str) -> Self {
        let upgrades = Upgrades {
            uri: uri.to_owned(),
            sections: sections.to_owned(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        };
        let mut proxy = Self::start(uri, &upgrades.sections());
        proxy.upgrades = Some(upgrades);
        proxy
    }

    /// Where the next process asks an [`upgradable`](Self::upgradable) one.
    pub(crate) fn upgrade_socket(&self) -> PathBuf {
        self.upgrades.as_ref().unwrap().socket()
    }

    /// Has the next process take over from this one; it does by then.
    pub(crate) fn upgrade(&self) -> Self {
        let upgrades = self.upgrades.clone().unwrap();
        let sections = upgrades.sections();
        let mut next = Self::spawn_at([self.address, self.admin], &upgrades.uri, "", "", &sections);
        next.upgrades = Some(upgrades);
        let deadline = Instant::now() + READY_LIMIT;
        while !next.log().contains("took over from the process before") {
            let ended = next.reap_if_ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {}",
                next.log()
            );
            thread::sleep(POLL);
        }
        next
    }

    /// Starts a proxy where another one was, and waits until it is ready.
    pub(crate) fn start_at(uri: &str, address: SocketAddr, admin: SocketAddr) -> Self {
        Self::start_at_with(uri, address, admin, "")
    }

    /// The same with further sections.
    pub(crate) fn start_at_with(uri: &str, address: SocketAddr, admin: SocketAddr, sections: &str) -> Self {
        let proxy = Self::spawn_at([address, admin], uri, "", "", sections);
        match proxy.wait_for("/readyz") {
            Ok(()) => proxy,
            Err(why) => panic!("the proxy did not start again: {why}"),
        }
    }

    fn spawn(uri: &str, upstream: &str, listener: &str, sections: &str) -> Self {
        Self::spawn_at(Self::free_addresses(), uri, upstream, listener, sections)
    }

    fn free_addresses() -> [SocketAddr; 2] {
        let ports = free_ports(2).unwrap();
        [0, 1].map(|i| SocketAddr::from(([127, 0, 0, 1], ports[i])))
    }

    fn spawn_at(
        [address, admin]: [SocketAddr; 2],
        uri: &str,
        upstream: &str,
        listener: &str,
        sections: &str,
    ) -> Self {
        let text = configuration([address, admin], uri, upstream, listener, sections);
        Self::spawn_configured([address, admin], &text)
    }

    fn spawn_configured([address, admin]: [SocketAddr; 2], configuration: &str) -> Self {
        let folder = temporary_folder().unwrap();
        let guard = Guard::for_temporary(&folder).unwrap();
        let file = folder.join("proxy.toml");
        fs::write(&file, configuration).unwrap();
        let arguments: [OsString; 3] = ["run".into(), "--config".into(), file.into()];
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let child = guard.spawn(program, &arguments, &folder.join("log")).unwrap();
        Self {
            address,
            admin,
            folder,
            process: Mutex::new(Some(child)),
            guard,
            upgrades: None,
        }
    }

    fn wait_for(&self, path: &str) -> Result<(), String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(status) = self.reap_if_ended() {
                return Err(format!("it ended with {status}\n{}", self.log()));
            }
            let answer = http_get(self.admin, path);
            if matches!(answer, Ok((200, _))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "{path} after {READY_LIMIT:?}: {answer:?}\n{}",
                    self.log()
                ));
            }
            thread::sleep(POLL);
        }
    }

    /// Exchanges its configuration file for one as of [`start_with`](Self::start_with), in one step.
    pub(crate) fn configure(&self, uri: &str, listener: &str, sections: &str) {
        let text = configuration([self.address, self.admin], uri, "", listener, sections);
        fs::write(self.folder.join("new.toml"), text).unwrap();
        fs::rename(self.folder.join("new.toml"), self.folder.join("proxy.toml")).unwrap();
    }

    /// Exchanges its configuration file for one that nobody can read to its end.
    pub(crate) fn block_configuration(&self) {
        let pipe = self.folder.join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::rename(pipe, self.folder.join("proxy.toml")).unwrap();
    }

    /// `POST` to its admin endpoint: the status code and the body.
    pub(crate) fn post(&self, path: &str) -> (u16, String) {
        http(self.admin, "POST", path, "").unwrap()
    }

    /// The URI for drivers.
    pub(crate) fn uri(&self) -> String {
        format!("mongodb://{}/", self.address)
    }

    /// What the proxy has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// The id of its process, to count its sockets or send it signals.
    pub(crate) fn pid(&self) -> u32 {
        self.process().as_ref().unwrap().id()
    }

    /// The parsed answer of `/status`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let (code, body) = http_get(self.admin, "/status").unwrap();
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }

    /// The sum of a metric's samples in `/metrics` over all label values; 0 if there are none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (code, body) = http_get(self.admin, "/metrics").unwrap();
        assert_eq!(code, 200, "{body}");
        let samples = body.lines().filter_map(|line| line.strip_prefix(name));
        let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
        samples
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Stops the proxy with SIGINT, which must end it in time, and returns its exit status and log.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::INT);
        self.ended()
    }

    /// Waits until it has ended, and returns its exit status and log.
    pub(crate) fn ended(self) -> (ExitStatus, String) {
        self.ended_within(STOP_LIMIT)
    }

    /// The same for one that may take longer.
    pub(crate) fn ended_within(self, limit: Duration) -> (ExitStatus, String) {
        self.end_within(limit)
    }

    /// The same for one whose place is still needed.
    pub(crate) fn end_within(&self, limit: Duration) -> (ExitStatus, String) {
        let ended = self.wait_for_end(limit);
        (
            ended.unwrap_or_else(|| panic!("it did not end in {limit:?}\n{}", self.log())),
            self.log(),
        )
    }

    /// The exit status if the process has just been found ended; `None` while it runs and ever after.
    fn reap_if_ended(&self) -> Option<ExitStatus> {
        let mut process = self.process();
        let child = process.as_mut()?;
        let status = child.try_wait().unwrap()?;
        self.guard.forget(child.id());
        *process = None;
        Some(status)
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(child) = self.process().as_ref() {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// Stops its process, and returns once its main thread has stopped: the signal alone is sent, not yet received.
    pub(crate) fn halt(&self) {
        self.signal(Signal::STOP);
        let pid = self.process().as_ref().map(Child::id).unwrap();
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next()
        };
        while state() != Some('T') {
            thread::sleep(POLL);
        }
    }

    fn wait_for_end(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && self.process().is_some() {
            if let Some(status) = self.reap_if_ended() {
                return Some(status);
            }
            thread::sleep(POLL);
        }
        None
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A proxy under test that has failed already is killed by its guard; a panic here would hide why.
        if thread::panicking() {
            return;
        }
        let ran = self.process().is_some();
        self.signal(Signal::INT);
        if ran && self.wait_for_end(STOP_LIMIT).is_none() {
            panic!("SIGINT did not end the proxy in {STOP_LIMIT:?}\n{}", self.log());
        }
    }
}

fn configuration(
    [address, admin]: [SocketAddr; 2],
    uri: &str,
    upstream: &str,
    listener: &str,
    sections: &str,
) -> String {
    format!(
        "[upstream]\nuri = {uri:?}\n{upstream}\n\n[[listener]]\naddress = \"{address}\"\n{listener}\n\n\
         [admin]\naddress = \"{admin}\"\n\n{sections}\n"
    )
}

/// GET over HTTP/1.1 on a connection of its own: the status code and the body.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    http_get_with(address, path, "")
}

/// The same with further headers, each with its line's end.
pub(crate) fn http_get_with(
    address: SocketAddr,
    path: &str,
    headers: &str,
) -> std::io::Result<(u16, String)> {
    http(address, "GET", path, headers)
}

fn http(address: SocketAddr, method: &str, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "{method} {path} HTTP/1.1
Host: {address}
Connection: close
{headers}
"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not HTTP: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(invalid)?;
    Ok((code, body.to_owned()))
}
