//! One client's connection: reads a message, has it answered, and again.
//!
//! Requests are served in the order in which they arrive, one at a time. A complete request that arrived before the
//! client closed its side is executed.

use std::{
    future::{Future, poll_fn},
    hint::cold_path,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    Listening, Terms, admission::Admitted, compression, drain, drivers::Described, exchange::exchange,
    legacy, login, options::Peer, roster::Listed, shared::Shared, stranger::Stranger,
};
use crate::{
    command::comment,
    net::{Permit, Socket, budget, buffers},
    pool::Identity,
    telemetry::{Close, Count, Counters},
    tls::{self, FirstBytes},
    wire::{HEADER_LEN, Header, WireError, op_compressed},
};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client closed the connection between two commands.
    #[error("the client closed the connection")]
    Client,
    /// The client's connection broke.
    #[error("the client's connection broke: {0}")]
    Io(#[from] io::Error),
    /// The client broke the protocol in a way that has no answer.
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] WireError),
    /// The client did not send a message in time after it connected.
    #[error("no whole message within {0:?} of connecting")]
    Handshake(Duration),
    /// The client did not log in in time.
    #[error("no login within {0:?} of connecting")]
    Login(Duration),
    /// The client must speak TLS and does not.
    #[error("it does not speak TLS, which this listener requires ([listener.tls] mode)")]
    Plain,
    /// The client speaks TLS and must not.
    #[error("it speaks TLS, which this listener does not ([listener.tls])")]
    UnexpectedTls,
    /// The client and this proxy do not accept each other.
    #[error("{0}")]
    Tls(tls::HandshakeError),
    /// A node does not let the client's user in any more.
    #[error("a node does not let its user in any more: it must log in anew")]
    LoggedOut,
    /// The client sent nothing for long.
    #[error("no message for {0:?}")]
    Idle(Duration),
    /// A message took too long.
    #[error("a message of {0} bytes was not transferred in time")]
    TooSlow(usize),
    /// The node failed while its reply was being passed on.
    #[error("a reply broke off after its first part was passed on: {0}")]
    StreamBroken(crate::upstream::Failure),
    /// A fail point said so.
    #[error("a fail point closed the connection")]
    FailPoint,
    /// Tidegate is stopping.
    #[error("the proxy is stopping")]
    Stopping,
    /// The operator had the connection closed.
    #[error("the operator closed the connection (POST /clients/{{id}}/kill)")]
    Killed,
    /// Tidegate is draining, and the client paused.
    #[error("the proxy is draining")]
    Drained,
}

impl End {
    /// Why, in a word.
    pub(super) fn reason(&self) -> Close {
        match self {
            Self::Client => Close::Left,
            Self::Io(_) => Close::Broken,
            Self::Protocol(_) => Close::Protocol,
            Self::Handshake(_) => Close::Silent,
            Self::Login(_) => Close::NotLoggedIn,
            Self::Plain | Self::UnexpectedTls | Self::Tls(_) => Close::Tls,
            Self::LoggedOut => Close::LoggedOut,
            Self::Idle(_) => Close::Idle,
            Self::TooSlow(_) => Close::TooSlow,
            Self::StreamBroken(_) => Close::StreamBroken,
            Self::FailPoint => Close::FailPoint,
            Self::Stopping => Close::Stopping,
            Self::Killed => Close::Killed,
            Self::Drained => Close::Drained,
        }
    }

    /// Says so in the log, and counts it.
    pub(super) fn tell(&self, counters: &Counters, peer: Peer) {
        counters.clients_closed.one();
        match self {
            Self::Client | Self::Stopping | Self::FailPoint | Self::Io(_) => {
                tracing::debug!(%peer, "client left: {self}")
            }
            Self::Drained => {
                counters.clients_drained.one();
                tracing::debug!(%peer, "client let go: {self}");
            }
            Self::Killed => {
                counters.clients_killed.one();
                tracing::info!(%peer, "client connection closed: {self}");
            }
            Self::Protocol(_) => {
                counters.protocol_errors.one();
                tracing::warn!(%peer, "client connection closed: {self}");
            }
            Self::Plain | Self::UnexpectedTls | Self::Tls(_) => {
                counters.tls_refused.one();
                tracing::warn!(%peer, "client connection closed: {self}");
            }
            Self::LoggedOut | Self::Handshake(_) | Self::Login(_) | Self::Idle(_) | Self::TooSlow(_) => {
                counters.clients_timed_out.one();
                tracing::info!(%peer, "client connection closed: {self}");
            }
            Self::StreamBroken(_) => {
                counters.streams_broken.one();
                tracing::warn!(%peer, "client connection closed: {self}");
            }
        }
    }
}

