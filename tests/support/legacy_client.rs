//! A client of the age before OP_MSG: OP_QUERY, OP_GET_MORE, OP_KILL_CURSORS, OP_INSERT, OP_UPDATE and OP_DELETE laid out byte
//! by byte, and OP_REPLY read likewise, after the legacy opcodes' page of MongoDB's manual.
//!
//! It shares no code with the proxy, and blocks: a generated test plays one message after another.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bson::{Document, doc};

use super::raw::frame;

pub(crate) const OP_UPDATE: i32 = 2001;
pub(crate) const OP_INSERT: i32 = 2002;
pub(crate) const OP_QUERY: i32 = 2004;
pub(crate) const OP_GET_MORE: i32 = 2005;
pub(crate) const OP_DELETE: i32 = 2006;
pub(crate) const OP_KILL_CURSORS: i32 = 2007;
const OP_REPLY: i32 = 1;

/// Flag bits of an OP_QUERY.
pub(crate) const TAILABLE: i32 = 1 << 1;
pub(crate) const SLAVE_OK: i32 = 1 << 2;
pub(crate) const NO_CURSOR_TIMEOUT: i32 = 1 << 4;
pub(crate) const AWAIT_DATA: i32 = 1 << 5;
pub(crate) const EXHAUST: i32 = 1 << 6;
pub(crate) const PARTIAL: i32 = 1 << 7;
/// Flag bits of an OP_INSERT, an OP_UPDATE, an OP_DELETE.
pub(crate) const CONTINUE_ON_ERROR: i32 = 1;
pub(crate) const UPSERT: i32 = 1;
pub(crate) const MULTI_UPDATE: i32 = 1 << 1;
pub(crate) const SINGLE_REMOVE: i32 = 1;

/// Longer than any answer takes on a busy machine; what takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);
const HEADER: usize = 16;
/// Header, flags, cursor id, startingFrom, numberReturned.
const REPLY_HEAD: usize = 36;
const LARGEST: usize = 48_000_000;

/// The fields of an OP_QUERY.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub(crate) flags: i32,
    pub(crate) namespace: String,
    pub(crate) skip: i32,
    pub(crate) to_return: i32,
    pub(crate) query: Document,
    pub(crate) fields: Option<Document>,
}

