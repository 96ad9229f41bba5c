//! Wiring: configuration to cluster, pools, listeners and the admin endpoint; and the way down again.
//!
//! Threads: this one runs the monitors, the acceptors and the admin endpoint; one more for each core serves clients, on a runtime
//! that no other thread touches. Where there is one core, this one serves the clients, too.

mod certificates;
mod check;
mod drain;
mod front;
mod handover;
mod import;
mod notify;
mod reload;
mod run;
mod seeds;
mod sockets;
mod upgrade;
mod watch;

pub use check::{Checked, check_connect};
pub use import::{ImportError, Imported, import_users};
pub use reload::Source;
pub use run::run;
pub use seeds::find_nodes;

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use front::{BoundAdmin, Front, bind_all};
use handover::Passed;
use sockets::Sockets;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime, RuntimeFlavor},
};

use crate::{
    admin::{self, Reloading, View},
    audit::{self, Audit},
    auth::{self, UsersFile},
    client::{Backend, ListenAddress, Logins, Settings, Shared, Source as Credentials, Stage, Terms, upkeep},
    config::{Config, Loader, read_users},
    pool::{self, Pool},
    sandbox::{
        self,
        demo::{DemoOptions, Endpoints},
    },
    shutdown::Shutdown,
    telemetry::counters,
    tls::Reloads,
    upstream::{self, Cluster, SrvError},
};

/// Turns of tasks after which a runtime looks for events though tasks are left to run. With few, a round of messages is cut into many small
/// ones, each of which wakes its receivers anew; with all that came in one round, a receiver finds several at once and sleeps less often,
/// which the sender pays for. This many turns take a few milliseconds.
const EVENT_INTERVAL: u32 = 1024;
/// How long a thread that did something slow for a runtime (a file, a name, a compression) stays for more of it: not for long, that one core goes on with
/// one thread.
const HELPER_IDLE: Duration = Duration::from_millis(50);
/// How long commands in flight may take when Tidegate stops without a drain.
const IN_FLIGHT: Duration = Duration::from_secs(10);
/// How long it may take to close the connections of those that take longer.
const CUT_OFF: Duration = Duration::from_secs(1);
/// How long background tasks may take after that.
const WIND_DOWN: Duration = Duration::from_secs(2);
/// How long the sandbox's primary may take to be seen.
const PRIMARY_LIMIT: Duration = Duration::from_secs(30);
/// How long the nodes may take to end the proxy's own sessions.
const END_SESSIONS: Duration = Duration::from_secs(1);

/// Why the proxy did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another address ([[listener]] or [admin] address; the sandbox \
         takes --listen and --admin)"
    )]
    Listen {
        /// The address.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
    /// Sockets were passed to this process that it has no use for.
    #[error(
        "sockets were passed to this process that no [[listener]] and no [admin] has as its address: {0}; give them listeners, or do not \
         pass them (ListenStream= of the systemd unit; by tidegate reload the running process gives up a listener before an upgrade)"
    )]
    Unused(String),
    /// Sockets that were passed to this process cannot be used.
    #[error("the sockets that were passed to this process (LISTEN_FDS) cannot be used: {0}")]
    Passed(io::Error),
    /// The running process cannot be taken over.
    #[error("cannot take over from the process at {path}: {problem}; it goes on as it was")]
    TakeOver {
        /// Its socket.
        path: String,
        /// Why.
        problem: String,
    },
    /// The audit log cannot be written.
    #[error(
        "cannot write the audit log to {path}: {source}; correct [audit] file, or make its folder writable"
    )]
    Audit {
        /// Its file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The users file cannot be used.
    #[error("{0}")]
    Users(String),
    /// A thread or runtime cannot be made.
    #[error("cannot start a {0}: {1}")]
    Start(&'static str, io::Error),
    /// The sandbox's replica set failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The DNS does not name the nodes.
    #[error(
        "cannot find the nodes of mongodb+srv://: {0}; correct the name in [upstream] uri, or its records"
    )]
    Srv(SrvError),
    /// The connection string and what the DNS told do not go together.
    #[error("the connection string cannot be used as the DNS completes it: {0}")]
    Uri(String),
    /// A set that has just elected its primary does not show it.
    #[error("no primary was seen within {0:?} of starting the proxy; the machine may be too busy: try again")]
    NoPrimary(Duration),
    /// A node that was checked did not answer as it should.
    #[error("{0}")]
    Check(String),
}

