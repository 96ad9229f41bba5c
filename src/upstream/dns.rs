//! A stub resolver: asks a name server for the SRV, TXT and address records of a name (RFC 1035, RFC 2782).
//!
//! The standard library looks up addresses only, and only through the system. This asks the name servers of
//! `/etc/resolv.conf`, or the configured one: by UDP, and by TCP where the answer does not fit. It keeps nothing: it is asked
//! at the start and once a minute at most.

use std::{
    fs,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE,
    rdata::{OPT, RData},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

const SYSTEM: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// How long a name server may take, and how often all of them are asked; as the C library does.
const LIMIT: Duration = Duration::from_secs(5);
const ROUNDS: usize = 2;
/// How long the addresses of one kind wait for those of the other (RFC 8305, section 3, "Resolution Delay"): some name servers never
/// answer a question for AAAA records.
const LATE: Duration = Duration::from_millis(250);
/// The largest answer by UDP that passes networks unbroken (DNS flag day 2020).
const UDP_ANSWER: usize = 1232;

/// Why a name has no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// There is no such name (NXDOMAIN).
    #[error("there is no name {0} in the DNS")]
    NoSuchName(String),
    /// The name has no records of this kind.
    #[error("the DNS has no {kind} records for {name}")]
    NoRecords {
        /// Which kind.
        kind: &'static str,
        /// Of which name.
        name: String,
    },
    /// What is asked for cannot be a name.
    #[error("{0:?} cannot be a name in the DNS")]
    Name(String),
    /// No name server is known.
    #[error("no name server is known: {SYSTEM} names none; give one as [upstream] nameserver")]
    NoServer,
    /// No name server answered; this is what the last one did.
    #[error("name server {server} {what}")]
    Server {
        /// Which.
        server: SocketAddr,
        /// What it did.
        what: String,
    },
}

impl DnsError {
    /// Whether asking again cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoSuchName(_) | Self::NoRecords { .. } | Self::Name(_))
    }
}

/// An SRV record. Priority and weight have no meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvRecord {
    /// The host, as it is written in the record.
    pub target: String,
    /// The port.
    pub port: u16,
    /// How long the record may be kept.
    pub ttl: Duration,
}

/// Asks name servers.
#[derive(Debug, Clone)]
pub struct Resolver {
    nameserver: Option<SocketAddr>,
    limit: Duration,
}

impl Resolver {
    /// A resolver that asks `nameserver`, or those of the system.
    #[must_use]
    pub fn new(nameserver: Option<SocketAddr>) -> Self {
        Self {
            nameserver,
            limit: LIMIT,
        }
    }

    /// The SRV records of a name; at least one. Cancel safe, like all questions.
    ///
    /// # Errors
    /// If there are none, or no name server answers.
    pub async fn srv(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError> {
        let records = self.ask(name, TYPE::SRV, |ttl, data| match data {
            RData::SRV(srv) => Some(SrvRecord {
                target: srv.target.to_string(),
                port: srv.port,
                ttl,
            }),
            _ => None,
        });
        let records = records.await?;
        match records.is_empty() {
            true => Err(no_records("SRV", name)),
            false => Ok(records),
        }
    }

    /// The TXT records of a name, the strings of each put together; none is no error.
    ///
    /// # Errors
    /// If no name server answers.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let records = self.ask(name, TYPE::TXT, |_, data| match data {
            RData::TXT(txt) => Some(String::try_from(txt.clone()).unwrap_or_else(|_| "\u{fffd}".to_owned())),
            _ => None,
        });
        match records.await {
            Err(DnsError::NoSuchName(_)) => Ok(Vec::new()),
            records => records,
        }
    }

    /// The addresses of a host name; at least one.
    ///
    /// # Errors
    /// If there are none, or no name server answers.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let v4 = self.ask(name, TYPE::A, |_, data| match data {
            RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
            _ => None,
        });
        let v6 = self.ask(name, TYPE::AAAA, |_, data| match data {
            RData::AAAA(aaaa) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
            _ => None,
        });
        let found = match both(v4, v6).await {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            (Ok(found), Err(error)) | (Err(error), Ok(found)) if found.is_empty() => return Err(error),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            (Err(error), Err(_)) => return Err(error),
        };
        match found.is_empty() {
            true => Err(no_records("address", name)),
            false => Ok(found),
        }
    }

    /// Asks the servers in turn; `read` takes what is wanted of each record of the answer.
    async fn ask<T>(
        &self,
        name: &str,
        kind: TYPE,
        read: impl Fn(Duration, &RData<'_>) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let mut last = DnsError::NoServer;
        let servers = self.servers();
        for server in (0..ROUNDS).flat_map(|_| &servers) {
            let id = random_id();
            let query = query(id, name, kind)?;
            let what = match timeout(self.limit, exchange(*server, &query)).await {
                Ok(Ok(answer)) => match read_answer(&answer, id, name, kind, &read) {
                    Err(Unusable::NoSuchName) => return Err(DnsError::NoSuchName(name.to_owned())),
                    Err(Unusable::Because(what)) => what,
                    Ok(records) => return Ok(records),
                },
                Ok(Err(error)) => format!("cannot be asked: {error}"),
                Err(_) => format!("did not answer within {:?}", self.limit),
            };
            last = DnsError::Server {
                server: *server,
                what,
            };
        }
        Err(last)
    }

    /// Read anew each time: where containers run, it may change.
    fn servers(&self) -> Vec<SocketAddr> {
        match self.nameserver {
            Some(server) => vec![server],
            None => fs::read(SYSTEM).map_or_else(|_| Vec::new(), |text| system_servers(&text)),
        }
    }
}

