//! What listeners are told each second.

use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::{
    history::History,
    window::{Look, Rates, Window},
};
use crate::{
    admin::{
        gather::Observer,
        status::{Drain, Gate, Topology},
    },
    client::SlowCommand,
};

/// How many slow commands a picture shows.
const SLOW: usize = 20;

/// The proxy at one moment, and what happened within the last seconds.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    at: String,
    version: String,
    /// When the process started: another one has events of its own.
    started: String,
    uptime_seconds: f64,
    ready: bool,
    /// Why it is not ready; empty if it is.
    reasons: Vec<String>,
    stopping: bool,
    drain: Option<Drain>,
    clients: usize,
    max_clients: usize,
    cursors_pinned: usize,
    topology: Topology,
    /// Part of each node's `staleness_seconds`.
    heartbeat_seconds: f64,
    /// Since when there has been the same primary, or none.
    primary_since: Option<String>,
    /// Whether it may have been the primary for longer: it was when the proxy started.
    primary_was_found: bool,
    gate: Gate,
    rates: Rates,
    slow: Vec<Slow>,
}

/// A command that took long.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Slow {
    at: String,
    command: &'static str,
    namespace: String,
    node: Option<String>,
    took_ms: f64,
    waited_ms: f64,
    failed: bool,
    client: String,
    connection: i32,
    application: Option<String>,
    filter: String,
}

impl From<SlowCommand> for Slow {
    fn from(slow: SlowCommand) -> Self {
        Self {
            at: date(slow.at),
            command: slow.command,
            namespace: slow.namespace,
            node: slow.node,
            took_ms: slow.took.as_secs_f64() * 1e3,
            waited_ms: slow.waited.as_secs_f64() * 1e3,
            failed: slow.has_failed,
            client: slow.client,
            connection: slow.connection,
            application: slow.application,
            filter: slow.filter,
        }
    }
}

/// The slow commands that are kept, the newest first.
pub(in crate::admin) fn slow_commands(observer: &Observer) -> Vec<Slow> {
    let kept = observer.shared().slow.list();
    kept.into_iter().map(Slow::from).collect()
}

pub(super) fn draw(observer: &Observer, window: &mut Window, history: &History, now: Instant) -> Picture {
    let (status, measured) = (observer.status(), observer.measured());
    let heartbeat = observer.shared().cluster.selection().heartbeat;
    let look = Look {
        commands: measured
            .commands
            .into_iter()
            .map(|(name, timed)| (name.to_owned(), timed))
            .collect(),
        nodes: measured
            .nodes
            .into_iter()
            .map(|node| (node.address, node.timed))
            .collect(),
        namespaces: measured.namespaces,
        applications: measured.applications,
    };
    let mut slow = slow_commands(observer);
    slow.truncate(SLOW);
    Picture {
        at: date(SystemTime::now()),
        version: status.version,
        started: status.started,
        uptime_seconds: status.uptime_seconds,
        ready: status.ready,
        reasons: observer.verdict().reasons,
        stopping: status.stopping,
        drain: status.drain,
        clients: status.clients.connected,
        max_clients: status.clients.max_clients,
        cursors_pinned: status.cursors_pinned,
        topology: status.topology,
        heartbeat_seconds: heartbeat.as_secs_f64(),
        primary_since: history.primary_since().map(date),
        primary_was_found: history.primary_was_found(),
        gate: status.gate,
        rates: window.advance(look, now),
        slow,
    }
}

fn date(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
