//! Wiring: configuration to cluster, pools, listeners and the admin endpoint; and the way down again.
//!
//! Threads: this one runs the monitors, the acceptors and the admin endpoint; one more for each core serves clients, on a runtime
//! that no other thread touches.

mod check;
mod seeds;

pub use check::{Checked, check_connect};
pub use seeds::find_nodes;

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::{
    admin::{self, View},
    client::{Core, Shared, listener},
    config::{Config, Loader},
    pool::Pool,
    sandbox::{
        self,
        demo::{DemoOptions, Endpoints},
    },
    shutdown::Shutdown,
    upstream::{Cluster, SrvError},
};

/// How long commands in flight may take when Tidegate stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long background tasks may take after that.
const WIND_DOWN: Duration = Duration::from_secs(2);

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
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
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
    /// A node that was checked did not answer as it should.
    #[error("{0}")]
    Check(String),
}

/// A running proxy. Dropped without [`Proxy::stop`], it ends when its process does.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Acceptors, sessions, the admin endpoint.
    front: Shutdown,
    /// Monitors and pools.
    back: Shutdown,
    cores: Vec<(Shutdown, JoinHandle<()>)>,
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Proxy {
    /// Starts a proxy for nodes that are known ([`find_nodes`]); must be called on the runtime that is to run its background work.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread not be made.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let (front, back) = (Shutdown::new(), Shutdown::new());
        let bound = bind_all(config)?;
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (runtimes, cores): (Vec<_>, Vec<_>) = start_cores(count)?.into_iter().unzip();
        let handles: Arc<[Handle]> = runtimes.into();

        let upstream = Arc::new(config.upstream.clone());
        let (pool_options, pool_shutdown) = (config.pool.clone(), back.clone());
        let cluster = Cluster::start(config.upstream.clone(), &back, {
            let handles = Arc::clone(&handles);
            move |address| {
                let (options, upstream) = (pool_options.clone(), Arc::clone(&upstream));
                Pool::new(
                    address.clone(),
                    options,
                    upstream,
                    Arc::clone(&handles),
                    &pool_shutdown,
                )
            }
        });
        let shared = Arc::new(Shared::new(cluster, config.limits.clone(), count));
        let client_cores: Arc<[Core]> = handles.iter().map(|handle| Core::new(handle.clone())).collect();
        let mut proxy = Self {
            shared: Arc::clone(&shared),
            front,
            back,
            cores,
            listeners: Vec::new(),
            admin: None,
        };
        for (socket, options) in bound.listeners.into_iter().zip(&config.listeners) {
            let address = socket
                .local_addr()
                .map_err(|error| Error::Start("listener", error))?;
            tracing::info!(%address, "serving clients");
            proxy.listeners.push(address);
            let socket = TcpListener::from_std(socket).map_err(|error| Error::Start("listener", error))?;
            let options = Arc::new(options.clone());
            let accept = listener::accept(
                socket,
                options,
                Arc::clone(&shared),
                Arc::clone(&client_cores),
                proxy.front.clone(),
            );
            proxy.front.spawn("accept", accept);
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
            };
            // It is the last to go: it tells how far the way down is.
            proxy.back.spawn("admin", admin::serve(socket, Arc::new(view)));
        }
        Ok(proxy)
    }

    /// Where clients are served; with a configured port of 0 this tells the one that was found.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Where the admin endpoint is.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Stops: no new clients, those between two commands are closed, commands in flight finish within ten seconds.
    pub async fn stop(self) {
        self.shared.stopping.store(true, Relaxed);
        self.front.begin();
        if !self.front.finished(DRAIN).await {
            tracing::warn!(
                clients = self.shared.admission.count(),
                "clients were cut off in mid-command"
            );
        }
        self.back.begin();
        self.back.finished(WIND_DOWN).await;
        for (stop, thread) in self.cores {
            stop.begin();
            // The thread ends at once; a panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}

struct Bound {
    listeners: Vec<std::net::TcpListener>,
    admin: Option<(std::net::TcpListener, SocketAddr)>,
}

/// Binds every address before anything starts, so that a mistake leaves nothing half done.
fn bind_all(config: &Config) -> Result<Bound, Error> {
    let bind = |address| listener::bind(address).map_err(|source| Error::Listen { address, source });
    let listeners = config
        .listeners
        .iter()
        .filter_map(|listener| listener.address.tcp())
        .map(bind)
        .collect::<Result<_, _>>()?;
    let admin = config
        .admin
        .as_ref()
        .map(|admin| bind(admin.address).map(|socket| (socket, admin.address)))
        .transpose()?;
    Ok(Bound { listeners, admin })
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

/// Runs the proxy until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config) -> Result<(), Error> {
    runtime()?.block_on(async {
        let failed = |error| Error::Start("signal handler", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        // A name server that does not answer must not keep the process from ending.
        let config = tokio::select! {
            found = find_nodes(config) => found?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let proxy = Proxy::start(&config)?;
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("stopping: SIGINT"),
            _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
        }
        proxy.stop().await;
        tracing::info!("stopped");
        Ok(())
    })
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
            let endpoints = Endpoints {
                client_uri: format!("mongodb://{}/", proxy.listeners()[0]),
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
