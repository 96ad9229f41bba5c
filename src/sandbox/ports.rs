//! Loopback ports that nothing listens on, and that stay free while a node is down.

use std::{net::TcpListener, time::Duration};

use tokio::time::{Instant, sleep};

use super::Error;

/// Below the ephemeral ranges of Linux (32768 up) and of IANA (49152 up), so that no outgoing connection takes a
/// killed node's port before it is started again.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
const TRIES: usize = 1000;

/// Whether `port` can be listened on right now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Finds `count` distinct free ports. Another process may take one before it is used: be ready to ask again.
///
/// # Errors
/// [`Error::Options`] when the machine has none left.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    // Held until all are found, so that they differ.
    let mut held = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..TRIES {
        if ports.len() == count {
            break;
        }
        let port = fastrand::u16(RANGE);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push(listener);
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(Error::Options(format!(
            "no {count} free ports found in {RANGE:?} on 127.0.0.1"
        )));
    }
    Ok(ports)
}

/// Waits until `port` is free; `false` if it is not within `limit`.
pub(super) async fn wait_free(port: u16, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while !is_free(port) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(100)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_distinct_and_can_be_listened_on() {
        let ports = free_ports(20).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[tokio::test]
    async fn a_port_in_use_is_waited_for_only_so_long() {
        // A port that was free a moment ago may not be free any more: programs that are being started hold it for a while.
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert!(!wait_free(port, Duration::from_millis(1)).await);
        drop(held);
        assert!(wait_free(port, Duration::from_secs(5)).await);
    }
}
