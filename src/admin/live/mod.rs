//! What happens, as it happens: a ring of the last events, and a picture of the proxy each second while somebody looks.
//!
//! Nothing is queued for a listener: each has a place in the ring and takes the newest picture, so that who is slow misses pictures and
//! costs no memory. While nobody listens, no picture is made; events are kept all the same, for who comes to see what went wrong.

mod history;
mod picture;
mod stream;
mod window;

pub(super) use picture::slow_commands;
pub(super) use stream::open;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, broadcast::error::RecvError, watch},
    time::{MissedTickBehavior, interval},
};

use self::{history::History, window::Window};
use super::gather::Observer;

/// Most that listen at once.
const MOST_LISTENERS: usize = 16;
/// How often a picture is made.
const TICK: Duration = Duration::from_secs(1);

/// What listeners share.
#[derive(Debug)]
pub(super) struct Live {
    history: Mutex<History>,
    window: Mutex<Window>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
    /// The newest picture, ready to be sent; empty before the first.
    picture: watch::Sender<Bytes>,
    places: Arc<Semaphore>,
    /// Whether those who listen are to go.
    closing: watch::Sender<bool>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            history: Mutex::default(),
            window: Mutex::default(),
            newest: watch::channel(0).0,
            picture: watch::channel(Bytes::new()).0,
            places: Arc::new(Semaphore::new(MOST_LISTENERS)),
            closing: watch::channel(false).0,
        }
    }
}

impl Live {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of something, and wakes those who listen.
    fn note(&self, note: impl FnOnce(&mut History) -> bool) {
        let newest = {
            let mut history = self.history();
            note(&mut history).then(|| history.newest())
        };
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    fn has_listeners(&self) -> bool {
        self.picture.receiver_count() > 0
    }

    /// Makes a picture for those who listen.
    fn draw(&self, observer: &Observer, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_listeners() {
            window.forget(now);
            return;
        }
        let drawn = picture::draw(observer, &mut window, &self.history(), now);
        if let Ok(json) = serde_json::to_string(&drawn) {
            self.picture.send_replace(stream::message("status", None, &json));
        }
    }
}

/// Takes note of what happens to the replica set, the gate and the proxy, and makes the pictures. Never ends; cancel safe.
pub(super) async fn follow(observer: Arc<Observer>) {
    let live = observer.live();
    let mut events = observer.shared().cluster.subscribe_events();
    let primary = observer.primary();
    live.history().begin(primary, SystemTime::now());
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => live.note(|history| history.note_topology(&event, SystemTime::now())),
                Err(RecvError::Lagged(count)) => live.note(|history| history.note_lost(count, SystemTime::now())),
                Err(RecvError::Closed) => std::future::pending().await,
            },
            _ = tick.tick() => {}
        }
        look(&observer);
    }
}

/// Takes note of the gate and the drain, and makes a picture. Whoever changes either calls it, so that it is seen at once.
pub(super) fn look(observer: &Observer) {
    let (live, shared) = (observer.live(), observer.shared());
    let (is_paused, stage) = (shared.gate.is_paused(), shared.drain.stage());
    live.note(|history| history.note_proxy(is_paused, stage, SystemTime::now()));
    live.draw(observer, Instant::now());
}
