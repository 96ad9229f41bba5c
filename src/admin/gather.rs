//! One observation of the proxy, out of what is there anyway.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Access, Setting, View,
    capacity::{Answer, Answers, MONITORING, per_proxy, proxies_that_fit},
    draining,
    live::{self, Live},
    measured::{self, Measured},
    people::{drivers, legacy_clients, listener},
    readiness::{Doing, Readiness, Verdict},
    status::{
        Awaits, Buffer, Buffers, Certificate, Clients, Connections, Gate, Node, Pool, ServerSessions, Status,
        Took, Topology,
    },
};
use crate::{
    audit::{AdminRefusal, Audit},
    auth::Throttle,
    client::Shared,
    failover,
    net::Budget,
    pool,
    tls::{Acceptor, Reloads},
    topology::{Address, ServerDescription, ServerKind, StalenessEstimate},
    upstream::Snapshot,
};

/// The connection on which a node is asked for its count counts too.
const ASKING: u64 = 1;
/// The end of the year 9999 in milliseconds since 1970, which is as far as dates are written.
const LAST_DATE: i64 = 253_402_300_799_999;

/// The view, and what is remembered between two looks at it.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) view: Arc<View>,
    started: SystemTime,
    readiness: Mutex<Readiness>,
    answers: Answers,
    /// Whose tokens were wrong lately.
    guesses: Mutex<Throttle>,
    live: Live,
}

impl Observer {
    pub(super) fn new(view: Arc<View>) -> Self {
        let longest = view.shared.settings().limits.login_delay_max;
        let (seed, now) = (RandomState::new().hash_one(0), SystemTime::now());
        let guesses = Mutex::new(Throttle::new(longest, seed, Instant::now()));
        let started = now.checked_sub(view.shared.started.elapsed()).unwrap_or(now);
        let answers = Answers::new(&view.upstream);
        Self {
            view,
            started,
            readiness: Mutex::default(),
            answers,
            guesses,
            live: Live::default(),
        }
    }

    /// What happens, for those who listen.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// The primary that is known now.
    pub(super) fn primary(&self) -> Option<String> {
        let snapshot = self.view.shared.cluster.load();
        let primary = snapshot.topology.primary();
        primary.map(|(_, primary)| primary.address.to_string())
    }

    /// Who may ask and act.
    pub(super) fn access(&self) -> Arc<Access> {
        self.view.access.load_full()
    }

    /// Speaks TLS, if it shall be spoken.
    pub(super) fn tls(&self) -> Option<Acceptor> {
        self.view.tls.load_full().map(|tls| Acceptor::clone(&tls))
    }

    /// Where it is written down what was refused and done.
    pub(super) fn audit(&self) -> &Audit {
        &self.view.shared.audit
    }

    /// How long the answer to a token from there is delayed, whatever it will be.
    pub(super) fn delay(&self, address: IpAddr) -> Duration {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.set_longest(self.view.shared.settings().limits.login_delay_max);
        guesses.delay(address, Instant::now())
    }

    /// Takes note of a request that was refused, and of the token that was wrong.
    pub(super) fn note_refusal(&self, address: IpAddr, reason: AdminRefusal) {
        self.view.shared.counters.front().admin_refused.one();
        if reason == AdminRefusal::WrongToken {
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            guesses.failed(address, Instant::now());
        }
    }

    /// The configuration in force.
    pub(super) fn settings(&self) -> Vec<Setting> {
        Vec::clone(&self.view.settings.load())
    }

