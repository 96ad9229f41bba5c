//! Accepting clients and dealing them to the cores.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{ListenerOptions, admission::Admitted, session::Session, shared::Shared};
use crate::{net::Socket, shutdown::Shutdown};

/// Clients that the kernel may hold ready to be accepted.
const BACKLOG: i32 = 4096;
/// The pause after a failed accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// When a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// A thread that serves clients on a runtime of its own.
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

/// Binds a listening socket.
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

/// Accepts clients until it is cancelled; each goes to the core that has fewest.
pub async fn accept(
    listener: TcpListener,
    options: Arc<ListenerOptions>,
    shared: Arc<Shared>,
    cores: Arc<[Core]>,
    shutdown: Shutdown,
) {
    let refusals = AtomicU64::new(0);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = %options.address, %error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let admitted = match shared.admission.admit(peer.ip()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                shared.counters.core(0).clients_refused.one();
                // One line for the first and then for each thousandth: refusals come in storms.
                let count = refusals.fetch_add(1, Relaxed);
                if count.is_multiple_of(1000) {
                    tracing::warn!(%peer, refused = count + 1, "client refused: {refusal}");
                }
                continue;
            }
        };
        if let Err(error) = deal(stream, peer, admitted, &options, &shared, &cores, &shutdown) {
            tracing::debug!(%peer, %error, "client lost while it was accepted");
        }
    }
}

fn deal(
    stream: TcpStream,
    peer: SocketAddr,
    admitted: Admitted,
    options: &Arc<ListenerOptions>,
    shared: &Arc<Shared>,
    cores: &Arc<[Core]>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    let stream = stream.into_std()?;
    let index = (0..cores.len())
        .min_by_key(|index| cores[*index].sessions())
        .unwrap_or_default();
    let Some(core) = cores.get(index) else {
        return Ok(());
    };
    let (options, shared, cores) = (Arc::clone(options), Arc::clone(shared), Arc::clone(cores));
    let session_shutdown = shutdown.clone();
    // The stream must be taken over by the runtime that will drive it.
    let _entered = core.runtime.enter();
    let stream = TcpStream::from_std(stream)?;
    // Captured, not passed on by value: the future would have room for it twice.
    let mut session = Session::new(Socket::new(stream), peer, index, options, shared);
    cores[index].sessions.fetch_add(1, Relaxed);
    session.counters().clients_accepted.one();
    shutdown.spawn_to_end(async move {
        session.serve(&session_shutdown).await;
        cores[index].sessions.fetch_sub(1, Relaxed);
        drop(admitted);
    });
    Ok(())
}
