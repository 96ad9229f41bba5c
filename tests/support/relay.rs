//! TCP relays that break what passes through them.
//!
//! A relay forwards bytes between those who dial its address and one target. On command, or at random from a seed, it
//! closes connections, resets them, cuts their streams into small pieces, slows them down or holds them still. Faults
//! hit only connections whose first bytes hold a marker, so that the members of a replica set that dial each other
//! through relays are left in peace while a proxy's connections (whose handshake names its driver) suffer.
//!
//! Runs on a thread of its own and ends, with all its connections, when dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bson::doc;
use fastrand::Rng;
use socket2::SockRef;
use tidegate::sandbox::{Options, ReplicaSet};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What one read takes at most.
const CHUNK: usize = 16 << 10;
/// How far into a chunk it is cut to pieces: the header and the first fields are where a reader errs.
const SLICED: usize = 80;

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both sides see an orderly end (FIN), wherever in a message that may be.
    Close,
    /// Both sides see a reset (RST), and lose what they had not read yet.
    Reset,
}

/// Random faults: of every 10,000 chunks that pass in either direction, as many as a field says meet that fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Part of the chunk passes, then the connection is closed.
    pub(crate) close: u32,
    /// Part of the chunk passes, then the connection is reset.
    pub(crate) reset: u32,
    /// The chunk passes in small pieces with pauses.
    pub(crate) slice: u32,
    /// The chunk waits for up to 20 ms.
    pub(crate) delay: u32,
    /// The chunk waits for 100 to 400 ms, as if the network were gone for a moment.
    pub(crate) hold: u32,
}

/// What a relay did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) closed: u64,
    pub(crate) reset: u64,
    pub(crate) sliced: u64,
    pub(crate) delayed: u64,
    pub(crate) held: u64,
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
    faults: watch::Sender<Faults>,
    /// The newest command to cut, by number.
    cut: watch::Sender<(u64, Cut)>,
    frozen: watch::Sender<bool>,
    marked: AtomicUsize,
    done: [AtomicU64; 5],
}

impl Relay {
    /// A relay on a free loopback port to `target` (`host:port`). Faults meet connections whose first bytes hold `marker`;
    /// an empty one is held by all.
    pub(crate) fn start(target: &str, marker: &'static str, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            marker: marker.as_bytes(),
            seed,
            faults: watch::channel(Faults::default()).0,
            cut: watch::channel((0, Cut::Close)).0,
            frozen: watch::channel(false).0,
            marked: AtomicUsize::new(0),
            done: Default::default(),
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

    /// Holds all bytes of marked connections back, or lets them go on.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// Marked connections that are open.
    pub(crate) fn marked(&self) -> usize {
        self.shared.marked.load(Relaxed)
    }

    /// The faults that happened.
    pub(crate) fn done(&self) -> Done {
        let [closed, reset, sliced, delayed, held] =
            [0, 1, 2, 3, 4].map(|fault: usize| self.shared.done[fault].load(Relaxed));
        Done {
            closed,
            reset,
            sliced,
            delayed,
            held,
        }
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
            tokio::spawn(serve(client, Arc::clone(shared), number));
        }
    });
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>, number: u64) {
    // A target that is down is seen by the one who dialled as a connection that ends at once.
    let Ok(mut node) = TcpStream::connect(&shared.target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let mut first = vec![0; CHUNK];
    let Ok(count) = client.read(&mut first).await else {
        return;
    };
    first.truncate(count);
    let marked = shared.marker.is_empty() || first.windows(shared.marker.len()).any(|w| w == shared.marker);
    if node.write_all(&first).await.is_err() {
        return;
    }
    drop(first);
    if !marked {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
        return;
    }
    shared.marked.fetch_add(1, Relaxed);
    let cut = broken(&mut client, &mut node, &shared, number).await;
    if cut == Some(Cut::Reset) {
        let _ = (
            SockRef::from(&client).set_linger(Some(Duration::ZERO)),
            SockRef::from(&node).set_linger(Some(Duration::ZERO)),
        );
    }
    shared.marked.fetch_sub(1, Relaxed);
}

/// Forwards in both directions until both have ended or a cut; `None` if the peers ended it.
async fn broken(client: &mut TcpStream, node: &mut TcpStream, shared: &Shared, number: u64) -> Option<Cut> {
    let mut cuts = shared.cut.subscribe();
    cuts.mark_unchanged();
    let (from_client, to_client) = client.split();
    let (from_node, to_node) = node.split();
    let rng = |direction: u64| {
        Rng::with_seed(shared.seed ^ ((number << 1) | direction).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    };
    let both = async {
        tokio::try_join!(
            pump(from_client, to_node, shared, rng(0)),
            pump(from_node, to_client, shared, rng(1))
        )
    };
    tokio::select! {
        ended = both => ended.err(),
        // The sender lives as long as `shared`.
        _ = cuts.changed() => Some(cuts.borrow().1),
    }
}

/// Forwards one direction to its end; an error is a cut that ends both.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    mut rng: Rng,
) -> Result<(), Cut> {
    let mut frozen = shared.frozen.subscribe();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await.map_err(|_| Cut::Reset)?;
        let _ = frozen.wait_for(|frozen| !frozen).await;
        if count == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        pass(&mut to, &chunk[..count], shared, &mut rng).await?;
    }
}

