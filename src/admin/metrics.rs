//! `/metrics`: a status and the counters in the OpenMetrics text format.
//!
//! Made anew at each scrape: the metrics crate knows nothing between two. Labels are bounded: `node` by the members of the set,
//! `used_by` by the listeners, `command` by the command table, `namespace` and
//! `application` by the places that there are, `state`, `direction`, `reason` and `core` by fixed lists.

mod durations;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::{
    gather::STATES,
    measured::Measured,
    status::{Node, Pool, Status},
};

/// The format's media type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Renders; `started` is in seconds since 1970.
///
/// # Errors
/// Never with a `String` to write to; the crate's signatures have one.
pub(super) fn render(
    status: Status,
    counters: Vec<(&'static str, &'static str, u64)>,
    measured: Measured,
    started: f64,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_with_unit(
        "process_start_time",
        "When the process started, in seconds since 1970",
        Unit::Seconds,
        ConstGauge::new(started),
    );
    let own = registry.sub_registry_with_prefix("tidegate");
    own.register(
        "build",
        "The version that runs",
        Info::new(vec![("version", status.version.clone())]),
    );
    own.register_collector(Box::new(Scrape {
        status,
        counters,
        measured,
    }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// What is rendered.
#[derive(Debug)]
struct Scrape {
    status: Status,
    counters: Vec<(&'static str, &'static str, u64)>,
    measured: Measured,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        for (name, help, value) in &self.counters {
            let (name, unit) = match name.strip_suffix("_bytes") {
                Some(stem) => (stem, Some(Unit::Bytes)),
                None => (*name, None),
            };
            let counter = ConstCounter::new(*value);
            page.0
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)
                .and_then(|to| counter.encode(to))?;
        }
        self.proxy(&mut page)?;
        self.config(&mut page)?;
        self.certificates(&mut page)?;
        self.gate(&mut page)?;
        self.server_sessions(&mut page)?;
        self.nodes(&mut page)?;
        self.pools(&mut page)?;
        self.queues(&mut page)?;
        self.reasons(&mut page)?;
        self.names(&mut page)?;
        self.durations(&mut page)
    }
}

type Labels = Vec<(&'static str, String)>;
type Count = fn(&Pool) -> usize;

/// Writes families of metrics, each with its samples.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family((name, help, unit, MetricType::Counter), samples)
    }

    fn gauges<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family((name, help, unit, MetricType::Gauge), samples)
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn family(
        &mut self,
        (name, help, unit, kind): (&str, &str, Option<Unit>, MetricType),
        samples: impl Iterator<Item = (Labels, impl EncodeMetric)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, metric) in samples {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Scrape {
    fn config(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(config) = &self.status.config else {
            return Ok(());
        };
        let reloads = config.reloads;
        let results = [
            ("applied", reloads.applied),
            ("unchanged", reloads.unchanged),
            ("invalid", reloads.invalid),
        ];
        let results = results.map(|(result, count)| (vec![("result", result.to_owned())], count));
        page.counters("config_reloads", "Reloads of the configuration", None, results)?;
        let success = config.last_reload_succeeded.into();
        let help = "0 while the configuration that was found last has mistakes, so that an older one runs";
        page.gauge("config_last_reload_success", help, success)?;
        let help = "When the configuration that runs was loaded, in seconds since 1970";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Gauge);
        let loaded = page
            .0
            .encode_descriptor("config_loaded_timestamp", help, unit, kind)?;
        ConstGauge::new(config.loaded_at_seconds).encode(loaded)?;
        let help = "Keys whose values in the file wait for a restart";
        page.gauge("config_waiting_for_restart", help, config.wait_for_restart.len())
    }

    fn proxy(&self, page: &mut Page<'_>) -> fmt::Result {
        let Status {
            clients,
            buffers,
            topology,
            ..
        } = &self.status;
        page.gauge("ready", "1 when clients can be served", self.status.ready.into())?;
        let drain = self.status.drain.as_ref();
        page.gauge("draining", "1 while the proxy drains", drain.is_some().into())?;
        let tied = drain.map_or(0, |drain| drain.clients_tied);
        let help = "While the proxy drains: clients that stay for a transaction or an open cursor";
        page.gauge("clients_tied", help, tied)?;
        page.gauge("clients", "Client connections now", clients.connected)?;
        page.gauge(
            "clients_max",
            "Most client connections at once",
            clients.max_clients,
        )?;
        let per_core = clients.per_core.iter().enumerate();
        let per_core = per_core.map(|(core, count)| (vec![("core", core.to_string())], *count));
        page.gauges("core_clients", "Client connections now, by core", None, per_core)?;
        page.gauge(
            "cursors_pinned",
            "Cursors whose node is remembered",
            self.status.cursors_pinned,
        )?;
        let both = [("request", &buffers.requests), ("reply", &buffers.replies)];
        let of = |part: fn(&super::status::Buffer) -> usize| {
            both.map(|(direction, buffer)| (vec![("direction", direction.to_owned())], part(buffer)))
        };
        let used = of(|buffer| buffer.used_bytes);
        page.gauges(
            "buffer_used",
            "Memory that large messages hold",
            Some(Unit::Bytes),
            used,
        )?;
        let total = of(|buffer| buffer.total_bytes);
        page.gauges(
            "buffer_limit",
            "Memory that large messages may hold",
            Some(Unit::Bytes),
            total,
        )?;
        // A single server and routers have none: an alert on it would never end.
        let needed = !["Single", "Sharded"].contains(&topology.kind.as_str());
        page.gauge(
            "primary_known",
            "1 while a primary is known, or the upstream is no replica set",
            (topology.primary.is_some() || !needed).into(),
        )
    }

    fn certificates(&self, page: &mut Page<'_>) -> fmt::Result {
        let each = self.status.certificates.iter();
        let samples = each.map(|certificate| {
            (
                vec![("used_by", certificate.used_by.clone())],
                certificate.expires_at_seconds,
            )
        });
        let help = "Until when the certificate, and all of its chain, is valid, in seconds since 1970";
        page.gauges("certificate_expiry", help, Some(Unit::Seconds), samples)
    }

    fn gate(&self, page: &mut Page<'_>) -> fmt::Result {
        let gate = &self.status.gate;
        page.gauge(
            "gate_commands",
            "Commands that wait at the gate now",
            gate.commands,
        )?;
        page.gauge(
            "gate_commands_max",
            "Most commands that may wait at the gate",
            gate.max_commands,
        )?;
        let bytes = [("used", gate.bytes), ("max", gate.max_bytes)]
            .map(|(kind, bytes)| (vec![("kind", kind.to_owned())], bytes));
        let help = "Bytes of the commands that wait at the gate, and most that may";
        page.gauges("gate", help, Some(Unit::Bytes), bytes)?;
        let help = "How long the first of the commands at the gate has waited; 0 if none waits";
        let (oldest, unit) = (gate.oldest_seconds.unwrap_or_default(), Unit::Seconds);
        let to = page
            .0
            .encode_descriptor("gate_oldest_wait", help, Some(&unit), MetricType::Gauge)?;
        ConstGauge::new(oldest).encode(to)?;
        page.gauge(
            "gate_paused",
            "1 while the gate is closed by hand",
            gate.paused_seconds.is_some().into(),
        )
    }

    fn server_sessions(&self, page: &mut Page<'_>) -> fmt::Result {
        let sessions = &self.status.server_sessions;
        let ends = [
            ("outcome unknown", sessions.discarded),
            ("idle for too long", sessions.expired),
        ]
        .map(|(reason, count)| (vec![("reason", reason.to_owned())], count));
        let help = "Server sessions of the proxy's own that were given up";
        page.counters("server_sessions_ended", help, None, ends)?;
        let help = "Server sessions of the proxy's own that were made";
        let to = page
            .0
            .encode_descriptor("server_sessions_created", help, None, MetricType::Counter)?;
        ConstCounter::new(sessions.created).encode(to)?;
        page.gauge(
            "server_sessions_idle",
            "Server sessions of the proxy's own that wait for the next write",
            sessions.idle,
        )
    }

    fn nodes(&self, page: &mut Page<'_>) -> fmt::Result {
        let states = self.each().flat_map(|(labels, node)| {
            STATES.into_iter().map(move |(_, state)| {
                let labels = [labels.clone(), vec![("state", state.to_owned())]].concat();
                (labels, usize::from(node.state == state))
            })
        });
        page.gauges(
            "node_state",
            "1 for the state that the node is in, 0 for the others",
            None,
            states,
        )?;
        let seconds = Some(Unit::Seconds);
        let rtt = self.some(|node| node.rtt_ms.map(|millis| millis / 1000.0));
        page.gauges(
            "node_round_trip",
            "Average round trip time to the node",
            seconds.clone(),
            rtt,
        )?;
        let help = "How far the secondary may be behind, by the Max Staleness specification";
        page.gauges(
            "node_staleness",
            help,
            seconds.clone(),
            self.some(|node| node.staleness_seconds),
        )?;
        let help = "How long ago the node last answered a check";
        page.gauges(
            "node_check_age",
            help,
            seconds,
            self.some(|node| node.last_update_age_seconds),
        )
    }

    fn pools(&self, page: &mut Page<'_>) -> fmt::Result {
        let states: [(&str, Count); 4] = [
            ("in_use", |pool| pool.in_use),
            ("awaiting", |pool| pool.awaits.in_use),
            ("idle", |pool| pool.idle),
            ("connecting", |pool| pool.connecting),
        ];
        let connections = self.each().flat_map(|(labels, node)| {
            states.into_iter().map(move |(state, count)| {
                (
                    [labels.clone(), vec![("state", state.to_owned())]].concat(),
                    count(&node.pool),
                )
            })
        });
        page.gauges(
            "pool_connections",
            "Pooled connections to the node now",
            None,
            connections,
        )?;
        let max = self.pool(|pool| pool.max_size);
        page.gauges(
            "pool_connections_max",
            "Most pooled connections to the node that await no new documents",
            None,
            max,
        )?;
        let most = self.pool(|pool| pool.awaits.max);
        page.gauges(
            "pool_awaiting_max",
            "Most pooled connections to the node that await new documents",
            None,
            most,
        )?;
        let min = self.pool(|pool| pool.min_size);
        page.gauges(
            "pool_connections_min",
            "Pooled connections that are kept warm",
            None,
            min,
        )?;
        let opened = self.pool(|pool| pool.opened);
        page.counters(
            "pool_connections_opened",
            "Pooled connections opened",
            None,
            opened,
        )?;
        let closed = self.pool(|pool| pool.closed);
        page.counters(
            "pool_connections_closed",
            "Pooled connections closed, for whatever reason",
            None,
            closed,
        )?;
        let failures = self.pool(|pool| pool.connect_failures);
        page.counters(
            "pool_connect_failures",
            "Attempts to connect that failed",
            None,
            failures,
        )?;
        let cleared = self.pool(|pool| pool.generation);
        page.counters(
            "pool_clears",
            "Times that all connections to the node were given up: because it failed, or by POST /pools/{node}/reconnect",
            None,
            cleared,
        )
    }

    fn queues(&self, page: &mut Page<'_>) -> fmt::Result {
        let waiting = self.pool(|pool| pool.waiting);
        page.gauges(
            "pool_queue",
            "Commands that wait for a connection now, and await no new documents",
            None,
            waiting,
        )?;
        let waiting = self.pool(|pool| pool.awaits.waiting);
        page.gauges(
            "pool_await_queue",
            "getMores of awaiting cursors that wait for a connection now",
            None,
            waiting,
        )?;
        let waits = self.pool(|pool| pool.waits);
        page.counters(
            "pool_queue_waits",
            "Commands that had to wait for a connection to the node",
            None,
            waits,
        )?;
        let waited = self.pool(|pool| pool.wait_seconds);
        page.counters(
            "pool_queue_wait",
            "How long they waited in sum",
            Some(Unit::Seconds),
            waited,
        )?;
        let timeouts = self.pool(|pool| pool.wait_timeouts);
        page.counters(
            "pool_queue_timeouts",
            "Commands that waited for a connection in vain",
            None,
            timeouts,
        )
    }

    fn each(&self) -> impl Iterator<Item = (Labels, &Node)> {
        let nodes = self.status.topology.nodes.iter();
        nodes.map(|node| (vec![("node", node.address.clone())], node))
    }

    /// One sample for each node that has a value.
    fn some<V>(&self, value: impl Fn(&Node) -> Option<V>) -> impl Iterator<Item = (Labels, V)> {
        self.each()
            .filter_map(move |(labels, node)| Some((labels, value(node)?)))
    }

    fn pool<V>(&self, value: impl Fn(&Pool) -> V) -> impl Iterator<Item = (Labels, V)> {
        self.each().map(move |(labels, node)| (labels, value(&node.pool)))
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
