//! Which server an operation goes to.
//!
//! On the path of every command: nothing is allocated, each step is a pass over the servers with a
//! predicate, and the primary is found without a pass. Invariant: what is returned is suitable by the
//! criteria in this snapshot, and is never an Unknown server.
//!
//! Source: the Server Selection and Max Staleness specifications.

use std::{sync::Arc, time::Duration};

use super::{
    Mode, ReadPreference, SMALLEST_MAX_STALENESS, ServerDescription, ServerKind, StalenessEstimate, TagSet,
    Topology, TopologyKind,
};

/// How often an idle primary writes, so that its secondaries do not look stale.
const IDLE_WRITE_PERIOD: Duration = Duration::from_secs(10);

/// What an operation needs of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criteria<'a> {
    /// Where writes go: the primary, any `mongos`, or the one server.
    Primary,
    /// Where reads with this preference go.
    Read(&'a ReadPreference),
    /// Any server that holds data, near ones first.
    DataBearing,
    /// Any server that answers: the primary, else one that holds data, else even an arbiter or a member
    /// without a set. For administrative commands such as `replSetInitiate`.
    AnyReachable,
}

/// What does not change from one operation to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectionOptions {
    /// `localThresholdMS`: how much slower than the fastest suitable server another may be.
    pub local_threshold: Duration,
    /// `heartbeatFrequencyMS`: by how much a measured staleness may be out of date.
    pub heartbeat: Duration,
}

/// Why no server can ever be selected; waiting does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A server speaks no wire version that is understood here.
    #[error("{0}")]
    Incompatible(Arc<str>),
    /// The bound on staleness is below what can be measured.
    #[error(
        "maxStalenessSeconds is {} but must be at least {} with this heartbeat interval",
        max_staleness.as_secs_f64(), smallest.as_secs_f64()
    )]
    MaxStalenessTooSmall {
        /// What was asked for.
        max_staleness: Duration,
        /// What is the least that can be asked for.
        smallest: Duration,
    },
}

/// Finds a server for an operation; `None` if no server fits now. The index is one into
/// [`Topology::servers`] of this snapshot.
///
/// Of two random servers within the latency window the one with less `load` (operations in flight) is
/// taken. `random` gives a number below its argument.
///
/// # Errors
/// If waiting for another snapshot cannot help.
pub fn select(
    topology: &Topology,
    criteria: &Criteria<'_>,
    options: &SelectionOptions,
    load: impl Fn(usize) -> usize,
    random: impl FnMut(usize) -> usize,
) -> Result<Option<usize>, SelectionError> {
    Selection {
        topology,
        options,
        exclude: |_| false,
        load,
    }
    .run(criteria, random)
}

/// Like [`select`], but servers that `exclude` names are taken only if no other fits ("deprioritised").
///
/// # Errors
/// If waiting for another snapshot cannot help.
pub fn select_excluding(
    topology: &Topology,
    criteria: &Criteria<'_>,
    options: &SelectionOptions,
    exclude: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> usize,
    mut random: impl FnMut(usize) -> usize,
) -> Result<Option<usize>, SelectionError> {
    match select_without(topology, criteria, options, exclude, &load, &mut random)? {
        Some(index) => Ok(Some(index)),
        None => select(topology, criteria, options, load, random),
    }
}

/// Like [`select`], but servers that `exclude` names are not taken.
///
/// # Errors
/// If waiting for another snapshot cannot help.
pub fn select_without(
    topology: &Topology,
    criteria: &Criteria<'_>,
    options: &SelectionOptions,
    exclude: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> usize,
    random: impl FnMut(usize) -> usize,
) -> Result<Option<usize>, SelectionError> {
    Selection {
        topology,
        options,
        exclude,
        load,
    }
    .run(criteria, random)
}

/// What every step needs.
struct Selection<'a, E, L> {
    topology: &'a Topology,
    options: &'a SelectionOptions,
    exclude: E,
    load: L,
}

