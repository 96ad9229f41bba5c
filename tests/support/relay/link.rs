//! One connection through a relay: two directions that share what is known of its requests.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fastrand::Rng;
use socket2::SockRef;
use tidegate::net::Stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
};

use super::{
    Cut, Shared,
    framer::{Framer, Piece},
    random, tls,
    trap::{Fate, Point},
    weather::{Exposed, Towards, drip},
};

/// What one read takes at most.
const CHUNK: usize = 16 << 10;
/// A name is as long at most.
const MOST_NAME: usize = 40;

/// Who is connected.
struct Link {
    shared: Arc<Shared>,
    number: u64,
    is_marked: bool,
    /// What follows the marker.
    who: String,
}

/// Serves a connection to its end.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>, number: u64) {
    // A target that is down is seen by the one who dialled as a connection that ends at once.
    let Ok(node) = TcpStream::connect(&shared.target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let Some([mut client, mut node]) = tls::open(client, node, &shared).await else {
        return;
    };
    let mut first = vec![0; CHUNK];
    let Ok(count) = client.read(&mut first).await else {
        return;
    };
    first.truncate(count);
    let who = marked(&first, shared.marker);
    let link = Link {
        shared,
        number,
        is_marked: who.is_some(),
        who: who.unwrap_or_default(),
    };
    if !link.is_marked {
        let _ = link.forward(&mut client, &mut node, first).await;
        return;
    }
    link.shared.marked.fetch_add(1, Relaxed);
    link.shared.journal.begin(number, &link.who);
    let cut = link.until_cut(&mut client, &mut node, first).await;
    link.shared.journal.end(number);
    if cut == Some(Cut::Reset) {
        let _ = (
            SockRef::from(&client).set_linger(Some(Duration::ZERO)),
            SockRef::from(&node).set_linger(Some(Duration::ZERO)),
        );
    }
    link.shared.marked.fetch_sub(1, Relaxed);
}

/// What follows the marker up to the next zero byte; `None` if the marker is not there.
fn marked(first: &[u8], marker: &[u8]) -> Option<String> {
    if marker.is_empty() {
        return Some(String::new());
    }
    let at = first.windows(marker.len()).position(|window| window == marker)?;
    let name = first[at + marker.len()..].iter().take(MOST_NAME);
    let name: Vec<u8> = name.copied().take_while(|byte| *byte != 0).collect();
    Some(String::from_utf8_lossy(&name).into_owned())
}

impl Link {
    /// Forwards until both sides have ended, or a cut; `None` if the peers ended it.
    async fn until_cut(&self, client: &mut Stream, node: &mut Stream, first: Vec<u8>) -> Option<Cut> {
        let mut cuts = self.shared.cut.subscribe();
        cuts.mark_unchanged();
        tokio::select! {
            ended = self.forward(client, node, first) => ended.err(),
            // The sender lives as long as `shared`.
            _ = cuts.changed() => Some(cuts.borrow().1),
        }
    }

    async fn forward(&self, client: &mut Stream, node: &mut Stream, first: Vec<u8>) -> Result<(), Cut> {
        let (from_client, to_client) = split(client);
        let (from_node, to_node) = split(node);
        tokio::try_join!(
            Pump::new(self, Towards::Node, from_client, to_node).run(first),
            Pump::new(self, Towards::Client, from_node, to_client).run(Vec::new())
        )
        .map(drop)
    }
}

/// One direction.
struct Pump<'a> {
    link: &'a Link,
    towards: Towards,
    from: ReadHalf<&'a mut Stream>,
    to: WriteHalf<&'a mut Stream>,
    weather: Exposed,
    framer: Framer,
    /// The message so far, if it is held until it is whole.
    collected: Option<Vec<u8>>,
    /// Whether a part of the message had to endure the weather.
    is_slowed: bool,
    rng: Rng,
}

