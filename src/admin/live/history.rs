//! The last events, numbered; and since when there is a primary, or none.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{
    admin::gather::state,
    client::Stage,
    topology::{Event, ServerKind},
};

/// How many events are kept.
const MOST: usize = 200;
/// The longest text of one; the rest is cut off.
const LONGEST: usize = 500;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Happened {
    /// Counts up from 1.
    pub(super) id: u64,
    /// When, in UTC (RFC 3339).
    pub(super) at: String,
    /// `election`, `node`, `member`, `topology`, `gate`, `drain` or `lost`.
    pub(super) kind: &'static str,
    /// Whether commands may suffer from it.
    pub(super) is_trouble: bool,
    /// What, in words.
    pub(super) text: String,
}

/// The last events.
#[derive(Debug)]
pub(super) struct History {
    last: VecDeque<Happened>,
    newest: u64,
    primary: Option<String>,
    /// Since when there is this primary, or none.
    since: Option<SystemTime>,
    /// Whether this primary was there when the first look was taken.
    was_found: bool,
    is_paused: bool,
    stage: Stage,
}

impl Default for History {
    fn default() -> Self {
        Self {
            last: VecDeque::new(),
            newest: 0,
            primary: None,
            since: None,
            was_found: false,
            is_paused: false,
            stage: Stage::Serving,
        }
    }
}

impl History {
    /// Begins with this primary.
    pub(super) fn begin(&mut self, primary: Option<String>, now: SystemTime) {
        self.since = primary.is_some().then_some(now);
        self.was_found = primary.is_some();
        self.primary = primary;
    }

    /// The number of the newest event; 0 if there is none.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Since when there has been the same primary, or none, as far as was seen from here.
    pub(super) fn primary_since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Whether the primary may have been elected before that: it was there when the first look was taken.
    pub(super) fn primary_was_found(&self) -> bool {
        self.was_found
    }

    /// The events after the one of this number.
    pub(super) fn after(&self, id: u64) -> impl Iterator<Item = &Happened> {
        self.last.iter().filter(move |happened| happened.id > id)
    }

    fn add(&mut self, kind: &'static str, is_trouble: bool, mut text: String, now: SystemTime) -> bool {
        if self.last.len() >= MOST {
            self.last.pop_front();
        }
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
        }
        self.newest += 1;
        self.last.push_back(Happened {
            id: self.newest,
            at: humantime::format_rfc3339_millis(now).to_string(),
            kind,
            is_trouble,
            text,
        });
        true
    }

    /// Takes note of a change of the replica set; whether it is an event for people.
    pub(super) fn note_topology(&mut self, event: &Event, now: SystemTime) -> bool {
        match event {
            Event::NewPrimary(address) => {
                let lasted = self.since.and_then(|since| now.duration_since(since).ok());
                let text = match (&self.primary, lasted) {
                    (Some(old), _) if *old != address.to_string() => {
                        format!("{address} is the primary in place of {old}")
                    }
                    (None, Some(lasted)) => {
                        format!("{address} is the primary, after {} without one", brief(lasted))
                    }
                    _ => format!("{address} is the primary"),
                };
                // The first primary that is seen was elected some time or other.
                self.was_found = self.since.is_none();
                (self.primary, self.since) = (Some(address.to_string()), Some(now));
                let kind = if self.was_found { "topology" } else { "election" };
                self.add(kind, false, text, now)
            }
            Event::PrimaryLost(_) => {
                (self.primary, self.since, self.was_found) = (None, Some(now), false);
                self.add("election", true, event.to_string(), now)
            }
            Event::KindChanged {
                address,
                to: ServerKind::Unknown,
                error,
                ..
            } => {
                let why = error.as_deref().unwrap_or("it did not say why");
                self.add("node", true, format!("{address} is down or unknown: {why}"), now)
            }
            Event::KindChanged {
                address,
                from: ServerKind::Unknown,
                to,
                ..
            } => self.add("node", false, format!("{address} is up as {}", state(*to)), now),
            // Told by what follows from it.
            Event::KindChanged { .. } | Event::PossiblePrimary(_) => false,
            Event::TopologyKindChanged { .. } => false,
            Event::MemberAdded(_) => self.add("member", false, event.to_string(), now),
            Event::MemberRemoved { .. } => self.add("member", true, event.to_string(), now),
            _ => self.add("topology", true, event.to_string(), now),
        }
    }

    /// Takes note of events that came too fast.
    pub(super) fn note_lost(&mut self, count: u64, now: SystemTime) -> bool {
        self.add(
            "lost",
            true,
            format!("{count} events came too fast to be kept"),
            now,
        )
    }

    /// Takes note of the gate and of the drain; whether something is new.
    pub(super) fn note_proxy(&mut self, is_paused: bool, stage: Stage, now: SystemTime) -> bool {
        let mut is_new = false;
        if self.is_paused != is_paused {
            self.is_paused = is_paused;
            let text = if is_paused {
                "closed by hand: commands wait"
            } else {
                "opened again"
            };
            is_new = self.add("gate", is_paused, format!("the gate was {text}"), now);
        }
        if self.stage != stage {
            self.stage = stage;
            is_new = self.add(
                "drain",
                true,
                format!("the proxy drains: {}", stage.as_str()),
                now,
            );
        }
        is_new
    }
}

