//! A client that speaks the wire protocol byte by byte, right or wrong as the test wants.
//!
//! It shares no code with the proxy: messages are laid out here anew after the OP_MSG specification and the legacy
//! wire protocol, so that a mistake in the proxy's codec is not made twice.

use std::{io, net::SocketAddr, time::Duration};

use bson::{Bson, Document, RawBson, RawDocument};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::compressed::{self, OP_COMPRESSED};

pub(crate) const OP_REPLY: i32 = 1;
pub(crate) const OP_QUERY: i32 = 2004;
pub(crate) const OP_GET_MORE: i32 = 2005;
pub(crate) const OP_KILL_CURSORS: i32 = 2007;
pub(crate) const OP_MSG: i32 = 2013;

pub(crate) const CHECKSUM_PRESENT: u32 = 1;
pub(crate) const MORE_TO_COME: u32 = 1 << 1;
pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Longer than any answer takes on a busy machine; what takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);
/// Header, flag bits, section kind, and an empty document.
const SMALLEST: usize = 16 + 4 + 1 + 5;
const LARGEST: usize = 48_000_000;

/// One connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    last_id: i32,
}

/// A whole reply, whose layout has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) op_code: i32,
    pub(crate) request_id: i32,
    pub(crate) response_to: i32,
    /// The flag bits of an OP_MSG, the response flags of an OP_REPLY.
    pub(crate) flags: u32,
    /// Empty in an OP_REPLY without documents.
    pub(crate) body: Document,
    /// The compressor, if it came in an OP_COMPRESSED; the rest is of the message inside.
    pub(crate) compressor: Option<u8>,
}

impl Reply {
    pub(crate) fn ok(&self) -> bool {
        number(&self.body, "ok") == Some(1)
    }

    /// The error code, 0 if there is none.
    pub(crate) fn code(&self) -> i64 {
        number(&self.body, "code").unwrap_or_default()
    }
}

impl Raw {
    pub(crate) async fn connect(address: impl Into<String>) -> io::Result<Self> {
        let stream = within(TcpStream::connect(address.into())).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, last_id: 0 })
    }

    /// The address by which the peer knows this connection.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// A number for the next request. They go up by different steps, so that a reply to a neighbour's is noticed.
    pub(crate) fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.wrapping_add(1 + i32::from(self.local().port() % 7)) & i32::MAX;
        self.last_id
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.stream.write_all(bytes)).await
    }

    /// The next reply; `None` if the peer ended between two.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Reply>> {
        within(self.read_reply()).await
    }

    /// The number of the request that the next reply is to, whatever is in it; `None` if the peer ended between two.
    pub(crate) async fn receive_any(&mut self) -> io::Result<Option<i32>> {
        let message = within(self.read_message()).await?;
        Ok(message.map(|message| i32_at(&message, 8)))
    }

    /// The reply to request `id`.
    pub(crate) async fn reply_to(&mut self, id: i32) -> io::Result<Reply> {
        let reply = self.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if reply.response_to != id {
            return Err(invalid(format!(
                "a reply to {}, not to {id}: {reply:?}",
                reply.response_to
            )));
        }
        Ok(reply)
    }

    /// Sends a command as OP_MSG and waits for its reply.
    pub(crate) async fn command(&mut self, command: &Document) -> io::Result<Reply> {
        let id = self.next_id();
        self.send(&msg(id, 0, &[body_section(command)])).await?;
        self.reply_to(id).await
    }

    /// As [`command`](Self::command), but compressed.
    pub(crate) async fn compressed(&mut self, compressor: u8, command: &Document) -> io::Result<Reply> {
        let id = self.next_id();
        let message = msg(id, 0, &[body_section(command)]);
        self.send(&compressed::wrap(compressor, &message)).await?;
        self.reply_to(id).await
    }

    /// Resets the connection instead of closing it.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    async fn read_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut header = [0; 16];
        if self.stream.read(&mut header[..1]).await? == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut header[1..]).await?;
        let length = usize::try_from(i32_at(&header, 0))
            .ok()
            .filter(|n| (SMALLEST..=LARGEST).contains(n));
        let length = length.ok_or_else(|| invalid(format!("a reply's header is {header:?}")))?;
        let mut message = header.to_vec();
        message.resize(length, 0);
        self.stream.read_exact(&mut message[16..]).await?;
        Ok(Some(message))
    }

    async fn read_reply(&mut self) -> io::Result<Option<Reply>> {
        let Some(mut message) = self.read_message().await? else {
            return Ok(None);
        };
        let [_, request_id, response_to, op_code] = [0, 4, 8, 12].map(|at| i32_at(&message, at));
        let (mut op_code, mut compressor) = (op_code, None);
        if op_code == OP_COMPRESSED {
            let (inside, by) = compressed::unwrap(&message)?;
            (op_code, compressor) = (i32_at(&inside, 12), Some(by));
            message = inside;
        }
        let (flags, body) = match op_code {
            OP_MSG => msg_body(&message)?,
            OP_REPLY => reply_body(&message)?,
            other => return Err(invalid(format!("a reply of opcode {other}"))),
        };
        Ok(Some(Reply {
            op_code,
            request_id,
            response_to,
            flags,
            body,
            compressor,
        }))
    }
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, what)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// An OP_MSG of these sections; with the flag for it, with its checksum.
pub(crate) fn msg(id: i32, flags: u32, sections: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = flags.to_le_bytes().to_vec();
    payload.extend(sections.concat());
    let checksum = if flags & CHECKSUM_PRESENT == 0 { 0 } else { 4 };
    let mut message = frame(id, OP_MSG, &payload);
    let length = (message.len() + checksum) as i32;
    message[..4].copy_from_slice(&length.to_le_bytes());
    if checksum > 0 {
        message.extend_from_slice(&crc32c::crc32c(&message).to_le_bytes());
    }
    message
}

