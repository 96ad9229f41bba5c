//! TCP relays that break what passes through them.
//!
//! A relay forwards bytes between those who dial its address and one target. On command, or at random from a seed, it
//! closes connections, resets them, cuts their streams into small pieces, slows them down or holds them still, and it cuts
//! them at chosen messages: before a request has wholly passed, or before its reply has. Faults hit only connections whose first
//! bytes hold a marker, so that the members of a replica set that dial each other through relays are left in peace while a
//! proxy's connections (whose handshake names its driver) suffer.
//!
//! Runs on a thread of its own and ends, with all its connections, when dropped.

mod framer;
mod link;
mod random;
mod set;
mod tls;
mod trap;
mod weather;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::sleep};

use self::{random::Counts, trap::Journal};
pub(crate) use self::{
    random::{Done, Faults},
    set::RelayedSet,
    tls::Ends,
    trap::{Fate, Met, Point, Trap},
    weather::{Held, Towards, Weather},
};

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both sides see an orderly end (FIN), wherever in a message that may be.
    Close,
    /// Both sides see a reset (RST), and lose what they had not read yet.
    Reset,
}

/// A relay to one target.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    marker: &'static [u8],
    seed: u64,
    tls: Option<Ends>,
    faults: watch::Sender<Faults>,
    weather: watch::Sender<Weather>,
    /// The newest command to cut, by number.
    cut: watch::Sender<(u64, Cut)>,
    trap: Mutex<Option<Trap>>,
    marked: AtomicUsize,
    counts: Counts,
    journal: Journal,
}

impl Shared {
    fn trap(&self) -> std::sync::MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether this request is to be cut, and where.
    fn spring(&self, message: &[u8]) -> Option<Point> {
        self.trap().as_mut()?.spring(message)
    }
}

impl Relay {
    /// A relay on a free loopback port to `target` (`host:port`). Faults meet connections whose first bytes hold `marker`;
    /// an empty one is held by all.
    pub(crate) fn start(target: &str, marker: &'static str, seed: u64) -> Self {
        Self::start_with(target, marker, seed, None)
    }

    /// The same, ending the TLS of those who begin with it.
    fn start_with(target: &str, marker: &'static str, seed: u64, tls: Option<Ends>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            marker: marker.as_bytes(),
            seed,
            tls,
            faults: watch::channel(Faults::default()).0,
            weather: watch::channel(Weather::default()).0,
            cut: watch::channel((0, Cut::Close)).0,
            trap: Mutex::new(None),
            marked: AtomicUsize::new(0),
            counts: Counts::default(),
            journal: Journal::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(listener, &shared, stopped))
        };
        Self {
            address,
            shared,
            stop,
            thread: Some(thread),
        }
    }

    /// Where to dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the random faults; the default has none.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// Ends all marked connections now.
    pub(crate) fn cut_all(&self, cut: Cut) {
        self.shared
            .cut
            .send_modify(|(number, how)| (*number, *how) = (*number + 1, cut));
    }

    /// Sets what marked connections go through from now on.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Holds all bytes of marked connections back, or lets them go on.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        let held = if frozen { Held::Both } else { Held::None };
        self.shared.weather.send_modify(|weather| weather.held = held);
    }

    /// Cuts messages from now on, or (`None`) no more; replies to what was caught already are still cut.
    pub(crate) fn set_trap(&self, trap: Option<Trap>) {
        *self.shared.trap() = trap;
    }

    /// Commands of marked connections that met something, in order; those by which clients look after themselves, such as
    /// hello, are left out.
    pub(crate) fn met(&self) -> Vec<Met> {
        self.shared.journal.met()
    }

    /// The commands that the target has and has not answered, on connections in whose first bytes `who` follows the marker.
    pub(crate) fn in_flight(&self, who: &str) -> Vec<String> {
        self.shared.journal.in_flight(who)
    }

    /// Marked connections that are open.
    pub(crate) fn marked(&self) -> usize {
        self.shared.marked.load(Relaxed)
    }

    /// The random faults that happened.
    pub(crate) fn done(&self) -> Done {
        self.shared.counts.done()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the relay to {} panicked", self.shared.target);
        }
    }
}

fn run(listener: std::net::TcpListener, shared: &Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Dropping the runtime drops its connections.
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).unwrap();
        let mut number = 0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            let Ok((client, _)) = accepted else {
                // Out of file descriptors, most likely; some will be free again.
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            number += 1;
            tokio::spawn(link::serve(client, Arc::clone(shared), number));
        }
    });
}
