//! The load generator: N plain sockets, one outstanding command each, in a process of its own.
//!
//! Order of things: connect, say `hello`, warm up, print `ready`, wait for a line on stdin, run, print one line of
//! JSON. The wait lets the parent attach a tracer in between, so that a run of a fixed number of operations is seen
//! whole. Every reply must be a whole message, answer the request that was sent on that socket and be what it asks for;
//! the first that doesn't ends the run with an error. CPU and memory of the watched process are read here, at the
//! very edges of the measured window and while all sockets are open.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bson::Document;
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::tls::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::histogram::Histogram;
use crate::legacy;
use crate::measure::Work;
use crate::message::{
    HEADER, OP_MSG, OP_MSG_BODY, TEXTS, big_find_request, client_hello, document_id, find_in, find_request,
    frame_length, i32_at, is_cursor_reply, is_update_reply, op_msg, set_request_id, update_request,
};
use crate::procfs::{self, CpuTime};
use crate::transport::{Compressor, Login, Stream, USER, connector};

/// Operations of each client before `ready`: enough for a proxy to open its pool.
const WARM_UP_OPS: u64 = 20;
/// No operation takes this long; a reply that was lost would otherwise keep the benchmark waiting forever.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// What to do, as the parent says it on the command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Port on 127.0.0.1.
    #[arg(long)]
    pub(crate) port: u16,
    /// Number of sockets.
    #[arg(long)]
    pub(crate) clients: usize,
    /// Process whose CPU time and memory are measured.
    #[arg(long)]
    pub(crate) watch: Option<u32>,
    /// Milliseconds of load before the measured window.
    #[arg(long, default_value_t = 0)]
    pub(crate) warm_up_ms: u64,
    /// Milliseconds of the measured window.
    #[arg(long, default_value_t = 0)]
    pub(crate) window_ms: u64,
    /// What to do.
    #[arg(long)]
    pub(crate) work: Work,
    /// Speak TLS with what this authority has certified.
    #[arg(long)]
    pub(crate) tls: Option<PathBuf>,
    /// Compress requests.
    #[arg(long)]
    pub(crate) compressor: Option<Compressor>,
    /// Log in.
    #[arg(long)]
    pub(crate) login: bool,
    /// Run this many operations per client instead of a measured window.
    #[arg(long)]
    pub(crate) ops_per_client: Option<u64>,
}

/// What one run measured.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Measured {
    /// Operations completed in the window.
    pub(crate) ops: u64,
    /// Length of the window in seconds.
    pub(crate) seconds: f64,
    /// Latency of half of all operations at most, in microseconds.
    pub(crate) p50_us: f64,
    /// Latency of 99% of all operations at most, in microseconds.
    pub(crate) p99_us: f64,
    /// CPU time of the watched process in the window, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// That in its own code, without the kernel's.
    #[serde(default)]
    pub(crate) user_seconds: Option<f64>,
    /// Resident memory of the watched process at the end of the window, in KiB.
    pub(crate) resident_kib: Option<u64>,
}

/// Runs the load and prints its result.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = tokio::task::LocalSet::new().block_on(&runtime, generate(options))?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured)?)?;
    Ok(())
}

async fn generate(options: &Options) -> Outcome<Measured> {
    let tls = options.tls.as_deref().map(connector).transpose()?;
    let mut clients = Vec::with_capacity(options.clients);
    for index in 0..options.clients {
        clients.push(Client::connect(options, tls.as_ref(), index).await?);
    }
    let state = Rc::new(RefCell::new(State {
        recording: false,
        stop: false,
        latencies: Histogram::new(),
    }));
    let clients = run_all(clients, &state, Some(WARM_UP_OPS)).await?;
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    match options.ops_per_client {
        Some(ops) => counted(clients, &state, ops, options.watch).await,
        None => timed(clients, &state, options).await,
    }
}

/// A run of a fixed number of operations.
async fn counted(
    clients: Vec<Client>,
    state: &Rc<RefCell<State>>,
    ops: u64,
    watch: Option<u32>,
) -> Outcome<Measured> {
    state.borrow_mut().recording = true;
    let edge = Edge::now(watch)?;
    // The sockets stay open until the parent has read the counts: closing them costs calls as well.
    let _open = run_all(clients, state, Some(ops)).await?;
    let measured = edge.measured(&state.borrow().latencies, watch)?;
    writeln!(std::io::stdout(), "done")?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(measured)
}

