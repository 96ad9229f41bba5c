//! How slowly a client may take its replies.
//!
//! What a client has not taken yet of a large reply holds room in the byte budget, or a node's connection. As long as nobody else wants
//! either, it may take its time: it works, or its network is slow. Once others wait, it must take `[limits] min_read_rate`, or its connection is
//! closed. One that takes nothing at all is given up in the end, whoever waits.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::session::{End, Session};

/// A client that takes nothing for this long has stopped reading for now.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// Over this long the rate is measured, so that a pause for breath, or a lost packet, is none of a slow reader's.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a client may take nothing: a server keeps an idle cursor as long (`cursorTimeoutMillis`).
pub(super) const MOST_STALLED: Duration = Duration::from_secs(600);

/// How fast a client takes what it is given.
#[derive(Debug)]
pub(super) struct Pace {
    /// The least that it must take while others wait, in bytes per second.
    least: usize,
    window: Instant,
    taken: usize,
    progress: Instant,
}

impl Pace {
    /// Of a client that is given something from now on; `least` is in bytes per second.
    pub(super) fn new(least: usize, now: Instant) -> Self {
        Self {
            least,
            window: now,
            taken: 0,
            progress: now,
        }
    }

    /// Takes note that the client took some bytes.
    pub(super) fn took(&mut self, bytes: usize, now: Instant) {
        self.taken += bytes;
        self.progress = now;
    }

    /// Leaves out a time in which there was nothing to take.
    pub(super) fn idled(&mut self, time: Duration) {
        self.window += time;
        self.progress += time;
    }

    /// Whether the client is too slow to be waited for. Ask at least once every [`STALL`].
    pub(super) fn is_too_slow(&mut self, others_wait: bool, now: Instant) -> bool {
        if now.saturating_duration_since(self.progress) >= MOST_STALLED {
            return true;
        }
        let measured = now.saturating_duration_since(self.window);
        if measured < WINDOW {
            return false;
        }
        let demanded = (self.least as f64 * measured.as_secs_f64()) as usize;
        let taken = std::mem::take(&mut self.taken);
        self.window = now;
        others_wait && taken < demanded
    }
}

impl Session {
    /// The pace of a client that is given a reply from now on.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.listener.limits().min_read_rate, Instant::now())
    }

    /// Gives the client the rest of a reply, which holds no connection any more, but room in the byte budget if `holds_room` says so.
    ///
    /// # Errors
    /// When the client is too slow, or fails.
    pub(super) async fn write_at_pace(&mut self, bytes: &[u8], holds_room: bool) -> Result<(), End> {
        let (mut pace, mut written) = (self.pace(), 0);
        while written < bytes.len() {
            if let Ok(count) = timeout(STALL, self.client.write_some(&bytes[written..])).await {
                let count = count?;
                written += count;
                pace.took(count, Instant::now());
            }
            let others_wait = holds_room && self.shared.replies.is_waited_for();
            if written < bytes.len() && pace.is_too_slow(others_wait, Instant::now()) {
                return Err(End::TooSlow(bytes.len()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{client::testing, shutdown::Shutdown};

    const LEAST: usize = 64 << 10;
    /// More than the buffers of both sides of a loopback connection hold.
    const LARGE: usize = 20 << 20;

    /// How a client of this rate is judged once a second, until it is too slow or a minute has passed; the seconds that it had.
    fn seconds(rate: usize, others_wait_from: u64) -> u64 {
        let start = Instant::now();
        let mut pace = Pace::new(LEAST, start);
        (1..=60)
            .find(|second| {
                let now = start + Duration::from_secs(*second);
                if rate > 0 {
                    pace.took(rate, now);
                }
                pace.is_too_slow(*second >= others_wait_from, now)
            })
            .unwrap_or(61)
    }

    #[test]
    fn a_slow_client_is_given_up_only_when_others_wait() {
        assert_eq!(seconds(LEAST - 1, 0), 10);
        assert_eq!(seconds(LEAST, 0), 61);
        assert_eq!(seconds(0, 0), 10);
        assert_eq!(seconds(0, 100), 61, "nobody waits");
        assert_eq!(seconds(0, 15), 20, "from when on they wait");
    }

    #[test]
    fn a_burst_long_ago_excuses_nothing_and_waiting_for_the_node_is_left_out() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut pace = Pace::new(LEAST, start);
        pace.took(1 << 30, at(1));
        assert!(!pace.is_too_slow(true, at(10)));
        pace.idled(Duration::from_secs(30));
        assert!(!pace.is_too_slow(true, at(40)));
        assert!(pace.is_too_slow(true, at(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_may_stay_while_nobody_waits_but_not_for_ever() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = testing::connected(&shutdown).await;
        let reply = vec![7; LARGE];
        let reading = async {
            tokio::time::sleep(Duration::from_secs(400)).await;
            client.read_exact(&mut vec![0; LARGE]).await.unwrap();
        };
        let (written, ()) = tokio::join!(session.write_at_pace(&reply, true), reading);
        written.unwrap();
        let started = Instant::now();
        let given_up = session.write_at_pace(&reply, true).await;
        assert!(matches!(given_up, Err(End::TooSlow(LARGE))), "{given_up:?}");
        assert!(started.elapsed() >= MOST_STALLED);
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_within_seconds_while_others_wait_for_room() {
        let shutdown = Shutdown::new();
        let (mut session, _client) = testing::connected(&shutdown).await;
        let replies = session.shared.replies.clone();
        let _all = replies.acquire(replies.total()).await;
        let waiting = tokio::spawn(async move { replies.acquire(LARGE).await });
        let started = Instant::now();
        let given_up = session.write_at_pace(&vec![7; LARGE], true).await;
        assert!(matches!(given_up, Err(End::TooSlow(LARGE))), "{given_up:?}");
        // In the first ten seconds it took what fits into the buffers of both sides.
        assert!(started.elapsed() <= WINDOW * 2 + STALL * 2);
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(
            !session.shared.replies.is_waited_for(),
            "a cancelled wait is forgotten"
        );
        shutdown.begin();
    }
}
