//! Read preferences as the file and the connection string give them, and what makes one of them.

use std::time::Duration;

use super::schema;
use crate::topology::{Mode, ReadPreference, SMALLEST_MAX_STALENESS, TagSet};

/// The parts of a read preference that were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPreferenceParts {
    /// `None` stands for `primary`.
    pub mode: Option<Mode>,
    /// The tag sets, first choice first.
    pub tag_sets: Vec<TagSet>,
    /// How far a secondary may lag behind.
    pub max_staleness: Option<Duration>,
}

const MODES: [Mode; 5] = [
    Mode::Primary,
    Mode::PrimaryPreferred,
    Mode::Secondary,
    Mode::SecondaryPreferred,
    Mode::Nearest,
];

/// The mode of this name. The error says what would be right, to be read after "must be".
pub(super) fn mode_named(name: &str) -> Result<Mode, String> {
    name.parse().map_err(|_| {
        let names = MODES.map(Mode::name);
        let meant =
            schema::suggest(name, &names).map_or(String::new(), |near| format!("; did you mean {near}?"));
        format!("one of {}{meant}", names.join(", "))
    })
}

/// The least `max_staleness` that means anything: 90 seconds, or the heartbeat and the 10 seconds between the writes
/// of an idle primary, if that is more (Max Staleness specification).
fn least_staleness(heartbeat: Duration) -> Duration {
    SMALLEST_MAX_STALENESS.max(heartbeat.saturating_add(Duration::from_secs(10)))
}

impl ReadPreferenceParts {
    /// Makes a read preference of the parts. The errors are those for which a node would refuse it.
    pub(super) fn assemble(self, heartbeat: Duration) -> Result<ReadPreference, Vec<String>> {
        let mode = self.mode.unwrap_or(Mode::Primary);
        let mut problems = Vec::new();
        if mode == Mode::Primary && self.tag_sets.iter().any(|set| !set.0.is_empty()) {
            problems.push("tags need a mode other than primary, such as secondaryPreferred".to_owned());
        }
        if mode == Mode::Primary && self.max_staleness.is_some() {
            problems
                .push("max_staleness needs a mode other than primary, such as secondaryPreferred".to_owned());
        }
        let least = least_staleness(heartbeat);
        if self.max_staleness.is_some_and(|given| given < least) {
            problems.push(format!(
                "max_staleness must be at least {}",
                humantime::format_duration(least)
            ));
        }
        if self.max_staleness.is_some_and(|given| given.subsec_nanos() != 0) {
            problems.push("max_staleness must be whole seconds".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(ReadPreference {
            mode,
            tag_sets: self.tag_sets,
            max_staleness: self.max_staleness,
        })
    }
}
