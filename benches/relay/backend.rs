//! The fixed-answer backend: the cheapest thing that a proxy takes for a primary.
//!
//! It answers `hello` as the only node of a replica set (so that a proxy's monitors have what they need,
//! awaitable and streaming replies included), `ping`, and everything else with one prepared reply. That reply is
//! copied into the connection's own buffer and patched; nothing is allocated and nothing parsed per operation, so
//! what the benchmark sees is the proxy.

use std::cell::OnceCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use bson::{Document, RawDocument, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::message::{
    EXHAUST_ALLOWED, HEADER, MORE_TO_COME, OP_MSG, OP_MSG_BODY, OP_QUERY, find_reply, frame_length,
    hello_reply, i32_at, large_reply, op_msg, op_reply, set_request_id, set_response_to, text_reply,
    update_reply,
};

/// Serves on `port`, or any if that is 0, until its parent ends. Prints the port on one line once it listens.
pub(crate) fn run(port: u16) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(port))
}

async fn serve(port: u16) -> Outcome<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener: TcpListener = socket.listen(4096)?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout(), "{}", address.port())?;
    let node = Rc::new(Node {
        address: address.to_string(),
        find: op_msg(0, &find_reply())?,
        text: op_msg(0, &text_reply())?,
        update: op_msg(0, &update_reply())?,
        large: OnceCell::new(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let node = node.clone();
        // A peer that resets its connection is no concern of the others; the load notices lost replies.
        tokio::task::spawn_local(async move { node.connection(stream).await.ok() });
    }
}

/// What every connection answers with.
struct Node {
    address: String,
    find: Vec<u8>,
    text: Vec<u8>,
    update: Vec<u8>,
    /// Made when it is asked for.
    large: OnceCell<Vec<u8>>,
}

/// What a request asks for beside the prepared reply.
enum Step {
    /// Its reply is in the buffer, or none is wanted.
    Next,
    /// The large reply is due.
    Large(i32),
    /// An awaitable `hello`: after `wait` the reply is due; with `stream`, another one each `wait` after it.
    Await { id: i32, wait: Duration, stream: bool },
}

impl Node {
    async fn connection(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let mut input = vec![0; 4096];
        let mut output = Vec::with_capacity(4096);
        let mut filled = 0;
        loop {
            let n = stream.read(&mut input[filled..]).await?;
            if n == 0 {
                return Ok(());
            }
            filled += n;
            let mut at = 0;
            while let Some(length) = frame_length(&input[at..filled])? {
                let step = self.answer(&input[at..at + length], &mut output)?;
                at += length;
                if !matches!(step, Step::Next) {
                    stream.write_all(&output).await?;
                    output.clear();
                }
                match step {
                    Step::Next => {}
                    Step::Large(id) => self.send_large(&mut stream, id).await?,
                    Step::Await {
                        id,
                        wait,
                        stream: streaming,
                    } => self.await_hello(&mut stream, id, wait, streaming).await?,
                }
            }
            input.copy_within(at..filled, 0);
            filled -= at;
            if filled == input.len() {
                input.resize(filled * 2, 0);
            }
            if !output.is_empty() {
                stream.write_all(&output).await?;
                output.clear();
            }
        }
    }

    /// Appends the reply to `request` to `out`.
    fn answer(&self, request: &[u8], out: &mut Vec<u8>) -> Outcome<Step> {
        let id = i32_at(request, 4).unwrap_or_default();
        let op_code = i32_at(request, 12).unwrap_or_default();
        match op_code {
            OP_MSG => {}
            OP_QUERY => {
                append(out, &op_reply(&hello_reply(&self.address))?, id);
                return Ok(Step::Next);
            }
            other => return Err(format!("opcode {other} is not served by the backend").into()),
        }
        let flags = i32_at(request, HEADER).unwrap_or_default() as u32;
        if flags & MORE_TO_COME != 0 {
            return Ok(Step::Next);
        }
        // The first element's key is the command's name: type byte, then the key.
        let name = request.get(OP_MSG_BODY + 5..).unwrap_or_default();
        if name.starts_with(b"find\0\x06\0\0\0large\0") {
            return Ok(Step::Large(id));
        }
        if name.starts_with(b"find\0\x06\0\0\0texts\0") {
            append(out, &self.text, id);
        } else if name.starts_with(b"find\0") {
            append(out, &self.find, id);
        } else if name.starts_with(b"update\0") {
            append(out, &self.update, id);
        } else if [&b"hello\0"[..], b"isMaster\0", b"ismaster\0"]
            .iter()
            .any(|n| name.starts_with(n))
        {
            if let Some(wait) = awaited(&request[OP_MSG_BODY..]) {
                return Ok(Step::Await {
                    id,
                    wait,
                    stream: flags & EXHAUST_ALLOWED != 0,
                });
            }
            append(out, &op_msg(0, &hello_reply(&self.address))?, id);
        } else if name.starts_with(b"ping\0") || name.starts_with(b"endSessions\0") {
            append(out, &op_msg(0, &doc! { "ok": 1.0 })?, id);
        } else {
            append(out, &self.find, id);
        }
        Ok(Step::Next)
    }

    /// Sends the large reply, which all connections share.
    async fn send_large(&self, stream: &mut TcpStream, id: i32) -> Outcome<()> {
        let reply = match self.large.get() {
            Some(reply) => reply,
            None => {
                let made = op_msg(0, &large_reply())?;
                self.large.get_or_init(|| made)
            }
        };
        let (head, rest) = reply.split_at(HEADER);
        let mut head = head.to_vec();
        set_request_id(&mut head, id);
        set_response_to(&mut head, id);
        stream.write_all(&head).await?;
        Ok(stream.write_all(rest).await?)
    }

    /// Nothing ever changes here, so an awaitable `hello` is answered when its time is up. A streaming one goes
    /// on until the peer says or closes something; each reply's `responseTo` is the previous reply's id.
    async fn await_hello(
        &self,
        stream: &mut TcpStream,
        id: i32,
        wait: Duration,
        streaming: bool,
    ) -> Outcome<()> {
        let mut response_to = id;
        loop {
            if tokio::time::timeout(wait, stream.readable()).await.is_ok() && streaming {
                return Ok(());
            }
            let flags = if streaming { MORE_TO_COME } else { 0 };
            let mut reply = op_msg(flags, &hello_reply(&self.address))?;
            set_response_to(&mut reply, response_to);
            response_to = response_to.wrapping_add(1);
            set_request_id(&mut reply, response_to);
            stream.write_all(&reply).await?;
            if !streaming {
                return Ok(());
            }
        }
    }
}

/// Appends a copy of `reply` as the answer to request `id`. The reply's own id only has to differ from its
/// neighbours', which the request's id does.
fn append(out: &mut Vec<u8>, reply: &[u8], id: i32) {
    let at = out.len();
    out.extend_from_slice(reply);
    set_request_id(&mut out[at..], id);
    set_response_to(&mut out[at..], id);
}

/// How long a `hello` is to wait: its `maxAwaitTimeMS` if it names the topology version that still holds.
fn awaited(body: &[u8]) -> Option<Duration> {
    let length = usize::try_from(i32_at(body, 0)?).ok()?;
    let body = RawDocument::from_bytes(body.get(..length)?).ok()?;
    let asked = Document::try_from(body.get_document("topologyVersion").ok()?).ok()?;
    let ours = hello_reply("");
    if ours.get_document("topologyVersion").ok()? != &asked {
        return None;
    }
    let wait = body
        .get_i64("maxAwaitTimeMS")
        .or_else(|_| body.get_i32("maxAwaitTimeMS").map(i64::from))
        .ok()?;
    Some(Duration::from_millis(u64::try_from(wait).ok()?))
}