fn brief(lasted: Duration) -> String {
    format!("{:.1} s", lasted.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(history: &History) -> Vec<&str> {
        history.after(0).map(|happened| happened.text.as_str()).collect()
    }

    #[test]
    fn an_election_is_told_with_how_long_there_was_no_primary() {
        let (mut history, now) = (History::default(), SystemTime::now());
        history.begin(Some("a:1".to_owned()), now);
        assert!(history.note_topology(&Event::PrimaryLost("a:1".parse().unwrap()), now));
        assert_eq!(history.primary_since(), Some(now));
        let later = now + Duration::from_millis(2500);
        assert!(history.note_topology(&Event::NewPrimary("b:1".parse().unwrap()), later));
        assert!(history.note_topology(&Event::NewPrimary("a:1".parse().unwrap()), later));
        assert_eq!(
            texts(&history),
            [
                "a:1 is no longer the primary, and no other is known",
                "b:1 is the primary, after 2.5 s without one",
                "a:1 is the primary in place of b:1"
            ]
        );
        assert_eq!(history.primary_since(), Some(later));
    }

    #[test]
    fn the_primary_that_is_there_at_first_is_no_election() {
        let (mut history, now) = (History::default(), SystemTime::now());
        history.begin(None, now);
        assert!(history.note_topology(&Event::NewPrimary("a:1".parse().unwrap()), now));
        assert_eq!(history.after(0).next().unwrap().kind, "topology");
        assert_eq!(
            (history.primary_since(), history.primary_was_found()),
            (Some(now), true)
        );
        assert!(history.note_topology(&Event::NewPrimary("b:1".parse().unwrap()), now));
        assert_eq!(history.after(1).next().unwrap().kind, "election");
        assert!(!history.primary_was_found());
    }

    #[test]
    fn nodes_that_go_and_come_pauses_and_drains_are_events_and_repetition_is_not() {
        let (mut history, now) = (History::default(), SystemTime::now());
        let changed = |from, to, error: Option<&str>| Event::KindChanged {
            address: "a:1".parse().unwrap(),
            from,
            to,
            error: error.map(str::to_owned),
        };
        let (up, down) = (ServerKind::RsSecondary, ServerKind::Unknown);
        assert!(history.note_topology(&changed(up, down, Some("refused")), now));
        assert!(history.note_topology(&changed(down, up, None), now));
        assert!(!history.note_topology(&changed(up, ServerKind::RsPrimary, None), now));
        assert!(
            history.note_proxy(true, Stage::Serving, now) && !history.note_proxy(true, Stage::Serving, now)
        );
        assert!(history.note_proxy(false, Stage::Announced, now));
        assert_eq!(
            texts(&history),
            [
                "a:1 is down or unknown: refused",
                "a:1 is up as secondary",
                "the gate was closed by hand: commands wait",
                "the gate was opened again",
                "the proxy drains: announced"
            ]
        );
    }

    #[test]
    fn the_last_ones_are_kept_under_numbers_that_go_on() {
        let (mut history, now) = (History::default(), SystemTime::now());
        for _ in 0..MOST + 10 {
            history.note_lost(1, now);
        }
        assert_eq!(
            (history.after(0).count(), history.newest()),
            (MOST, MOST as u64 + 10)
        );
        assert_eq!(history.after(history.newest() - 3).count(), 3);
    }
}