    /// When the process started.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// A receiver that is woken when [`Observer::look`] is worth while.
    pub(super) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.view.shared.cluster.subscribe()
    }

    /// Takes note of how the nodes look: readiness depends on what was seen when.
    pub(super) fn look(&self) {
        let snapshot = self.view.shared.cluster.load();
        let holds_data = snapshot.topology.data_bearing().next().is_some();
        let answers = snapshot.topology.reachable().next().is_some();
        self.readiness().observe(holds_data, answers, Instant::now());
    }

    /// Whether clients can be served.
    pub(super) fn verdict(&self) -> Verdict {
        self.look();
        let shared = &self.view.shared;
        let doing = Doing {
            listening: !self.view.listeners.load().is_empty(),
            stage: shared.drain.stage(),
        };
        self.readiness()
            .judge(doing, shared.settings().failover.hold, Instant::now())
    }

    /// Brings the nodes' own counts up to date, as far as that is possible within a second. Cancel safe.
    pub(super) async fn ask_nodes(&self) {
        let nodes: Vec<Address> = {
            let snapshot = self.view.shared.cluster.load();
            snapshot
                .topology
                .reachable()
                .map(|(_, server)| server.address.clone())
                .collect()
        };
        self.answers.refresh(&nodes).await;
    }

    /// The state of now; the nodes' own counts are those of the last [`Observer::ask_nodes`].
    pub(super) fn status(&self) -> Status {
        let shared = &self.view.shared;
        let settings = shared.settings();
        let counters: BTreeMap<String, u64> = self
            .counters()
            .into_iter()
            .map(|(name, _, value)| (name.to_owned(), value))
            .collect();
        let count = |name: &str| counters.get(name).copied().unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: humantime::format_rfc3339_millis(self.started).to_string(),
            uptime_seconds: shared.started.elapsed().as_secs_f64(),
            ready: self.verdict().ready,
            stopping: shared.drain.is_stopping(),
            drain: draining::observe(shared),
            config: self.view.reloading.observe(),
            listeners: self
                .view
                .listeners
                .load()
                .iter()
                .map(|listening| listener(&listening.terms()))
                .collect(),
            certificates: certificates(&self.view.certificates.load()),
            topology: self.topology(&shared.cluster.load(), shared.cluster.selection().heartbeat),
            gate: gate(&shared.gate, settings.failover.hold),
            clients: Clients {
                connected: shared.admission.count(),
                accepted: count("clients_accepted"),
                refused: count("clients_refused"),
                max_clients: settings.limits.max_clients,
                max_clients_per_address: settings.limits.max_clients_per_address,
                per_core: self
                    .view
                    .cores
                    .iter()
                    .map(crate::client::Core::sessions)
                    .collect(),
                drivers: drivers(&shared.drivers),
                legacy: legacy_clients(&shared.legacy_clients),
            },
            cursors_pinned: self.reached().iter().map(|reached| reached.pins.len()).sum(),
            server_sessions: server_sessions(shared.sessions.counts()),
            buffers: Buffers {
                requests: buffer(&shared.requests),
                replies: buffer(&shared.replies),
            },
            commands: measured::commands(&shared.timings),
            counters,
        }
    }

    /// Closes the gate by hand, or opens it again; whether that changed anything.
    pub(super) fn pause(&self, paused: bool) -> bool {
        let gate = &self.view.shared.gate;
        let changed = if paused { gate.pause() } else { gate.resume() };
        match (changed, paused) {
            (true, true) => tracing::warn!("paused: commands wait at the gate until POST /resume"),
            (true, false) => tracing::info!(held = gate.status().commands, "resumed: the gate is open"),
            (false, _) => {}
        }
        live::look(self);
        changed
    }

    /// What sessions reach: the set first, then what listeners reach that serve one member.
    pub(super) fn reached(&self) -> Vec<Arc<Shared>> {
        let set = Arc::clone(&self.view.shared);
        let members = set.members();
        std::iter::once(set).chain(members).collect()
    }

    /// What all sessions share.
    pub(super) fn shared(&self) -> &Shared {
        &self.view.shared
    }

    /// What was measured and counted beyond the status.
    pub(super) fn measured(&self) -> Measured {
        Measured::of(&self.view.shared)
    }

    /// Name, help and value of each counter.
    pub(super) fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counters = self.view.shared.counters.sums();
        let (written, lost) = self.view.shared.audit.counts();
        counters.push(("audit_events", "Events written to the audit log", written));
        let help = "Events missing from the audit log, because it could not keep up or could not be written";
        counters.push(("audit_events_lost", help, lost));
        counters
    }

    fn topology(&self, snapshot: &Snapshot<pool::Pool>, heartbeat: Duration) -> Topology {
        let topology = &snapshot.topology;
        let estimate = StalenessEstimate::of(topology, heartbeat);
        let nodes = topology
            .servers()
            .iter()
            .zip(&snapshot.nodes)
            .map(|(server, pool)| {
                let took = Took::from(&pool.totals.timings.sum(0));
                let pool = observe_pool(pool);
                let avoided = self.view.shared.cluster.avoided().left(&server.address);
                Node {
                    avoided_seconds: avoided.map(|left| left.as_secs_f64()),
                    took,
                    staleness_seconds: estimate
                        .of_server_ms(server)
                        .map(|millis| millis.max(0) as f64 / 1000.0),
                    connections: connections(server, &pool, self.answers.get(&server.address)),
                    ..node(server, pool)
                }
            });
        Topology {
            kind: topology.kind().to_string(),
            set_name: topology.set_name().map(str::to_owned),
            primary: topology.primary().map(|(_, primary)| primary.address.to_string()),
            compatibility_error: topology.compatibility_error().map(ToString::to_string),
            nodes: nodes.collect(),
        }
    }

    fn readiness(&self) -> MutexGuard<'_, Readiness> {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certificates(certificates: &Reloads) -> Vec<Certificate> {
    let each = certificates.certificates().map(|(used_by, certificate)| {
        let expires = certificate.not_after;
        let since_1970 = expires.duration_since(SystemTime::UNIX_EPOCH);
        Certificate {
            used_by: used_by.to_owned(),
            file: certificate.path.display().to_string(),
            subject: certificate.subject,
            expires: humantime::format_rfc3339_seconds(expires).to_string(),
            expires_at_seconds: since_1970.map_or(0.0, |since| since.as_secs_f64()),
        }
    });
    each.collect()
}

