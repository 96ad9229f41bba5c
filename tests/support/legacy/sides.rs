//! What the programs are pointed at, and what they say of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Driver;
use crate::support::{Proxy, old_set, run, shared_set};

/// For one run of one program: more than any takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where a driver's address leads, and what the driver is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// MongoDB 4.2, one address without further options.
    Direct,
    /// The proxy as it is by default, in front of a current set.
    Mongos,
    /// The proxy as a replica set with a second address for reads from secondaries.
    ReplicaSet,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Mongos => "mongos",
            Self::ReplicaSet => "replica_set",
        }
    }
}

/// The servers and proxies.
pub(crate) struct Sides {
    mongos: Proxy,
    replica_set: Proxy,
}

impl Sides {
    /// Starts what is not shared.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same with further keys for the `[[listener]]`.
    pub(crate) fn start_with(listener: &str) -> Self {
        let uri = shared_set().uri();
        let presented = format!("presents_as = 'replica_set'\nsecondary_address = '127.0.0.1:0'\n{listener}");
        Self {
            mongos: Proxy::start_with(&uri, "", listener, ""),
            replica_set: Proxy::start_with(&uri, "", &presented, ""),
        }
    }

    /// The proxy that presents itself as a `mongos`, and the one that does as a replica set.
    pub(crate) fn proxies(&self) -> [&Proxy; 2] {
        [&self.mongos, &self.replica_set]
    }

    fn arguments(&self, side: Side) -> Vec<String> {
        match side {
            Side::Direct => vec![old_set().address(0).to_owned()],
            Side::Mongos => vec![self.mongos.address.to_string()],
            Side::ReplicaSet => {
                let set_name = shared_set().options().set_name.clone();
                vec![self.replica_set.address.to_string(), set_name]
            }
        }
    }
}

/// The lines of one run.
///
/// # Errors
/// What is missing on this machine to run it.
pub(crate) fn outcomes(driver: &Driver, side: Side, sides: &Sides) -> Result<Vec<Value>, String> {
    let mut command = driver.command()?;
    let database = format!("legacy_{}_{}", driver.name, side.name()).replace([' ', '.'], "_");
    let mut arguments = sides.arguments(side);
    arguments.insert(1, database.to_lowercase());
    command.args(arguments);
    let start = Instant::now();
    let output = run(&mut command, DEADLINE);
    let mut lines: Vec<Value> = output
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if !output.status.success() {
        lines.push(json!({
            "step": "the program as a whole",
            "error": output.status.to_string(),
            "message": output.stderr,
        }));
    }
    println!(
        "{}, {}: {} steps in {:.1} s",
        driver.name,
        side.name(),
        lines.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(lines)
}