/// A running proxy. Dropped without [`Proxy::stop`], it ends when its process does, or the runtime on which it was started.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    front: Front,
    /// Monitors and pools.
    back: Shutdown,
    cores: Vec<CoreThread>,
    admin: Option<SocketAddr>,
    certificates: Arc<ArcSwap<Reloads>>,
    view: Option<Arc<View>>,
    reloading: Arc<Reloading>,
    /// Has the admin endpoint accept nobody any more.
    admin_doors: Shutdown,
    admin_socket: Option<Passed>,
}

/// A proxy that knows its nodes, and has its sockets, and accepts nobody yet.
struct Prepared {
    proxy: Proxy,
    listeners: Vec<front::Bound>,
    admin: Option<(BoundAdmin, admin::Options)>,
    /// To be shown.
    settings: Vec<admin::Setting>,
}

impl Proxy {
    /// Starts a proxy for nodes that are known ([`find_nodes`]); must be called on the `current_thread` runtime that is to run its background work,
    /// and serves the clients where there is one core.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread not be made.
    pub fn start(config: &Config) -> Result<Self, Error> {
        Self::prepare(config, Sockets::default())?.open()
    }

    /// Does all of [`Proxy::start`] but to accept. What is in `sockets` is not bound anew.
    fn prepare(config: &Config, sockets: Sockets) -> Result<Prepared, Error> {
        let back = Shutdown::new();
        let (listeners, admin) = bind_all(config, sockets)?;
        let audit = start_audit(config.audit.as_ref())?;
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (handles, cores) = start_cores(count)?;
        let handles: Arc<[Handle]> = handles.into();

        let pool = Arc::new(ArcSwap::from_pointee(pool_options(config)));
        let options = Arc::clone(&pool);
        let options = move || pool::Options::clone(&options.load());
        let cluster = start_cluster(config.upstream.clone(), options, &handles, &back);
        let logins = start_logins(config, &cluster, &back)?;
        let settings = Arc::new(settings_of(config));
        let shared = Arc::new(Shared::new(cluster, settings, audit, logins, count));
        shared.slow.set_threshold(config.log.slow);
        let upstream = config.upstream.clone();
        let front = Front::new(Arc::clone(&shared), handles, upstream, pool, back.clone());
        let certificates = Arc::new(ArcSwap::from_pointee(certificates::of(config)));
        back.spawn("certificates", certificates::watch(Arc::clone(&certificates)));
        back.spawn("sessions", upkeep::keep_sessions(Arc::clone(&shared)));
        let proxy = Self {
            shared,
            front,
            admin_doors: back.child(),
            back,
            cores,
            admin: None,
            certificates,
            view: None,
            reloading: Arc::default(),
            admin_socket: None,
        };
        Ok(Prepared {
            proxy,
            listeners,
            admin: admin.zip(config.admin.clone()),
            settings: config.settings.clone(),
        })
    }

    fn serve_admin(
        &mut self,
        bound: BoundAdmin,
        options: admin::Options,
        settings: Vec<admin::Setting>,
    ) -> Result<(), Error> {
        let address = bound.address;
        tracing::info!(%address, "serving the admin endpoint");
        self.admin = Some(address);
        self.admin_socket = Some(bound.another);
        let socket = TcpListener::from_std(bound.socket);
        let socket = socket.map_err(|error| Error::Start("listener", error))?;
        let view = Arc::new(View {
            shared: Arc::clone(&self.shared),
            cores: Arc::clone(&self.front.cores),
            listeners: Arc::clone(&self.front.listeners),
            upstream: self.front.upstream.clone(),
            certificates: Arc::clone(&self.certificates),
            reloading: Arc::clone(&self.reloading),
            access: ArcSwap::from_pointee(options.access),
            tls: ArcSwapOption::from_pointee(options.tls),
            settings: ArcSwap::from_pointee(settings),
        });
        self.view = Some(Arc::clone(&view));
        // It is the last to go: it tells how far the way down is.
        let serve = admin::serve(socket, view, self.admin_doors.clone());
        self.back.spawn("admin", serve);
        Ok(())
    }

