//! Opening a connection: TCP with its options, TLS if asked for, then the handshake.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, doc, raw::cstr, rawdoc};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{
    Login, Options, Resolver,
    connection::Connection,
    failure::{Failure, Reason},
    login::{self, Speculation, is_ok},
};
use crate::{
    net::{Stream, spare_congestion_control},
    topology::Address,
    wire::Compressor,
};

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// When the first keepalive probe of a silent connection goes out.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection that is ready for commands.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// The node's answer to `hello`.
    pub hello: RawDocumentBuf,
    /// How long that answer took.
    pub round_trip: Duration,
}

/// Opens a connection and shakes hands, without logging in: what monitors need.
///
/// The first message is `isMaster` with `helloOk`, by OP_MSG: every server since 3.6 takes it (MongoDB Handshake
/// specification). Cancel safe: a cancelled attempt closes its socket.
///
/// # Errors
/// Always [`crate::failover::Sent::NotSent`], with the reason; in at most twice the connect timeout.
pub async fn connect(address: &Address, options: &Options) -> Result<Opened, Failure> {
    connect_as(address, options, None).await
}

/// Opens a connection, shakes hands and logs in as `login`, if that is given. Cancel safe, as [`connect`] is.
///
/// # Errors
/// Those of [`connect`], and [`Reason::Login`]; in at most three times the connect timeout.
pub async fn connect_as(
    address: &Address,
    options: &Options,
    login: Option<&Arc<Login>>,
) -> Result<Opened, Failure> {
    let limit = options.connect_timeout;
    let timeout = |_| Failure::not_sent(Reason::ConnectTimeout(limit));
    let dial = dial(address, options);
    let dialled = tokio::time::timeout(limit, dial).await.map_err(timeout)?;
    let mut connection = dialled.map_err(Failure::not_sent)?;
    let mut hello = handshake_document(options);
    let speculation = match login {
        Some(login) => Speculation::begin(login, &mut hello)?,
        None => None,
    };
    let asked = Instant::now();
    let reply = tokio::time::timeout(limit, connection.run(&hello))
        .await
        .map_err(timeout)?;
    let reply = reply.map_err(|failure| Failure::not_sent(failure.reason))?;
    if !is_ok(&reply) {
        let message = reply.get_str("errmsg").unwrap_or("no reason given").to_owned();
        return Err(Failure::not_sent(Reason::Handshake(message)));
    }
    let round_trip = asked.elapsed();
    if let Some(compressor) = agreed(options, &reply) {
        connection.compress(compressor, options.zlib_level);
    }
    if let Some(login) = login {
        let go_on = login::go_on(&mut connection, login, speculation, &reply);
        tokio::time::timeout(limit, Box::pin(go_on))
            .await
            .map_err(timeout)??;
    }
    Ok(Opened {
        connection,
        hello: reply,
        round_trip,
    })
}

/// Connects to an address, with TLS if that is asked for.
async fn dial(address: &Address, options: &Options) -> Result<Connection, Reason> {
    let stream = dial_tcp(address, options).await.map_err(Reason::Connect)?;
    tune(&stream).map_err(Reason::Connect)?;
    let stream = match &options.tls {
        None => Stream::from(stream),
        Some(tls) => tls
            .connect(address.host(), stream)
            .await
            .map_err(Reason::Tls)?
            .into(),
    };
    Connection::new(stream).map_err(Reason::Connect)
}

/// Connects to an address. A configured name server is asked in place of the system, but for what is no name of the DNS.
async fn dial_tcp(address: &Address, options: &Options) -> io::Result<TcpStream> {
    let (host, port) = (address.host(), address.port());
    let Some(nameserver) = options.nameserver.filter(|_| is_dns_name(host)) else {
        return TcpStream::connect((host, port)).await;
    };
    let found = Resolver::new(Some(nameserver)).addresses(host).await;
    let addresses = found.map_err(io::Error::other)?.into_iter();
    let addresses: Vec<SocketAddr> = addresses.map(|ip| SocketAddr::new(ip, port)).collect();
    TcpStream::connect(&addresses[..]).await
}

/// Neither an IP address nor `localhost`, which no name server is asked for (RFC 6761).
fn is_dns_name(host: &str) -> bool {
    host != "localhost" && !host.contains(':') && host.parse::<IpAddr>().is_err()
}

/// Small writes go out at once, and a peer that vanished is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    spare_congestion_control(&socket, stream.peer_addr()?);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

fn handshake_document(options: &Options) -> RawDocumentBuf {
    let mut hello = rawdoc! {
        "isMaster": 1,
        "helloOk": true,
        "client": {
            "application": { "name": options.app_name.as_str() },
            "driver": { "name": "tidegate", "version": env!("CARGO_PKG_VERSION") },
            "os": { "type": std::env::consts::OS, "architecture": std::env::consts::ARCH },
        },
    };
    if !options.compressors.is_empty() {
        let names: RawArrayBuf = options.compressors.iter().map(|by| by.name()).collect();
        hello.append(cstr!("compression"), names);
    }
    hello.append(cstr!("$db"), "admin");
    hello
}

/// The compressor for requests: the first of ours that the node takes, too (OP_COMPRESSED specification).
fn agreed(options: &Options, hello: &RawDocument) -> Option<Compressor> {
    let taken = hello.get_array("compression").ok()?;
    let takes = |by: &Compressor| {
        taken
            .into_iter()
            .any(|name| name.is_ok_and(|name| name.as_str() == Some(by.name())))
    };
    options.compressors.iter().copied().find(takes)
}

/// The `hello` of a later check; with `topology_version` the node answers when its state changes, or after `wait`.
#[must_use]
pub(super) fn hello_document(
    hello_ok: bool,
    awaiting: Option<(&crate::topology::TopologyVersion, Duration)>,
) -> RawDocumentBuf {
    let name = if hello_ok { "hello" } else { "isMaster" };
    let mut hello = doc! { name: 1, "helloOk": true };
    if let Some((version, wait)) = awaiting {
        hello.insert(
            "topologyVersion",
            doc! { "processId": version.process_id, "counter": version.counter },
        );
        hello.insert(
            "maxAwaitTimeMS",
            i64::try_from(wait.as_millis()).unwrap_or(i64::MAX),
        );
    }
    hello.insert("$db", "admin");
    RawDocumentBuf::try_from(&hello).unwrap_or_else(|_| rawdoc! { "isMaster": 1, "$db": "admin" })
}