/// A run of a fixed time.
async fn timed(clients: Vec<Client>, state: &Rc<RefCell<State>>, options: &Options) -> Outcome<Measured> {
    let clock = async {
        tokio::time::sleep(Duration::from_millis(options.warm_up_ms)).await;
        let edge = Edge::now(options.watch)?;
        state.borrow_mut().recording = true;
        tokio::time::sleep(Duration::from_millis(options.window_ms)).await;
        let mut state = state.borrow_mut();
        state.stop = true;
        edge.measured(&state.latencies, options.watch)
    };
    let (measured, clients) = tokio::try_join!(clock, run_all(clients, state, None))?;
    drop(clients);
    Ok(measured)
}

/// The start of a measured window.
struct Edge {
    at: Instant,
    cpu: Option<CpuTime>,
}

impl Edge {
    fn now(watch: Option<u32>) -> Outcome<Self> {
        Ok(Self {
            cpu: watch.map(procfs::cpu_time).transpose()?,
            at: Instant::now(),
        })
    }

    fn measured(&self, latencies: &Histogram, watch: Option<u32>) -> Outcome<Measured> {
        let seconds = self.at.elapsed().as_secs_f64();
        let cpu = watch.map(procfs::cpu_time).transpose()?;
        let spent = self.cpu.zip(cpu);
        let between = |start: Duration, end: Duration| end.saturating_sub(start).as_secs_f64();
        Ok(Measured {
            ops: latencies.count(),
            seconds,
            p50_us: latencies.quantile(0.50) as f64 / 1e3,
            p99_us: latencies.quantile(0.99) as f64 / 1e3,
            cpu_seconds: spent.map(|(start, end)| between(start.user + start.system, end.user + end.system)),
            user_seconds: spent.map(|(start, end)| between(start.user, end.user)),
            resident_kib: watch.map(procfs::resident_kib).transpose()?,
        })
    }
}

/// What the clients share.
struct State {
    recording: bool,
    stop: bool,
    latencies: Histogram,
}

/// Runs all clients, each for `ops` operations or until the state says stop, and gives them back.
async fn run_all(clients: Vec<Client>, state: &Rc<RefCell<State>>, ops: Option<u64>) -> Outcome<Vec<Client>> {
    let mut tasks = JoinSet::new();
    let count = clients.len();
    for client in clients {
        tasks.spawn_local(client.work(state.clone(), ops));
    }
    let mut back = Vec::with_capacity(count);
    let mut last = Instant::now();
    while !tasks.is_empty() {
        match tokio::time::timeout(REPLY_TIMEOUT, tasks.join_next()).await {
            Ok(Some(done)) => {
                back.push(done??);
                last = Instant::now();
            }
            Ok(None) => break,
            Err(_) if ops.is_none() && !state.borrow().stop => {}
            Err(_) => {
                let open = tasks.len();
                return Err(format!("{open} clients got no reply for {:?}", last.elapsed()).into());
            }
        }
    }
    Ok(back)
}

/// One socket with one outstanding request.
pub(crate) struct Client {
    stream: Stream,
    request: Vec<u8>,
    /// Where the message begins that is answered.
    asks_at: usize,
    /// Whether a reply is what the request asks for.
    is_answer: fn(&[u8]) -> bool,
    /// By which replies come.
    compressor: Option<Compressor>,
    reply: Vec<u8>,
    next_id: i32,
}

