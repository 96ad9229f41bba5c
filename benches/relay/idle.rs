//! Clients that do little: some that have done a find and wait, some that read a large document slowly.
//!
//! Both print `ready` when all of them are connected, and act on a line on stdin.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::children::{Core, Running};
use crate::load::{self, Client};
use crate::measure::ready;
use crate::message::{HEADER, LARGE, client_hello, document_id, find_in, frame_length, i32_at};
use crate::transport::connector;

/// What a slow reader reads at a time, and what its socket holds: more would be read without it.
const PART: usize = 64 << 10;
/// Idle clients that do their find at the same time.
const AT_ONCE: usize = 64;
/// No part of a document takes longer to come, whoever waits before it.
const LIMIT: Duration = Duration::from_secs(600);

/// Connects clients one after the other, then has them do a find each, some at once, so that they need all connections to the node;
/// keeps them until it is told something.
pub(crate) fn run_idle(options: &load::Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let tls = options.tls.as_deref().map(connector).transpose()?;
        let mut connected = Vec::with_capacity(options.clients);
        for index in 0..options.clients {
            connected.push(Client::connect(options, tls.as_ref(), index).await?);
        }
        let mut clients = Vec::with_capacity(options.clients);
        while !connected.is_empty() {
            let mut tasks = JoinSet::new();
            for mut client in connected.drain(..connected.len().min(AT_ONCE)) {
                tasks.spawn_local(async move { client.once().await.map(|()| client) });
            }
            while let Some(client) = tasks.join_next().await {
                clients.push(client??);
            }
        }
        writeln!(std::io::stdout(), "ready")?;
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    })
}

/// Readers of the large document.
#[derive(Args, Clone, Debug)]
pub(crate) struct Slow {
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Number of sockets.
    #[arg(long)]
    clients: usize,
    /// Bytes that each takes per second.
    #[arg(long)]
    rate: usize,
    /// Take nothing for so long after the first part, and then the rest, if it is still to be had.
    #[arg(long)]
    stall_ms: Option<u64>,
}

/// Starts readers of the large document, which take so many bytes per second each.
pub(crate) fn start_slow(
    core: Core,
    port: u16,
    clients: usize,
    rate: usize,
    more: &[&str],
) -> Outcome<Running> {
    let [port, clients, rate] = [port.to_string(), clients.to_string(), rate.to_string()];
    let mut arguments = vec!["slow", "--clients", &clients, "--port", &port, "--rate", &rate];
    arguments.extend(more);
    let mut load = ready(Running::start_own(core, &arguments)?)?;
    load.tell("go")?;
    Ok(load)
}

/// What became of the readers.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(crate) struct Read {
    /// Until the last was done.
    pub(crate) seconds: f64,
    /// Those that had the whole document.
    pub(crate) whole: usize,
    /// Those whose connections were closed before.
    pub(crate) closed: usize,
}

/// Has each client read the document once; prints a [`Read`] as JSON.
pub(crate) fn run_slow(options: &Slow) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let read = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        writeln!(std::io::stdout(), "ready")?;
        std::io::stdin().read_line(&mut String::new())?;
        let start = Instant::now();
        for index in 0..options.clients {
            tasks.spawn_local(read_slowly(options.clone(), index));
        }
        let (mut whole, mut closed) = (0, 0);
        while let Some(done) = tasks.join_next().await {
            match done?? {
                true => whole += 1,
                false => closed += 1,
            }
        }
        Outcome::Ok(Read {
            seconds: start.elapsed().as_secs_f64(),
            whole,
            closed,
        })
    })?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&read)?)?;
    Ok(())
}

/// Whether all of the document came.
async fn read_slowly(options: Slow, index: usize) -> Outcome<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(PART as u32)?;
    let mut stream = socket.connect(([127, 0, 0, 1], options.port).into()).await?;
    stream.write_all(&client_hello(None)?).await?;
    let mut part = vec![0; PART];
    let mut filled = 0;
    while frame_length(&part[..filled])?.is_none() {
        match stream.read(&mut part[filled..]).await? {
            0 => return Err("the connection was closed instead of a reply to hello".into()),
            some => filled += some,
        }
    }
    stream.write_all(&find_in(LARGE, document_id(0), index)?).await?;
    let mut header = [0; HEADER];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut header)).await??;
    let mut left = usize::try_from(i32_at(&header, 0).unwrap_or_default())? - HEADER;
    if left < 10_000_000 {
        let mut rest = vec![0; left.min(2_000)];
        stream.read_exact(&mut rest).await?;
        return Err(format!("not the document: {}", rest.escape_ascii()).into());
    }
    let mut stall = options.stall_ms;
    while left > 0 {
        let mut next = Instant::now() + Duration::from_secs_f64(PART as f64 / options.rate as f64);
        let mut taken = 0;
        while taken < PART.min(left) {
            let want = PART.min(left) - taken;
            match tokio::time::timeout(LIMIT, stream.read(&mut part[..want])).await? {
                Ok(0) | Err(_) => return Ok(false),
                Ok(some) => taken += some,
            }
        }
        left -= taken;
        next += Duration::from_millis(stall.take().unwrap_or_default());
        tokio::time::sleep_until(next.into()).await;
    }
    Ok(true)
}