impl Query {
    /// As commands are sent that want to see what was written.
    pub(crate) fn command(db: &str, command: Document) -> Self {
        Self {
            flags: 0,
            namespace: format!("{db}.$cmd"),
            skip: 0,
            to_return: -1,
            query: command,
            fields: None,
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = start(self.flags, &self.namespace);
        payload.extend(self.skip.to_le_bytes());
        payload.extend(self.to_return.to_le_bytes());
        payload.extend(self.query.to_vec().unwrap());
        payload.extend(self.fields.iter().flat_map(|fields| fields.to_vec().unwrap()));
        payload
    }
}

pub(crate) fn get_more(namespace: &str, to_return: i32, cursor: i64) -> Vec<u8> {
    let mut payload = start(0, namespace);
    payload.extend(to_return.to_le_bytes());
    payload.extend(cursor.to_le_bytes());
    payload
}

pub(crate) fn kill_cursors(count: i32, cursors: &[i64]) -> Vec<u8> {
    let mut payload = [0, count].map(i32::to_le_bytes).concat();
    payload.extend(cursors.iter().flat_map(|cursor| cursor.to_le_bytes()));
    payload
}

pub(crate) fn insert(flags: i32, namespace: &str, documents: &[Document]) -> Vec<u8> {
    let mut payload = start(flags, namespace);
    payload.extend(documents.iter().flat_map(|document| document.to_vec().unwrap()));
    payload
}

pub(crate) fn update(flags: i32, namespace: &str, selector: &Document, update: &Document) -> Vec<u8> {
    let mut payload = delete(flags, namespace, selector);
    payload.extend(update.to_vec().unwrap());
    payload
}

pub(crate) fn delete(flags: i32, namespace: &str, selector: &Document) -> Vec<u8> {
    let mut payload = start(0, namespace);
    payload.extend(flags.to_le_bytes());
    payload.extend(selector.to_vec().unwrap());
    payload
}

/// A number and the full name of a collection, with which all but OP_KILL_CURSORS begin.
fn start(number: i32, namespace: &str) -> Vec<u8> {
    [&number.to_le_bytes(), namespace.as_bytes(), &[0]].concat()
}

/// An OP_REPLY, whose layout has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpReply {
    pub(crate) request_id: i32,
    pub(crate) response_to: i32,
    pub(crate) flags: i32,
    pub(crate) cursor: i64,
    pub(crate) starting_from: i32,
    pub(crate) documents: Vec<Document>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct LegacyClient {
    stream: TcpStream,
    last_id: i32,
}

impl LegacyClient {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, last_id: 0 })
    }

    /// Sends a message and returns its request id.
    pub(crate) fn send(&mut self, op_code: i32, payload: &[u8]) -> io::Result<i32> {
        self.last_id += 1 + self.last_id % 5;
        self.stream.write_all(&frame(self.last_id, op_code, payload))?;
        Ok(self.last_id)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message and waits for its reply.
    pub(crate) fn ask(&mut self, op_code: i32, payload: &[u8]) -> io::Result<OpReply> {
        let id = self.send(op_code, payload)?;
        let reply = self.receive()?;
        if reply.response_to != id {
            let wrong = format!("a reply to {}, not to {id}: {reply:?}", reply.response_to);
            return Err(invalid(wrong));
        }
        Ok(reply)
    }

    /// The reply document of a command sent by OP_QUERY.
    pub(crate) fn command(&mut self, db: &str, command: Document) -> io::Result<Document> {
        let mut reply = self.ask(OP_QUERY, &Query::command(db, command).payload())?;
        if reply.documents.len() != 1 || reply.cursor != 0 {
            return Err(invalid(format!("no command's reply: {reply:?}")));
        }
        Ok(reply.documents.remove(0))
    }

    pub(crate) fn get_last_error(&mut self, db: &str) -> io::Result<Document> {
        self.command(db, doc! {"getLastError": 1})
    }

    /// The next reply; an end of the connection is `UnexpectedEof`.
    pub(crate) fn receive(&mut self) -> io::Result<OpReply> {
        let mut head = [0; REPLY_HEAD];
        self.stream.read_exact(&mut head[..HEADER])?;
        let [length, request_id, response_to, op_code] = [0, 4, 8, 12].map(|at| i32_at(&head, at));
        let length = usize::try_from(length).unwrap_or_default();
        if op_code != OP_REPLY || !(REPLY_HEAD..=LARGEST).contains(&length) {
            return Err(invalid(format!("no OP_REPLY begins with {:?}", &head[..HEADER])));
        }
        self.stream.read_exact(&mut head[HEADER..])?;
        let mut body = vec![0; length - REPLY_HEAD];
        self.stream.read_exact(&mut body)?;
        let documents = documents(&body)?;
        let count = i32_at(&head, 32);
        if usize::try_from(count) != Ok(documents.len()) {
            return Err(invalid(format!(
                "numberReturned is {count}, and there are {documents:?}"
            )));
        }
        let cursor = i64::from(i32_at(&head, 24)) << 32 | i64::from(i32_at(&head, 20) as u32);
        Ok(OpReply {
            request_id,
            response_to,
            flags: i32_at(&head, 16),
            cursor,
            starting_from: i32_at(&head, 28),
            documents,
        })
    }
}

/// Whether this is how a connection looks whose peer closed it.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
    )
}

fn documents(mut bytes: &[u8]) -> io::Result<Vec<Document>> {
    let mut documents = Vec::new();
    while !bytes.is_empty() {
        let document = Document::from_reader(&mut bytes);
        documents.push(document.map_err(|e| invalid(format!("a reply's document: {e}")))?);
    }
    Ok(documents)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
