//! The gate: where commands wait while no node can take them.
//!
//! A command that has to wait takes a [`Place`], of which there are only so many, by count and by bytes. Those that want the
//! primary take turns, first come first served: no more than [`WINDOW`] of them look for it at a time, and each keeps its
//! [`Turn`] until it has a connection. So ten thousand that waited for an election do not fall upon the new primary at once,
//! and who comes while they pass does not overtake. Who has to wait for nothing but them is not waited for in turn: else a
//! busy gate would never be empty again. The gate can be closed by hand, too; then all wait.
//!
//! How long a command waits is its own matter; leaving is dropping what it holds, so every wait here is cancel safe.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Options;

/// Most commands that look for the primary, or for a connection to it, out of those that waited.
pub const WINDOW: usize = 64;

/// The gate of a process.
#[derive(Debug)]
pub struct Gate {
    hold_commands: AtomicUsize,
    hold_bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
    /// The turns of those that want the primary; the semaphore is fair.
    turns: Arc<Semaphore>,
    /// How many found no node when they came, and have no connection yet.
    queued: AtomicUsize,
    /// Whether it is closed by hand: a look that every command can afford.
    closed: AtomicBool,
    /// Since when.
    paused: watch::Sender<Option<Instant>>,
    /// Whether the process stops, so that waiting is of no use.
    stopping: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// When each came, and what its message takes, in order of arrival.
    places: BTreeMap<u64, (Instant, usize)>,
    bytes: usize,
    next: u64,
    /// Since when some wait without a gap, if that was said in the log, and the number of the first of them.
    told: Option<(Instant, u64)>,
    /// When it was said last that they do.
    last_told: Option<Instant>,
}

/// The shortest time between two lines of the log that say that commands wait.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl Waiting {
    /// Whether the log should say that commands wait from now on; lines come in bursts where nodes come and go.
    fn begins(&mut self, now: Instant) -> bool {
        let told_lately = self
            .last_told
            .is_some_and(|last| now.saturating_duration_since(last) < TELL_AGAIN);
        if !self.places.is_empty() || told_lately {
            return false;
        }
        self.last_told = Some(now);
        self.told = Some((now, self.next));
        true
    }

    /// Since when commands waited, and how many did, if none does any more and the log said so when it began.
    fn ends(&mut self) -> Option<(Instant, u64)> {
        let (since, first) = self.told.take_if(|_| self.places.is_empty())?;
        Some((since, self.next - first))
    }
}

/// There is no place left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// By their number.
    #[error("{0} commands wait already (hold_commands)")]
    Commands(usize),
    /// By their bytes.
    #[error("commands of {waiting} bytes wait already, and {hold_bytes} may (hold_bytes)")]
    Bytes {
        /// Bytes of those that wait.
        waiting: usize,
        /// Most bytes.
        hold_bytes: usize,
    },
}

/// A command's place among those that wait; given up on drop.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    number: u64,
}

