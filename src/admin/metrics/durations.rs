//! Histograms, and what happened for which reason.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{Labels, Page, Scrape};
use crate::{
    admin::measured::{Measured, MeasuredNode},
    telemetry::{Durations, Timed, busiest::Counts},
};

/// Stands for all names that have no place of their own.
const OTHERS: &str = "(other)";

/// Durations as a histogram; it is written anew at each scrape.
struct Histogram<'a>(&'a Durations);

impl EncodeMetric for Histogram<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let (seconds, count) = (self.0.seconds(), self.0.count());
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &self.0.by_bound(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Scrape {
    pub(super) fn durations(&self, page: &mut Page<'_>) -> fmt::Result {
        let commands = || {
            let of = |(name, timed): &(&str, Timed)| (vec![("command", (*name).to_owned())], timed.clone());
            self.measured.commands.iter().map(of)
        };
        let help = "How long commands took that nodes were asked for, from the request to the reply in hand, waits included; without \
                    getMores that await new documents";
        histograms(
            page,
            ("command_duration", help),
            commands().map(|(labels, timed)| (labels, timed.durations)),
        )?;
        let help = "Commands of those that ended with an error, a node's or the proxy's";
        let errors = commands().map(|(labels, timed)| (labels, timed.errors));
        page.counters("command_errors", help, None, errors)?;
        let help = "How long commands took that the node answered, waits within the proxy left out; without getMores that await new \
                    documents";
        histograms(
            page,
            ("node_command_duration", help),
            self.measured_nodes(|node| node.timed.durations.clone()),
        )?;
        let help = "Replies of the node that carry an error, and exchanges with it that broke";
        let errors = self.measured_nodes(|node| node.timed.errors);
        page.counters("node_command_errors", help, None, errors)?;
        let help = "How long commands waited for a connection to the node that had to";
        histograms(
            page,
            ("upstream_wait", help),
            self.measured_nodes(|node| node.waits.clone()),
        )
    }

    pub(super) fn reasons(&self, page: &mut Page<'_>) -> fmt::Result {
        for counted in &self.measured.reasons {
            let counts = counted.counts.iter();
            let samples = counts.map(|(reason, count)| (vec![("reason", (*reason).to_owned())], *count));
            page.counters(counted.metric, counted.help, None, samples)?;
        }
        let waits = self.measured.buffer_waits.iter();
        let waits = waits.map(|(direction, count)| (vec![("direction", (*direction).to_owned())], *count));
        let help = "Large messages that had to wait for room in memory";
        page.counters("buffer_waits", help, None, waits)
    }

    pub(super) fn names(&self, page: &mut Page<'_>) -> fmt::Result {
        let Measured {
            namespaces,
            applications,
            ..
        } = &self.measured;
        let help =
            "Commands that nodes were asked for, by namespace: those of the busiest, all others as (other)";
        page.counters("namespace_commands", help, None, named("namespace", namespaces))?;
        let help = "Commands that nodes were asked for, by the name that the application gives itself, likewise; (none) gives none";
        page.counters(
            "application_commands",
            help,
            None,
            named("application", applications),
        )
    }

    fn measured_nodes<V>(&self, value: impl Fn(&MeasuredNode) -> V) -> impl Iterator<Item = (Labels, V)> {
        let nodes = self.measured.nodes.iter();
        nodes.map(move |node| (vec![("node", node.address.clone())], value(node)))
    }
}

/// The counts of names. Only one of the proxy's own making is put beside them.
fn named<'a>(label: &'static str, counts: &'a Counts) -> impl Iterator<Item = (Labels, u64)> + 'a {
    let each = counts.named.iter().map(|(name, count)| (name.as_str(), *count));
    let all = each
        .filter(|(name, _)| *name != OTHERS)
        .chain([(OTHERS, counts.others)]);
    all.map(move |(name, count)| (vec![(label, name.to_owned())], count))
}

fn histograms(
    page: &mut Page<'_>,
    (name, help): (&str, &str),
    samples: impl Iterator<Item = (Labels, Durations)>,
) -> fmt::Result {
    let mut family = page
        .0
        .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (labels, durations) in samples {
        Histogram(&durations).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
