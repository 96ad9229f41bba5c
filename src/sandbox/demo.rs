//! What the `sandbox` command shows and does, apart from the proxy itself, which its caller starts.

use std::{error::Error as StdError, io::Write, path::PathBuf, time::Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Error, Options, ReplicaSet};

/// What the command line says about the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// Data-bearing nodes.
    pub nodes: usize,
    /// Arbiters.
    pub arbiters: usize,
    /// A folder that is kept; `None` for a temporary one.
    pub data: Option<PathBuf>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            arbiters: 0,
            data: None,
        }
    }
}

/// Where applications and people find the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The `mongodb://` URI for applications.
    pub client_uri: String,
    /// The admin endpoint's base URL, or `off`.
    pub admin_url: String,
}

/// Starts a set, has `start_proxy` start a proxy for its URI (and return once it can serve), shows where everything is, waits for SIGINT or SIGTERM,
/// and stops everything: first the proxy with the function that `start_proxy` returned, then the set.
///
/// # Errors
/// Any [`Error`] of the set; [`Error::Proxy`] with what `start_proxy` returned. Nothing is left running.
///
/// Cancel safety: dropping the future kills the set and removes its temporary folder.
pub async fn run<S>(
    options: &DemoOptions,
    out: &mut (impl Write + ?Sized),
    start_proxy: impl AsyncFnOnce(&str) -> Result<(Endpoints, S), Box<dyn StdError + Send + Sync>>,
) -> Result<(), Error>
where
    S: AsyncFnOnce(),
{
    let mut stop = StopSignal::new()?;
    let set = tokio::select! {
        // The order makes Ctrl-C count even if the set is ready in the same moment.
        biased;
        () = stop.received() => {
            say(out, "\nstopped before it was ready; everything is removed");
            return Ok(());
        }
        set = prepare(options, out) => set?,
    };
    let uri = set.uri();
    let started = tokio::select! {
        biased;
        () = stop.received() => None,
        started = start_proxy(&uri) => Some(started),
    };
    let (endpoints, stop_proxy) = match started {
        Some(Ok(started)) => started,
        Some(Err(error)) => {
            set.shutdown().await?;
            return Err(Error::Proxy(error));
        }
        None => {
            set.shutdown().await?;
            say(out, "\nstopped before it was ready");
            return Ok(());
        }
    };
    say(out, &banner(&set, &endpoints));
    stop.received().await;
    say(out, "\nstopping ...");
    let (folder, kept) = (set.folder().to_owned(), options.data.is_some());
    stop_proxy().await;
    set.shutdown().await?;
    let fate = if kept {
        "kept, and used again by the same command"
    } else {
        "removed"
    };
    say(out, &format!("stopped; {} is {fate}", folder.display()));
    Ok(())
}

/// Starts the set and shows each step with the time since the start.
///
/// # Errors
/// Any [`Error`] of the set.
///
/// Cancel safety: dropping the future kills the set and removes its temporary folder.
pub async fn prepare(options: &DemoOptions, out: &mut (impl Write + ?Sized)) -> Result<ReplicaSet, Error> {
    let options = Options {
        nodes: options.nodes,
        arbiters: options.arbiters,
        data: options.data.clone(),
        ..Options::default()
    };
    let started = Instant::now();
    let out = std::cell::RefCell::new(out);
    ReplicaSet::start(options, |step| {
        say(
            &mut **out.borrow_mut(),
            &format!("{:6.1} s  {step}", started.elapsed().as_secs_f64()),
        );
    })
    .await
}

/// What to do now: addresses, and lines to paste.
pub fn banner(set: &ReplicaSet, endpoints: &Endpoints) -> String {
    let Endpoints {
        client_uri,
        admin_url,
    } = endpoints;
    let direct = set.uri();
    let dashboard = if admin_url == "off" {
        "off".to_owned()
    } else {
        format!("{admin_url}/")
    };
    format!(
        r#"
Tidegate is ready.

  applications    {client_uri}
  dashboard       {dashboard}
  the set itself  {direct}

Try it with mongosh:

mongosh "{client_uri}" --eval 'db.tides.insertOne({{height: 3}}); db.tides.find()'

or with Python (python3 -m pip install pymongo):

from pymongo import MongoClient
tides = MongoClient("{client_uri}").test.tides
tides.insert_one({{"height": 3}})
print(tides.find_one())

Ctrl-C stops everything."#
    )
}

/// A reader that has gone away is no reason to stop.
fn say(out: &mut (impl Write + ?Sized), line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Caught from its making on, so that no signal is lost while the set starts.
struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("listening for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
