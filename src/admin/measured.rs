//! How long commands took and why what happened, summed up at one moment.

use super::status::{Command, Took};
use crate::{
    client::Shared,
    command::table,
    telemetry::{Counted, Durations, Timed, Timings, busiest::Counts},
};

/// What `/metrics` shows beyond the status.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// By command.
    pub(super) commands: Vec<(&'static str, Timed)>,
    /// By node.
    pub(super) nodes: Vec<MeasuredNode>,
    /// Reasons, list by list.
    pub(super) reasons: Vec<Counted>,
    /// Commands by namespace.
    pub(super) namespaces: Counts,
    /// Commands by application.
    pub(super) applications: Counts,
    /// Messages that had to wait for room, by direction.
    pub(super) buffer_waits: [(&'static str, u64); 2],
}

/// What was measured of one node.
#[derive(Debug)]
pub(super) struct MeasuredNode {
    pub(super) address: String,
    pub(super) timed: Timed,
    /// How long commands waited for a connection to it that had to.
    pub(super) waits: Durations,
}

impl Measured {
    /// What was measured so far.
    pub(super) fn of(shared: &Shared) -> Self {
        let snapshot = shared.cluster.load();
        let nodes = snapshot.nodes.iter().map(|pool| MeasuredNode {
            address: pool.address().to_string(),
            timed: pool.totals.timings.sum(0),
            waits: pool.totals.waits.sum(0).durations,
        });
        Self {
            commands: timed(&shared.timings),
            nodes: nodes.collect(),
            namespaces: shared.namespaces.list(),
            applications: shared.applications.list(),
            reasons: shared.counters.reasons(),
            buffer_waits: [
                ("request", shared.requests.waits()),
                ("reply", shared.replies.waits()),
            ],
        }
    }
}

/// What was counted of each command that came, by name.
pub(super) fn timed(timings: &Timings) -> Vec<(&'static str, Timed)> {
    let sums = timings.sums().into_iter();
    sums.filter(|(_, timed)| !timed.is_empty())
        .map(|(number, timed)| (table::name_of(number), timed))
        .collect()
}

/// The same for people.
pub(super) fn commands(timings: &Timings) -> Vec<Command> {
    let timed = timed(timings).into_iter();
    timed
        .map(|(name, timed)| Command {
            name: name.to_owned(),
            took: Took::from(&timed),
        })
        .collect()
}
