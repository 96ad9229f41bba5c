//! Accepting clients and dealing them to the cores.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Handle,
    time::Instant,
};

use super::{
    ListenAddress, ListenerOptions,
    admission::Admitted,
    options::{Peer, canonical},
    secure,
    session::{End, Session},
    shared::Shared,
    stranger,
    terms::{Listening, Terms},
    unix::{self, SocketFile},
};
use crate::{
    audit::Event,
    net::{Socket, Stream, spare_congestion_control},
    telemetry::{ClientRefusal, Count},
};

/// Clients that the kernel may hold ready to be accepted.
const BACKLOG: i32 = 4096;
/// The pause after a failed accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// When a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// How long a handshake may take that had begun when a listener was closed.
pub const LAST_CALL: Duration = Duration::from_millis(200);
/// A filter that drops the first segment of a TCP handshake and nothing else. It is sent again after a second, when nobody listens any
/// more, and refused. (BPF, of which a listening socket sees segments from the TCP header on: load byte 13, the flags; go on if
/// SYN is among them; drop, or keep all.) Accepted sockets inherit it, and get no such segment.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A runtime that serves clients, with a thread of its own where there is more than one core.
#[derive(Debug)]
pub struct Core {
    runtime: Handle,
    sessions: AtomicUsize,
}

impl Core {
    /// A core whose sessions run on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            sessions: AtomicUsize::new(0),
        }
    }

    /// The sessions that it serves.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }
}

/// A bound socket that listens.
#[derive(Debug)]
pub struct Bound {
    kind: BoundKind,
    /// Somebody outlasts this process who holds it, too, as systemd does.
    is_kept: bool,
}

#[derive(Debug)]
enum BoundKind {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, UnixPlace),
}

/// Where a Unix domain socket listens.
#[derive(Debug)]
enum UnixPlace {
    /// This process made it.
    Made(SocketFile, PathBuf),
    /// Another one did; who may connect.
    Taken(PathBuf, u32),
}

impl Bound {
    /// Binds a listener's address.
    ///
    /// # Errors
    /// When the address is in use or not this machine's, or a file is in the way of a Unix domain socket.
    pub fn bind(options: &ListenerOptions) -> io::Result<Self> {
        let kind = match &options.address {
            ListenAddress::Tcp(address) => BoundKind::Tcp(bind(*address)?),
            ListenAddress::Unix(path) => {
                let (socket, file) = unix::bind(path, options.unix_mode, BACKLOG)?;
                BoundKind::Unix(socket, UnixPlace::Made(file, path.clone()))
            }
        };
        Ok(Self { kind, is_kept: false })
    }

    /// Takes a socket that listens at an IP address and does not block. `is_kept`: somebody outlasts this process who holds it, too.
    #[must_use]
    pub fn tcp(socket: std::net::TcpListener, is_kept: bool) -> Self {
        Self {
            kind: BoundKind::Tcp(socket),
            is_kept,
        }
    }

    /// The same at a path, whose file gets this access mode and is removed at the end, unless somebody keeps it; but neither before it is
    /// accepted from: until then another process serves there.
    #[must_use]
    pub fn unix(socket: std::os::unix::net::UnixListener, path: PathBuf, mode: u32, is_kept: bool) -> Self {
        Self {
            kind: BoundKind::Unix(socket, UnixPlace::Taken(path, mode)),
            is_kept,
        }
    }

    /// Another descriptor of it, to be passed to another process, and whether somebody keeps it.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn another(&self) -> io::Result<(OwnedFd, bool)> {
        let socket = match &self.kind {
            BoundKind::Tcp(socket) => socket.try_clone()?.into(),
            BoundKind::Unix(socket, ..) => socket.try_clone()?.into(),
        };
        Ok((socket, self.is_kept))
    }

    /// Where it listens; with a configured port of 0 this tells the one that was found.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.kind {
            BoundKind::Tcp(socket) => socket.local_addr().map(ListenAddress::Tcp),
            BoundKind::Unix(_, UnixPlace::Made(_, path) | UnixPlace::Taken(path, _)) => {
                Ok(ListenAddress::Unix(path.clone()))
            }
        }
    }
}

/// Binds a listening TCP socket.
///
/// # Errors
/// When the address is in use or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted proxy takes its address over from connections that linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that clients are accepted from, on the current runtime.
#[derive(Debug)]
pub struct Acceptor {
    kind: AcceptorKind,
    is_kept: bool,
}

