//! The results page: what was done, what clients were told, how long they paused.

use std::{collections::BTreeSet, fmt::Write};

use crate::support::chaos::{
    Outcome, PACED_W1, Plan, Row,
    pause::{self, Pauses, quantile},
    verdict::{classes, is_proxied},
};

const CLIENTS: &str = "Clients through the proxy: raw OP_MSG without sessions, raw legacy opcodes with `getlasterror`, PyMongo 2.4 \
    (which speaks nothing else), PyMongo with `retryWrites=false` and with `true`, the Node driver with both.";
const SECURE_CLIENTS: &str = "The nodes run with `--auth`, a key file and `--tlsMode allowTLS`; Tidegate logs in as a user of the role that \
    docs/authentication.md has, requires TLS of clients and speaks it to the nodes, and has `[auth] source = \"backend\"`. Clients: \
    PyMongo with `retryWrites=false` and with `true`, readers with `retryReads=false`, the Node driver, as three users of both SCRAM \
    mechanisms. `whoami` looks whether a client is still itself: `connectionStatus` names its user alone, a collection that only \
    this user may read is read, and another user's is refused.\n\n\
    Left out: the raw clients, of OP_MSG and of legacy opcodes, and PyMongo 2, whose programs speak neither TLS nor SCRAM. The \
    members themselves, and the program that inflicts the faults, talk without TLS. The relays end TLS on either side, as they \
    have to see messages to cut them; handshakes endure the weather, too.";
/// What a page of a debug build says of it.
const DEBUG: &str = " The proxy was a debug build.";

/// The page in Markdown.
pub(crate) fn page(
    results: &str,
    plan: &Plan,
    outcome: &Outcome,
    control: Option<&Outcome>,
    complaints: &[String],
) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "# Chaos{}\n\n{}\n\n{} faults on a replica set of three nodes (election timeout 2 s) behind relays, one after the other, seed {}. \
         {} `cargo bench --bench chaos{}` makes this page.{}\n",
        if plan.secure { " with logins and TLS" } else { "" },
        crate::support::provenance(results),
        outcome.faults.len(),
        plan.seed,
        if plan.secure { SECURE_CLIENTS } else { CLIENTS },
        if plan.secure { " -- --secure" } else { "" },
        if cfg!(debug_assertions) { DEBUG } else { "" }
    );
    promises(&mut page, outcome, control, complaints);
    faults(&mut page, outcome);
    clients(&mut page, outcome);
    pauses(&mut page, outcome);
    page
}

fn promises(page: &mut String, outcome: &Outcome, control: Option<&Outcome>, complaints: &[String]) {
    let sum = outcome.judged.sum(|client, _| is_proxied(client));
    let strong = outcome
        .judged
        .sum(|client, workload| is_proxied(client) && !workload.may_be_rolled_back());
    let _ = write!(
        page,
        "\n## What clients were told, and what the database holds\n\n\
         - operations through the proxy: {}; errors: {}\n\
         - acknowledged at `w: majority` and lost: {}; applied more than once: {}\n\
         - the accounts of the bank hold {} in sum, as at first\n",
        sum.operations, sum.errors, strong.lost, sum.doubled, outcome.judged.bank
    );
    for (what, client) in ["through the proxy", "directly"].into_iter().zip(PACED_W1) {
        let row = outcome.judged.sum(|name, _| name == client);
        let _ = writeln!(
            page,
            "- at `w: 1` {what}: {} writes, {} lost by rollback, {} errors",
            row.operations, row.lost, row.errors
        );
    }
    if let Some(control) = control {
        let sum = control.judged.sum(|client, _| is_proxied(client));
        let _ = writeln!(
            page,
            "- control with `exactly_once = \"off\"`: {} faults, {} operations, {} errors, {} applied twice",
            control.faults.len(),
            sum.operations,
            sum.errors,
            sum.doubled
        );
    }
    let verdict = if complaints.is_empty() {
        "All of it is as it should be."
    } else {
        "NOT ALL IS AS IT SHOULD BE:"
    };
    let _ = writeln!(page, "\n{verdict}");
    for complaint in complaints {
        let _ = writeln!(page, "- {complaint}");
    }
}

fn faults(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "\n## The faults\n\nIn flight: commands of the proxy that the nodes concerned had and had not answered when the fault began. \
         Met: commands that relays cut, swallowed, held or saw unanswered. The rest are the proxy's counters during the faults.\n\n\
         | class | what | faults | in flight | met | counters |\n|---|---|---:|---:|---:|---|\n",
    );
    for class in classes(outcome) {
        let of_class: Vec<_> = outcome
            .faults
            .iter()
            .filter(|fault| fault.class == class)
            .collect();
        let in_flight: usize = of_class.iter().map(|fault| fault.in_flight).sum();
        let met: usize = of_class.iter().map(|fault| fault.met.len()).sum();
        let counters = outcome.counters.get(&class).into_iter().flatten();
        let counters: Vec<String> = counters
            .filter(|(_, rise)| **rise > 0.0)
            .map(|(name, rise)| format!("{} {rise}", name.replace('_', " ")))
            .collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {in_flight} | {met} | {} |",
            class.name(),
            class.what(),
            of_class.len(),
            counters.join(", ")
        );
    }
}