impl<E: Fn(usize) -> bool, L: Fn(usize) -> usize> Selection<'_, E, L> {
    fn run(
        &self,
        criteria: &Criteria<'_>,
        mut random: impl FnMut(usize) -> usize,
    ) -> Result<Option<usize>, SelectionError> {
        if let Some(error) = self.topology.compatibility_error() {
            return Err(SelectionError::Incompatible(error.clone()));
        }
        if let Criteria::Read(preference) = criteria {
            self.check_staleness(preference)?;
        }
        if *criteria == Criteria::AnyReachable {
            let data_bearing = || self.pick(&mut random, ServerDescription::is_data_bearing);
            let found = self.primary().or_else(data_bearing);
            return Ok(found.or_else(|| self.pick(&mut random, ServerDescription::is_reachable)));
        }
        Ok(match (self.topology.kind(), criteria) {
            (TopologyKind::Unknown, _) => None,
            (TopologyKind::Single, _) => self.pick(random, ServerDescription::is_reachable),
            (TopologyKind::Sharded | TopologyKind::LoadBalanced, _)
            | (_, Criteria::DataBearing | Criteria::AnyReachable) => {
                self.pick(random, ServerDescription::is_data_bearing)
            }
            (_, Criteria::Primary) => self.primary(),
            (_, Criteria::Read(preference)) => self.read(preference, random),
        })
    }

    fn check_staleness(&self, preference: &ReadPreference) -> Result<(), SelectionError> {
        let smallest = SMALLEST_MAX_STALENESS.max(self.options.heartbeat.saturating_add(IDLE_WRITE_PERIOD));
        match preference.max_staleness {
            Some(max_staleness) if self.topology.kind().is_replica_set() && max_staleness < smallest => {
                Err(SelectionError::MaxStalenessTooSmall {
                    max_staleness,
                    smallest,
                })
            }
            _ => Ok(()),
        }
    }

    fn primary(&self) -> Option<usize> {
        self.topology
            .primary()
            .map(|(index, _)| index)
            .filter(|index| !(self.exclude)(*index))
    }

    fn read(&self, preference: &ReadPreference, random: impl FnMut(usize) -> usize) -> Option<usize> {
        match preference.mode {
            Mode::Primary => self.primary(),
            Mode::PrimaryPreferred => self.primary().or_else(|| self.eligible(preference, random)),
            Mode::SecondaryPreferred => self.eligible(preference, random).or_else(|| self.primary()),
            Mode::Secondary | Mode::Nearest => self.eligible(preference, random),
        }
    }

    /// Filters by staleness, then by the first tag set that fits any server, then by latency.
    fn eligible(&self, preference: &ReadPreference, random: impl FnMut(usize) -> usize) -> Option<usize> {
        let with_primary = preference.mode == Mode::Nearest;
        let bound = preference
            .max_staleness
            .map(|max| (max, StalenessEstimate::of(self.topology, self.options.heartbeat)));
        let is_candidate = |server: &ServerDescription| match server.kind {
            ServerKind::RsSecondary => bound
                .as_ref()
                .is_none_or(|(max, estimate)| estimate.is_within(server, *max)),
            ServerKind::RsPrimary => with_primary,
            _ => false,
        };
        if preference.tag_sets.is_empty() {
            return self.pick(random, is_candidate);
        }
        let fits = |tags: &TagSet| {
            self.allowed()
                .any(|(_, server)| is_candidate(server) && tags.matches(&server.tags))
        };
        let tags = preference.tag_sets.iter().find(|tags| fits(tags))?;
        self.pick(random, |server| {
            is_candidate(server) && tags.matches(&server.tags)
        })
    }

    fn allowed(&self) -> impl Iterator<Item = (usize, &ServerDescription)> {
        let servers = self.topology.servers().iter().enumerate();
        servers
            .filter(|(index, _)| !(self.exclude)(*index))
            .map(|(index, server)| (index, &**server))
    }

    /// Of the suitable servers within the latency window, two random ones; of these, the less busy one.
    fn pick(
        &self,
        mut random: impl FnMut(usize) -> usize,
        suitable: impl Fn(&ServerDescription) -> bool,
    ) -> Option<usize> {
        let candidates = || self.allowed().filter(|(_, server)| suitable(server));
        // A server without a measurement is as slow as can be: it is taken if no other has one either.
        let rtt = |server: &ServerDescription| server.rtt.unwrap_or(Duration::MAX);
        let slowest = candidates()
            .map(|(_, server)| rtt(server))
            .min()?
            .saturating_add(self.options.local_threshold);
        let window = || {
            candidates()
                .filter(|(_, server)| rtt(server) <= slowest)
                .map(|(index, _)| index)
        };
        let size = window().count();
        if size < 2 {
            return window().next();
        }
        // Two different ones: the second draw leaves the first out. The remainder guards against a
        // generator that does not keep to its bound.
        let first = random(size) % size;
        let second = (first + 1 + random(size - 1) % (size - 1)) % size;
        let (first, second) = (window().nth(first)?, window().nth(second)?);
        Some(if (self.load)(second) < (self.load)(first) {
            second
        } else {
            first
        })
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
