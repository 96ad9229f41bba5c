//! What a TCP connection to a peer on the same machine need not pay for.

use std::net::SocketAddr;

use socket2::SockRef;

/// Linux has it always, and lets every process choose it.
const CHEAPEST: &[u8] = b"reno";

/// Has a connection over the loopback interface do without the machine's congestion control. There is no path whose congestion could be
/// found, and what a modern algorithm does for it on each segment (BBR paces, and takes samples of rate and round-trip time) is paid by the
/// sender. Other peers, and systems that refuse, stay as they are.
pub fn spare_congestion_control(socket: &SockRef<'_>, peer: SocketAddr) {
    if peer.ip().to_canonical().is_loopback() {
        // It is no error that a system has no such choice.
        let _ = socket.set_tcp_congestion(CHEAPEST);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_what_goes_over_loopback_is_spared() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&near);
        let chosen = || {
            let name = socket.tcp_congestion().unwrap();
            String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
        };
        let usual = chosen();
        for elsewhere in ["192.0.2.1:27017", "[2001:db8::1]:27017"] {
            spare_congestion_control(&socket, elsewhere.parse().unwrap());
            assert_eq!(chosen(), usual, "{elsewhere}");
        }
        spare_congestion_control(&socket, "[::ffff:127.0.0.1]:27017".parse().unwrap());
        assert_eq!(chosen(), "reno");
    }
}
