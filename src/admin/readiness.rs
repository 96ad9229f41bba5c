//! Whether clients can be served.
//!
//! Pure. Readiness is for load balancers and start-up scripts, so an election does not end it: clients are served through one,
//! and to take every proxy out at once would make an outage of it. It ends when the proxy is to go, before anything else changes, and when no node at all has
//! answered for longer than a command would wait for one.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::Stage;

/// What was seen of the nodes over time.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Whether a node that holds data was ever known.
    data_known: bool,
    /// Since when no node answers.
    silent_since: Option<Instant>,
}

/// What the proxy is doing at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing {
    /// Whether anything is listened on for clients.
    pub(super) listening: bool,
    /// How far it is on its way down.
    pub(super) stage: Stage,
}

/// The answer of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Whether clients can be served.
    pub(super) ready: bool,
    /// Why not; empty if they can.
    pub(super) reasons: Vec<String>,
}

impl Readiness {
    /// Takes in how the nodes look at `now`: whether any holds data, and whether any answers at all.
    pub(super) fn observe(&mut self, holds_data: bool, answers: bool, now: Instant) {
        self.data_known |= holds_data;
        self.silent_since = if answers {
            None
        } else {
            self.silent_since.or(Some(now))
        };
    }

    /// Judges; `patience` is how long commands are held.
    pub(super) fn judge(&self, doing: Doing, patience: Duration, now: Instant) -> Verdict {
        let mut reasons = Vec::new();
        match doing.stage {
            Stage::Serving => {}
            Stage::Announced => {
                reasons.push("the proxy is draining, and will refuse new clients soon".to_owned())
            }
            Stage::Closing | Stage::Hurrying => {
                reasons.push("the proxy is draining, and refuses new clients".to_owned());
            }
            Stage::Stopping => reasons.push("the proxy is stopping".to_owned()),
        }
        if !doing.listening {
            reasons.push("no listener is up".to_owned());
        }
        if !self.data_known {
            reasons.push("no node that holds data has answered yet".to_owned());
        }
        let silence = self
            .silent_since
            .map(|since| now.saturating_duration_since(since));
        if let Some(silence) = silence.filter(|silence| *silence > patience) {
            reasons.push(format!("no node has answered for {} s", silence.as_secs()));
        }
        Verdict {
            ready: reasons.is_empty(),
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Doing = Doing {
        listening: true,
        stage: Stage::Serving,
    };
    const PATIENCE: Duration = Duration::from_secs(30);

    fn reasons(readiness: &Readiness, doing: Doing, now: Instant) -> Vec<String> {
        let verdict = readiness.judge(doing, PATIENCE, now);
        assert_eq!(verdict.ready, verdict.reasons.is_empty());
        verdict.reasons
    }

    #[test]
    fn it_begins_with_the_first_node_that_holds_data() {
        let (mut readiness, now) = (Readiness::default(), Instant::now());
        assert_eq!(
            reasons(&readiness, UP, now),
            ["no node that holds data has answered yet"]
        );
        readiness.observe(false, true, now);
        assert_eq!(reasons(&readiness, UP, now).len(), 1, "an arbiter is not enough");
        readiness.observe(true, true, now);
        assert!(reasons(&readiness, UP, now).is_empty());
    }

    #[test]
    fn it_outlives_an_election_but_not_a_long_silence() {
        let (mut readiness, now) = (Readiness::default(), Instant::now());
        readiness.observe(true, true, now);
        readiness.observe(false, true, now);
        assert!(
            reasons(&readiness, UP, now + PATIENCE * 9).is_empty(),
            "nodes answer"
        );
        readiness.observe(false, false, now);
        readiness.observe(false, false, now + PATIENCE);
        assert!(reasons(&readiness, UP, now + PATIENCE).is_empty());
        let late = now + PATIENCE + Duration::from_secs(1);
        assert_eq!(reasons(&readiness, UP, late), ["no node has answered for 31 s"]);
        readiness.observe(false, true, late);
        assert!(
            reasons(&readiness, UP, late).is_empty(),
            "any answer ends the silence"
        );
    }

    #[test]
    fn it_ends_with_the_proxy() {
        let (mut readiness, now) = (Readiness::default(), Instant::now());
        readiness.observe(true, true, now);
        for (stage, said) in [
            (
                Stage::Announced,
                "the proxy is draining, and will refuse new clients soon",
            ),
            (Stage::Closing, "the proxy is draining, and refuses new clients"),
            (Stage::Hurrying, "the proxy is draining, and refuses new clients"),
            (Stage::Stopping, "the proxy is stopping"),
        ] {
            assert_eq!(reasons(&readiness, Doing { stage, ..UP }, now), [said]);
        }
        assert_eq!(
            reasons(
                &readiness,
                Doing {
                    listening: false,
                    ..UP
                },
                now
            ),
            ["no listener is up"]
        );
    }
}