/// What a session seldom looks at: apart, for its future must stay small.
#[derive(Debug)]
pub(super) struct Place {
    /// The client's place among all, given up on drop.
    pub(super) admitted: Admitted,
    /// The application's name, kept only where fail points ask for it.
    pub(super) app_name: Option<Box<str>>,
}

/// A client and what its commands need.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Socket,
    pub(super) peer: Peer,
    /// Its place among the clients, and what is rarely asked for.
    pub(super) place: Box<Place>,
    /// The listener by which it came.
    pub(super) listening: Arc<Listening>,
    /// What its commands tell the nodes of it, if they do.
    pub(super) comment: Option<Box<[u8]>>,
    /// What is shown of it, and what ties it.
    pub(super) entry: Listed,
    /// It must log in, and has not done so yet.
    pub(super) stranger: Option<Stranger>,
    /// How long its command has waited, for a node and for a connection.
    pub(super) waited: Duration,
    /// The connection's number, as `hello` tells it.
    pub(super) id: i32,
    pub(super) core: usize,
    /// By what terms it is served. Newer ones are taken between two commands.
    pub(super) listener: Arc<Terms>,
    pub(super) shared: Arc<Shared>,
    /// The client takes the proxy for a load balancer (Load Balancers specification).
    pub(super) load_balanced: bool,
    /// How the client has described itself.
    pub(super) driver: Option<Arc<Described>>,
    /// Those that `hello` agreed on.
    pub(super) compressors: compression::Compressors,
    /// As whom its commands reach the nodes: as nobody before the login, where one is asked for.
    pub(super) identity: Identity,
    /// It is to be closed once its command is answered: it must log in anew.
    pub(super) closes: bool,
    /// Its login, as far as it has got.
    pub(super) login: Option<Box<login::State>>,
    /// What a client of old has done and asks for.
    pub(super) legacy: Option<Box<legacy::State>>,
    /// When the first whole message is due; `None` once it has come.
    greet_by: Option<Instant>,
    idle: Option<Pin<Box<Sleep>>>,
}

impl Session {
    pub(super) fn new(
        client: Socket,
        peer: Peer,
        admitted: Admitted,
        core: usize,
        listening: Arc<Listening>,
        shared: Arc<Shared>,
    ) -> Self {
        let (id, listener) = (shared.next_id(), listening.terms());
        let comment = listener
            .identifies
            .then(|| comment::element(None, &peer.to_string(), id));
        let entry = shared.roster.list(id, peer, &listener.address, &shared);
        // Without a source of credentials all clients act as Tidegate itself.
        let identity = match shared.logins {
            None => Identity::SERVICE,
            Some(_) => Identity::nobody(),
        };
        let greet_by = Some(Instant::now() + listener.limits().handshake_timeout);
        let stranger = listener
            .demands_login
            .then(|| Stranger::new(listener.limits().login_timeout));
        Self {
            client,
            peer,
            place: Box::new(Place {
                admitted,
                app_name: None,
            }),
            listening,
            comment,
            entry,
            stranger,
            waited: Duration::ZERO,
            id,
            core,
            listener,
            shared,
            load_balanced: false,
            driver: None,
            compressors: compression::Compressors::default(),
            identity,
            closes: false,
            login: None,
            legacy: None,
            greet_by,
            idle: None,
        }
    }

    /// Where a reply goes that Tidegate itself has asked for.
    pub(super) fn kept(&mut self) -> Option<&mut legacy::Kept> {
        self.legacy.as_mut()?.kept.as_mut()
    }

    pub(super) fn counters(&self) -> &Counters {
        self.shared.counters.core(self.core)
    }

    /// Takes note of when the client's newest command came.
    #[inline]
    pub(super) fn note_time(&self, since: Instant) {
        let since_start = since.into_std().saturating_duration_since(self.shared.started);
        self.entry.note_time(since_start);
    }

