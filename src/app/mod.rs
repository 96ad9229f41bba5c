//! Wiring: configuration to cluster, pools, listeners and the admin endpoint; and the way down again.
//!
//! Threads: this one runs the monitors, the acceptors and the admin endpoint; one more for each core serves clients, on a runtime
//! that no other thread touches.

mod certificates;
mod check;
mod drain;
mod import;
mod run;
mod seeds;

pub use check::{Checked, check_connect};
pub use import::{ImportError, Imported, import_users};
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

use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
};

use crate::{
    admin::{self, View},
    audit::{self, Audit},
    auth::{self, UsersFile},
    client::{
        Backend, Core, ListenAddress, ListenerOptions, Logins, Reach, Shared, Source, Stage, listener,
        listener::Acceptor, upkeep,
    },
    config::{Config, Loader, read_users},
    pool::{self, Pool},
    sandbox::{
        self,
        demo::{DemoOptions, Endpoints},
    },
    shutdown::Shutdown,
    tls::Reloads,
    topology::Address,
    upstream::{self, Cluster, SrvError},
};

/// How long commands in flight may take when Tidegate stops without a drain.
const IN_FLIGHT: Duration = Duration::from_secs(10);
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

/// A running proxy. Dropped without [`Proxy::stop`], it ends when its process does.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Sessions, which it wakes, and acceptors.
    front: Shutdown,
    /// Has acceptors end.
    doors: Shutdown,
    /// Monitors and pools.
    back: Shutdown,
    cores: Vec<(Shutdown, JoinHandle<()>)>,
    listeners: Vec<Arc<ListenerOptions>>,
    admin: Option<SocketAddr>,
    certificates: Arc<Reloads>,
}

impl Proxy {
    /// Starts a proxy for nodes that are known ([`find_nodes`]); must be called on the runtime that is to run its background work.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread not be made.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let (front, back) = (Shutdown::new(), Shutdown::new());
        let bound = bind_all(config)?;
        let audit = start_audit(config.audit.as_ref())?;
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (runtimes, cores): (Vec<_>, Vec<_>) = start_cores(count)?.into_iter().unzip();
        let handles: Arc<[Handle]> = runtimes.into();

