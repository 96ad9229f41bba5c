//! The upgrade of a running proxy on one host: the next process takes the listening sockets, and the running one drains ([`super::handover`] has
//! what they say to each other).

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::UnixListener,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    Error, Proxy,
    handover::{self, Giving, Passed, TAKE_OVER, Taking},
    sockets::Sockets,
};
use crate::client::unix::{self, SocketFile};

/// Who may connect: the owner alone.
const MODE: u32 = 0o600;
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_secs(1);
/// One process takes over at a time.
const BACKLOG: i32 = 1;

/// Takes the sockets of the process that listens at `path`; `None` if nobody does, unless somebody `must`. Blocks for some seconds.
///
/// # Errors
/// When the process there does not hand them over.
pub(super) fn take_over(path: &Path, must: bool, sockets: &mut Sockets) -> Result<Option<Taking>, Error> {
    let failed = |error: io::Error| Error::TakeOver {
        path: path.display().to_string(),
        problem: error.to_string(),
    };
    match Taking::begin(path) {
        Ok((taking, passed)) => {
            sockets.add(passed).map_err(failed)?;
            Ok(Some(taking))
        }
        Err(error) if !must && is_nobody(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// What is missing until this process can take over.
#[derive(Debug, thiserror::Error)]
#[error("no node that holds data has answered within {TAKE_OVER:?}")]
struct NoNode;

impl Proxy {
    /// Waits until a node that holds data is known.
    async fn is_usable(&self) -> Result<(), NoNode> {
        let cluster = &self.shared.cluster;
        let mut news = cluster.subscribe_news();
        let is_known = || cluster.load().topology.data_bearing().next().is_some();
        let known = async { while !is_known() && news.changed().await.is_ok() {} };
        timeout(TAKE_OVER, known).await.map_err(|_| NoNode)
    }

    /// Descriptors of all listening sockets.
    fn sockets(&self) -> io::Result<Vec<Passed>> {
        let mut sockets = self.front.sockets()?;
        if let Some((socket, is_kept)) = &self.admin_socket {
            sockets.push((socket.try_clone()?, *is_kept));
        }
        Ok(sockets)
    }

    /// Leaves all listening sockets to the next process, which accepts clients already.
    pub(super) fn give_away(&mut self) {
        self.front.give_away();
        self.admin_socket = None;
        self.admin_doors.begin();
    }
}

impl super::Prepared {
    /// Begins to accept in the place of another process, once this one can serve.
    ///
    /// # Errors
    /// When it cannot, or the other one is about to end.
    pub(super) async fn open_in_place_of(self, taking: Taking, path: &Path) -> Result<Proxy, Error> {
        let failed = |problem: String| Error::TakeOver {
            path: path.display().to_string(),
            problem,
        };
        if let Err(error) = self.proxy.is_usable().await {
            return Err(failed(error.to_string()));
        }
        let proxy = self.open()?;
        if spawn_blocking(move || taking.finish()).await.unwrap_or(true) {
            tracing::info!("took over from the process before");
            return Ok(proxy);
        }
        proxy.stop().await;
        Err(failed(
            "it is about to end itself, so start this one anew".to_owned(),
        ))
    }
}

/// Where the next process asks for the sockets.
pub(super) struct Upgrade {
    path: Option<PathBuf>,
    listener: Option<(UnixListener, SocketFile)>,
    /// The next process is at it; with it a way to tell that this one will not wait.
    under_way: Option<(JoinHandle<io::Result<Giving>>, UnixStream)>,
}

impl Upgrade {
    /// Listens at `path`, if there is one.
    ///
    /// # Errors
    /// When somebody listens there, or the folder cannot be written to.
    pub(super) fn listen(path: Option<&Path>) -> Result<Self, Error> {
        let listen = |path: &Path| {
            let (socket, file) = unix::bind(path, MODE, BACKLOG)?;
            Ok((UnixListener::from_std(socket)?, file))
        };
        let listener = path.map(|path| {
            listen(path).map_err(|source| Error::Listen {
                address: crate::client::ListenAddress::Unix(path.to_owned()),
                source,
            })
        });
        Ok(Self {
            path: path.map(Path::to_owned),
            listener: listener.transpose()?,
            under_way: None,
        })
    }

    /// The same of a process that has taken over. It serves alone: so it goes on without, should it fail.
    pub(super) fn listen_after(path: Option<&Path>) -> Self {
        Self::listen(path).unwrap_or_else(|error| {
            tracing::error!(%error, "this process serves, but no next one can take over from it ([upgrade] socket)");
            Self {
                path: None,
                listener: None,
                under_way: None,
            }
        })
    }

    /// Whether the next process has the sockets, and has not said yet that it serves.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Goes on by one step: a next process has come, has failed, or serves. `true` for the last: this process must leave everything to it.
    /// Cancel safe.
    pub(super) async fn step(&mut self, proxy: &Proxy) -> bool {
        if let Some((giving, _)) = &mut self.under_way {
            let given = giving.await;
            self.under_way = None;
            match given {
                Ok(Ok(giving)) => return self.finish(giving),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the next process did not take over; this one goes on");
                }
                Err(error) => tracing::error!(%error, "the upgrade failed; this process goes on"),
            }
            return false;
        }
        let Some((listener, _)) = &self.listener else {
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.into_std().and_then(|stream| self.begin(stream, proxy)) {
                    tracing::warn!(%error, "the sockets could not be handed to the next process");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept the next process");
                tokio::time::sleep(PAUSE).await;
            }
        }
        false
    }

    /// Tells the next process that everything is left to it; `false` if it is gone, and this one goes on.
    fn finish(&mut self, giving: Giving) -> bool {
        // The file goes before the next process makes its own.
        self.listener = None;
        let Err(error) = giving.finish() else {
            return true;
        };
        tracing::warn!(%error, "the next process ended as soon as it served; this one goes on");
        *self = Self::listen_after(self.path.as_deref());
        false
    }

    fn begin(&mut self, stream: UnixStream, proxy: &Proxy) -> io::Result<()> {
        let (sockets, other) = (proxy.sockets()?, stream.try_clone()?);
        tracing::info!(
            sockets = sockets.len(),
            "the next process takes over; this one serves until it says that it does"
        );
        let giving = spawn_blocking(move || {
            let mut giving = Giving::give(stream, &sockets)?;
            drop(sockets);
            giving.wait()?;
            Ok(giving)
        });
        self.under_way = Some((giving, other));
        Ok(())
    }

    /// Has this process go for another reason: the next one may not take over any more.
    pub(super) fn decline(self) {
        if let Some((_, stream)) = &self.under_way {
            handover::decline(stream);
        }
    }
}
