//! The comparison of two runs: equal, or different as listed.

use serde_json::Value;

use super::{Driver, Side, differences};

/// What came of one driver through the proxy, beside what came of it directly.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) steps: Vec<Step>,
    /// What is not as it should be.
    pub(crate) faults: Vec<String>,
}

/// One step on both sides.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) direct: Value,
    pub(crate) proxied: Value,
    /// Why they differ, if they rightly do.
    pub(crate) reason: Option<&'static str>,
}

/// Compares the runs of `driver`, `side` being the proxied one.
pub(crate) fn compare(driver: &Driver, side: Side, direct: &[Value], proxied: &[Value]) -> Comparison {
    let mut faults = Vec::new();
    let mut steps = Vec::new();
    if names(direct) != names(proxied) {
        faults.push(format!(
            "the steps are not the same:\n  directly {:?}\n  through the proxy {:?}",
            names(direct),
            names(proxied)
        ));
    }
    for one in direct {
        let name = one["step"].as_str().unwrap_or_default();
        let Some(other) = proxied.iter().find(|line| line["step"] == name) else {
            continue;
        };
        let listed = differences::listed(driver.name, name);
        let (direct, proxied) = (outcome(one), outcome(other));
        let expected = match listed {
            Some(difference) => serde_json::from_str(difference.proxied).unwrap(),
            None => direct.clone(),
        };
        if proxied != expected {
            faults.push(format!(
                "{name}:\n  expected          {expected}\n  directly          {direct} {}\n  through the proxy {proxied} {}",
                one["message"], other["message"]
            ));
        } else if listed.is_some() && proxied == direct {
            faults.push(format!("{name} is listed as different, but is not"));
        }
        steps.push(Step {
            name: name.to_owned(),
            direct,
            proxied,
            reason: listed.map(|difference| difference.reason),
        });
    }
    for fault in &mut faults {
        *fault = format!("{}, {}: {fault}", driver.name, side.name());
    }
    Comparison { steps, faults }
}

/// The outcome, or the error's code.
fn outcome(line: &Value) -> Value {
    match &line["error"] {
        Value::Null => line["outcome"].clone(),
        code => serde_json::json!({ "error": code }),
    }
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["step"].as_str()).collect()
}
