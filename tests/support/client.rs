//! A client that holds one connection and sends commands as documents by OP_MSG, with nothing in between: what it gets is
//! what a driver would see, errors and labels included.

use std::{
    io::{self, Cursor},
    net::SocketAddr,
    time::Duration,
};

use bson::{Bson, Document, doc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::{Instant, sleep, timeout},
};

const HEADER: usize = 16;
const OP_MSG: i32 = 2013;
/// Far longer than any reply takes; a hanging proxy must fail a test, not stop it.
const REPLY_LIMIT: Duration = Duration::from_secs(60);

/// One connection. Replies must name the request that they answer.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    last_id: i32,
}

impl Client {
    pub(crate) async fn connect(address: impl ToSocketAddrs) -> Self {
        let stream = timeout(REPLY_LIMIT, TcpStream::connect(address)).await;
        let stream = stream.expect("connecting takes no minute").unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, last_id: 0 }
    }

    /// The same where that may fail.
    pub(crate) async fn try_connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = timeout(REPLY_LIMIT, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, last_id: 0 })
    }

    /// The address by which the peer knows this connection.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends a command without waiting for its reply.
    pub(crate) async fn send(&mut self, db: &str, mut command: Document) -> io::Result<()> {
        command.insert("$db", db);
        let document = command.to_vec().unwrap();
        let length = i32::try_from(HEADER + 4 + 1 + document.len()).unwrap();
        self.last_id += 1;
        let mut message = Vec::with_capacity(length as usize);
        for field in [length, self.last_id, 0, OP_MSG, 0] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(&document);
        self.stream.write_all(&message).await
    }

    /// Waits for the reply to the command sent last.
    pub(crate) async fn reply(&mut self) -> io::Result<Document> {
        match timeout(REPLY_LIMIT, self.read()).await {
            Ok(reply) => reply,
            Err(_) => panic!("no reply within {REPLY_LIMIT:?}"),
        }
    }

    /// Waits for the reply that comes next, where several commands were sent at once.
    pub(crate) async fn next_reply(&mut self) -> io::Result<Document> {
        match timeout(REPLY_LIMIT, self.read_any()).await {
            Ok(reply) => reply.map(|(_, reply)| reply),
            Err(_) => panic!("no reply within {REPLY_LIMIT:?}"),
        }
    }

    async fn read(&mut self) -> io::Result<Document> {
        let (answered, reply) = self.read_any().await?;
        assert_eq!(answered, self.last_id, "the reply answers another request");
        Ok(reply)
    }

    /// The next reply, and the number of the request that it answers.
    async fn read_any(&mut self) -> io::Result<(i32, Document)> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).await?;
        let field = |at: usize| i32::from_le_bytes(*header[at..].first_chunk().unwrap());
        assert_eq!(field(12), OP_MSG, "the reply comes in the opcode of the request");
        let mut body = vec![0; usize::try_from(field(0)).unwrap() - HEADER];
        self.stream.read_exact(&mut body).await?;
        assert_eq!(body[..5], [0; 5], "flag bits, or a section that is not of kind 0");
        let reply = Document::from_reader(Cursor::new(&body[5..])).unwrap();
        Ok((field(8), reply))
    }

    /// A command and its reply, whether it succeeded or not; an error is the connection's.
    pub(crate) async fn try_run(&mut self, db: &str, command: Document) -> io::Result<Document> {
        self.send(db, command).await?;
        self.reply().await
    }

    /// A command and its reply, whether it succeeded or not.
    pub(crate) async fn run(&mut self, db: &str, command: Document) -> Document {
        let name = command.keys().next().cloned().unwrap_or_default();
        let reply = self.try_run(db, command).await;
        reply.unwrap_or_else(|e| panic!("the connection broke under {name}: {e}"))
    }

    /// A command that must succeed, without write errors.
    pub(crate) async fn succeed(&mut self, db: &str, command: Document) -> Document {
        let shown = command.clone();
        let reply = self.run(db, command).await;
        let has_failed = ["writeErrors", "writeConcernError"]
            .iter()
            .any(|key| reply.contains_key(key));
        assert!(is_ok(&reply) && !has_failed, "{shown}: {reply}");
        reply
    }

    /// Waits until the other side closes the connection, and panics if it sends anything before.
    pub(crate) async fn closed(&mut self) {
        let mut byte = [0];
        let read = timeout(REPLY_LIMIT, self.stream.read(&mut byte)).await;
        match read.expect("the connection is closed in the end") {
            Ok(0) | Err(_) => {}
            Ok(_) => panic!("bytes that answer nothing"),
        }
    }
}

/// Whether a reply says `ok: 1`.
pub(crate) fn is_ok(reply: &Document) -> bool {
    number(reply, "ok") == Some(1)
}

/// A number of whatever BSON type.
pub(crate) fn number(document: &Document, key: &str) -> Option<i64> {
    match document.get(key)? {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

/// The documents of the first batch, or of the next, and the cursor's id.
pub(crate) fn batch(reply: &Document) -> (Vec<Document>, i64) {
    let cursor = reply
        .get_document("cursor")
        .unwrap_or_else(|_| panic!("no cursor: {reply}"));
    let documents = cursor
        .get_array("firstBatch")
        .or_else(|_| cursor.get_array("nextBatch"))
        .unwrap();
    let documents = documents.iter().map(|d| d.as_document().unwrap().clone());
    (documents.collect(), number(cursor, "id").unwrap())
}

/// The `errorLabels` of a reply.
pub(crate) fn labels(reply: &Document) -> Vec<&str> {
    let labels = reply
        .get_array("errorLabels")
        .map(Vec::as_slice)
        .unwrap_or_default();
    labels.iter().filter_map(Bson::as_str).collect()
}

/// `$readPreference` with a mode.
pub(crate) fn prefer(mode: &str, mut command: Document) -> Document {
    command.insert("$readPreference", doc! { "mode": mode });
    command
}

/// Looks again and again until `check` holds; panics with `what` after `limit`. Returns how long it took.
pub(crate) async fn eventually(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> bool,
) -> Duration {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}
