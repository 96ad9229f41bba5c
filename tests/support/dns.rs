//! A name server on loopback: it knows what a test tells it, and forgets it when told so.
//!
//! It writes messages by itself (RFC 1035), so that the resolver that it tests is not judged by its own code.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a thread looks whether it shall end.
const TICK: Duration = Duration::from_millis(50);
const A: u16 = 1;
const TXT: u16 = 16;
const SRV: u16 = 33;
const NXDOMAIN: u8 = 3;

/// What the server says about a name, beside the name and its TTL in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Srv { port: u16, target: String },
    Txt(Vec<String>),
    A(Ipv4Addr),
}

/// How it treats questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    /// Nothing is sent back.
    Silent,
    /// By UDP only the head of the answer is sent: the whole is to be had by TCP.
    Truncates,
    /// Every answer has this code: 2 is SERVFAIL, 5 is REFUSED.
    Fails(u8),
}

#[derive(Debug)]
struct Zone {
    records: Vec<(String, u32, Record)>,
    manner: Manner,
}

#[derive(Debug)]
struct Inner {
    zone: Mutex<Zone>,
    questions: AtomicUsize,
    ends: AtomicBool,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct NameServer {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl NameServer {
    /// Starts a server that knows nothing.
    pub(crate) fn start() -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().unwrap();
        let inner = Arc::new(Inner {
            zone: Mutex::new(Zone {
                records: Vec::new(),
                manner: Manner::Answers,
            }),
            questions: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        thread::spawn(move || serve_udp(&udp, &shared));
        let shared = Arc::clone(&inner);
        thread::spawn(move || serve_tcp(&tcp, &shared));
        Self { address, inner }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many questions it was asked.
    pub(crate) fn questions(&self) -> usize {
        self.inner.questions.load(Ordering::SeqCst)
    }

    pub(crate) fn set_manner(&self, manner: Manner) {
        self.zone().manner = manner;
    }

    /// Replaces all SRV records of `name` by these, each a target and a port.
    pub(crate) fn set_srv(&self, name: &str, ttl: u32, hosts: &[(&str, u16)]) {
        let name = name.to_lowercase();
        let mut zone = self.zone();
        zone.records
            .retain(|(known, _, record)| *known != name || !matches!(record, Record::Srv { .. }));
        zone.records.extend(hosts.iter().map(|(target, port)| {
            let record = Record::Srv {
                port: *port,
                target: (*target).to_owned(),
            };
            (name.clone(), ttl, record)
        }));
    }

    /// Adds a TXT record of these strings.
    pub(crate) fn add_txt(&self, name: &str, strings: &[&str]) {
        let strings = strings.iter().map(|text| (*text).to_owned()).collect();
        self.add(name, Record::Txt(strings));
    }

    pub(crate) fn add_address(&self, name: &str, address: Ipv4Addr) {
        self.add(name, Record::A(address));
    }

    fn add(&self, name: &str, record: Record) {
        self.zone().records.push((name.to_lowercase(), 86_400, record));
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.inner.zone.lock().unwrap()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.inner.ends.store(true, Ordering::SeqCst);
    }
}

/// The same port by UDP and by TCP.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            udp.set_read_timeout(Some(TICK)).unwrap();
            tcp.set_nonblocking(true).unwrap();
            return (udp, tcp);
        }
    }
    panic!("no port is free both by UDP and by TCP");
}

fn serve_udp(socket: &UdpSocket, inner: &Inner) {
    let mut question = [0; 4096];
    while !inner.ends.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else {
            continue;
        };
        if let Some(answer) = inner.answer(&question[..length], true) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, inner: &Inner) {
    while !inner.ends.load(Ordering::SeqCst) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(TICK);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            continue;
        }
        if let Some(answer) = inner.answer(&question, false) {
            let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
            let _ = stream.write_all(&answer);
        }
    }
}

impl Inner {
    fn answer(&self, question: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let zone = self.zone.lock().unwrap();
        let (name, end) = read_name(question, 12)?;
        let kind = u16::from_be_bytes(*question.get(end..)?.first_chunk()?);
        let below = format!(".{name}");
        let exists = zone
            .records
            .iter()
            .any(|(known, ..)| *known == name || known.ends_with(&below));
        let mut records: Vec<_> = zone
            .records
            .iter()
            .filter(|(known, _, record)| *known == name && record.kind() == kind)
            .collect();
        let mut code = if exists { 0 } else { NXDOMAIN };
        let mut is_truncated = 0;
        match zone.manner {
            Manner::Answers => {}
            Manner::Silent => return None,
            Manner::Truncates if is_udp => {
                records.clear();
                is_truncated = 2;
            }
            Manner::Truncates => {}
            Manner::Fails(with) => {
                records.clear();
                code = with;
            }
        }
        let mut answer = question.get(..2)?.to_vec();
        // A response to a recursive question, with recursion at hand.
        answer.extend([0x81 | is_truncated, 0x80 | code, 0, 1]);
        answer.extend((records.len() as u16).to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(question.get(12..end + 4)?);
        for (name, ttl, record) in records {
            write_name(&mut answer, name);
            answer.extend(record.kind().to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(ttl.to_be_bytes());
            let data = record.data();
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::A(_) => A,
            Self::Txt(_) => TXT,
            Self::Srv { .. } => SRV,
        }
    }

    fn data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        match self {
            Self::A(address) => data.extend(address.octets()),
            Self::Txt(strings) => {
                for text in strings {
                    data.push(u8::try_from(text.len()).unwrap());
                    data.extend(text.as_bytes());
                }
            }
            Self::Srv { port, target } => {
                data.extend([0, 0, 0, 5]);
                data.extend(port.to_be_bytes());
                write_name(&mut data, target);
            }
        }
        data
    }
}

/// The name at `at`, lower case, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

fn write_name(into: &mut Vec<u8>, name: &str) {
    for label in name
        .trim_end_matches('.')
        .split('.')
        .filter(|label| !label.is_empty())
    {
        into.push(u8::try_from(label.len()).unwrap());
        into.extend(label.as_bytes());
    }
    into.push(0);
}
