//! Listening sockets that this process did not bind itself: those of systemd (socket activation), and those of a process that it takes over.
//!
//! They are told apart by the addresses that they have, and each must be that of a `[[listener]]`, or of `[admin]`. A socket that is passed and
//! not used would be a mistake that nobody sees: clients would connect to it and wait for ever.

use std::{
    env, io,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
};

use listenfd::ListenFd;
use rustix::net::{
    AddressFamily,
    sockopt::{socket_acceptconn, socket_domain},
};

use super::handover;
use crate::client::ListenAddress;

/// How many sockets the service manager has passed.
const COUNT: &str = "LISTEN_FDS";
/// More listening sockets no configuration has. The library would make room for as many as it is told.
const MOST: u64 = 4096;

/// A socket that listens, and where.
#[derive(Debug)]
struct Passed {
    address: ListenAddress,
    socket: Socket,
    /// Somebody outlasts this process who holds it, too.
    is_kept: bool,
}

/// The socket itself.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Those that are still to be used.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    left: Vec<Passed>,
}

impl Sockets {
    /// Those that systemd has passed to this process; none if it passed none.
    ///
    /// # Errors
    /// When one does not listen for streams.
    pub(super) fn from_environment() -> io::Result<Self> {
        check_count(&env::var(COUNT).unwrap_or_default())?;
        let mut passed = ListenFd::from_env();
        let mut left = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let fd: Option<OwnedFd> = match passed.take_tcp_listener(index) {
                Ok(socket) => socket.map(Into::into),
                Err(_) => passed.take_unix_listener(index)?.map(Into::into),
            };
            if let Some(fd) = fd {
                left.push(listening(fd, true)?);
            }
        }
        Ok(Self { left })
    }

    /// Adds those of another process.
    ///
    /// # Errors
    /// When one does not listen.
    pub(super) fn add(&mut self, passed: Vec<handover::Passed>) -> io::Result<()> {
        for (fd, is_kept) in passed {
            self.left.push(listening(fd, is_kept)?);
        }
        Ok(())
    }

    /// The socket that listens there, and whether somebody outlasts this process who holds it, too.
    pub(super) fn take(&mut self, address: &ListenAddress) -> Option<(Socket, bool)> {
        let found = self.left.iter().position(|one| one.address == *address)?;
        let Passed { socket, is_kept, .. } = self.left.swap_remove(found);
        Some((socket, is_kept))
    }

    /// Where those listen that nobody has taken.
    pub(super) fn left(&self) -> Vec<ListenAddress> {
        self.left.iter().map(|one| one.address.clone()).collect()
    }
}

fn check_count(count: &str) -> io::Result<()> {
    if count.parse::<u64>().is_ok_and(|count| count > MOST) {
        let problem = format!("{COUNT} is {count}, and there are never more than {MOST}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(())
}

fn listening(fd: OwnedFd, is_kept: bool) -> io::Result<Passed> {
    if !socket_acceptconn(&fd)? {
        let problem = "a socket was passed that does not listen; pass those of ListenStream= alone";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    if socket_domain(&fd)? == AddressFamily::UNIX {
        let socket = UnixListener::from(fd);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or_else(|| {
            let problem = "a Unix domain socket was passed that has no path";
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        })?;
        return Ok(Passed {
            is_kept,
            address: ListenAddress::Unix(path.to_owned()),
            socket: Socket::Unix(socket),
        });
    }
    let socket = TcpListener::from(fd);
    socket.set_nonblocking(true)?;
    Ok(Passed {
        is_kept,
        address: ListenAddress::Tcp(socket.local_addr()?),
        socket: Socket::Tcp(socket),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn sockets_are_found_by_their_addresses_and_those_left_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let tcp = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second] =
            [&tcp[0], &tcp[1]].map(|socket| ListenAddress::Tcp(socket.local_addr().unwrap()));
        let [one, two] = tcp;
        let unix = UnixListener::bind(&path).unwrap();
        let mut sockets = Sockets::default();
        let passed = vec![(one.into(), false), (unix.into(), true), (two.into(), true)];
        sockets.add(passed).unwrap();
        assert!(matches!(sockets.take(&second), Some((Socket::Tcp(_), true))));
        assert!(sockets.take(&second).is_none(), "it was taken");
        let path = ListenAddress::Unix(path);
        assert!(matches!(sockets.take(&path), Some((Socket::Unix(_), true))));
        assert_eq!(sockets.left(), [first]);
    }

    #[test]
    fn a_number_of_sockets_that_cannot_be_is_refused() {
        for count in ["", "3", "-1", "three"] {
            assert!(check_count(count).is_ok(), "{count}");
        }
        let error = check_count("2000000000").unwrap_err().to_string();
        assert!(error.contains("LISTEN_FDS is 2000000000"), "{error}");
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagrams = UnixDatagram::unbound().unwrap();
        let add = |socket: OwnedFd| Sockets::default().add(vec![(socket, false)]);
        assert!(add(datagrams.into()).is_err());
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listens.local_addr().unwrap()).unwrap();
        let error = add(connected.into()).unwrap_err().to_string();
        assert!(error.contains("does not listen"), "{error}");
    }
}
