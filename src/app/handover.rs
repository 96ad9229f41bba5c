//! How one process hands its listening sockets over to the next, on the same host.
//!
//! The running process listens on a Unix domain socket that its own user alone can use. The next one connects, gets the listening sockets
//! (`SCM_RIGHTS`), makes ready all that it needs, begins to accept, and says so. The running one says that it leaves everything to it, and only then
//! stops to accept, and drains. Until then nothing has happened: a next process that ends, or takes too long, leaves the running one as it was,
//! even if it has said already that it serves. The sockets are the same in both processes, so no client in their queues is lost.
//!
//! On the wire: a byte [`SOCKET`] or [`KEPT`] with each socket, a byte [`END`]; back, a byte [`SERVING`]; at last, [`YOURS`] or [`NOT_NOW`].

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
    },
    process::geteuid,
};
use socket2::{Domain, SockAddr, Socket, Type};

/// A socket comes with it.
const SOCKET: u8 = b's';
/// The same of one that systemd keeps.
const KEPT: u8 = b'k';
/// These were all.
const END: u8 = b'.';
/// The next process accepts clients.
const SERVING: u8 = b'r';
/// The running one leaves it to that.
const YOURS: u8 = b'd';
/// The running one is about to end, and its sockets with it.
const NOT_NOW: u8 = b'x';
/// How long one message may take to come.
const MESSAGE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long the next process may take until it serves: it waits for the nodes.
pub(super) const TAKE_OVER: Duration = Duration::from_secs(60);
/// A socket, and whether somebody outlasts both processes who holds it, as systemd does.
pub(super) type Passed = (OwnedFd, bool);
/// More listening sockets no configuration has.
const MOST: usize = 4096;

/// The running process's end.
#[derive(Debug)]
pub(super) struct Giving(UnixStream);

impl Giving {
    /// Passes the sockets to whoever has connected. Blocks for up to ten seconds.
    ///
    /// # Errors
    /// When that is another user, or does not take them.
    pub(super) fn give(stream: UnixStream, sockets: &[Passed]) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(MESSAGE))?;
        stream.set_write_timeout(Some(MESSAGE))?;
        check_user(&stream)?;
        for (socket, is_kept) in sockets {
            let byte = if *is_kept { KEPT } else { SOCKET };
            send(&stream, byte, Some(socket.as_fd()))?;
        }
        send(&stream, END, None)?;
        Ok(Self(stream))
    }

    /// Waits until the next process accepts clients. Blocks for up to a minute.
    ///
    /// # Errors
    /// When it has ended, or does not say so in time.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.0.set_read_timeout(Some(TAKE_OVER + MESSAGE))?;
        expect(&mut self.0, SERVING)
    }

    /// Says that this process is about to stop to accept.
    ///
    /// # Errors
    /// When the next one is gone: this one must go on.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&[YOURS])
    }
}

/// Says to the next process, whatever it is at, that the sockets are about to be closed.
pub(super) fn decline(mut stream: &UnixStream) {
    // It may be gone.
    let _ = stream.write_all(&[NOT_NOW]);
    let _ = stream.shutdown(Shutdown::Both);
}

/// The next process's end.
#[derive(Debug)]
pub(super) struct Taking(UnixStream);

