//! Which client may be closed now, and the session's look at that.
//!
//! Whoever closes a connection may meet a command that is on its way; a driver then sees a network error, and runs the command again only if
//! it can be. So those that have just been at work are left until they pause. Drivers' monitors go first where nothing stands in the way:
//! when its monitor loses the proxy, a driver gives its idle connections up by itself and looks for another one. But while a transaction
//! or a cursor is open they stay: a driver that cannot see the proxy would not go on with it, on whatever connection.

use std::{pin::Pin, sync::Arc, sync::atomic::Ordering::Relaxed, task::Context, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Stage, Ties};
use crate::client::{Listening, Shared, session::End};

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// Ticks after which all clients have been looked at, and monitors may go.
const MONITORS_AFTER: u32 = 2;
/// Ticks after which drivers have seen that, and others may go.
const OTHERS_AFTER: u32 = 4;
/// Whole ticks without a sign of life after which a client is taken to pause.
const PAUSE: u32 = 2;

/// A client as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    /// In a command, other than a `hello` that waits.
    busy: bool,
    /// A part of its next message is here.
    arrives: bool,
    /// A transaction or a cursor of its is open.
    tied: bool,
    /// It only looks whether the proxy is there.
    monitors: bool,
    /// Ticks since it was first looked at.
    seen: u32,
    /// Ticks since its last sign of life.
    quiet: u32,
}

/// Whether a client may be closed now, while `others` are tied.
fn may_close(stage: Stage, client: Client, others: usize) -> bool {
    match stage {
        Stage::Serving | Stage::Announced => false,
        _ if client.busy => false,
        Stage::Stopping => true,
        _ if client.tied || client.arrives => false,
        _ if client.monitors => others == 0 && client.seen >= MONITORS_AFTER,
        Stage::Closing => client.seen >= OTHERS_AFTER && client.quiet >= PAUSE,
        // Just after a reply, when its next command is hardly on its way; between two looks it might be.
        Stage::Hurrying => client.seen > 0 && (client.quiet == 0 || client.quiet >= PAUSE),
    }
}

/// What a session remembers between two looks.
#[derive(Debug)]
pub(in crate::client) struct Watch {
    timer: Pin<Box<Sleep>>,
    seen: u32,
    quiet: u32,
    /// It is counted among those that stay.
    counted: bool,
    shared: Arc<Shared>,
}

impl Watch {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now() + TICK)),
            seen: 0,
            quiet: 0,
            counted: false,
            shared: Arc::clone(shared),
        }
    }

    /// Counts the ticks that are over. Whatever else has woken the session is a sign of life.
    fn tick(&mut self, cx: &mut Context<'_>) {
        let before = self.seen;
        while self.timer.as_mut().poll(cx).is_ready() {
            self.seen += 1;
            self.timer.as_mut().reset(Instant::now() + TICK);
        }
        self.quiet = if self.seen > before { self.quiet + 1 } else { 0 };
    }

    fn count(&mut self, tied: bool) {
        let all = &self.shared.drain.tied;
        match (self.counted, tied) {
            (false, true) => all.fetch_add(1, Relaxed),
            (true, false) => all.fetch_sub(1, Relaxed),
            _ => 0,
        };
        self.counted = tied;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.count(false);
    }
}

