//! What stands between load and target: nothing, HAProxy, Tidegate, and what else runs already.
//!
//! HAProxy and Tidegate are started anew for each measurement, so that their memory and pools tell of that run alone.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::Outcome;
use crate::certificates::Authority;
use crate::children::{Core, Running, free_port, wait_listening, wait_until};
use crate::message::{client_hello, find_request, frame_length, is_cursor_reply};
use crate::target::Target;

/// Upstream connections that Tidegate may open where nothing else is said: one for each of the 64 clients of a case that is judged,
/// so that none waits for another there, as none does behind HAProxy.
pub(crate) const POOL_MAX_SIZE: usize = 64;
/// From its start until it serves clients.
const START: Duration = Duration::from_secs(20);

/// Something that the load is sent through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// No proxy at all: what target and load can do.
    Direct,
    /// HAProxy in TCP mode, the yardstick.
    Haproxy,
    Tidegate(Tidegate),
    Other(Other),
}

/// A Tidegate with these settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tidegate {
    pub(crate) binary: PathBuf,
    /// The name in tables.
    pub(crate) name: String,
    /// `[pool] max_size`.
    pub(crate) max_size: usize,
    /// Options that are appended to the connection string, each with its `&`.
    pub(crate) options: String,
    /// What stands between the scheme and the first host: a user, with its `@`.
    pub(crate) user: String,
    /// Further keys of its `[[listener]]`, and sections behind it.
    pub(crate) listener: String,
    /// Further keys of `[pool]`, and sections behind it.
    pub(crate) sections: String,
}

impl Tidegate {
    pub(crate) fn new(binary: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            name: "Tidegate".to_owned(),
            max_size: POOL_MAX_SIZE,
            options: String::new(),
            user: String::new(),
            listener: String::new(),
            sections: String::new(),
        }
    }

    /// The same under another name.
    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The same with one more option in its connection string.
    pub(crate) fn with_option(self, name: &str, value: impl Display) -> Self {
        Self {
            options: format!("{}&{name}={value}", self.options),
            ..self
        }
    }

    /// The same with TLS towards nodes.
    pub(crate) fn with_tls_upstream(self, authority: &Authority) -> Self {
        self.with_option("tls", true)
            .with_option("tlsCAFile", authority.ca().display())
    }

    /// The same with a listener that demands TLS.
    pub(crate) fn with_tls(self, authority: &Authority) -> Self {
        let certificate = authority.server().display().to_string();
        Self {
            listener: format!("[listener.tls]\ncertificate = \"{certificate}\"\n"),
            ..self
        }
    }

    fn configuration(&self, port: u16, admin: u16, target: &Target) -> String {
        let uri = target
            .uri
            .replacen("mongodb://", &format!("mongodb://{}", self.user), 1);
        format!(
            "[upstream]\nuri = \"{uri}{}\"\n\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n{}\n\
             [admin]\naddress = \"127.0.0.1:{admin}\"\n\n[pool]\nmax_size = {}\n{}\n",
            self.options, self.listener, self.max_size, self.sections
        )
    }
}

/// A proxy that somebody else started, for the same target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    name: String,
    port: u16,
    pid: u32,
}

impl FromStr for Other {
    type Err = String;

    /// `NAME=ADDRESS:PID`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (address, pid) = rest.rsplit_once(':')?;
            Some((name, address.parse::<SocketAddr>().ok()?, pid.parse().ok()?))
        });
        match parts {
            Some((name, address, pid)) if address.ip().is_loopback() => Ok(Self {
                name: name.to_owned(),
                port: address.port(),
                pid,
            }),
            _ => Err("a peer is NAME=127.0.0.1:PORT:PID".to_owned()),
        }
    }
}

/// A peer that takes connections.
pub(crate) struct Started {
    /// Where clients connect, on 127.0.0.1.
    pub(crate) port: u16,
    pid: Option<u32>,
    /// It, and what it writes to.
    process: Option<(Running, PathBuf)>,
}