fn server_sessions(counts: failover::SessionCounts) -> ServerSessions {
    let failover::SessionCounts {
        created,
        discarded,
        expired,
        idle,
    } = counts;
    ServerSessions {
        idle,
        created,
        discarded,
        expired,
    }
}

fn gate(gate: &failover::Gate, hold: Duration) -> Gate {
    let now = gate.status();
    let state = match now {
        _ if now.paused.is_some() => "paused",
        _ if now.commands > 0 => "holding",
        _ => "open",
    };
    Gate {
        state: state.to_owned(),
        commands: now.commands,
        max_commands: now.hold_commands,
        bytes: now.bytes,
        max_bytes: now.hold_bytes,
        hold_seconds: hold.as_secs_f64(),
        oldest_seconds: now.oldest.map(|waited| waited.as_secs_f64()),
        paused_seconds: now.paused.map(|paused| paused.as_secs_f64()),
    }
}

/// The word for each kind.
pub(super) const STATES: [(ServerKind, &str); 8] = [
    (ServerKind::RsPrimary, "primary"),
    (ServerKind::RsSecondary, "secondary"),
    (ServerKind::RsArbiter, "arbiter"),
    (ServerKind::RsOther, "other"),
    (ServerKind::RsGhost, "ghost"),
    (ServerKind::Standalone, "standalone"),
    (ServerKind::Mongos, "mongos"),
    (ServerKind::Unknown, "unknown"),
];

/// A server's kind in a word.
pub(super) fn state(kind: ServerKind) -> &'static str {
    STATES
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("unknown", |(_, word)| word)
}

fn node(server: &ServerDescription, pool: Pool) -> Node {
    Node {
        address: server.address.to_string(),
        kind: server.kind.to_string(),
        state: state(server.kind).to_owned(),
        rtt_ms: server.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        staleness_seconds: None,
        last_write: server.last_write.and_then(date),
        last_update_age_seconds: server.last_update.map(|update| update.elapsed().as_secs_f64()),
        tags: server.tags.iter().cloned().collect(),
        min_wire_version: server.min_wire_version,
        max_wire_version: server.max_wire_version,
        avoided_seconds: None,
        hidden: server.hidden,
        passive: server.passive,
        error: server.error.clone(),
        took: Took::default(),
        connections: connections(server, &pool, None),
        pool,
    }
}

pub(super) fn observe_pool(pool: &pool::Pool) -> Pool {
    let (counts, options, totals) = (pool.counts(), pool.options(), &pool.totals);
    let waited = totals.waits.sum(0).durations;
    let (waits, wait_seconds) = (waited.count(), waited.seconds());
    Pool {
        in_use: counts.in_use,
        idle: counts.idle,
        connecting: counts.connecting,
        waiting: counts.waiting,
        max_size: options.max_size,
        awaits: Awaits {
            in_use: counts.awaiting,
            waiting: counts.waiting_to_await,
            max: options.max_awaiting,
        },
        min_size: options.min_size,
        generation: counts.generation,
        opened: totals.opened.load(Relaxed),
        closed: totals.closed.load(Relaxed),
        connect_failures: totals.connect_failures.load(Relaxed),
        waits,
        wait_seconds,
        average_wait_ms: (waits > 0).then(|| wait_seconds * 1e3 / waits as f64),
        wait_timeouts: totals.wait_timeouts.load(Relaxed),
    }
}

fn connections(server: &ServerDescription, pool: &Pool, answer: Option<Answer>) -> Connections {
    let age_seconds = answer.as_ref().map(|answer| answer.asked.elapsed().as_secs_f64());
    let counts = match answer {
        _ if !server.is_reachable() => Err("the node does not answer".to_owned()),
        None => Err("the node has not told yet".to_owned()),
        Some(answer) => answer.outcome,
    };
    let own = (pool.open() as u64) + MONITORING + ASKING;
    let known = counts.as_ref().ok();
    Connections {
        current: known.map(|counts| counts.current),
        available: known.map(|counts| counts.available),
        per_proxy: per_proxy(pool.most()),
        proxies_that_fit: known.map(|counts| proxies_that_fit(counts.available, own, pool.most())),
        age_seconds: known.and(age_seconds),
        unknown_because: counts.err(),
    }
}

fn buffer(budget: &Budget) -> Buffer {
    Buffer {
        used_bytes: budget.used(),
        total_bytes: budget.total(),
    }
}

/// Milliseconds since 1970 as a date. A node may claim any number; what lies outside of four-digit years since then is none.
fn date(millis: i64) -> Option<String> {
    let since_1970 = Duration::from_millis(u64::try_from(millis).ok().filter(|_| millis <= LAST_DATE)?);
    Some(humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_1970).to_string())
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