/// Whether the session ends now; called whenever its task was woken and waits for something. From the first look on it is woken each tick.
#[cold]
pub(in crate::client) fn look(
    watch: &mut Option<Box<Watch>>,
    shared: &Arc<Shared>,
    listening: &Listening,
    ties: &Ties,
    cx: &mut Context<'_>,
) -> Option<End> {
    let stage = shared.drain.stage().max(listening.stage());
    if stage < Stage::Closing {
        return None;
    }
    let watch = watch.get_or_insert_with(|| Box::new(Watch::new(shared)));
    watch.tick(cx);
    let tied = ties.bind(shared);
    watch.count(tied);
    let client = Client {
        busy: ties.is_busy(),
        arrives: ties.arrives(),
        tied,
        monitors: ties.monitors(),
        seen: watch.seen,
        quiet: watch.quiet,
    };
    may_close(stage, client, shared.drain.tied()).then_some(match stage {
        Stage::Stopping => End::Stopping,
        _ => End::Drained,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::{client::testing, shutdown::Shutdown};

    /// At rest for long.
    const IDLE: Client = Client {
        busy: false,
        arrives: false,
        tied: false,
        monitors: false,
        seen: 99,
        quiet: 99,
    };
    const BUSY: Client = Client { busy: true, ..IDLE };
    const ARRIVING: Client = Client {
        arrives: true,
        ..IDLE
    };
    const TIED: Client = Client { tied: true, ..IDLE };
    const MONITOR: Client = Client {
        monitors: true,
        ..IDLE
    };
    const ACTIVE: Client = Client { quiet: 1, ..IDLE };
    const ANSWERED: Client = Client { quiet: 0, ..IDLE };
    const FRESH: Client = Client {
        seen: 1,
        quiet: 1,
        ..IDLE
    };

    #[test]
    fn who_may_be_closed_depends_on_the_stage() {
        use Stage::{Announced, Closing, Hurrying, Serving, Stopping};
        let stages = [Serving, Announced, Closing, Hurrying, Stopping];
        // The first stage in which each may go while nobody is tied, and while others are.
        for (client, alone, beside) in [
            (IDLE, Some(Closing), Some(Closing)),
            (ACTIVE, Some(Stopping), Some(Stopping)),
            (ANSWERED, Some(Hurrying), Some(Hurrying)),
            (FRESH, Some(Stopping), Some(Stopping)),
            (MONITOR, Some(Closing), Some(Stopping)),
            (TIED, Some(Stopping), Some(Stopping)),
            (ARRIVING, Some(Stopping), Some(Stopping)),
            (
                Client {
                    tied: true,
                    ..MONITOR
                },
                Some(Stopping),
                Some(Stopping),
            ),
            (BUSY, None, None),
            (Client { tied: true, ..BUSY }, None, None),
        ] {
            for (others, first) in [(0, alone), (1, beside)] {
                for stage in stages {
                    let expected = first.is_some_and(|first| stage >= first);
                    assert_eq!(
                        may_close(stage, client, others),
                        expected,
                        "{stage:?} {client:?} {others}"
                    );
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pauses_is_let_go_but_not_in_the_middle_of_a_message() {
        let shutdown = Shutdown::new();
        for has_begun in [false, true] {
            let (mut session, mut client) = testing::connected(&shutdown).await;
            if has_begun {
                // The length of a message of which nothing follows.
                client.write_all(&[200, 0, 0, 0]).await.unwrap();
            }
            let (shared, front) = (Arc::clone(&session.shared), session.listening.front.clone());
            assert!(shared.drain.begin(Duration::from_secs(9)));
            shared.drain.advance(Stage::Closing);
            front.begin();
            let started = Instant::now();
            let served = tokio::time::timeout(Duration::from_secs(5), session.serve()).await;
            assert_eq!(served.is_err(), has_begun);
            assert!(started.elapsed() >= TICK * OTHERS_AFTER);
            let drained = shared.counters.core(0).clients_drained.get();
            assert_eq!(drained, u64::from(!has_begun));
            drop(session);
        }
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_half_a_message_is_no_reason_to_stay() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = testing::connected(&shutdown).await;
        client.write_all(&[200, 0, 0, 0]).await.unwrap();
        let (shared, front) = (Arc::clone(&session.shared), session.listening.front.clone());
        assert!(shared.drain.begin(Duration::from_secs(9)));
        shared.drain.advance(Stage::Closing);
        front.begin();
        let started = Instant::now();
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            shared.drain.advance(Stage::Stopping);
        };
        tokio::join!(session.serve(), stopping);
        assert!(
            started.elapsed() <= Duration::from_secs(3) + TICK * 2,
            "the next look sees it"
        );
        assert_eq!(shared.counters.core(0).clients_drained_late.get(), 1);
        shutdown.begin();
    }

    #[test]
    fn monitors_go_before_others_so_that_drivers_look_elsewhere_first() {
        let first = |client: Client| {
            let at = |tick| Client {
                seen: tick,
                quiet: tick,
                ..client
            };
            (0..99).find(|tick| may_close(Stage::Closing, at(*tick), 0))
        };
        assert!(first(MONITOR) > Some(0) && first(MONITOR) < first(IDLE));
    }
}