/// A section of kind 0.
pub(crate) fn body_section(document: &Document) -> Vec<u8> {
    [vec![0], document.to_vec().unwrap()].concat()
}

/// A section of kind 1.
pub(crate) fn sequence_section(name: &str, documents: &[Document]) -> Vec<u8> {
    let documents: Vec<u8> = documents.iter().flat_map(|d| d.to_vec().unwrap()).collect();
    let size = (4 + name.len() + 1 + documents.len()) as i32;
    [&[1], &size.to_le_bytes()[..], name.as_bytes(), &[0], &documents].concat()
}

/// An OP_QUERY for one document, as commands are sent.
pub(crate) fn query(id: i32, namespace: &str, document: &Document) -> Vec<u8> {
    let payload = [
        &0i32.to_le_bytes()[..],
        namespace.as_bytes(),
        &[0],
        &0i32.to_le_bytes(),
        &(-1i32).to_le_bytes(),
        &document.to_vec().unwrap(),
    ];
    frame(id, OP_QUERY, &payload.concat())
}

/// Any message.
pub(crate) fn frame(id: i32, op_code: i32, payload: &[u8]) -> Vec<u8> {
    let length = (16 + payload.len()) as i32;
    [
        &length.to_le_bytes(),
        &id.to_le_bytes(),
        &0i32.to_le_bytes(),
        &op_code.to_le_bytes(),
        payload,
    ]
    .concat()
}

fn msg_body(message: &[u8]) -> io::Result<(u32, Document)> {
    let flags = i32_at(message, 16) as u32;
    let mut end = message.len();
    if flags & CHECKSUM_PRESENT != 0 {
        end -= 4;
        let (found, computed) = (i32_at(message, end) as u32, crc32c::crc32c(&message[..end]));
        if found != computed {
            return Err(invalid(format!(
                "a reply's checksum is {found:#x}, not {computed:#x}"
            )));
        }
    }
    if message[20] != 0 {
        return Err(invalid(format!(
            "a reply's first section is of kind {}",
            message[20]
        )));
    }
    Ok((flags, only_document(&message[21..end])?))
}

fn reply_body(message: &[u8]) -> io::Result<(u32, Document)> {
    let header = message
        .get(..36)
        .ok_or_else(|| invalid("a short OP_REPLY".to_owned()))?;
    let body = match i32_at(header, 32) {
        0 if message.len() == 36 => Document::new(),
        1 => only_document(&message[36..])?,
        count => {
            return Err(invalid(format!(
                "an OP_REPLY of {count} documents in {} bytes",
                message.len()
            )));
        }
    };
    Ok((i32_at(header, 16) as u32, body))
}

fn only_document(bytes: &[u8]) -> io::Result<Document> {
    let broken = |error| invalid(format!("a reply's body: {error}"));
    lossy(RawDocument::from_bytes(bytes).map_err(broken)?).map_err(broken)
}

/// Replies repeat what a damaged command had where text should be, in messages and in documents that it wrote; what
/// is not UTF-8 there is replaced.
fn lossy(raw: &RawDocument) -> bson::error::Result<Document> {
    let unreadable = |_| Bson::String("\u{fffd}".to_owned());
    let mut document = Document::new();
    for element in raw.iter_elements() {
        let element = element?;
        let value = match element.value_utf8_lossy()? {
            RawBson::Document(nested) => lossy(&nested).map_or_else(unreadable, Bson::Document),
            other => Bson::try_from(other).unwrap_or_else(unreadable),
        };
        document.insert(element.key().as_str(), value);
    }
    Ok(document)
}

fn number(document: &Document, key: &str) -> Option<i64> {
    match document.get(key)? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