    /// Makes the first message due at another time than after all of the handshake timeout.
    pub(super) fn greet_by(&mut self, deadline: Instant) {
        self.greet_by = Some(deadline);
    }

    /// Serves the client until it leaves, breaks the protocol, or Tidegate stops; then says why in the log.
    pub(super) async fn serve(&mut self) {
        let mut end = self.run_until_stopped().await;
        if matches!(end, End::Protocol(_)) && self.begins_tls() {
            end = End::UnexpectedTls;
        }
        if matches!(end, End::Stopping) && self.shared.drain.term().is_some() {
            self.counters().clients_drained_late.one();
            self.counters().reasons.one(Close::DrainedLate);
        } else {
            self.counters().reasons.one(end.reason());
        }
        end.tell(self.counters(), self.peer);
    }

    /// Runs the commands; a session that is between two of them ends when Tidegate stops, or drains and has no more use for it.
    async fn run_until_stopped(&mut self) -> End {
        let (shared, entry) = (Arc::clone(&self.shared), Arc::clone(&self.entry));
        let listening = Arc::clone(&self.listening);
        let mut watch = None;
        let mut run = pin!(self.run(&entry.ties.busy));
        let mut woken = pin!(listening.front.requested());
        // Polled once, to be woken by it; a plain number says whether it was that which woke us.
        let mut listens = false;
        poll_fn(|cx| {
            if let Poll::Ready(end) = run.as_mut().poll(cx) {
                cold_path();
                return Poll::Ready(end);
            }
            if !listens {
                cold_path();
                listens = true;
                let _ = woken.as_mut().poll(cx);
                entry.woken_by(cx.waker());
            }
            if entry.is_killed() {
                cold_path();
                return Poll::Ready(if shared.drain.is_stopping() {
                    End::Stopping
                } else {
                    End::Killed
                });
            }
            if !shared.drain.is_closing() && !listening.is_closing() {
                return Poll::Pending;
            }
            cold_path();
            drain::look(&mut watch, &shared, &listening, &entry.ties, cx).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    async fn run(&mut self, busy: &AtomicBool) -> End {
        loop {
            let mut held = None;
            let header = match self.next_message(&mut held).await {
                Ok(header) => header,
                Err(end) => {
                    cold_path();
                    return end;
                }
            };
            if self.listener.are_replaced() {
                cold_path();
                self.listener = self.listening.terms();
            }
            self.counters().received_bytes.add(header.length as u64);
            busy.store(true, Relaxed);
            let outcome = exchange(self, &header, &mut held).await;
            busy.store(false, Relaxed);
            self.greet_by = None;
            match outcome.and_then(|()| self.still_in_time()) {
                Err(end) => {
                    cold_path();
                    return end;
                }
                Ok(()) if self.closes => return End::LoggedOut,
                Ok(()) if self.is_stopping() => return End::Stopping,
                Ok(()) => {}
            }
        }
    }

    /// Whether the session ends at this command boundary: the process stops, or its listener was removed and the time is over.
    fn is_stopping(&self) -> bool {
        self.shared.drain.is_stopping() || self.listening.is_stopping()
    }

    /// Whether what broke the protocol is a client's first message of TLS.
    fn begins_tls(&self) -> bool {
        self.greet_by.is_some() && tls::first_bytes(self.client.buffered()) == FirstBytes::Tls
    }

    /// Waits for the next whole message, and for room for it. The usual one is whole after one read; the rest has a path of its own.
    async fn next_message(&mut self, held: &mut Option<Permit>) -> Result<Header, End> {
        if self.client.buffered().is_empty() {
            if self.client.has_ended() {
                cold_path();
                return Err(End::Client);
            }
            if self.wait_for_bytes().await? == 0 {
                cold_path();
                return Err(End::Client);
            }
        }
        if let Some(header) = self.client.peek_header()?
            && header.length <= budget::SMALL.min(self.client.buffered().len())
        {
            return Ok(header);
        }
        cold_path();
        self.entry.ties.note_arrival(true);
        let arrived = Box::pin(self.rest_of_message(held)).await;
        self.entry.ties.note_arrival(false);
        arrived
    }

    /// Waits for the first bytes of a message, within the handshake or idle timeout.
    async fn wait_for_bytes(&mut self) -> Result<usize, End> {
        let limit = self.listener.limits().idle_timeout;
        let deadline = match (self.greet_by.or(self.login_deadline()), limit) {
            (Some(deadline), _) => deadline,
            (None, Some(limit)) => Instant::now() + limit,
            (None, None) => return Ok(self.client.fill().await?),
        };
        let (client, idle) = (&mut self.client, &mut self.idle);
        let counted = poll_fn(|cx| match client.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => poll_idle(idle, deadline, cx).map(|()| None),
        });
        match (counted.await, self.greet_by, limit) {
            (Some(read), ..) => Ok(read?),
            (None, None, _) if self.login_deadline().is_some() => Err(self.not_logged_in()),
            (None, None, Some(limit)) => Err(End::Idle(limit)),
            (None, ..) => Err(End::Handshake(self.listener.limits().handshake_timeout)),
        }
    }

    /// Waits for the rest of a message that has begun: in its time, and with room for it.
    async fn rest_of_message(&mut self, held: &mut Option<Permit>) -> Result<Header, End> {
        let started = Instant::now();
        self.fill_in_time(HEADER_LEN, started).await?;
        let header = self.client.peek_header()?.ok_or(WireError::Truncated("header"))?;
        compression::judge_length(self, &header)?;
        // An announcement alone takes no room from others.
        self.fill_in_time(header.length.min(budget::SMALL), started)
            .await?;
        let queued = Instant::now();
        let room = compression::request_room(self, &header, self.client.buffered())?;
        *held = self.shared.requests.acquire(room).await;
        // What the client had to wait for room is not its fault.
        self.greet_by = self.greet_by.map(|deadline| deadline + queued.elapsed());
        self.fill_in_time(header.length, Instant::now()).await?;
        Ok(header)
    }

    /// Reads until `length` bytes of a message have arrived: before the first message is due, later at the slowest rate
    /// that is waited for. Each part is timed, so that a stalled transfer does not hold its room for as long as all of
    /// it might take.
    async fn fill_in_time(&mut self, length: usize, since: Instant) -> Result<(), End> {
        let mut next = self.client.buffered().len();
        while next < length {
            next = (next + budget::PART).min(length);
            let login_by = self.login_deadline();
            let deadline = self
                .greet_by
                .unwrap_or_else(|| budget::part_deadline(since, next));
            let deadline = login_by.map_or(deadline, |login_by| deadline.min(login_by));
            match tokio::time::timeout_at(deadline, self.client.fill_to(next)).await {
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(End::Protocol(WireError::Truncated("frame")));
                }
                Ok(filled) => filled?,
                Err(_) if login_by.is_some_and(|login_by| login_by <= Instant::now()) => {
                    return Err(self.not_logged_in());
                }
                Err(_) if self.greet_by.is_some() => {
                    return Err(End::Handshake(self.listener.limits().handshake_timeout));
                }
                Err(_) => return Err(End::TooSlow(length)),
            }
        }
        Ok(())
    }

    /// Sends a whole reply and gives its buffer back; keeps it if Tidegate itself has asked for it.
    pub(super) async fn answer(&mut self, reply: bytes::BytesMut) -> Result<(), End> {
        if let Some(kept) = self.kept() {
            cold_path();
            kept.take_in(reply, None);
            return Ok(());
        }
        if self.client.has_ended() {
            cold_path();
            // Nobody reads it; what else arrived before the end is still to be executed.
            return Ok(());
        }
        self.counters().sent_bytes.add(reply.len() as u64);
        if let Some(inflated) = op_compressed::inflated_len(&reply) {
            compression::count(self.counters(), &reply, inflated);
        }
        let written = self.client.write_now(&reply)?;
        if written < reply.len() {
            cold_path();
            return Box::pin(self.answer_slowly(reply, written)).await;
        }
        buffers::give(reply);
        Ok(())
    }

    /// Sends the rest of a reply to a client that does not take all of it at once.
    async fn answer_slowly(&mut self, reply: bytes::BytesMut, written: usize) -> Result<(), End> {
        self.write_at_pace(&reply[written..], reply.len() > budget::SMALL)
            .await
    }
}

/// Ready at `deadline`. The timer is made once for a session and moved only when it fires too early, so that a
/// command costs none.
fn poll_idle(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}