type Found = Result<Vec<IpAddr>, DnsError>;

/// Both kinds of addresses, or one kind where the other does not come soon after it.
async fn both(v4: impl Future<Output = Found>, v6: impl Future<Output = Found>) -> (Found, Found) {
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        v4 = &mut v4 => {
            let v6 = other(&v4, v6).await;
            (v4, v6)
        }
        v6 = &mut v6 => {
            let v4 = other(&v6, v4).await;
            (v4, v6)
        }
    }
}

async fn other(found: &Found, other: impl Future<Output = Found>) -> Found {
    match found {
        Ok(found) if !found.is_empty() => timeout(LATE, other).await.unwrap_or_else(|_| Ok(Vec::new())),
        _ => other.await,
    }
}

fn no_records(kind: &'static str, name: &str) -> DnsError {
    let name = name.to_owned();
    DnsError::NoRecords { kind, name }
}

/// The name servers of a `resolv.conf`; lines that it does not know are passed over.
fn system_servers(text: &[u8]) -> Vec<SocketAddr> {
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    let servers = config.nameservers.iter();
    servers
        .map(|server| SocketAddr::new(server.into(), PORT))
        .collect()
}

/// What cannot be foreseen makes a forged answer unlikely; the port that the kernel chooses does the rest.
fn random_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn query(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, DnsError> {
    let bad = |_| DnsError::Name(name.to_owned());
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(bad)?;
    packet
        .questions
        .push(Question::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false));
    *packet.opt_mut() = Some(OPT {
        opt_codes: Vec::new(),
        udp_packet_size: UDP_ANSWER as u16,
        version: 0,
    });
    packet.build_bytes_vec().map_err(bad)
}

/// One question and the bytes of its answer.
async fn exchange(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Datagrams from elsewhere do not come through.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; UDP_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        // One that does not carry the number of this question is not its answer.
        if length >= 12 && answer[..2] == query[..2] {
            answer.truncate(length);
            break;
        }
    }
    let is_truncated = answer[2] & 0x02 != 0;
    if is_truncated {
        by_tcp(server, query).await
    } else {
        Ok(answer)
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    NoSuchName,
    Because(String),
}

fn read_answer<T>(
    answer: &[u8],
    id: u16,
    name: &str,
    kind: TYPE,
    read: impl Fn(Duration, &RData<'_>) -> Option<T>,
) -> Result<Vec<T>, Unusable> {
    let because = |what: &str| Unusable::Because(what.to_owned());
    let packet =
        Packet::parse(answer).map_err(|error| Unusable::Because(format!("sent nonsense: {error}")))?;
    let answers_this = packet.questions.first().is_some_and(|question| {
        question.qtype == QTYPE::TYPE(kind) && question.qname.to_string().eq_ignore_ascii_case(name)
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !answers_this {
        return Err(because("answered another question"));
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(Unusable::NoSuchName),
        RCODE::Refused => return Err(because("refused to answer")),
        RCODE::ServerFailure => return Err(because("failed to find an answer (SERVFAIL)")),
        code => return Err(Unusable::Because(format!("answered with error {code:?}"))),
    }
    let records = packet.answers.iter();
    Ok(records
        .filter_map(|record| read(Duration::from_secs(record.ttl.into()), &record.rdata))
        .collect())
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