#[derive(Debug)]
enum AcceptorKind {
    Tcp(TcpListener),
    /// The file is removed on drop.
    Unix(UnixListener, Option<SocketFile>),
}

impl Acceptor {
    /// Hands a bound socket to the current runtime.
    ///
    /// # Errors
    /// Those of the runtime's registry, and of the file's access mode.
    pub fn new(bound: Bound) -> io::Result<Self> {
        let kind = match bound.kind {
            BoundKind::Tcp(socket) => AcceptorKind::Tcp(TcpListener::from_std(socket)?),
            BoundKind::Unix(socket, place) => {
                let file = match place {
                    UnixPlace::Made(file, _) => Some(file),
                    // Who keeps it says who may connect, too.
                    UnixPlace::Taken(..) if bound.is_kept => None,
                    UnixPlace::Taken(path, mode) => unix::take_over(&path, mode)?,
                };
                AcceptorKind::Unix(UnixListener::from_std(socket)?, file)
            }
        };
        Ok(Self {
            kind,
            is_kept: bound.is_kept,
        })
    }

    /// Leaves the socket to somebody else who listens there. Nobody in its queue is touched.
    fn leave(self) {
        if let AcceptorKind::Unix(_, Some(file)) = self.kind {
            file.give_away();
        }
    }

    /// Lets nobody begin to connect any more. Who has begun, or waits in the queue, can still be accepted: what is not, is reset. The
    /// filter belongs to the socket, not to the process: a socket that another process goes on with must be spared this.
    fn turn_away(&mut self) {
        match &mut self.kind {
            AcceptorKind::Tcp(socket) => {
                // Without it clients of that moment are reset rather than refused, which drivers take for the same.
                if let Err(error) = SockRef::from(&*socket).attach_filter(&NO_SYN) {
                    tracing::debug!(%error, "the listener takes connections to its very end");
                }
            }
            AcceptorKind::Unix(_, file) => drop(file.take()),
        }
    }

    async fn next(&self) -> io::Result<(Accepted, Peer)> {
        match &self.kind {
            AcceptorKind::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                spare_congestion_control(&SockRef::from(&stream), peer);
                Ok((Accepted::Tcp(stream), Peer::Tcp(canonical(peer))))
            }
            AcceptorKind::Unix(socket, _) => Ok((Accepted::Unix(socket.accept().await?.0), Peer::Unix)),
        }
    }
}

/// A client's stream, still on the acceptor's runtime.
enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same on no runtime.
enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
                stream.into_std().map(Detached::Tcp)
            }
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }
}

impl Detached {
    /// Hands the stream to the current runtime, which must be the one that will drive it.
    fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => TcpStream::from_std(stream)?.into(),
            Self::Unix(stream) => UnixStream::from_std(stream)?.into(),
        })
    }
}

