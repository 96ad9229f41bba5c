//! One command on a connection of its own, as an OP_MSG.
//!
//! Meant for setting up and watching a local set, where the cost of a connection per command does not matter. The
//! message layout is that of the OP_MSG specification: header, flag bits, one kind 0 section.

use std::{
    io::{self, Cursor},
    time::Duration,
};

use bson::{Bson, Document};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Error;

const HEADER: usize = 16;
const OP_MSG: i32 = 2013;
/// Flag bits (4), section kind (1) and the smallest document (5).
const SMALLEST_BODY: usize = 10;
/// `maxMessageSizeBytes` of every server so far.
const LARGEST_MESSAGE: usize = 48_000_000;
const CHECKSUM_PRESENT: u32 = 1;
const CHECKSUM: usize = 4;
const REQUEST_ID: i32 = 1;

/// How long [`call`] waits for connecting, sending and the whole reply.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends `command` (with its `$db`) to `address` (`host:port`) and returns the reply.
///
/// # Errors
/// [`Error::Call`] when the node cannot be reached, breaks off, or takes longer than [`CALL_TIMEOUT`];
/// [`Error::Reply`] for anything that is no OP_MSG reply; [`Error::Command`] for a reply with `ok: 0`.
///
/// Cancel safety: the connection is dropped with the future; the node may still run the command.
pub async fn call(address: &str, command: Document) -> Result<Document, Error> {
    call_within(address, command, CALL_TIMEOUT).await
}

/// [`call`] with another time limit.
///
/// # Errors
/// As [`call`].
pub async fn call_within(address: &str, command: Document, limit: Duration) -> Result<Document, Error> {
    let message = encode(&command).map_err(|what| reply_error(address, what))?;
    let body = match timeout(limit, exchange(address, &message)).await {
        Ok(Ok(body)) => body,
        Ok(Err(source)) => {
            return Err(Error::Call {
                address: address.to_owned(),
                source,
            });
        }
        Err(_) => {
            let source = io::Error::new(io::ErrorKind::TimedOut, format!("no reply within {limit:?}"));
            return Err(Error::Call {
                address: address.to_owned(),
                source,
            });
        }
    };
    let reply = decode(&body).map_err(|what| reply_error(address, what))?;
    refusal(address, &command, reply)
}

/// The reply, or the error that it tells of.
pub(super) fn refusal(address: &str, command: &Document, reply: Document) -> Result<Document, Error> {
    if is_ok(&reply) {
        return Ok(reply);
    }
    Err(Error::Command {
        address: address.to_owned(),
        command: command.keys().next().cloned().unwrap_or_default(),
        code: reply.get_i32("code").unwrap_or_default(),
        message: reply.get_str("errmsg").unwrap_or("no errmsg").to_owned(),
    })
}

fn reply_error(address: &str, what: String) -> Error {
    Error::Reply {
        address: address.to_owned(),
        what,
    }
}

fn is_ok(reply: &Document) -> bool {
    match reply.get("ok") {
        Some(Bson::Double(ok)) => *ok == 1.0,
        Some(Bson::Int32(ok)) => *ok == 1,
        Some(Bson::Int64(ok)) => *ok == 1,
        Some(Bson::Boolean(ok)) => *ok,
        _ => false,
    }
}

/// Returns what follows the header of the reply.
async fn exchange(address: &str, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(message).await?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let length = body_length(&header).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
    // Grows with what arrives; the length on the wire is only a promise.
    let mut body = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{read} of {length} bytes of the reply"),
        ));
    }
    Ok(body)
}

