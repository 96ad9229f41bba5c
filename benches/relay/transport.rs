//! The load's side of a connection: what it runs over, what its messages are wrapped in, and who it says it is.

use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use flate2::{Compression, read::ZlibDecoder, read::ZlibEncoder};
use tidegate::auth::{
    UserName,
    scram::{Hash, Secret, Verifier, client::Conversation},
};
use tidegate::tls::{self, Connector, ConnectorOptions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::message::{HEADER, frame_length, header, i32_at};

/// `opCode` of `OP_COMPRESSED`.
const OP_COMPRESSED: i32 = 2012;
/// The original opcode, the length of what is inside, the compressor.
const WRAPPING: usize = 9;

/// TCP, with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<tls::Stream>),
}

impl Stream {
    /// Connects to a port on 127.0.0.1; with TLS if there is a connector.
    pub(crate) async fn connect(port: u16, tls: Option<&Connector>) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(match tls {
            None => Self::Plain(stream),
            Some(tls) => Self::Tls(Box::new(tls.connect("127.0.0.1", stream).await?)),
        })
    }
}

/// What trusts the authority in this file.
pub(crate) fn connector(ca: &Path) -> Outcome<Connector> {
    Ok(Connector::new(ConnectorOptions {
        ca: Some(ca.to_owned()),
        ..ConnectorOptions::default()
    })?)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// A compressor of the wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compressor {
    Snappy = 1,
    Zlib = 2,
    Zstd = 3,
}

/// All of them.
pub(crate) const COMPRESSORS: [Compressor; 3] = [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd];

impl Compressor {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// The message as an OP_COMPRESSED.
    pub(crate) fn wrap(self, message: &[u8]) -> Outcome<Vec<u8>> {
        let payload = &message[HEADER..];
        let compressed = match self {
            Self::Snappy => snap::raw::Encoder::new().compress_vec(payload)?,
            Self::Zlib => {
                let mut out = Vec::new();
                ZlibEncoder::new(payload, Compression::default()).read_to_end(&mut out)?;
                out
            }
            Self::Zstd => zstd::bulk::compress(payload, 0)?,
        };
        let mut out = header(HEADER + WRAPPING + compressed.len(), OP_COMPRESSED);
        out[4..12].copy_from_slice(&message[4..12]);
        out.extend_from_slice(&message[12..HEADER]);
        out.extend_from_slice(&(payload.len() as i32).to_le_bytes());
        out.push(self as u8);
        out.extend_from_slice(&compressed);
        Ok(out)
    }

    /// The message inside; an error if it did not come by this compressor.
    pub(crate) fn unwrap(self, message: &[u8]) -> Outcome<Vec<u8>> {
        let wrapping = message.get(HEADER..HEADER + WRAPPING);
        if i32_at(message, 12) != Some(OP_COMPRESSED) || wrapping.map(|bytes| bytes[8]) != Some(self as u8) {
            return Err(format!("a reply came without {}", self.name()).into());
        }
        let length = usize::try_from(i32_at(message, HEADER + 4).unwrap_or_default())?;
        let compressed = &message[HEADER + WRAPPING..];
        let payload = match self {
            Self::Snappy => snap::raw::Decoder::new().decompress_vec(compressed)?,
            Self::Zlib => {
                let mut out = Vec::with_capacity(length);
                ZlibDecoder::new(compressed).read_to_end(&mut out)?;
                out
            }
            Self::Zstd => zstd::bulk::decompress(compressed, length)?,
        };
        let mut out = header(
            HEADER + payload.len(),
            i32_at(message, HEADER).unwrap_or_default(),
        );
        out[4..12].copy_from_slice(&message[4..12]);
        out.extend_from_slice(&payload);
        match frame_length(&out)? {
            Some(whole) if whole == out.len() && payload.len() == length => Ok(out),
            _ => Err("a compressed reply is not as long as it says".into()),
        }
    }
}

/// The user that authenticated cases log in as.
pub(crate) const USER: &str = "bench";
/// Its password.
pub(crate) const PASSWORD: &str = "bench password";

/// A login by SCRAM-SHA-256.
pub(crate) struct Login(Conversation);

impl Login {
    /// Its first command.
    pub(crate) fn begin(user: &str, nonce: usize) -> Outcome<(Self, Document)> {
        let user = UserName::new("admin", user);
        let nonce = format!("a client's nonce {nonce}");
        let (conversation, payload) = Conversation::begin(Hash::Sha256, &user, &nonce);
        let start = doc! {
            "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(payload),
            "options": { "skipEmptyExchange": true }, "$db": "admin",
        };
        Ok((Self(conversation), start))
    }

    /// The answer to the challenge.
    pub(crate) fn prove(self, challenge: &Document) -> Outcome<Document> {
        let secret = Secret::Password(PASSWORD.to_owned().into());
        let payload = challenge
            .get_binary_generic("payload")
            .map_err(|_| format!("no challenge: {challenge}"))?;
        let (_, proof) = self
            .0
            .respond(payload, &secret)
            .map_err(|error| format!("{error:?}"))?;
        let id = challenge.get_i32("conversationId")?;
        Ok(doc! { "saslContinue": 1, "conversationId": id, "payload": binary(proof), "$db": "admin" })
    }
}

/// Writes a users file with the user in it, who acts as whoever the connection string names.
pub(crate) fn users_file(path: &Path) -> Outcome<()> {
    let user = UserName::new("admin", USER);
    let (salt, iterations) = ([7; 28], 4096);
    let verifier = Verifier::from_password(Hash::Sha256, &user, PASSWORD, &salt, iterations)?;
    let base64 = |bytes: &[u8]| BASE64.encode(bytes);
    let text = format!(
        "[[user]]\nname = \"{USER}\"\ndb = \"admin\"\nact_as = \"service\"\n[user.scram-sha-256]\niterations = {iterations}\n\
         salt = \"{}\"\nstored_key = \"{}\"\nserver_key = \"{}\"\n",
        base64(&salt),
        base64(verifier.stored_key().expose()),
        base64(verifier.server_key().expose())
    );
    let mut options = std::fs::OpenOptions::new();
    // One that others may read is refused.
    options.mode(0o600).create_new(true).write(true);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}
