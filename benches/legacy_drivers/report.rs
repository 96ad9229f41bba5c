//! The results page.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    Tried,
    support::legacy::{Comparison, Side, Step},
};

/// The page in Markdown.
pub(crate) fn page(provenance: &str, tried: &[Tried]) -> String {
    let mut page = format!(
        "# Old drivers\n\nWritten by `cargo bench --bench legacy_drivers`; edits are lost. {provenance}\n\n\
         Each driver does the same exercise directly on a `mongod` 4.2.6, the newest that all of them can use, and through \
         Tidegate in front of three `mongod` 6.0.5, presented as a `mongos` and, to drivers that discover replica sets, \
         as one with `replicaSet=` in their URI. The programs are in `tests/clients/legacy`; outcomes, documents included, are compared \
         as they print them. What 4.2 itself refuses has to be as on the servers that did not.\n\n"
    );
    summary(&mut page, tried);
    for one in tried {
        if let Ok(compared) = &one.compared {
            driver(&mut page, one.driver.name, compared);
        }
    }
    page
}

fn summary(page: &mut String, tried: &[Tried]) {
    let _ = writeln!(
        page,
        "| driver | presented as | steps | pass on 4.2 | pass through Tidegate | as on 4.2 | better, as listed | wrong |\n\
         |---|---|---:|---:|---:|---:|---:|---:|"
    );
    for one in tried {
        match &one.compared {
            Err(missing) => {
                let _ = writeln!(page, "| {} | not run: {missing} | | | | | | |", one.driver.name);
            }
            Ok(compared) => compared.iter().for_each(|(side, comparison)| {
                let steps = &comparison.steps;
                let count = |what: &dyn Fn(&Step) -> bool| steps.iter().filter(|step| what(step)).count();
                let _ = writeln!(
                    page,
                    "| {} | {} | {} | {} | {} | {} | {} | {} |",
                    one.driver.name,
                    side.name(),
                    steps.len(),
                    count(&|step| step.direct["error"].is_null()),
                    count(&|step| step.proxied["error"].is_null()),
                    count(&|step| step.direct == step.proxied),
                    count(&|step| step.direct != step.proxied && step.reason.is_some()),
                    comparison.faults.len(),
                );
            }),
        }
    }
    page.push('\n');
}

fn driver(page: &mut String, name: &str, compared: &[(Side, Comparison)]) {
    let _ = writeln!(
        page,
        "## {name}\n\n| step | directly on 4.2 | through Tidegate on 6.0 |\n|---|---|---|"
    );
    for (side, comparison) in compared {
        for step in &comparison.steps {
            // What the second presentation repeats says nothing new.
            if *side != Side::Mongos && step.direct == step.proxied {
                continue;
            }
            let _ = writeln!(
                page,
                "| {}{} | {} | {} |",
                step.name,
                if *side == Side::Mongos {
                    ""
                } else {
                    " (as a replica set)"
                },
                cell(&step.direct),
                proxied(step)
            );
        }
    }
    page.push('\n');
}

fn proxied(step: &Step) -> String {
    if step.direct == step.proxied {
        return "the same".to_owned();
    }
    match step.reason {
        Some(reason) => format!("{} ({reason})", cell(&step.proxied)),
        None => format!("{}: WRONG", cell(&step.proxied)),
    }
}

fn cell(outcome: &Value) -> String {
    if !outcome["error"].is_null() {
        return format!("error {}", outcome["error"]).replace('|', "\\|");
    }
    let text = outcome.to_string();
    const WIDTH: usize = 100;
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}