fn encode(command: &Document) -> Result<Vec<u8>, String> {
    let document = command
        .to_vec()
        .map_err(|e| format!("the command cannot be encoded: {e}"))?;
    let length = HEADER + 4 + 1 + document.len();
    let wire_length = i32::try_from(length).map_err(|_| "the command exceeds 2 GiB".to_owned())?;
    let mut message = Vec::with_capacity(length);
    for field in [wire_length, REQUEST_ID, 0, OP_MSG, 0] {
        message.extend_from_slice(&field.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&document);
    Ok(message)
}

/// Checks a reply's header and returns the number of bytes after it.
fn body_length(header: &[u8; HEADER]) -> Result<usize, String> {
    let field = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, response_to, opcode) = (field(0), field(8), field(12));
    if opcode != OP_MSG {
        return Err(format!("opcode {opcode} instead of {OP_MSG}"));
    }
    if response_to != REQUEST_ID {
        return Err(format!("it answers request {response_to}, not {REQUEST_ID}"));
    }
    let length = usize::try_from(length).unwrap_or(0);
    if !(HEADER + SMALLEST_BODY..=LARGEST_MESSAGE).contains(&length) {
        return Err(format!("a message length of {length}"));
    }
    Ok(length - HEADER)
}

fn decode(body: &[u8]) -> Result<Document, String> {
    let (flags, rest) = body
        .split_first_chunk::<4>()
        .ok_or("it ends within its flag bits")?;
    let checksum = if u32::from_le_bytes(*flags) & CHECKSUM_PRESENT != 0 {
        CHECKSUM
    } else {
        0
    };
    let (kind, rest) = rest.split_first().ok_or("it has no section")?;
    if *kind != 0 {
        return Err(format!("its first section is of kind {kind}"));
    }
    let end = rest
        .len()
        .checked_sub(checksum)
        .ok_or("it ends within its checksum")?;
    Document::from_reader(Cursor::new(&rest[..end])).map_err(|e| format!("its document is invalid: {e}"))
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `reply` after it has read a header.
    async fn node_that_answers(reply: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut header = [0; HEADER];
            stream.read_exact(&mut header).await.unwrap();
            let mut rest = vec![0; i32::from_le_bytes(*header.first_chunk().unwrap()) as usize - HEADER];
            stream.read_exact(&mut rest).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        });
        address
    }

    fn reply(document: &Document) -> Vec<u8> {
        let mut message = encode(document).unwrap();
        message[8..12].copy_from_slice(&REQUEST_ID.to_le_bytes());
        message
    }

    #[tokio::test]
    async fn a_reply_is_returned_as_its_document() {
        let address = node_that_answers(reply(&doc! { "ok": 1.0, "x": "y" })).await;
        let got = call(&address, doc! { "ping": 1, "$db": "admin" }).await.unwrap();
        assert_eq!(got, doc! { "ok": 1.0, "x": "y" });
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_with_its_code() {
        let address = node_that_answers(reply(&doc! { "ok": 0.0, "code": 94, "errmsg": "nope" })).await;
        let error = call(&address, doc! { "replSetGetStatus": 1, "$db": "admin" })
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(94));
        assert!(
            error.to_string().contains("refused `replSetGetStatus`: nope"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_broken_reply_is_an_error_not_a_panic() {
        let whole = reply(&doc! { "ok": 1.0 });
        let changed = |at: usize, to: i32| {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
            bytes
        };
        let cases = [
            ("cut short", whole[..whole.len() - 1].to_vec()),
            ("no header", whole[..7].to_vec()),
            ("negative length", changed(0, -1)),
            ("lying length", changed(0, 40_000_000)),
            ("another opcode", changed(12, 1)),
            ("another request", changed(8, 77)),
            ("a kind 1 section", {
                let mut b = whole.clone();
                b[20] = 1;
                b
            }),
            ("a lying document", changed(21, 4000)),
        ];
        for (what, bytes) in cases {
            let address = node_that_answers(bytes).await;
            assert!(
                call(&address, doc! { "ping": 1, "$db": "admin" }).await.is_err(),
                "{what}"
            );
        }
    }

    #[tokio::test]
    async fn a_silent_node_is_given_up_after_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let command = doc! { "ping": 1, "$db": "admin" };
        let error = call_within(&address, command, Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no reply within"), "{error}");
    }
}