impl Started {
    /// The proxy's process; none when there is no proxy.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Has it end by itself, as an operator would.
    pub(crate) fn end(self) -> Outcome<()> {
        let Some((process, log)) = self.process else {
            return Ok(());
        };
        let status = process.interrupt()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("the proxy ended with {status}; {}", last_words(&log)).into())
    }
}

impl Peer {
    /// The name in tables.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy",
            Self::Tidegate(tidegate) => &tidegate.name,
            Self::Other(other) => &other.name,
        }
    }

    /// Starts the peer on `core` with its files in `folder` and waits until it serves clients.
    pub(crate) fn start(
        &self,
        core: Core,
        target: &Target,
        clients: usize,
        folder: &Path,
    ) -> Outcome<Started> {
        let port = match self {
            Self::Direct => target.port,
            Self::Haproxy | Self::Tidegate(_) => free_port()?,
            Self::Other(other) => other.port,
        };
        let admin = free_port()?;
        let (program, configuration, arguments): (&OsStr, String, &[&str]) = match self {
            Self::Direct | Self::Other(_) => {
                wait_until(START, "a find through the peer", || {
                    Ok(probe(port).unwrap_or_default())
                })?;
                let pid = match self {
                    Self::Other(other) => Some(other.pid),
                    _ => None,
                };
                return Ok(Started {
                    port,
                    pid,
                    process: None,
                });
            }
            Self::Haproxy => (
                OsStr::new("haproxy"),
                haproxy_config(port, target.port, clients),
                &["-db", "-f"],
            ),
            Self::Tidegate(tidegate) => (
                tidegate.binary.as_os_str(),
                tidegate.configuration(port, admin, target),
                &["run", "--config"],
            ),
        };
        // One may run in front of another.
        let [file, log] = ["conf", "log"].map(|ending| folder.join(format!("{port}.{ending}")));
        std::fs::write(&file, configuration)?;
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.push(file.as_os_str());
        let mut process = Running::start(core, program, &all, Some(File::create(&log)?))?;
        wait_listening(port, &mut process, self.name())
            .and_then(|()| {
                wait_until(
                    START,
                    &format!("{} to serve clients", self.name()),
                    || match self {
                        Self::Tidegate(_) => Ok(is_ready(admin).unwrap_or_default()),
                        _ => Ok(probe(port).unwrap_or_default()),
                    },
                )
            })
            .map_err(|e| format!("{e}; {}", last_words(&log)))?;
        Ok(Started {
            port,
            pid: Some(process.pid()),
            process: Some((process, log)),
        })
    }
}

/// The end of what a failed peer wrote.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    format!(
        "the end of its log: {}",
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    )
}

/// Whether Tidegate says so of itself; its listener may demand TLS or a login.
fn is_ready(admin: u16) -> Outcome<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", admin))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// One `hello` and one find on a connection of their own: true once the find yields a document.
fn probe(port: u16) -> Outcome<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reply = Vec::new();
    for request in [client_hello(None)?, find_request(0)?] {
        stream.write_all(&request)?;
        reply.clear();
        let mut some = [0; 4096];
        while frame_length(&reply)?.is_none() {
            match stream.read(&mut some) {
                Ok(0) | Err(_) => return Ok(false),
                Ok(n) => reply.extend_from_slice(&some[..n]),
            }
        }
    }
    Ok(is_cursor_reply(&reply))
}

fn haproxy_config(port: u16, backend: u16, clients: usize) -> String {
    let connections = clients + 100;
    format!(
        "global\n  nbthread 1\n  maxconn {connections}\n\
         defaults\n  mode tcp\n  maxconn {connections}\n  \
         timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n\
         listen relay\n  bind 127.0.0.1:{port} backlog 4096\n  server backend 127.0.0.1:{backend}\n"
    )
}
