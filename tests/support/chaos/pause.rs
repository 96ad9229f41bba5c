//! How long clients stood still at a fault.
//!
//! The pause of a worker at a fault is the longest time between two successive operations that ended well, near the fault. It
//! is taken from workers that do nothing but one kind of write, through the proxy and directly at the same time.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Class, Inflicted, Operation, PACED, PACED_W1};

/// "Transition to primary complete; database writes are now permitted" in the server's log.
const TRANSITION_COMPLETE: &str = "\"id\":21331,";
/// A pause begins with the last operation that ended well before the fault, or later.
const BEFORE: f64 = 0.3;

/// Fewer faults of a class prove nothing.
const ENOUGH: usize = 5;
/// By how much two samples of the same pauses differ at p90 on a busy machine: a tenth, and some operations' time in seconds.
const CHANCE: (f64, f64) = (1.1, 0.1);
/// How long after the new primary's readiness the first write may end, at the median, in seconds.
const MOST_AFTER: f64 = 0.2;

/// The pauses of one class, in seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses {
    pub(crate) faults: usize,
    /// Of each worker at each fault.
    pub(crate) proxied: Vec<f64>,
    pub(crate) direct: Vec<f64>,
    /// From the new primary's readiness to the first write at `w: majority` that ends well, at each fault with one election.
    pub(crate) proxied_after: Vec<f64>,
    pub(crate) direct_after: Vec<f64>,
    /// The same at `w: 1`, which does not wait until the other members follow the new primary.
    pub(crate) proxied_alone: Vec<f64>,
    pub(crate) direct_alone: Vec<f64>,
}

/// Measures the workers of the clients of [`PACED`] and [`PACED_W1`].
pub(crate) fn measure(
    faults: &[Inflicted],
    operations: &[Operation],
    elections: &[f64],
) -> BTreeMap<Class, Pauses> {
    let [proxied, direct] = PACED.map(|client| ends(operations, client));
    let [proxied_w1, direct_w1] = PACED_W1.map(|client| ends(operations, client));
    let mut classes: BTreeMap<Class, Pauses> = BTreeMap::new();
    for fault in faults {
        let pauses = classes.entry(fault.class).or_default();
        pauses.faults += 1;
        pauses
            .proxied
            .extend(proxied.values().filter_map(|ends| longest(ends, fault)));
        pauses
            .direct
            .extend(direct.values().filter_map(|ends| longest(ends, fault)));
        let ready = elections
            .iter()
            .copied()
            .filter(|at| (fault.start..fault.end).contains(at));
        // Without another one: a primary that is lost at once serves nobody.
        let ready: Vec<f64> = ready.collect();
        if let (true, &[ready]) = (fault.class.elects(), &ready[..]) {
            pauses.proxied_after.extend(first_after(&proxied, ready));
            pauses.direct_after.extend(first_after(&direct, ready));
            pauses.proxied_alone.extend(first_after(&proxied_w1, ready));
            pauses.direct_alone.extend(first_after(&direct_w1, ready));
        }
    }
    classes
}

/// What the pauses should not be. A difference of a few operations' time between the two sides is chance.
pub(crate) fn complaints(measured: &BTreeMap<Class, Pauses>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut alone = Vec::new();
    for (class, pauses) in measured {
        let p90 = |values| quantile(values, 0.9).unwrap_or(0.0);
        let (proxied, direct) = (p90(&pauses.proxied), p90(&pauses.direct));
        if pauses.faults >= ENOUGH && proxied > direct * CHANCE.0 + CHANCE.1 {
            complaints.push(format!(
                "{}: the pause at p90 is {proxied:.3} s, directly {direct:.3} s",
                class.name()
            ));
        }
        alone.extend(&pauses.proxied_alone);
    }
    let median = quantile(&alone, 0.5).unwrap_or(0.0);
    if alone.len() >= ENOUGH && median > MOST_AFTER {
        complaints.push(format!(
            "the first write ends {median:.3} s after the new primary is ready, at the median"
        ));
    }
    complaints
}

/// When operations ended well, by worker, in order.
fn ends<'a>(operations: &'a [Operation], client: &str) -> BTreeMap<&'a str, Vec<f64>> {
    let mut ends: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let of_client = operations.iter().filter(|operation| operation.client() == client);
    for operation in of_client.filter(|operation| operation.is_acknowledged() && operation.workload.writes())
    {
        ends.entry(&operation.worker).or_default().push(operation.end);
    }
    ends.values_mut().for_each(|ends| ends.sort_by(f64::total_cmp));
    ends
}

fn longest(ends: &[f64], fault: &Inflicted) -> Option<f64> {
    let gaps = ends
        .windows(2)
        .filter(|gap| gap[0] > fault.start - BEFORE && gap[1] > fault.start && gap[0] < fault.end);
    gaps.map(|gap| gap[1] - gap[0]).max_by(f64::total_cmp)
}

fn first_after(ends: &BTreeMap<&str, Vec<f64>>, ready: f64) -> Option<f64> {
    let after = ends
        .values()
        .filter_map(|ends| ends.iter().find(|end| **end >= ready));
    after.map(|end| end - ready).min_by(f64::total_cmp)
}

/// When nodes became primaries that take writes, by the logs in the set's folder; in order, each once.
pub(crate) fn elections(folder: &Path, nodes: usize, known: &mut Vec<f64>) {
    for node in 0..nodes {
        // A node that was restarted has put the log of its former life aside.
        for log in ["mongod.log", "mongod.log.1"] {
            let path = folder.join(format!("node-{node}")).join(log);
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().filter(|line| line.contains(TRANSITION_COMPLETE));
            known.extend(lines.filter_map(logged_at));
        }
    }
    known.sort_by(f64::total_cmp);
    known.dedup();
}

/// The `t.$date` of a line of the log.
fn logged_at(line: &str) -> Option<f64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let date = bson::DateTime::parse_rfc3339_str(line["t"]["$date"].as_str()?).ok()?;
    Some(date.timestamp_millis() as f64 / 1000.0)
}

/// The value that `share` (0 to 1) of all stay within.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1);
    sorted.get(rank - 1).copied()
}
