//! What happened within the last seconds: differences between a look now and one some seconds ago.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::telemetry::{Timed, busiest::Counts};

/// Over how long it is looked back.
const WIDTH: Duration = Duration::from_secs(10);
/// A look that comes sooner after the last, as events bring them, is not kept: many events must not make the time that is looked back short.
const LEAST: Duration = Duration::from_millis(500);
/// How many names are told.
const MOST_NAMES: usize = 10;

/// All that is counted, at one moment.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// By command or node.
    pub(super) commands: Vec<(String, Timed)>,
    pub(super) nodes: Vec<(String, Timed)>,
    pub(super) namespaces: Counts,
    pub(super) applications: Counts,
}

/// The looks of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(Instant, Look)>);

/// How it went with what has this name.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Rate {
    pub(super) name: String,
    pub(super) per_second: f64,
    pub(super) errors_per_second: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p90_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Since the start.
    pub(super) count: u64,
    pub(super) errors: u64,
}

/// How busy what has this name is.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Busy {
    pub(super) name: String,
    pub(super) per_second: f64,
    /// Since the start.
    pub(super) count: u64,
}

/// How it went within the last seconds.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    /// The seconds that were looked at; 0 at the first look.
    pub(super) seconds: f64,
    pub(super) all: Rate,
    pub(super) commands: Vec<Rate>,
    pub(super) nodes: Vec<Rate>,
    pub(super) namespaces: Vec<Busy>,
    pub(super) applications: Vec<Busy>,
}

impl Window {
    /// Drops all looks if nobody has looked for long.
    pub(super) fn forget(&mut self, now: Instant) {
        let last = self.0.back();
        if last.is_some_and(|(taken, _)| now.saturating_duration_since(*taken) > WIDTH) {
            self.0.clear();
        }
    }

    /// Takes a look in, and tells what changed since the oldest that is kept.
    pub(super) fn advance(&mut self, look: Look, now: Instant) -> Rates {
        self.forget(now);
        let is_old = |taken: &(Instant, Look)| now.saturating_duration_since(taken.0) > WIDTH;
        // The last one that is old enough stays, to be compared with.
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        let rates = match self.0.front() {
            Some((then, earlier)) => rates(&look, earlier, now.saturating_duration_since(*then)),
            None => rates(&look, &look, Duration::ZERO),
        };
        let is_soon = |taken: &(Instant, Look)| now.saturating_duration_since(taken.0) < LEAST;
        if !self.0.back().is_some_and(is_soon) {
            self.0.push_back((now, look));
        }
        rates
    }
}

fn rates(look: &Look, earlier: &Look, passed: Duration) -> Rates {
    let seconds = passed.as_secs_f64();
    let mut commands = each(&look.commands, &earlier.commands, seconds);
    commands.sort_by(|a, b| {
        (b.per_second, b.count)
            .partial_cmp(&(a.per_second, a.count))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    Rates {
        seconds,
        all: rate("", &sum(&look.commands), &sum(&earlier.commands), seconds),
        commands,
        nodes: each(&look.nodes, &earlier.nodes, seconds),
        namespaces: busy(&look.namespaces, &earlier.namespaces, seconds),
        applications: busy(&look.applications, &earlier.applications, seconds),
    }
}

fn sum(all: &[(String, Timed)]) -> Timed {
    let mut sum = Timed::default();
    for (_, timed) in all {
        sum.durations.add(&timed.durations);
        sum.errors += timed.errors;
    }
    sum
}

fn each(look: &[(String, Timed)], earlier: &[(String, Timed)], seconds: f64) -> Vec<Rate> {
    let nothing = Timed::default();
    let before = |name: &str| {
        let found = earlier.iter().find(|(found, _)| found == name);
        found.map_or(&nothing, |(_, timed)| timed)
    };
    look.iter()
        .map(|(name, timed)| rate(name, timed, before(name), seconds))
        .collect()
}

fn rate(name: &str, timed: &Timed, earlier: &Timed, seconds: f64) -> Rate {
    let lately = timed.durations.since(&earlier.durations);
    let errors = timed.errors.saturating_sub(earlier.errors);
    Rate {
        name: name.to_owned(),
        per_second: per_second(lately.count(), seconds),
        errors_per_second: per_second(errors, seconds),
        p50_ms: lately.quantile_ms(0.5),
        p90_ms: lately.quantile_ms(0.9),
        p99_ms: lately.quantile_ms(0.99),
        count: timed.durations.count(),
        errors: timed.errors,
    }
}

fn busy(look: &Counts, earlier: &Counts, seconds: f64) -> Vec<Busy> {
    let before = |name: &str| {
        let found = earlier.named.iter().find(|(found, _)| found == name);
        found.map_or(0, |(_, count)| *count)
    };
    let each = look.named.iter().map(|(name, count)| Busy {
        name: name.clone(),
        per_second: per_second(count.saturating_sub(before(name)), seconds),
        count: *count,
    });
    let mut busy: Vec<_> = each.collect();
    busy.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.count.cmp(&a.count)));
    busy.truncate(MOST_NAMES);
    busy
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Timings;

    fn look(timings: &Timings, orders: u64) -> Look {
        Look {
            commands: vec![("find".to_owned(), timings.sum(0))],
            namespaces: Counts {
                named: vec![("shop.orders".to_owned(), orders)],
                others: 0,
            },
            ..Look::default()
        }
    }

    #[test]
    fn rates_and_quantiles_are_of_the_last_seconds_only() {
        let (timings, start) = (Timings::new(1, 1), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let record = |millis, count| {
            for _ in 0..count {
                timings.of(0, 0).durations.record(Duration::from_millis(millis));
            }
        };
        let mut window = Window::default();
        record(1000, 50);
        let first = window.advance(look(&timings, 5), at(0));
        assert_eq!(
            (first.all.per_second, first.all.p50_ms, first.all.count),
            (0.0, None, 50)
        );
        record(10, 40);
        let second = window.advance(look(&timings, 9), at(2));
        assert_eq!(
            (second.commands[0].per_second, second.namespaces[0].per_second),
            (20.0, 2.0)
        );
        assert!(second.all.p99_ms.unwrap() < 12.0);
        for seconds in 3..30 {
            window.advance(look(&timings, 9), at(seconds));
        }
        let last = window.advance(look(&timings, 9), at(30));
        assert_eq!((last.all.per_second, last.all.p50_ms), (0.0, None));
        let after_a_pause = window.advance(look(&timings, 9), at(60));
        assert_eq!(after_a_pause.seconds, 0.0);
        assert!(last.seconds >= 10.0 && last.seconds <= 12.0, "{}", last.seconds);
    }

    #[test]
    fn many_events_at_once_do_not_shorten_what_is_looked_back_at() {
        let (timings, start) = (Timings::new(1, 1), Instant::now());
        let mut window = Window::default();
        for second in 0..8 {
            window.advance(look(&timings, 0), start + Duration::from_secs(second));
        }
        timings.of(0, 0).durations.record(Duration::from_millis(1));
        for event in 0..100 {
            let at = start + Duration::from_secs(7) + Duration::from_millis(event);
            let rates = window.advance(look(&timings, 0), at);
            assert!(
                rates.seconds >= 7.0 && rates.all.per_second > 0.0,
                "{event}: {rates:?}"
            );
        }
        assert!(window.0.len() < 10);
    }
}