async fn pass(to: &mut WriteHalf<'_>, chunk: &[u8], shared: &Shared, rng: &mut Rng) -> Result<(), Cut> {
    let faults = *shared.faults.borrow();
    let mut draw = rng.u32(..10_000);
    let mut hits = |fault: usize, share: u32| {
        let hit = draw < share;
        draw = draw.wrapping_sub(share);
        if hit {
            shared.done[fault].fetch_add(1, Relaxed);
            draw = u32::MAX;
        }
        hit
    };
    if hits(0, faults.close) {
        let _ = to.write_all(&chunk[..rng.usize(..=chunk.len())]).await;
        return Err(Cut::Close);
    }
    if hits(1, faults.reset) {
        let _ = to.write_all(&chunk[..rng.usize(..=chunk.len())]).await;
        return Err(Cut::Reset);
    }
    if hits(2, faults.slice) {
        return slice(to, chunk, rng).await.map_err(|_| Cut::Reset);
    }
    if hits(3, faults.delay) {
        sleep(Duration::from_millis(rng.u64(1..=20))).await;
    }
    if hits(4, faults.hold) {
        sleep(Duration::from_millis(rng.u64(100..=400))).await;
    }
    to.write_all(chunk).await.map_err(|_| Cut::Reset)
}

/// Writes the beginning in pieces of 1 to 16 bytes, each a segment of its own, and then the rest.
async fn slice(to: &mut WriteHalf<'_>, mut chunk: &[u8], rng: &mut Rng) -> std::io::Result<()> {
    let mut left = SLICED;
    while !chunk.is_empty() && left > 0 {
        let count = rng.usize(1..=16).min(chunk.len());
        to.write_all(&chunk[..count]).await?;
        chunk = &chunk[count..];
        left = left.saturating_sub(count);
        if rng.bool() {
            sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    to.write_all(chunk).await
}

/// A replica set whose members know each other, and are known to everyone, by the addresses of relays.
#[derive(Debug)]
pub(crate) struct RelayedSet {
    /// Its own methods speak to the members past the relays.
    pub(crate) set: ReplicaSet,
    /// One for each member, in order.
    pub(crate) relays: Vec<Relay>,
}

impl RelayedSet {
    /// Starts a set and its relays; faults will meet connections that hold `marker`.
    pub(crate) fn start(options: Options, marker: &'static str, seed: u64) -> Self {
        let set = super::start_set(Options {
            initiate: false,
            ..options
        });
        let relays: Vec<Relay> = set
            .addresses()
            .iter()
            .zip(0..)
            .map(|(target, number)| Relay::start(target, marker, seed.wrapping_add(number << 32)))
            .collect();
        let mut configuration = set.configuration();
        for (member, relay) in configuration
            .get_array_mut("members")
            .unwrap()
            .iter_mut()
            .zip(&relays)
        {
            let member = member.as_document_mut().unwrap();
            member.insert("host", relay.address().to_string());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            set.command(0, doc! {"replSetInitiate": configuration})
                .await
                .unwrap();
            set.wait_ready().await.unwrap();
        });
        Self { set, relays }
    }

    /// `mongodb://` URI of the relays.
    pub(crate) fn uri(&self) -> String {
        let hosts: Vec<String> = self.relays.iter().map(|r| r.address().to_string()).collect();
        format!(
            "mongodb://{}/?replicaSet={}",
            hosts.join(","),
            self.set.options().set_name
        )
    }
}
