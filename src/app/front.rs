//! The listeners of a proxy: bound, served, given other terms, added and removed while it runs.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{
    Error,
    handover::Passed,
    sockets::{Socket, Sockets},
    start_cluster,
};
use crate::{
    admin,
    client::{
        Core, ListenAddress, ListenerOptions, Listeners, Listening, Reach, Shared, Stage, drain, listener,
        listener::Acceptor,
    },
    config::Config,
    pool::{self, Pool},
    shutdown::Shutdown,
    topology::Address,
    upstream::{self, Cluster},
};

/// How often it is looked whether the clients of a listener that was removed have gone.
const LOOK: Duration = Duration::from_millis(100);
/// How long their commands in flight may take at the deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// How long an acceptor that was told to end is waited for.
const LAST_CALL_LIMIT: Duration = Duration::from_secs(1);

/// A `[[listener]]` of the configuration, bound: the second address for secondaries is a socket of its own.
pub(super) struct Bound {
    configured: ListenerOptions,
    sockets: Vec<BoundSocket>,
}

struct BoundSocket {
    socket: listener::Bound,
    /// Another descriptor of it, for the next process: taken along here, where its want changes nothing yet.
    another: Passed,
    options: ListenerOptions,
}

/// Binds every address before anything starts, so that a mistake leaves nothing half done. What is there already is used.
///
/// # Errors
/// When an address cannot be listened on, or one of `sockets` is of no use.
pub(super) fn bind_all(
    config: &Config,
    mut sockets: Sockets,
) -> Result<(Vec<Bound>, Option<BoundAdmin>), Error> {
    let listeners = config.listeners.iter();
    let listeners: Result<Vec<_>, _> = listeners
        .map(|options| bind_or_take(options, &mut sockets))
        .collect();
    let admin = config.admin.as_ref();
    let admin = admin.map(|admin| bind_admin(admin, &mut sockets)).transpose()?;
    let listeners = listeners?;
    match sockets.left().as_slice() {
        [] => Ok((listeners, admin)),
        left => Err(Error::Unused(
            left.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )),
    }
}

/// The admin endpoint's socket.
pub(super) struct BoundAdmin {
    pub(super) socket: std::net::TcpListener,
    pub(super) address: SocketAddr,
    /// Another descriptor of it, for the next process.
    pub(super) another: Passed,
}

fn bind_admin(admin: &admin::Options, sockets: &mut Sockets) -> Result<BoundAdmin, Error> {
    let address = admin.address;
    let failed = |source| Error::Listen {
        address: address.into(),
        source,
    };
    let (socket, is_kept) = match sockets.take(&address.into()) {
        Some((Socket::Tcp(socket), is_kept)) => (socket, is_kept),
        _ => (listener::bind(address).map_err(failed)?, false),
    };
    let address = socket.local_addr().unwrap_or(address);
    let another = (socket.try_clone().map_err(failed)?.into(), is_kept);
    Ok(BoundAdmin {
        socket,
        address,
        another,
    })
}

/// Binds a listener, whose options tell then where it is.
pub(super) fn bind(configured: &ListenerOptions) -> Result<Bound, Error> {
    bind_or_take(configured, &mut Sockets::default())
}

fn bind_or_take(configured: &ListenerOptions, sockets: &mut Sockets) -> Result<Bound, Error> {
    let mut bind_one = |options| bind_one(options, sockets);
    let mut first = bind_one(configured.clone())?;
    let second = first.options.secondary_alias().map(bind_one).transpose()?;
    if let Some(second) = &second
        && let (Some(twin), Some(found)) = (&mut first.options.twin, second.options.address.tcp())
    {
        twin.address = found;
    }
    let sockets = [first].into_iter().chain(second);
    Ok(Bound {
        configured: configured.clone(),
        sockets: sockets.collect(),
    })
}

fn bind_one(mut options: ListenerOptions, sockets: &mut Sockets) -> Result<BoundSocket, Error> {
    let failed = |source| Error::Listen {
        address: options.address.clone(),
        source,
    };
    let socket = match (sockets.take(&options.address), &options.address) {
        (Some((Socket::Tcp(socket), is_kept)), _) => Ok(listener::Bound::tcp(socket, is_kept)),
        (Some((Socket::Unix(socket), is_kept)), ListenAddress::Unix(path)) => Ok(listener::Bound::unix(
            socket,
            path.clone(),
            options.unix_mode,
            is_kept,
        )),
        _ => listener::Bound::bind(&options),
    };
    let socket = socket.map_err(failed)?;
    let another = socket.another().map_err(failed)?;
    options.address = socket.address().map_err(failed)?;
    Ok(BoundSocket {
        socket,
        another,
        options,
    })
}

