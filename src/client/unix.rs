//! Unix domain sockets to listen on: made with their access mode, and removed when nobody listens any more.
//!
//! Invariant: a file is removed only if it is a socket that nobody answers on, or the very one that was made here.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

/// The file of a socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: whoever has put another file in its place keeps it.
    identity: (u64, u64),
    /// Another process listens there.
    is_given_away: bool,
}

impl SocketFile {
    /// The file of a socket that is there.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let made = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
            is_given_away: false,
        })
    }

    /// Leaves it to another process.
    pub(super) fn give_away(mut self) {
        self.is_given_away = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_given_away {
            return;
        }
        let is_own =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays behind");
        }
    }
}

/// Listens at `path`, where only those may connect whom `mode` lets write.
///
/// # Errors
/// When somebody listens there, a file that is no socket is in the way, or the folder cannot be written to.
pub fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    clear_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The file gets the mode of its socket, less what the umask takes, so that it is never open to more than it shall be.
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Takes over the file of a socket that another process made, and has only those connect whom `mode` lets write; `None` if it is gone.
///
/// # Errors
/// When the mode cannot be set.
pub(super) fn take_over(path: &Path, mode: u32) -> io::Result<Option<SocketFile>> {
    let found = fs::symlink_metadata(path).ok();
    let Some(file) = found.filter(|file| file.file_type().is_socket()) else {
        return Ok(None);
    };
    // Whoever has given the file to another owner cannot set it, and need not.
    if file.mode() & 0o777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    SocketFile::of(path).map(Some)
}

/// Removes what a process left behind that ended without removing its socket.
fn clear_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        let message = "a file that is no socket is in the way";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // One that has too much to do to answer is in use, too.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_gives_way_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        // Left behind by a process that was killed: the file is there, and nobody listens.
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = bind(&path, 0o620, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        assert_eq!(
            bind(&path, 0o600, 8).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop((listener, file));
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            bind(&path, 0o600, 8).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_that_is_taken_over_gets_the_mode_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        assert!(take_over(&path, 0o600).unwrap().is_none(), "there is none");
        let (listener, file) = bind(&path, 0o666, 8).unwrap();
        let taken = take_over(&path, 0o600).unwrap();
        file.give_away();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop((listener, taken));
        assert!(!path.exists());
        fs::write(&path, "no socket").unwrap();
        assert!(take_over(&path, 0o600).unwrap().is_none());
    }

    #[test]
    fn a_file_that_took_the_sockets_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let (_listener, file) = bind(&path, 0o600, 8).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "another's").unwrap();
        fs::rename(&other, &path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
