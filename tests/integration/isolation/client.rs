//! A client that asks for tokens in every way, and leaves in the middle of things.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use fastrand::Rng;

use super::{
    DATABASE, RECOVERY, STREAM_ABOVE,
    echo::{Echo, Miss, acknowledged, aggregate, batch, insert, lost, padded, preference, unconnected},
};
use crate::support::{
    Proxy,
    raw::{self, OP_MSG, OP_REPLY, Raw, Reply},
};

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// The faults are over.
    pub(super) calm: AtomicBool,
    echoed: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    vanished: AtomicU64,
    pub(super) violations: Mutex<Vec<String>>,
}

impl Crowd {
    pub(super) fn counts(&self) -> (u64, u64, u64, u64) {
        let [echoed, refused, broken, vanished] =
            [&self.echoed, &self.refused, &self.broken, &self.vanished].map(|count| count.load(Relaxed));
        (echoed, refused, broken, vanished)
    }
}

/// The ways to ask for a token.
#[derive(Debug, Clone, Copy)]
enum Way {
    Find,
    Aggregate,
    InsertAndFind,
    Unacknowledged,
    Legacy,
    Cursor,
    Held,
    Streamed,
    Pipelined,
}

const WAYS: [Way; 9] = [
    Way::Find,
    Way::Aggregate,
    Way::InsertAndFind,
    Way::Unacknowledged,
    Way::Legacy,
    Way::Cursor,
    Way::Held,
    Way::Streamed,
    Way::Pipelined,
];

pub(super) struct Client {
    address: String,
    crowd: Arc<Crowd>,
    rng: Rng,
    number: u64,
    tokens: u64,
    raw: Option<Raw>,
}