/// What serves the listeners.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) cores: Arc<[Core]>,
    pub(super) handles: Arc<[Handle]>,
    /// How the nodes are reached.
    pub(super) upstream: upstream::Options,
    /// The bounds of every node's pool, those that are made later included.
    pub(super) pool: Arc<ArcSwap<pool::Options>>,
    /// Sessions, which it wakes, and acceptors.
    pub(super) front: Shutdown,
    /// Has acceptors end.
    pub(super) doors: Shutdown,
    /// Monitors and pools.
    pub(super) back: Shutdown,
    /// Those that take clients.
    pub(super) listeners: Arc<Listeners>,
    served: Mutex<Vec<Served>>,
    /// What ends with the sockets of listeners that were removed.
    closing: Mutex<Vec<oneshot::Receiver<()>>>,
}

/// One `[[listener]]` that is served.
#[derive(Debug)]
struct Served {
    configured: ListenerOptions,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    listening: Arc<Listening>,
    member: Option<Member>,
    /// Ends with its acceptor.
    accepts: oneshot::Receiver<()>,
    /// Another descriptor of its socket, for the next process. While it is there, nobody's doors are closed.
    another: Option<Passed>,
}

/// A member that a listener reaches by itself.
#[derive(Debug, Clone)]
struct Member {
    cluster: Arc<Cluster<Pool>>,
    shutdown: Shutdown,
}

impl Front {
    pub(super) fn new(
        shared: Arc<Shared>,
        handles: Arc<[Handle]>,
        upstream: upstream::Options,
        pool: Arc<ArcSwap<pool::Options>>,
        back: Shutdown,
    ) -> Self {
        Self {
            shared,
            cores: handles.iter().map(|handle| Core::new(handle.clone())).collect(),
            handles,
            upstream,
            pool,
            front: Shutdown::new(),
            doors: Shutdown::new(),
            back,
            listeners: Arc::default(),
            served: Mutex::default(),
            closing: Mutex::default(),
        }
    }

    /// Begins to serve a listener.
    pub(super) fn serve(&self, bound: Bound) -> Result<(), Error> {
        let mut parts = Vec::with_capacity(bound.sockets.len());
        for bound in bound.sockets {
            let BoundSocket {
                socket,
                another,
                options,
            } = bound;
            tracing::info!(address = %options.address, presents_as = options.shown_as(), "serving clients");
            let member = match &options.reach {
                Reach::Node(node) => Some(self.start_member(node)),
                Reach::Cluster | Reach::Secondaries => None,
            };
            let reached = match &member {
                Some(member) => self
                    .shared
                    .for_member(Arc::clone(&member.cluster), &options.address),
                None => Arc::clone(&self.shared),
            };
            let acceptor = Acceptor::new(socket).map_err(|error| Error::Start("listener", error))?;
            let settings = self.shared.settings();
            let listening = Arc::new(Listening::new(options, settings, &self.doors, &self.front));
            let accept = listener::accept(acceptor, Arc::clone(&listening), reached, Arc::clone(&self.cores));
            let (accepting, accepts) = oneshot::channel();
            self.front.spawn_to_end(async move {
                accept.await;
                drop(accepting);
            });
            parts.push(Part {
                listening,
                member,
                accepts,
                another: Some(another),
            });
        }
        self.served().push(Served {
            configured: bound.configured,
            parts,
        });
        self.publish();
        Ok(())
    }

    /// Has every listener go by `configured`, which has the same addresses as those that are served, in whatever order, and by the settings
    /// in force.
    pub(super) fn set_terms(&self, configured: &[ListenerOptions]) {
        let settings = self.shared.settings();
        let mut rest: Vec<_> = configured.iter().collect();
        for served in &mut *self.served() {
            let found = rest
                .iter()
                .position(|options| options.address == served.configured.address);
            let Some(found) = found else { continue };
            served.configured = rest.swap_remove(found).clone();
            let mut options = served.configured.clone();
            if let Some(first) = served.parts.first() {
                let terms = first.listening.terms();
                // Where it was configured with port 0, the ports that were found.
                options.address = terms.address.clone();
                options.twin = terms.twin.clone();
            }
            let second = options.secondary_alias();
            let each = std::iter::once(options).chain(second);
            for (part, options) in served.parts.iter().zip(each) {
                part.listening.replace(options, Arc::clone(&settings));
            }
        }
    }