impl Client {
    pub(crate) async fn connect(options: &Options, tls: Option<&Connector>, index: usize) -> Outcome<Self> {
        // Ids of different clients never meet, so that a reply that went astray is noticed.
        let next_id = i32::try_from(index % 5_000 * 400_000)?;
        let stream = tokio::time::timeout(REPLY_TIMEOUT, Stream::connect(options.port, tls)).await??;
        let mut client = Self {
            stream,
            request: client_hello(options.compressor.map(Compressor::name))?,
            asks_at: 0,
            is_answer: is_cursor_reply,
            compressor: None,
            reply: vec![0; 4096],
            next_id,
        };
        let length = tokio::time::timeout(REPLY_TIMEOUT, client.exchange()).await??;
        if i32_at(&client.reply[..length], 12) != Some(OP_MSG) {
            return Err("hello by OP_MSG was not answered by OP_MSG".into());
        }
        if options.login {
            client.log_in(index).await?;
        }
        client.prepare(options, index)?;
        Ok(client)
    }

    /// Makes the request that is sent again and again.
    fn prepare(&mut self, options: &Options, index: usize) -> Outcome<()> {
        match options.work {
            Work::Find => self.request = find_request(index)?,
            Work::Text => self.request = find_in(TEXTS, document_id(0), index)?,
            Work::BigFind => self.request = big_find_request(index)?,
            Work::Update => {
                (self.request, self.is_answer) = (update_request(index)?, is_update_reply);
            }
            Work::LegacyFind => {
                (self.request, self.is_answer) = (legacy::find_request()?, legacy::is_find_reply);
            }
            Work::LegacyUpdate => {
                (self.request, self.asks_at) = legacy::update_request()?;
                self.is_answer = legacy::is_update_reply;
            }
        }
        self.compressor = options.compressor;
        if let Some(compressor) = self.compressor {
            self.request = compressor.wrap(&self.request)?;
        }
        Ok(())
    }

    async fn log_in(&mut self, index: usize) -> Outcome<()> {
        let (login, start) = Login::begin(USER, index)?;
        let challenge = self.command(&start).await?;
        let last = self.command(&login.prove(&challenge)?).await?;
        if last.get_bool("done").unwrap_or_default() {
            return Ok(());
        }
        Err(format!("the login failed: {last}").into())
    }

    /// Sends one command, and decodes its reply.
    pub(crate) async fn command(&mut self, command: &Document) -> Outcome<Document> {
        self.request = op_msg(0, command)?;
        let length = self.exchange().await?;
        Ok(Document::from_reader(&self.reply[OP_MSG_BODY..length])?)
    }

    async fn work(mut self, state: Rc<RefCell<State>>, ops: Option<u64>) -> Outcome<Self> {
        let mut done = 0;
        let mut start = Instant::now();
        while ops.is_none_or(|ops| done < ops) && !state.borrow().stop {
            self.once().await?;
            let end = Instant::now();
            let mut state = state.borrow_mut();
            if state.recording && !state.stop {
                state.latencies.record((end - start).as_nanos() as u64);
            }
            start = end;
            done += 1;
        }
        Ok(self)
    }

    /// One operation, whose answer is checked.
    pub(crate) async fn once(&mut self) -> Outcome<()> {
        let length = self.exchange().await?;
        let came = &self.reply[..length];
        let reply = match self.compressor {
            None => Cow::Borrowed(came),
            Some(compressor) => Cow::Owned(compressor.unwrap(came)?),
        };
        if (self.is_answer)(&reply) {
            return Ok(());
        }
        let text = reply[HEADER..].escape_ascii().to_string();
        Err(format!("a command was answered by something else: {text:.400}").into())
    }

    /// Sends the request under a new id and takes its reply, whose length is returned.
    async fn exchange(&mut self) -> Outcome<usize> {
        self.next_id = self.next_id.wrapping_add(1);
        set_request_id(&mut self.request[self.asks_at..], self.next_id);
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        loop {
            let n = self.stream.read(&mut self.reply[filled..]).await?;
            if n == 0 {
                return Err("the connection was closed instead of a reply".into());
            }
            filled += n;
            let Some(length) = frame_length(&self.reply[..filled])? else {
                if filled == self.reply.len() {
                    self.reply.resize(filled * 4, 0);
                }
                continue;
            };
            if length != filled {
                return Err(format!("{} bytes came after the only reply", filled - length).into());
            }
            return match i32_at(&self.reply, 8) {
                Some(id) if id == self.next_id => Ok(length),
                other => Err(format!("a reply to {other:?} came, {} was asked", self.next_id).into()),
            };
        }
    }
}