/// Accepts clients until the listener's doors are told to close; each goes to the core that has fewest. Then whoever was on his way in is still served.
pub async fn accept(
    mut acceptor: Acceptor,
    listening: Arc<Listening>,
    shared: Arc<Shared>,
    cores: Arc<[Core]>,
) {
    let doors = listening.doors.clone();
    let door = Door {
        listening,
        shared,
        cores,
        refusals: AtomicU64::new(0),
        outsiders: AtomicU64::new(0),
    };
    loop {
        tokio::select! {
            accepted = acceptor.next() => {
                if !door.take(accepted) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            () = doors.requested() => break,
        }
    }
    if acceptor.is_kept || door.listening.is_given_away() {
        return acceptor.leave();
    }
    if door.shared.drain.is_stopping() {
        return;
    }
    acceptor.turn_away();
    let last = Instant::now() + LAST_CALL;
    // The queue is looked at before the clock is.
    while let Ok(accepted) = tokio::time::timeout_at(last, acceptor.next()).await {
        if !door.take(accepted) {
            break;
        }
    }
}

/// Where clients come in.
struct Door {
    listening: Arc<Listening>,
    shared: Arc<Shared>,
    cores: Arc<[Core]>,
    refusals: AtomicU64,
    outsiders: AtomicU64,
}

impl Door {
    /// Lets a client in, or not; `false` if there was none to be had, most likely for want of file descriptors.
    fn take(&self, accepted: io::Result<(Accepted, Peer)>) -> bool {
        let (options, shared) = (self.listening.terms(), &self.shared);
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = %options.address, %error, "cannot accept a client");
                return false;
            }
        };
        if !options.admits(peer) {
            shared.counters.front().clients_outside_networks.one();
            shared.counters.front().reasons.one(ClientRefusal::Network);
            shared.audit.report(&Event::ConnectionRefused {
                origin: stranger::origin(peer, &options.address),
            });
            // One line for the first and then for each thousandth: such come in storms.
            let count = self.outsiders.fetch_add(1, Relaxed);
            if count.is_multiple_of(1000) {
                tracing::warn!(%peer, listener = %options.address, refused = count + 1, "client refused: its address is in no allowed network ([listener] allow_networks)");
            }
            return true;
        }
        let admitted = match shared.admission.admit(peer.ip(), options.demands_login) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                shared.counters.front().clients_refused.one();
                shared.counters.front().reasons.one(refusal.reason());
                // One line for the first and then for each thousandth: refusals come in storms.
                let count = self.refusals.fetch_add(1, Relaxed);
                if count.is_multiple_of(1000) {
                    tracing::warn!(%peer, refused = count + 1, "client refused: {refusal}");
                }
                return true;
            }
        };
        if let Err(error) = deal(
            stream,
            peer,
            admitted,
            &options,
            &self.listening,
            shared,
            &self.cores,
        ) {
            tracing::debug!(%peer, %error, "client lost while it was accepted");
        }
        true
    }
}

fn deal(
    stream: Accepted,
    peer: Peer,
    admitted: Admitted,
    options: &Terms,
    listening: &Arc<Listening>,
    shared: &Arc<Shared>,
    cores: &Arc<[Core]>,
) -> io::Result<()> {
    let stream = stream.detach()?;
    let index = (0..cores.len())
        .min_by_key(|index| cores[*index].sessions())
        .unwrap_or_default();
    let Some(core) = cores.get(index) else {
        return Ok(());
    };
    let (listening, shared, cores) = (Arc::clone(listening), Arc::clone(shared), Arc::clone(cores));
    let tasks = listening.front.clone();
    let _entered = core.runtime.enter();
    let stream = stream.attach()?;
    cores[index].sessions.fetch_add(1, Relaxed);
    shared.counters.front().clients_accepted.one();
    listening.count_in();
    let entered = Arc::clone(&listening);
    let left = move || {
        cores[index].sessions.fetch_sub(1, Relaxed);
        entered.count_out();
    };
    // Two futures: one for both would be as large as both where the session of a client with TLS is boxed, and holds it all the time.
    if options.tls.is_none() {
        tasks.spawn_to_end(async move {
            // Made here, not passed on by value: the future would have room for it twice.
            let mut session = Session::new(
                Socket::new(stream).staying(),
                peer,
                admitted,
                index,
                listening,
                shared,
            );
            session.serve().await;
            left();
        });
    } else {
        tasks.spawn_to_end(async move {
            serve_with_tls(stream, peer, admitted, index, listening, shared).await;
            left();
        });
    }
    Ok(())
}

/// The same where TLS may come first, all within one handshake timeout.
async fn serve_with_tls(
    stream: Stream,
    peer: Peer,
    admitted: Admitted,
    core: usize,
    listening: Arc<Listening>,
    shared: Arc<Shared>,
) {
    let terms = listening.terms();
    let limit = terms.limits().handshake_timeout;
    let deadline = Instant::now() + limit;
    let begun = match &terms.tls {
        None => Ok(stream),
        Some(tls) => tokio::select! {
            begun = Box::pin(secure::begin(stream, tls, limit, deadline)) => begun,
            () = shared.drain.stopped() => Err(End::Stopping),
        },
    };
    drop(terms);
    let counters = shared.counters.core(core);
    match begun {
        Err(end) => {
            counters.reasons.one(end.reason());
            end.tell(counters, peer);
        }
        Ok(stream) => {
            if matches!(stream, Stream::Tls(_)) {
                counters.tls_accepted.one();
            }
            let mut session = Session::new(
                Socket::new(stream).staying(),
                peer,
                admitted,
                core,
                listening,
                shared,
            );
            session.greet_by(deadline);
            session.serve().await;
        }
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