    /// Removes a listener by its configured address: nobody is accepted there any more, and the clients that it has are let go as by a drain
    /// that takes this long.
    pub(super) fn remove(&self, configured: &ListenerOptions, patience: &drain::Options) {
        let removed = {
            let mut served = self.served();
            let found = served
                .iter()
                .position(|served| served.configured.address == configured.address);
            let Some(found) = found else { return };
            served.remove(found)
        };
        self.publish();
        for part in removed.parts {
            let Part {
                listening,
                member,
                accepts,
                another,
            } = part;
            drop(another);
            listening.close_doors();
            lock(&self.closing).push(accepts);
            let (address, clients) = (listening.terms().address.clone(), listening.clients());
            tracing::info!(%address, clients, "listener closed: it stands no more in the configuration");
            self.back
                .spawn("listener", go(listening, member, patience.deadline));
        }
    }

    /// Waits until the sockets of listeners that were removed are closed, so that their addresses are free: at most about 200 ms.
    pub(super) async fn closed(&self) {
        let closing = std::mem::take(&mut *lock(&self.closing));
        for accepts in closing {
            // An acceptor that hangs is no reason to wait for ever.
            let _ = timeout(LAST_CALL_LIMIT, accepts).await;
        }
    }

    /// Descriptors of all sockets, for the next process.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(super) fn sockets(&self) -> io::Result<Vec<Passed>> {
        let served = self.served();
        let parts = served.iter().flat_map(|served| &served.parts);
        let passed = parts.filter_map(|part| part.another.as_ref());
        passed
            .map(|(socket, is_kept)| Ok((socket.try_clone()?, *is_kept)))
            .collect()
    }

    /// Takes no new clients any more.
    pub(super) fn close_doors(&self) {
        self.served()
            .iter_mut()
            .flat_map(|served| &mut served.parts)
            .for_each(|part| part.another = None);
        self.doors.begin();
    }

    /// Leaves all sockets to another process that listens on them, too, and takes no new clients any more.
    pub(super) fn give_away(&self) {
        for listening in self.listeners.load().iter() {
            listening.give_away();
        }
        self.close_doors();
    }

    /// Has every pool go by the bounds in force.
    pub(super) fn set_pools(&self) {
        let options = self.pool.load_full();
        let set = |cluster: &Cluster<Pool>, options: &pool::Options| {
            for node in &cluster.load().nodes {
                node.set_options(options.clone());
            }
        };
        set(&self.shared.cluster, &options);
        let of_members = for_member(&options);
        for part in self.served().iter().flat_map(|served| &served.parts) {
            if let Some(member) = &part.member {
                set(&member.cluster, &of_members);
            }
        }
    }

    /// Watches one member by itself, as a hidden one is found in no other way.
    fn start_member(&self, node: &Address) -> Member {
        let upstream = upstream::Options {
            seeds: vec![node.clone()],
            direct: true,
            srv: None,
            ..self.upstream.clone()
        };
        let (pool, shutdown) = (Arc::clone(&self.pool), self.back.child());
        let options = move || for_member(&pool.load());
        Member {
            cluster: start_cluster(upstream, options, &self.handles, &shutdown),
            shutdown,
        }
    }

    /// Tells of those that take clients.
    fn publish(&self) {
        let parts = self.served();
        let parts = parts.iter().flat_map(|served| &served.parts);
        let listening = parts.map(|part| Arc::clone(&part.listening)).collect();
        self.listeners.store(Arc::new(listening));
    }

    fn served(&self) -> MutexGuard<'_, Vec<Served>> {
        lock(&self.served)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing is kept warm for a listener of its own.
fn for_member(options: &pool::Options) -> pool::Options {
    pool::Options {
        min_size: 0,
        ..options.clone()
    }
}

/// The way down of one listener, in the stages of a drain.
async fn go(listening: Arc<Listening>, member: Option<Member>, deadline: Duration) {
    let began = Instant::now();
    // Who was on his way in is counted by then.
    sleep(listener::LAST_CALL + LOOK).await;
    for (stage, until) in [
        (Stage::Closing, deadline / 2),
        (Stage::Hurrying, deadline),
        (Stage::Stopping, deadline + AFTER_DEADLINE),
    ] {
        if listening.clients() > 0 {
            listening.advance(stage);
        }
        while listening.clients() > 0 && began.elapsed() < until {
            sleep(LOOK).await;
        }
    }
    if let Some(member) = member {
        member.shutdown.begin();
    }
}