impl Client {
    pub(super) fn new(proxy: &Proxy, crowd: &Arc<Crowd>, seed: u64, number: u64) -> Self {
        Self {
            address: proxy.address.to_string(),
            crowd: Arc::clone(crowd),
            rng: Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number)),
            number,
            tokens: 0,
            raw: None,
        }
    }

    /// Asks until the faults are over, then once in each way, which must succeed. Returns itself, still connected.
    pub(super) async fn run(mut self) -> Self {
        while !self.crowd.calm.load(Relaxed) {
            if self.rng.u32(..20) == 0 {
                if let Err(error) = self.vanish().await {
                    self.violation(format!("cannot connect: {error}"));
                }
                self.crowd.vanished.fetch_add(1, Relaxed);
            } else {
                let way = self.rng.choice(WAYS).unwrap();
                self.ask(way).await;
            }
        }
        for way in WAYS {
            let deadline = Instant::now() + RECOVERY;
            while !self.ask(way).await {
                if Instant::now() > deadline {
                    self.violation(format!("{way:?} did not recover"));
                    break;
                }
            }
        }
        self
    }

    /// Asks once; whether the echo came.
    async fn ask(&mut self, way: Way) -> bool {
        let crowd = Arc::clone(&self.crowd);
        let outcome = self.echo(way).await;
        let count = match &outcome {
            Ok(()) => &crowd.echoed,
            Err(Miss::Refused(_)) => &crowd.refused,
            Err(Miss::Broken) => &crowd.broken,
            Err(Miss::Violation(what)) => {
                self.violation(format!("{way:?}: {what}"));
                &crowd.broken
            }
        };
        count.fetch_add(1, Relaxed);
        if matches!(outcome, Err(Miss::Broken | Miss::Violation(_))) {
            self.raw = None;
        }
        outcome.is_ok()
    }

    fn violation(&self, what: String) {
        let mut violations = self.crowd.violations.lock().unwrap();
        if violations.len() < 20 {
            violations.push(format!("client {}: {what}", self.number));
        }
    }

    async fn raw(&mut self) -> io::Result<&mut Raw> {
        if self.raw.is_none() {
            self.raw = Some(Raw::connect(self.address.as_str()).await?);
        }
        Ok(self.raw.as_mut().unwrap())
    }

    fn token(&mut self) -> String {
        self.tokens += 1;
        format!("{}-{}-{:016x}", self.number, self.tokens, self.rng.u64(..))
    }

    /// Leaves in the middle of a command or of its reply.
    async fn vanish(&mut self) -> io::Result<()> {
        let token = self.token();
        let size = if self.rng.bool() {
            0
        } else {
            self.rng.usize(..2 * STREAM_ABOVE)
        };
        let reads = self.rng.bool();
        let command = if reads {
            aggregate(&[padded(&token, size)], &mut self.rng)
        } else {
            insert(&token)
        };
        let message = raw::msg(1, 0, &[raw::body_section(&command)]);
        let (whole, part) = (self.rng.bool(), self.rng.usize(..message.len()));
        let (pause, reset) = (self.rng.u64(..8), self.rng.bool());
        let raw = self.raw().await?;
        // The proxy may not have to take all of it before it sees the end.
        let _ = raw.send(if whole { &message } else { &message[..part] }).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let raw = self.raw.take().unwrap();
        let mut some = vec![0; part % 200];
        let _ = raw.stream.try_read(&mut some);
        if reset {
            raw.reset();
        }
        Ok(())
    }

    async fn echo(&mut self, way: Way) -> Echo {
        let token = self.token();
        let plain = || padded(&token, 0);
        match way {
            Way::Find => {
                let find = doc! {"find": "one", "projection": {"_id": 0, "t": {"$literal": &token}, "p": {"$literal": ""}},
                "$db": DATABASE, "$readPreference": preference(&mut self.rng)};
                self.batch(&find, &[plain()]).await.map(drop)
            }
            Way::Aggregate => self.documents(&[plain()]).await.map(drop),
            Way::Held => {
                let size = self.rng.usize((16 << 10)..STREAM_ABOVE - 1000);
                self.documents(&[padded(&token, size)]).await.map(drop)
            }
            Way::Streamed => {
                let size = self.rng.usize(STREAM_ABOVE..3 * STREAM_ABOVE);
                self.documents(&[padded(&token, size)]).await.map(drop)
            }
            Way::InsertAndFind => {
                acknowledged(&self.command(&insert(&token), false).await?)?;
                let find = doc! {"find": "many", "filter": {"_id": &token}, "$db": DATABASE};
                self.batch(&find, &[doc! {"_id": &token}]).await.map(drop)
            }
            Way::Unacknowledged => {
                let raw = self.raw().await.map_err(unconnected)?;
                let message = raw::msg(
                    raw.next_id(),
                    raw::MORE_TO_COME,
                    &[raw::body_section(&insert(&token))],
                );
                raw.send(&message).await.map_err(|e| lost(&e, false))?;
                self.documents(&[plain()]).await.map(drop)
            }
            Way::Legacy => self.legacy(&plain()).await,
            Way::Cursor => self.cursor(&token).await,
            Way::Pipelined => self.pipelined().await,
        }
    }

    async fn documents(&mut self, documents: &[Document]) -> Result<i64, Miss> {
        let command = aggregate(documents, &mut self.rng);
        self.batch(&command, documents).await
    }

    /// Runs a command whose reply must hold exactly these documents; returns the cursor's id.
    async fn batch(&mut self, command: &Document, expected: &[Document]) -> Result<i64, Miss> {
        let size: usize = expected.iter().map(|d| d.to_vec().unwrap().len()).sum();
        let reply = self.command(command, size >= STREAM_ABOVE - 1000).await?;
        batch(&reply, expected)
    }

    async fn command(&mut self, command: &Document, streamed: bool) -> Result<Reply, Miss> {
        let slices = self.rng.u32(..10) == 0;
        let at = self.rng.usize(1..60);
        let raw = self.raw().await.map_err(unconnected)?;
        let id = raw.next_id();
        let message = raw::msg(id, 0, &[raw::body_section(command)]);
        let (first, rest) = message.split_at(if slices { at } else { 0 });
        raw.send(first).await.map_err(|e| lost(&e, false))?;
        if slices {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        raw.send(rest).await.map_err(|e| lost(&e, false))?;
        reply(raw, id, OP_MSG, streamed).await
    }

    async fn legacy(&mut self, document: &Document) -> Echo {
        let mut command = aggregate(std::slice::from_ref(document), &mut self.rng);
        command.remove("$db");
        let raw = self.raw().await.map_err(unconnected)?;
        let id = raw.next_id();
        let message = raw::query(id, &format!("{DATABASE}.$cmd"), &command);
        raw.send(&message).await.map_err(|e| lost(&e, false))?;
        let reply = reply(raw, id, OP_REPLY, false).await?;
        batch(&reply, std::slice::from_ref(document)).map(drop)
    }

    /// Three batches of one document: the cursor lives on one node.
    async fn cursor(&mut self, token: &str) -> Echo {
        let documents: Vec<Document> = (0..3).map(|part| padded(&format!("{token}/{part}"), 0)).collect();
        let mut command = aggregate(&documents, &mut self.rng);
        command.insert("cursor", doc! {"batchSize": 1});
        let mut id = self.batch(&command, &documents[..1]).await?;
        for document in &documents[1..] {
            if id == 0 {
                return Err(Miss::Violation(format!("the cursor ended before {document}")));
            }
            let more = doc! {"getMore": id, "collection": "$cmd.aggregate", "batchSize": 1, "$db": DATABASE};
            id = self.batch(&more, std::slice::from_ref(document)).await?;
        }
        if id != 0 {
            let more = doc! {"getMore": id, "collection": "$cmd.aggregate", "$db": DATABASE};
            self.batch(&more, &[]).await?;
        }
        Ok(())
    }

    /// Several requests in one go; their replies come in order.
    async fn pipelined(&mut self) -> Echo {
        let documents: Vec<Document> = (0..self.rng.usize(2..6))
            .map(|_| padded(&self.token(), 0))
            .collect();
        let commands: Vec<Document> = documents
            .iter()
            .map(|document| aggregate(std::slice::from_ref(document), &mut self.rng))
            .collect();
        let raw = self.raw().await.map_err(unconnected)?;
        let (mut ids, mut messages) = (Vec::new(), Vec::new());
        for command in &commands {
            let id = raw.next_id();
            ids.push(id);
            messages.extend(raw::msg(id, 0, &[raw::body_section(command)]));
        }
        raw.send(&messages).await.map_err(|e| lost(&e, false))?;
        let mut outcome = Ok(());
        for (id, document) in ids.iter().zip(&documents) {
            let reply = reply(raw, *id, OP_MSG, false);
            // One may fail; those behind it are answered all the same.
            let echo = match reply.await {
                Ok(reply) => batch(&reply, std::slice::from_ref(document)).map(drop),
                Err(miss) => return Err(miss),
            };
            if !matches!(outcome, Err(Miss::Violation(_))) && echo.is_err() {
                outcome = echo;
            }
        }
        outcome
    }
}

async fn reply(raw: &mut Raw, id: i32, op_code: i32, streamed: bool) -> Result<Reply, Miss> {
    let reply = raw.reply_to(id).await.map_err(|error| lost(&error, streamed))?;
    if reply.op_code != op_code {
        return Err(Miss::Violation(format!("opcode {op_code} expected: {reply:?}")));
    }
    Ok(reply)
}
