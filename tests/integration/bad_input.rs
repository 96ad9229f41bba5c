//! Bad input gets the answer that a `mongod` gives, or a closed connection and a line in the log; nobody else notices.
//!
//! Every test watches other clients of the same proxy meanwhile: none of their commands may fail. The node behind it is
//! the module's own, because damaged commands may do anything to it.

mod cases;
mod compressed;
mod legacy;
mod limits;
mod messages;
mod mutations;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bson::doc;
use tidegate::sandbox::{Options, ReplicaSet};
use tokio::io::AsyncWriteExt;

use crate::support::{
    Proxy,
    raw::{self, Raw, Reply},
    start_set,
};

const LOG_LIMIT: Duration = Duration::from_secs(10);

/// A replica set of one node that these tests share.
fn node() -> &'static ReplicaSet {
    static SET: OnceLock<ReplicaSet> = OnceLock::new();
    SET.get_or_init(|| {
        start_set(Options {
            nodes: 1,
            ..Options::default()
        })
    })
}

/// A proxy of the test's own, so that its log and its counts tell of this test alone.
fn proxy(sections: &str) -> Proxy {
    tidegate::cli::raise_file_limit();
    Proxy::start(&node().uri(), sections)
}

/// Runs a test's clients, with others watched meanwhile, and then looks for traces of a panic.
fn abuse<T>(proxy: &Proxy, clients: impl Future<Output = T>) -> T {
    let others = Others::watch(proxy.address);
    let outcome = block_on(clients);
    others.unharmed(proxy);
    let log = proxy.log();
    assert!(!log.contains("panicked"), "{log}");
    outcome
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(what)
}

/// What became of a message.
#[derive(Debug, PartialEq)]
enum Outcome {
    Replied(Reply),
    Closed,
    /// Nothing came, and the connection still answers.
    Ignored,
}

impl Outcome {
    fn reply(&self) -> &Reply {
        match self {
            Self::Replied(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }
}

/// Sends bytes on a connection that has greeted already, and tells what came of it, and the client's address.
async fn send(address: &str, bytes: &[u8]) -> (Outcome, SocketAddr) {
    let mut raw = greeted(address).await;
    let local = raw.local();
    // A peer that closes early may reset what is still on its way.
    let _ = raw.send(bytes).await;
    let probe = 0x7fff_0001;
    let _ = raw.send(&raw::msg(probe, 0, &[raw::body_section(&ping())])).await;
    let outcome = match raw.receive().await {
        Ok(Some(reply)) if reply.response_to == probe => Outcome::Ignored,
        Ok(Some(reply)) => {
            let next = raw.receive().await;
            let goes_on = matches!(&next, Ok(Some(next)) if next.response_to == probe);
            assert!(goes_on, "after {reply:?} came {next:?}");
            Outcome::Replied(reply)
        }
        Ok(None) => Outcome::Closed,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Outcome::Closed,
        Err(error) => panic!("{address}: {error}"),
    };
    (outcome, local)
}

/// Sends part of a message and ends the sending side.
async fn send_and_end(address: &str, bytes: &[u8]) -> (Outcome, SocketAddr) {
    let mut raw = greeted(address).await;
    raw.send(bytes).await.unwrap();
    raw.stream.shutdown().await.unwrap();
    let outcome = match raw.receive().await {
        Ok(Some(reply)) => Outcome::Replied(reply),
        Ok(None) => Outcome::Closed,
        Err(error) => panic!("{address}: {error}"),
    };
    (outcome, raw.local())
}

async fn greeted(address: &str) -> Raw {
    let mut raw = Raw::connect(address).await.unwrap();
    let hello = raw.command(&doc! {"hello": 1, "$db": "admin"}).await.unwrap();
    assert!(hello.ok(), "{hello:?}");
    raw
}

fn ping() -> bson::Document {
    doc! {"ping": 1, "$db": "admin"}
}

/// Waits for a line of the log that names `client` and says `why`.
async fn logged(proxy: &Proxy, client: SocketAddr, why: &str) {
    let deadline = Instant::now() + LOG_LIMIT;
    let client = client.to_string();
    loop {
        let log = proxy.log();
        if log
            .lines()
            .any(|line| line.contains(&client) && line.contains(why))
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "no line with {client} and {why:?} in\n{log}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Clients that do no wrong.
struct Others {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Others {
    /// Returns when they are at work.
    fn watch(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (at_work, started) = mpsc::channel();
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || block_on(behave(address, &stop, &at_work)))
        };
        // An error ends the thread, and is told at the end.
        let _ = started.recv();
        Self { stop, thread }
    }

    fn unharmed(self, proxy: &Proxy) {
        self.stop.store(true, Relaxed);
        match self.thread.join().unwrap() {
            Ok(rounds) => assert!(rounds > 1),
            Err(error) => panic!("another client was harmed: {error}\n{}", proxy.log()),
        }
    }
}

/// Pings, reads and writes small and large documents until told to stop; how many rounds.
async fn behave(address: SocketAddr, stop: &AtomicBool, at_work: &mpsc::Sender<()>) -> Result<u64, String> {
    let address = address.to_string();
    let mut raw = Raw::connect(address.as_str()).await.map_err(|e| e.to_string())?;
    let large = "x".repeat(100 << 10);
    let commands = [
        ping(),
        doc! {"find": "others", "limit": 1, "$db": "good"},
        doc! {"update": "others", "updates": [{"q": {"_id": address.as_str()}, "u": {"$set": {"large": &large}}, "upsert": true}], "$db": "good"},
        doc! {"find": "others", "filter": {"large": {"$exists": true}}, "limit": 2, "$db": "good"},
    ];
    let mut rounds = 0;
    loop {
        for command in &commands {
            let reply = raw.command(command).await;
            match reply {
                Ok(reply) if reply.ok() && !reply.body.contains_key("writeErrors") => {}
                other => return Err(format!("round {rounds}: {other:?}")),
            }
        }
        rounds += 1;
        let _ = at_work.send(());
        if stop.load(Relaxed) {
            return Ok(rounds);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