fn clients(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "\n## The clients\n\nUnseen: an unacknowledged write that the same client's next read did not find. Lost ones at `w: 1` and \
         unacknowledged are rollbacks where a fault explains it.\n\n\
         | client | workload | operations | errors | unseen | lost | rolled back | twice |\n|---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((client, workload), row) in &outcome.judged.rows {
        let Row {
            operations,
            errors,
            unseen,
            lost,
            rolled_back,
            doubled,
        } = row;
        let _ = writeln!(
            page,
            "| {client} | {workload} | {operations} | {errors} | {unseen} | {lost} | {rolled_back} | {doubled} |"
        );
    }
    let direct: BTreeSet<&str> = outcome
        .judged
        .findings
        .iter()
        .filter(|finding| !is_proxied(finding.client()) && finding.what == "error")
        .map(|finding| finding.detail.split([':', ',']).next().unwrap_or_default())
        .collect();
    if !direct.is_empty() {
        let kinds: Vec<&str> = direct.into_iter().collect();
        let _ = writeln!(page, "\nErrors of the direct clients: {}.", kinds.join(", "));
    }
}

fn pauses(page: &mut String, outcome: &Outcome) {
    let measured = pause::measure(&outcome.faults, &outcome.operations, &outcome.elections);
    if measured.values().all(|pauses| pauses.direct.is_empty()) {
        return;
    }
    page.push_str(
        "\n## The pauses\n\nThe longest time between two successive `$inc` of a worker near a fault, in milliseconds: PyMongo with \
         `retryWrites=true` through the proxy, and directly at the same time on the same set. Two samples of the same pauses \
         differ at p90 by a tenth and 100 ms, which is not held against either.\n\n\
         | class | faults | proxied p50 | p90 | max | direct p50 | p90 | max |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (class, pauses) in &measured {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            class.name(),
            pauses.faults,
            three(&pauses.proxied),
            three(&pauses.direct)
        );
    }
    page.push_str(
        "\nFrom the moment when the new primary logs \"Transition to primary complete\" (21331) to the first write that ends well, in \
         milliseconds; faults with exactly one election. At `w: majority` a write has to wait, besides, until the other members \
         have found the new primary and follow it; at `w: 1` it waits for the primary alone.\n\n\
         | class | faults | w | proxied p50 | p90 | max | direct p50 | p90 | max |\n|---|---:|---|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut all = Pauses::default();
    for (class, pauses) in measured
        .iter()
        .filter(|(_, pauses)| !pauses.proxied_alone.is_empty())
    {
        after(page, class.name(), pauses);
        all.proxied_after.extend(&pauses.proxied_after);
        all.direct_after.extend(&pauses.direct_after);
        all.proxied_alone.extend(&pauses.proxied_alone);
        all.direct_alone.extend(&pauses.direct_alone);
    }
    after(page, "all", &all);
    page.push_str("\nThe whole distributions, in milliseconds:\n\n```\n");
    for (class, pauses) in &measured {
        for (what, values) in [
            ("proxied", &pauses.proxied),
            ("direct", &pauses.direct),
            ("proxied after 21331 at majority", &pauses.proxied_after),
            ("direct after 21331 at majority", &pauses.direct_after),
            ("proxied after 21331 at 1", &pauses.proxied_alone),
            ("direct after 21331 at 1", &pauses.direct_alone),
        ] {
            if !values.is_empty() {
                let _ = writeln!(page, "{}, {what}: {}", class.name(), distribution(values));
            }
        }
    }
    page.push_str("```\n");
}

fn after(page: &mut String, name: &str, pauses: &Pauses) {
    let rows = [
        ("majority", &pauses.proxied_after, &pauses.direct_after),
        ("1", &pauses.proxied_alone, &pauses.direct_alone),
    ];
    for (w, proxied, direct) in rows {
        let count = proxied.len();
        let _ = writeln!(
            page,
            "| {name} | {count} | {w} | {} | {} |",
            three(proxied),
            three(direct)
        );
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.0}", seconds * 1000.0)
}

fn three(values: &[f64]) -> String {
    let shown = [0.5, 0.9, 1.0].map(|share| quantile(values, share).map_or("".to_owned(), milliseconds));
    shown.join(" | ")
}

fn distribution(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let shown: Vec<String> = sorted.into_iter().map(milliseconds).collect();
    shown.join(" ")
}