impl Taking {
    /// Takes the listening sockets of the process that listens at `path`. Blocks for up to ten seconds a message.
    ///
    /// # Errors
    /// When nobody listens there, or breaks off.
    pub(super) fn begin(path: &Path) -> io::Result<(Self, Vec<Passed>)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // While others wait to be accepted, this does, too.
        socket.set_read_timeout(Some(MESSAGE))?;
        socket.set_write_timeout(Some(MESSAGE))?;
        socket.connect(&SockAddr::unix(path)?).map_err(too_slow)?;
        let stream = UnixStream::from(OwnedFd::from(socket));
        check_user(&stream)?;
        let mut sockets = Vec::new();
        loop {
            match receive(&stream).map_err(too_slow)? {
                (byte @ (SOCKET | KEPT), Some(socket)) if sockets.len() < MOST => {
                    sockets.push((socket, byte == KEPT));
                }
                (END, None) => return Ok((Self(stream), sockets)),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Says that this process accepts clients, and waits until the other one leaves that to it: `true`, even if it has just died;
    /// `false` if it is about to end, and closes the sockets for all. Blocks for up to ten seconds.
    pub(super) fn finish(mut self) -> bool {
        let mut byte = [0];
        let told = self
            .0
            .write_all(&[SERVING])
            .and_then(|()| self.0.read_exact(&mut byte));
        told.is_err() || byte != [NOT_NOW]
    }
}

/// Of another user neither process takes anything: who serves its sockets would let it accept clients there.
fn check_user(stream: &UnixStream) -> io::Result<()> {
    let peer = socket_peercred(stream)?.uid;
    if peer == geteuid() {
        return Ok(());
    }
    let problem = format!("it runs as user {}, not as this one", peer.as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

/// Says what it means that a time limit of the socket is over.
fn too_slow(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let problem = format!("it has not answered for {MESSAGE:?}: another process may be taking over just now");
    io::Error::new(io::ErrorKind::TimedOut, problem)
}

fn expect(stream: &mut UnixStream, wanted: u8) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte == [wanted] {
        Ok(())
    } else {
        Err(unexpected())
    }
}

fn unexpected() -> io::Error {
    let problem = "it does not answer as a proxy does that hands its sockets over";
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn send(stream: &UnixStream, byte: u8, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let sockets: Vec<_> = socket.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    let bytes = [byte];
    let sent = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == 1 {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

fn receive(stream: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut socket = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            socket = sockets.last();
        }
    }
    Ok((byte[0], socket))
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::unix::net::UnixListener,
        thread::{self, JoinHandle},
    };

    use super::*;

    /// A process that hands its sockets over once, and how that ended.
    fn giving(listener: UnixListener, sockets: Vec<Passed>) -> JoinHandle<io::Result<()>> {
        thread::spawn(move || {
            let mut giving = Giving::give(listener.accept()?.0, &sockets)?;
            giving.wait()?;
            giving.finish()
        })
    }

    #[test]
    fn the_same_sockets_come_out_at_the_other_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let sockets: Vec<_> = (0..300)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<_> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect();
        let sockets = sockets.into_iter().enumerate();
        let sockets = sockets
            .map(|(number, socket)| (socket.into(), number % 2 == 1))
            .collect();
        let gives = giving(UnixListener::bind(&path).unwrap(), sockets);
        let (taking, taken) = Taking::begin(&path).unwrap();
        assert!(
            taken
                .iter()
                .enumerate()
                .all(|(number, (_, is_kept))| *is_kept == (number % 2 == 1))
        );
        let taken: Vec<_> = taken
            .into_iter()
            .map(|(socket, _)| TcpListener::from(socket))
            .collect();
        let found: Vec<_> = taken.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(found, addresses);
        assert!(taking.finish());
        gives.join().unwrap().unwrap();
    }

    #[test]
    fn a_next_process_that_ends_or_talks_nonsense_leaves_the_running_one_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for says in [&b""[..], b"x"] {
            let path = folder.path().join(format!("{}.sock", says.len()));
            let gives = giving(UnixListener::bind(&path).unwrap(), Vec::new());
            let (mut taking, _) = Taking::begin(&path).unwrap();
            taking.0.write_all(says).unwrap();
            drop(taking);
            assert!(gives.join().unwrap().is_err());
        }
    }

    #[test]
    fn a_next_process_that_says_that_it_serves_and_ends_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let gives = thread::spawn(move || Giving::give(listener.accept().unwrap().0, &[]).unwrap());
        let (mut taking, _) = Taking::begin(&path).unwrap();
        taking.0.write_all(&[SERVING]).unwrap();
        drop(taking);
        let mut giving = gives.join().unwrap();
        giving.wait().unwrap();
        assert!(giving.finish().is_err());
    }

    #[test]
    fn a_running_process_that_is_about_to_end_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let declines = thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let other = stream.try_clone().unwrap();
            let mut giving = Giving::give(stream, &[]).unwrap();
            giving.wait().unwrap();
            decline(&other);
        });
        let (taking, _) = Taking::begin(&path).unwrap();
        assert!(!taking.finish());
        declines.join().unwrap();
    }

    #[test]
    fn who_comes_while_others_are_at_it_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("busy.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        // One is accepted by the kernel, and waits for a word; the next one cannot even connect.
        let [first, second] = [(); 2].map(|()| {
            let path = path.clone();
            thread::spawn(move || Taking::begin(&path).unwrap_err().to_string())
        });
        for error in [first.join().unwrap(), second.join().unwrap()] {
            assert!(error.contains("another process may be taking over"), "{error}");
        }
    }

    #[test]
    fn who_listens_there_and_is_no_proxy_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
        let error = Taking::begin(&path).unwrap_err().to_string();
        assert!(error.contains("does not answer as a proxy"), "{error}");
        other.join().unwrap();
    }
}
