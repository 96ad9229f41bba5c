//! What stands between load and backend: nothing, HAProxy, Tidegate.
//!
//! A peer is started anew for each measurement, so that its memory and pools tell of that run alone.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::children::{Core, Running, free_port, wait_listening, wait_until};
use crate::message::{SET_NAME, client_hello, frame_length, is_cursor_reply};

/// Upstream connections that Tidegate may open: one for each of the 64 clients of the case that is judged, so that
/// none waits for another there, as none does behind HAProxy.
const POOL_MAX_SIZE: usize = 64;

/// Something that the load is sent through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// No proxy at all: what backend and load can do.
    Direct,
    /// HAProxy in TCP mode, the yardstick.
    Haproxy,
    /// Tidegate, by the path of its binary.
    Tidegate(PathBuf),
    /// The same, which adds no sessions to writes.
    TidegateOff(PathBuf),
}

/// A peer that takes connections.
pub(crate) struct Started {
    /// Where clients connect.
    pub(crate) port: u16,
    process: Option<Running>,
}

impl Started {
    /// The proxy's process; none when there is no proxy.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Running::pid)
    }
}

impl Peer {
    /// The name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy",
            Self::Tidegate(_) => "Tidegate",
            Self::TidegateOff(_) => "Tidegate, off",
        }
    }

    /// Starts the peer on `core` with its files in `folder` and waits until a find goes through it.
    pub(crate) fn start(&self, core: Core, backend: u16, clients: usize, folder: &Path) -> Outcome<Started> {
        let port = free_port()?;
        let (program, configuration, arguments): (&OsStr, String, &[&str]) = match self {
            Self::Direct => {
                return Ok(Started {
                    port: backend,
                    process: None,
                });
            }
            Self::Haproxy => (
                OsStr::new("haproxy"),
                haproxy_config(port, backend, clients),
                &["-db", "-f"],
            ),
            Self::Tidegate(path) | Self::TidegateOff(path) => (
                path.as_os_str(),
                tidegate_config(port, backend, matches!(self, Self::Tidegate(_)))?,
                &["run", "--config"],
            ),
        };
        let file = folder.join(format!("{}.conf", self.name()));
        std::fs::write(&file, configuration)?;
        let log = folder.join(format!("{}.log", self.name()));
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.push(file.as_os_str());
        let mut process = Running::start(core, program, &all, Some(File::create(&log)?))?;
        wait_listening(port, &mut process, self.name())
            .and_then(|()| {
                wait_until(Duration::from_secs(10), "a find through the proxy", || {
                    probe(port)
                })
            })
            .map_err(|e| format!("{e}; {}", last_words(&log)))?;
        Ok(Started {
            port,
            process: Some(process),
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

/// One `hello` and one find on a connection of their own: true once the find yields a cursor.
fn probe(port: u16) -> Outcome<bool> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reply = Vec::new();
    for request in [client_hello()?, crate::message::find_request(0)?] {
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

fn tidegate_config(port: u16, backend: u16, exactly_once: bool) -> Outcome<String> {
    let admin = free_port()?;
    let exactly_once = if exactly_once { "auto" } else { "off" };
    Ok(format!(
        "[upstream]\nuri = \"mongodb://127.0.0.1:{backend}/?replicaSet={SET_NAME}\"\n\n\
         [[listener]]\naddress = \"127.0.0.1:{port}\"\n\n\
         [pool]\nmax_size = {POOL_MAX_SIZE}\n\n\
         [failover]\nexactly_once = \"{exactly_once}\"\n\n\
         [admin]\naddress = \"127.0.0.1:{admin}\"\n"
    ))
}