    /// Where clients are served, with the ports that were found for those configured as 0. A listener with a second address for
    /// secondaries stands here twice.
    #[must_use]
    pub fn listeners(&self) -> Vec<Arc<Terms>> {
        let listeners = self.front.listeners.load();
        listeners.iter().map(|listening| listening.terms()).collect()
    }

    /// Where the admin endpoint is.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Looks whether the files of certificates have changed, rather than waiting for the next look.
    pub fn reload_certificates(&self) {
        let certificates = Arc::clone(&self.certificates);
        drop(tokio::task::spawn_blocking(move || certificates.load().look()));
    }

    /// Opens the audit log's file anew if it was renamed.
    pub fn reopen_audit(&self) {
        self.shared.audit.reopen();
    }

    /// Waits until the primary is known, so that no command would have to wait for it.
    ///
    /// # Errors
    /// [`Error::NoPrimary`] after `limit`.
    async fn primary_known(&self, limit: Duration) -> Result<(), Error> {
        let cluster = &self.shared.cluster;
        let mut news = cluster.subscribe_news();
        let is_known = || cluster.load().topology.primary().is_some();
        let known = async { while !is_known() && news.changed().await.is_ok() {} };
        let waited = tokio::time::timeout(limit, known).await;
        waited.map_err(|_| Error::NoPrimary(limit))
    }

    /// Stops: no new clients, those between two commands are closed, commands in flight finish within ten seconds.
    pub async fn stop(self) {
        self.stop_within(IN_FLIGHT).await;
    }