impl<'a> Pump<'a> {
    fn new(
        link: &'a Link,
        towards: Towards,
        from: ReadHalf<&'a mut Stream>,
        to: WriteHalf<&'a mut Stream>,
    ) -> Self {
        let direction = u64::from(towards == Towards::Client);
        let seed = ((link.number << 1) | direction).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            link,
            towards,
            from,
            to,
            weather: Exposed::new(link.shared.weather.subscribe(), towards, link.is_marked),
            framer: Framer::default(),
            collected: None,
            is_slowed: false,
            rng: Rng::with_seed(link.shared.seed ^ seed),
        }
    }

    /// Forwards to the end, beginning with what was read already; an error is a cut that ends both directions.
    async fn run(mut self, first: Vec<u8>) -> Result<(), Cut> {
        if !first.is_empty() {
            self.is_slowed |= self.weather.endure().await;
            self.take(&first, false).await?;
        }
        drop(first);
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = self.from.read(&mut chunk).await.map_err(|_| Cut::Reset)?;
            self.is_slowed |= self.weather.endure().await;
            if count == 0 {
                let _ = self.to.shutdown().await;
                return Ok(());
            }
            self.take(&chunk[..count], true).await?;
        }
    }

    async fn take(&mut self, mut chunk: &[u8], with_faults: bool) -> Result<(), Cut> {
        if !self.link.is_marked {
            return self.write(chunk, false).await;
        }
        // What need not be held goes on as it came, so that faults meet chunks and not messages.
        let whole = chunk;
        let mut passed = 0;
        while let Some(piece) = self.framer.next(&mut chunk) {
            if piece.is_first && self.must_be_whole() {
                self.collected = Some(Vec::new());
            }
            let end = whole.len() - chunk.len();
            if self.collected.is_some() {
                let start = end - piece.bytes.len();
                self.write(&whole[passed..start], with_faults).await?;
                passed = end;
            }
            if self.collect(&piece) {
                self.judge(with_faults).await?;
            } else if piece.is_last {
                self.note(None);
            }
        }
        self.write(&whole[passed..], with_faults).await
    }

    /// Adds to the message that is held; says whether it is whole now.
    fn collect(&mut self, piece: &Piece<'_>) -> bool {
        let Some(collected) = &mut self.collected else {
            return false;
        };
        collected.extend_from_slice(piece.bytes);
        piece.is_last
    }

    fn must_be_whole(&self) -> bool {
        let shared = &self.link.shared;
        match self.towards {
            Towards::Node => shared.trap().is_some(),
            Towards::Client => shared.journal.is_trapped(self.link.number),
        }
    }

    /// Cuts the message that was held, or lets it pass.
    async fn judge(&mut self, with_faults: bool) -> Result<(), Cut> {
        let message = self.collected.take().unwrap_or_default();
        let journal = &self.link.shared.journal;
        let point = match self.towards {
            Towards::Node => self.link.shared.spring(&message),
            Towards::Client => journal.trap_of(self.link.number, self.framer.head().response_to()),
        };
        let part = match (self.towards, point) {
            (Towards::Node, Some(Point::BeforeSend)) => self.rng.usize(..message.len()),
            (Towards::Client, Some(Point::AfterSend)) => 0,
            (Towards::Client, Some(Point::MidReply)) => self.rng.usize(1..message.len()),
            _ => {
                self.note(point);
                return self.write(&message, with_faults).await;
            }
        };
        let head = self.framer.head();
        if self.towards == Towards::Node {
            journal.write(Fate::RequestSwallowed, head.command(), self.link.who.clone());
        } else {
            journal.answered(self.link.number, head.response_to(), Some(Fate::ReplySwallowed));
        }
        let _ = self.write(&message[..part], false).await;
        Err(Cut::Close)
    }

    /// Notes a message that passes.
    fn note(&mut self, trap: Option<Point>) {
        let (link, head) = (self.link, self.framer.head());
        let is_slowed = std::mem::take(&mut self.is_slowed);
        let journal = &link.shared.journal;
        if self.towards == Towards::Node {
            if is_slowed {
                journal.write(Fate::Slowed, head.command(), link.who.clone());
            }
            if !head.has_more_to_come() {
                journal.sent(link.number, head.request_id(), head.command(), trap);
            }
        } else {
            journal.answered(link.number, head.response_to(), is_slowed.then_some(Fate::Slowed));
        }
    }

    async fn write(&mut self, bytes: &[u8], with_faults: bool) -> Result<(), Cut> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.weather.drips() {
            return drip(&mut self.to, bytes).await.map_err(|_| Cut::Reset);
        }
        if !with_faults {
            return self.to.write_all(bytes).await.map_err(|_| Cut::Reset);
        }
        let shared = &self.link.shared;
        let faults = *shared.faults.borrow();
        random::pass(&mut self.to, bytes, faults, &shared.counts, &mut self.rng).await
    }
}