/// A command's turn to look for the primary; given to the next on drop.
#[derive(Debug)]
pub struct Turn {
    _queued: Option<Queued>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Counts one that wants the primary.
#[derive(Debug)]
struct Queued(Arc<Gate>);

/// The gate at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateStatus {
    /// Commands that wait.
    pub commands: usize,
    /// Bytes of their messages.
    pub bytes: usize,
    /// Most commands.
    pub hold_commands: usize,
    /// Most bytes.
    pub hold_bytes: usize,
    /// How long the one has waited that came first.
    pub oldest: Option<Duration>,
    /// For how long it has been closed by hand.
    pub paused: Option<Duration>,
}

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            hold_commands: AtomicUsize::new(options.hold_commands),
            hold_bytes: AtomicUsize::new(options.hold_bytes),
            waiting: Mutex::default(),
            turns: Arc::new(Semaphore::new(WINDOW)),
            queued: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            paused: watch::channel(None).0,
            stopping: watch::channel(false).0,
        }
    }

    /// Changes the bounds. Those that wait keep their places.
    pub fn set_bounds(&self, options: &Options) {
        self.hold_commands.store(options.hold_commands, Relaxed);
        self.hold_bytes.store(options.hold_bytes, Relaxed);
    }

    /// Takes a place for a command whose message has `bytes`. `why` is for the log, if it is the first that waits.
    ///
    /// # Errors
    /// When there is none left.
    pub fn enter(self: &Arc<Self>, bytes: usize, why: impl FnOnce() -> String) -> Result<Place, Full> {
        let (mut waiting, hold_bytes) = (self.waiting(), self.hold_bytes.load(Relaxed));
        if waiting.places.len() >= self.hold_commands.load(Relaxed) {
            return Err(Full::Commands(waiting.places.len()));
        }
        if waiting.bytes.saturating_add(bytes) > hold_bytes {
            return Err(Full::Bytes {
                waiting: waiting.bytes,
                hold_bytes,
            });
        }
        Ok(self.place(&mut waiting, bytes, why))
    }

    /// Takes a place for a command that comes back after an attempt. It had a connection, of which there are only so many, and
    /// whether it was executed may be open: it is not turned away.
    pub fn return_to(self: &Arc<Self>, bytes: usize, why: impl FnOnce() -> String) -> Place {
        let mut waiting = self.waiting();
        self.place(&mut waiting, bytes, why)
    }

    fn place(self: &Arc<Self>, waiting: &mut Waiting, bytes: usize, why: impl FnOnce() -> String) -> Place {
        if waiting.begins(Instant::now()) {
            tracing::warn!("commands wait: {}", why());
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.places.insert(number, (Instant::now(), bytes));
        Place {
            gate: Arc::clone(self),
            number,
        }
    }

    /// Waits for the turn to look for the primary. Others have to stand behind who is `held`: it found none when it came.
    pub async fn turn(self: &Arc<Self>, held: bool) -> Turn {
        let queued = held.then(|| {
            self.queued.fetch_add(1, Relaxed);
            Queued(Arc::clone(self))
        });
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        Turn {
            _queued: queued,
            _permit: permit,
        }
    }

    /// Lets nobody wait any more who can still be told that nothing was done.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until the process stops.
    pub async fn stopped(&self) {
        // It cannot fail: the sender is here.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether others wait for the primary, behind whom those that come now have to stand.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        self.queued.load(Relaxed) > 0
    }

    /// Closes the gate by hand; `false` if it was closed already.
    pub fn pause(&self) -> bool {
        self.paused.send_if_modified(|since| {
            self.closed.store(true, Relaxed);
            let was_open = since.is_none();
            since.get_or_insert_with(Instant::now);
            was_open
        })
    }

    /// Opens it again; `false` if it was not closed.
    pub fn resume(&self) -> bool {
        self.paused.send_if_modified(|since| {
            self.closed.store(false, Relaxed);
            since.take().is_some()
        })
    }

    /// Whether it is closed by hand.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Waits until it is not closed by hand.
    pub async fn resumed(&self) {
        // It cannot fail: the sender is here.
        let _ = self.paused.subscribe().wait_for(Option::is_none).await;
    }

    /// How it looks now.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        let waiting = self.waiting();
        GateStatus {
            commands: waiting.places.len(),
            bytes: waiting.bytes,
            hold_commands: self.hold_commands.load(Relaxed),
            hold_bytes: self.hold_bytes.load(Relaxed),
            oldest: waiting.places.values().next().map(|(since, _)| since.elapsed()),
            paused: self.paused.borrow().map(|since| since.elapsed()),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.gate.waiting();
        if let Some((_, bytes)) = waiting.places.remove(&self.number) {
            waiting.bytes -= bytes;
        }
        if let Some((since, commands)) = waiting.ends() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(commands, seconds, "no command waits any more");
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use tokio::task::yield_now;

    use super::*;

    fn gate(hold_commands: usize, hold_bytes: usize) -> Arc<Gate> {
        Arc::new(Gate::new(&Options {
            hold_commands,
            hold_bytes,
            ..Options::default()
        }))
    }

    #[test]
    fn places_are_bounded_by_count_and_bytes_and_given_back() {
        let gate = gate(2, 100);
        let first = gate.enter(60, String::new).unwrap();
        assert_eq!(
            gate.enter(41, String::new).unwrap_err(),
            Full::Bytes {
                waiting: 60,
                hold_bytes: 100
            }
        );
        let second = gate.enter(40, String::new).unwrap();
        assert_eq!(gate.enter(0, String::new).unwrap_err(), Full::Commands(2));
        let third = gate.return_to(1000, String::new);
        assert_eq!((gate.status().commands, gate.status().bytes), (3, 1100));
        assert!(gate.status().oldest.is_some());
        drop((first, second, third));
        assert_eq!((gate.status().commands, gate.status().bytes), (0, 0));
        assert_eq!(gate.status().oldest, None);
        let place = gate.enter(100, String::new).unwrap();
        gate.set_bounds(&Options {
            hold_commands: 1,
            hold_bytes: 200,
            ..Options::default()
        });
        assert_eq!(gate.enter(0, String::new).unwrap_err(), Full::Commands(1));
        drop(place);
        assert!(gate.enter(200, String::new).is_ok());
    }

    #[test]
    fn the_log_says_once_that_commands_wait_and_once_that_they_do_not() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!(waiting.begins(now));
        waiting.places.insert(0, (now, 0));
        waiting.next = 3;
        assert!(!waiting.begins(now + 2 * TELL_AGAIN));
        assert_eq!(waiting.ends(), None, "one still waits");
        waiting.places.clear();
        assert_eq!(waiting.ends(), Some((now, 3)));
        assert_eq!(waiting.ends(), None);
        assert!(!waiting.begins(now + TELL_AGAIN / 2), "it was just said");
        assert!(waiting.begins(now + TELL_AGAIN));
    }

    #[tokio::test]
    async fn turns_come_in_order_and_no_more_than_the_window_at_once() {
        const COMMANDS: usize = 3 * WINDOW;
        let gate = gate(COMMANDS, usize::MAX);
        let (have, order) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = Vec::new();
        for number in 0..COMMANDS {
            let (gate, have, order) = (Arc::clone(&gate), Arc::clone(&have), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let turn = gate.turn(true).await;
                order.lock().unwrap().push(number);
                assert!(have.fetch_add(1, SeqCst) < WINDOW);
                for _ in 0..number % 7 {
                    yield_now().await;
                }
                have.fetch_sub(1, SeqCst);
                drop(turn);
            }));
            yield_now().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.lock().unwrap().is_sorted());
        assert!(!gate.has_queue());
    }

    #[tokio::test]
    async fn those_who_wait_for_others_alone_are_not_waited_for() {
        let gate = gate(100, 100);
        let held = gate.turn(true).await;
        assert!(gate.has_queue());
        let later = gate.turn(false).await;
        drop(held);
        assert!(
            !gate.has_queue(),
            "however many come later, and wait for a connection"
        );
        drop(later);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_is_passed_over() {
        let gate = gate(100, 100);
        let mut turns = Vec::new();
        for _ in 0..WINDOW {
            turns.push(gate.turn(true).await);
        }
        let leaves = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { drop(gate.turn(true).await) }
        });
        yield_now().await;
        let next = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.turn(true).await }
        });
        yield_now().await;
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        turns.pop();
        turns.push(next.await.unwrap());
        drop(turns);
        assert!(!gate.has_queue());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_closed_and_opened_by_hand() {
        let gate = gate(1, 1);
        assert!(!gate.is_paused() && !gate.resume());
        gate.resumed().await;
        assert!(gate.pause() && !gate.pause());
        assert!(gate.is_paused() && gate.status().paused.is_some());
        let waits = tokio::time::timeout(Duration::from_secs(5), gate.resumed()).await;
        assert!(waits.is_err());
        assert!(gate.resume() && !gate.is_paused());
        gate.resumed().await;
        assert_eq!(gate.status().paused, None);
    }
}
