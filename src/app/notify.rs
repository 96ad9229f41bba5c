//! Tells the service manager how far this process is, as `sd_notify` does: a datagram to the socket that it names in the environment.
//! Without one nothing is said. That it cannot be told is no reason to do anything else than what is done.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};

/// Names the socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// It serves. After an upgrade it says, too, that it is the one to watch from now on.
pub(super) fn ready() {
    say(&format!("READY=1\nMAINPID={}\n", std::process::id()));
}

/// It reads its configuration again, and says [`ready`] when it has.
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec as i128 * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
}

/// It is on its way down.
pub(super) fn stopping() {
    say("STOPPING=1\n");
}

fn say(text: &str) {
    let Some(socket) = env::var_os(VARIABLE) else {
        return;
    };
    if let Err(error) = say_to(&socket, text) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

fn say_to(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A full queue must not hold anything up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_to_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        say_to(path.as_os_str(), "READY=1\n").unwrap();
        let name = format!("tidegate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        say_to(OsStr::new(&format!("@{name}")), "READY=1\n").unwrap();
        for socket in [by_path, by_name] {
            let mut text = [0; 64];
            let length = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\n");
        }
        assert!(say_to(OsStr::new("/no/such/socket"), "READY=1\n").is_err());
    }
}