        let mut pool = config.pool.clone();
        if config.auth.source.demands_login() {
            // What is kept warm would be Tidegate's own, and of no use to clients.
            pool.min_size = 0;
        }
        let cluster = start_cluster(config.upstream.clone(), &pool, &handles, &back);
        let logins = start_logins(config, &cluster, &back)?;
        let shared = Arc::new(Shared::new(
            cluster,
            config.limits.clone(),
            config.failover.clone(),
            audit,
            logins,
            count,
        ));
        let client_cores: Arc<[Core]> = handles.iter().map(|handle| Core::new(handle.clone())).collect();
        let mut proxy = Self {
            shared: Arc::clone(&shared),
            front,
            doors: Shutdown::new(),
            back,
            cores,
            listeners: Vec::new(),
            admin: None,
            certificates: Arc::new(certificates::of(config)),
        };
        if !proxy.certificates.is_empty() {
            let watch = certificates::watch(Arc::clone(&proxy.certificates));
            proxy.back.spawn("certificates", watch);
        }
        let upkeep = upkeep::keep_sessions(Arc::clone(&shared));
        proxy.back.spawn("sessions", upkeep);
        for (socket, options) in bound.listeners {
            tracing::info!(address = %options.address, presents_as = options.shown_as(), "serving clients");
            let reached = match &options.reach {
                Reach::Node(node) => {
                    let member = start_member(config, node, &handles, &proxy.back);
                    Arc::new(shared.for_member(member))
                }
                Reach::Cluster | Reach::Secondaries => Arc::clone(&shared),
            };
            let failed = |error| Error::Start("listener", error);
            let acceptor = Acceptor::new(socket).map_err(failed)?;
            let options = Arc::new(options);
            proxy.listeners.push(Arc::clone(&options));
            let accept = listener::accept(
                acceptor,
                options,
                reached,
                Arc::clone(&client_cores),
                proxy.front.clone(),
                proxy.doors.clone(),
            );
            proxy.front.spawn_to_end(accept);
        }
        if let Some((socket, address)) = bound.admin {
            let address = local_address(&socket, address);
            tracing::info!(%address, "serving the admin endpoint");
            proxy.admin = Some(address);
            let socket = TcpListener::from_std(socket).map_err(|error| Error::Start("listener", error))?;
            let view = View {
                shared,
                cores: client_cores,
                listeners: proxy.listeners.clone(),
                upstream: config.upstream.clone(),
                certificates: Arc::clone(&proxy.certificates),
                access: config
                    .admin
                    .as_ref()
                    .map(|admin| admin.access.clone())
                    .unwrap_or_default(),
                tls: config.admin.as_ref().and_then(|admin| admin.tls.clone()),
            };
            // It is the last to go: it tells how far the way down is.
            proxy.back.spawn("admin", admin::serve(socket, Arc::new(view)));
        }
        Ok(proxy)
    }

    /// Where clients are served, with the ports that were found for those configured as 0. A listener with a second address for
    /// secondaries stands here twice.
    #[must_use]
    pub fn listeners(&self) -> &[Arc<ListenerOptions>] {
        &self.listeners
    }

    /// Where the admin endpoint is.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Looks whether the files of certificates have changed, rather than waiting for the next look.
    pub fn reload_certificates(&self) {
        let certificates = Arc::clone(&self.certificates);
        drop(tokio::task::spawn_blocking(move || certificates.look()));
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
        self.doors.begin();
        self.shared.gate.stop();
        self.front.begin();
        if !self.front.finished(in_flight).await {
            tracing::warn!(
                clients = self.shared.admission.count(),
                "clients were cut off in mid-command"
            );
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

/// Watches a cluster, with a pool for each node.
fn start_cluster(
    upstream: upstream::Options,
    pool: &pool::Options,
    cores: &Arc<[Handle]>,
    shutdown: &Shutdown,
) -> Arc<Cluster<Pool>> {
    let dialled = Arc::new(upstream.clone());
    let (pool, cores, pools) = (pool.clone(), Arc::clone(cores), shutdown.clone());
    Cluster::start(upstream, shutdown, move |address| {
        let (pool, dialled) = (pool.clone(), Arc::clone(&dialled));
        Pool::new(address.clone(), pool, dialled, Arc::clone(&cores), &pools)
    })
}

/// Watches one member by itself, as a hidden one is found in no other way.
fn start_member(
    config: &Config,
    node: &Address,
    cores: &Arc<[Handle]>,
    shutdown: &Shutdown,
) -> Arc<Cluster<Pool>> {
    let upstream = upstream::Options {
        seeds: vec![node.clone()],
        direct: true,
        srv: None,
        ..config.upstream.clone()
    };
    let pool = pool::Options {
        min_size: 0,
        ..config.pool.clone()
    };
    start_cluster(upstream, &pool, cores, shutdown)
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
    let source = Source {
        backend: asks_cluster.then(|| Backend::start(cluster, Arc::clone(&upstream), ttl, shutdown)),
        ..Source::default()
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

struct Bound {
    listeners: Vec<(listener::Bound, ListenerOptions)>,
    admin: Option<(std::net::TcpListener, SocketAddr)>,
}

/// Binds every address before anything starts, so that a mistake leaves nothing half done.
fn bind_all(config: &Config) -> Result<Bound, Error> {
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for options in &config.listeners {
        let (socket, mut options) = bind_listener(options.clone())?;
        let second = options.secondary_alias().map(bind_listener).transpose()?;
        if let Some((_, second)) = &second
            && let (Some(twin), Some(found)) = (&mut options.twin, second.address.tcp())
        {
            twin.address = found;
        }
        listeners.push((socket, options));
        listeners.extend(second);
    }
    let bind_admin = |admin: &admin::Options| {
        let address = admin.address;
        let failed = |source| Error::Listen {
            address: address.into(),
            source,
        };
        let socket = listener::bind(address).map_err(failed)?;
        Ok::<_, Error>((socket, address))
    };
    let admin = config.admin.as_ref().map(bind_admin).transpose()?;
    Ok(Bound { listeners, admin })
}

/// Binds a listener, whose options tell then where it is.
fn bind_listener(mut options: ListenerOptions) -> Result<(listener::Bound, ListenerOptions), Error> {
    let failed = |source| Error::Listen {
        address: options.address.clone(),
        source,
    };
    let socket = listener::Bound::bind(&options).map_err(failed)?;
    options.address = socket.address().map_err(failed)?;
    Ok((socket, options))
}

fn local_address(socket: &std::net::TcpListener, configured: SocketAddr) -> SocketAddr {
    socket.local_addr().unwrap_or(configured)
}

type StartedCore = (Handle, (Shutdown, JoinHandle<()>));

/// Starts the threads that serve clients.
fn start_cores(count: usize) -> Result<Vec<StartedCore>, Error> {
    (0..count)
        .map(|index| {
            let runtime = runtime()?;
            let (handle, stop) = (runtime.handle().clone(), Shutdown::new());
            let stopped = stop.clone();
            let thread = thread::Builder::new().name(format!("core-{index}"));
            let thread = thread.spawn(move || {
                runtime.block_on(stopped.requested());
                // A name that is being resolved must not hold the way down up.
                runtime.shutdown_background();
            });
            Ok((
                handle,
                (stop, thread.map_err(|error| Error::Start("thread", error))?),
            ))
        })
        .collect()
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
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
        drop(bind_all(&config)?);
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
