//! What must hold after a run, for the benchmark and for the test.

use super::{
    ACCOUNTS, BALANCE, Class, DIRECT_CLIENTS, Outcome, PACED_W1, Plan, Workload, judge::ROLLED_BACK, pause,
};

/// Each class must have met as many commands, all its faults together.
const LEAST_MET: usize = 10;
/// By how much losses by rollback differ between two clients that do the same.
const CHANCE: usize = 5;
/// Findings that are told in full.
const MOST_TOLD: usize = 20;

/// Whether a client goes through the proxy.
pub(crate) fn is_proxied(client: &str) -> bool {
    !DIRECT_CLIENTS.contains(&client)
}

/// Everything that is not as it should be.
pub(crate) fn complaints(plan: &Plan, outcome: &Outcome, control: Option<&Outcome>) -> Vec<String> {
    let mut complaints = outcome.broken.clone();
    let judged = &outcome.judged;
    let sum = judged.sum(|client, _| is_proxied(client));
    if sum.errors > 0 {
        complaints.push(format!("{} of {} commands failed", sum.errors, sum.operations));
    }
    if sum.doubled > 0 {
        complaints.push(format!("{} writes were applied more than once", sum.doubled));
    }
    if sum.lost > sum.rolled_back {
        complaints.push(format!(
            "{} writes are lost, and no rollback explains it",
            sum.lost - sum.rolled_back
        ));
    }
    let [proxied, direct] = PACED_W1.map(|client| judged.sum(|name, _| name == client).lost);
    if proxied > direct + CHANCE {
        complaints.push(format!("{proxied} writes at w: 1 are lost, directly {direct}"));
    }
    let total = i64::from(ACCOUNTS) * BALANCE;
    if judged.bank != total {
        complaints.push(format!("the accounts hold {}, not {total}", judged.bank));
    }
    let told = judged.findings.iter().filter(|finding| {
        is_proxied(finding.client()) && finding.what != ROLLED_BACK && finding.what != "unseen"
    });
    for finding in told.take(MOST_TOLD) {
        complaints.push(format!(
            "{}: {} {} of {} during [{}] {}",
            finding.what, finding.workload, finding.id, finding.worker, finding.faults, finding.detail
        ));
    }
    // A single short fault may meet less; ten by as many faults are not much to ask.
    for class in classes(outcome) {
        let met = outcome.met(class);
        if met < LEAST_MET && !plan.small {
            complaints.push(format!(
                "the faults of class {} met only {met} commands",
                class.name()
            ));
        }
    }
    complaints.extend(pause::complaints(&pause::measure(
        &outcome.faults,
        &outcome.operations,
        &outcome.elections,
    )));
    if let Some(control) = control {
        let sum = control
            .judged
            .sum(|client, workload| is_proxied(client) && workload != Workload::Silent);
        if sum.errors + sum.doubled == 0 {
            complaints.push("nothing failed with exactly_once = \"off\": the run proves nothing".to_owned());
        }
        if sum.doubled > 0 {
            complaints.push(format!(
                "with exactly_once = \"off\" {} writes were applied twice",
                sum.doubled
            ));
        }
    }
    complaints
}

/// The classes of a run, in their order.
pub(crate) fn classes(outcome: &Outcome) -> Vec<Class> {
    let has = |class: &&Class| outcome.faults.iter().any(|fault| fault.class == **class);
    Class::ALL.iter().filter(has).copied().collect()
}