    /// Stops, with so long for the commands in flight.
    async fn stop_within(self, in_flight: Duration) {
        self.shared.drain.advance(Stage::Stopping);
        self.front.close_doors();
        self.shared.gate.stop();
        self.front.front.begin();
        if !self.front.front.finished(in_flight).await {
            tracing::warn!(
                clients = self.shared.admission.count(),
                "clients were cut off in mid-command"
            );
            self.shared.roster.kill_all();
            self.front.front.finished(CUT_OFF).await;
        }
        upkeep::end_sessions(&self.shared, END_SESSIONS).await;
        self.back.begin();
        self.back.finished(WIND_DOWN).await;
        if !self.shared.audit.close(WIND_DOWN).await {
            tracing::warn!("the audit log could not be written to its end");
        }
        for (stop, thread) in self.cores {
            stop.begin();
            // The thread ends at once; a panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// What all listeners have in common.
fn settings_of(config: &Config) -> Settings {
    Settings {
        limits: config.limits.clone(),
        failover: config.failover.clone(),
    }
}

/// The bounds of every node's pool.
fn pool_options(config: &Config) -> pool::Options {
    let mut options = config.pool.clone();
    if config.auth.source.demands_login() {
        // What is kept warm would be Tidegate's own, and of no use to clients.
        options.min_size = 0;
    }
    options
}

impl Prepared {
    /// Begins to accept.
    fn open(self) -> Result<Proxy, Error> {
        let mut proxy = self.proxy;
        for bound in self.listeners {
            proxy.front.serve(bound)?;
        }
        if let Some((bound, options)) = self.admin {
            proxy.serve_admin(bound, options, self.settings)?;
        }
        Ok(proxy)
    }
}

/// Watches a cluster, with a pool for each node. `pool` tells the bounds of one that is made.
fn start_cluster(
    upstream: upstream::Options,
    pool: impl Fn() -> pool::Options + Send + 'static,
    cores: &Arc<[Handle]>,
    shutdown: &Shutdown,
) -> Arc<Cluster<Pool>> {
    let dialled = Arc::new(upstream.clone());
    let (cores, pools) = (Arc::clone(cores), shutdown.clone());
    Cluster::start(upstream, shutdown, move |address| {
        let dialled = Arc::clone(&dialled);
        Pool::new(address.clone(), pool(), dialled, Arc::clone(&cores), &pools)
    })
}

/// Gets ready to judge logins, if clients must log in.
fn start_logins(
    config: &Config,
    cluster: &Arc<Cluster<Pool>>,
    shutdown: &Shutdown,
) -> Result<Option<Arc<Logins>>, Error> {
    let upstream = Arc::new(config.upstream.clone());
    if !config.auth.source.demands_login() {
        return Ok(None);
    }
    let file = match &config.auth.users_file {
        Some(path) => read_users(path).map_err(|error| Error::Users(error.to_string()))?,
        None => UsersFile::default(),
    };
    let ttl = config.auth.credential_ttl;
    let asks_cluster = config.auth.source == auth::Source::Backend;
    let source = Credentials {
        backend: asks_cluster.then(|| Backend::start(cluster, Arc::clone(&upstream), ttl, shutdown)),
        ..Credentials::default()
    };
    let logins = Logins::new(config.auth.clone(), source, upstream, file);
    let logins = logins.map_err(|error| Error::Start("login service", io::Error::other(error)))?;
    Ok(Some(Arc::new(logins)))
}

/// Opens the audit log, if there shall be one.
fn start_audit(target: Option<&audit::Target>) -> Result<Audit, Error> {
    let Some(target) = target else {
        return Ok(Audit::off());
    };
    Audit::start(target).map_err(|source| Error::Audit {
        path: target.to_string(),
        source,
    })
}

/// The runtimes that serve clients, and the threads that they have of their own. Where there is one core, there is no second thread: both would
/// take turns on it, and Linux looks the descriptors of a process with one thread up for less.
fn start_cores(count: usize) -> Result<(Vec<Handle>, Vec<CoreThread>), Error> {
    let this = Handle::current();
    if count == 1 && this.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok((vec![this], Vec::new()));
    }
    counters::begin_front();
    let started: Result<Vec<_>, _> = (0..count).map(start_core).collect();
    Ok(started?.into_iter().unzip())
}

/// What tells a thread to end, and the thread.
type CoreThread = (Shutdown, JoinHandle<()>);

fn start_core(index: usize) -> Result<(Handle, CoreThread), Error> {
    let runtime = runtime()?;
    let (handle, stop) = (runtime.handle().clone(), Shutdown::new());
    let stopped = stop.clone();
    let thread = thread::Builder::new().name(format!("core-{index}"));
    let thread = thread.spawn(move || {
        counters::begin_core(index);
        runtime.block_on(stopped.requested());
        // A name that is being resolved must not hold the way down up.
        runtime.shutdown_background();
    });
    let thread = thread.map_err(|error| Error::Start("thread", error))?;
    Ok((handle, (stop, thread)))
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .thread_keep_alive(HELPER_IDLE)
        .build()
        .map_err(|error| Error::Start("runtime", error))
}

/// Runs a replica set of this machine's own with a proxy in front of it, until SIGINT or SIGTERM.
///
/// # Errors
/// When either cannot start. Nothing is left running.
pub fn sandbox(options: &DemoOptions, loader: Loader) -> Result<(), Error> {
    let unknown = loader
        .clone()
        .set("upstream.uri", "mongodb://127.0.0.1", "the sandbox's URI");
    // An address that is taken shows now, not once the set is up.
    if let Ok(config) = unknown.load() {
        drop(bind_all(&config, Sockets::default())?);
    }
    runtime()?.block_on(async {
        sandbox::demo::run(options, &mut io::stdout(), async |uri: &str| {
            let config = loader.set("upstream.uri", uri, "the sandbox's URI").load()?;
            let proxy = Proxy::start(&config)?;
            proxy.primary_known(PRIMARY_LIMIT).await?;
            let endpoints = Endpoints {
                client_uri: format!("mongodb://{}/", proxy.listeners()[0].address),
                admin_url: proxy
                    .admin()
                    .map_or("off".to_owned(), |address| format!("http://{address}")),
            };
            Ok::<_, Box<dyn StdError + Send + Sync>>((endpoints, async move || proxy.stop().await))
        })
        .await?;
        Ok(())
    })
}
