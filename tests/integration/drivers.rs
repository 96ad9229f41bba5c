//! The current drivers have the same outcomes through the proxy as directly: the programs below `tests/clients`, each run
//! directly and through every presentation.
//!
//! A program takes a URI, a URI of one address (with `directConnection=true`) and a database, prints one JSON line for each
//! scenario, `{"scenario", "outcome"}` or `{"scenario", "failed"}`, without what belongs to one run, and at last how
//! many there were and how many failed. Scenarios check their own expectations, so that two equal failures are no pass. Here
//! it is held that none failed, and that each outcome is equal to the direct run's or listed in `DIFFERENCES`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{self, run, shared_proxy, shared_set};

/// For one run of one program: more than any takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// Where outcomes rightly differ from the direct run's: driver, presentation, scenario and the reason. What is listed here
/// and does not differ is an error too.
const DIFFERENCES: &[(Driver, Presentation, &str, &str)] = &[
    (
        Driver::PymongoAsync,
        Presentation::Mongos,
        "exhaust cursors",
        NO_EXHAUST_ON_MONGOS,
    ),
    (
        Driver::Motor,
        Presentation::Mongos,
        "exhaust cursors",
        NO_EXHAUST_ON_MONGOS,
    ),
];
const NO_EXHAUST_ON_MONGOS: &str = "the driver itself refuses exhaust cursors on a mongos";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Node,
    Mongoose,
    PymongoAsync,
    Motor,
}

/// What drivers take the proxy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presentation {
    Mongos,
}

macro_rules! drivers {
    ($($name:ident: $driver:ident),* $(,)?) => {
        $(
            mod $name {
                use super::{Driver, Presentation, same_outcomes};

                #[test]
                fn as_mongos() {
                    same_outcomes(Driver::$driver, Presentation::Mongos);
                }
            }
        )*
    };
}

drivers![
    node: Node,
    mongoose: Mongoose,
    pymongo_async: PymongoAsync,
    motor: Motor,
];

impl Driver {
    fn command(self) -> Command {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        match self {
            Self::Node => node(clients.join("node/driver.js")),
            Self::Mongoose => node(clients.join("node/mongoose.js")),
            Self::PymongoAsync => python(clients.join("python/driver.py"), "pymongo"),
            Self::Motor => python(clients.join("python/driver.py"), "motor"),
        }
    }

    /// The outcomes of the direct run, which is made once.
    fn direct(self) -> &'static [Value] {
        static DIRECT: [OnceLock<Vec<Value>>; 4] = [const { OnceLock::new() }; 4];
        DIRECT[self as usize].get_or_init(|| {
            let primary = shared_primary();
            let single = format!("mongodb://{primary}/?directConnection=true");
            outcomes(self, &shared_set().uri(), &single, "direct")
        })
    }
}

fn node(script: PathBuf) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", support::node_modules()).arg(script);
    command
}

fn python(script: PathBuf, library: &str) -> Command {
    let mut command = Command::new(support::python());
    // -B: no compiled files among the sources.
    command.args(["-B", "-u"]).arg(script).arg(library);
    command
}

/// The address of the primary of the shared set, which has no elections.
fn shared_primary() -> &'static str {
    let find = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(shared_set().primary()).unwrap()
    };
    shared_set().address(find())
}

impl Presentation {
    fn name(self) -> &'static str {
        match self {
            Self::Mongos => "mongos",
        }
    }

    /// The URI, which further options can be appended to, and the one of a single address.
    fn uris(self) -> (String, String) {
        match self {
            // The first option says what is the default.
            Self::Mongos => (
                format!("{}?directConnection=false", shared_proxy().uri()),
                format!("{}?directConnection=true", shared_proxy().uri()),
            ),
        }
    }
}

fn same_outcomes(driver: Driver, presentation: Presentation) {
    let direct = driver.direct();
    let (uri, single) = presentation.uris();
    let proxied = outcomes(driver, &uri, &single, presentation.name());
    let mut faults = Vec::new();
    let mut listed = 0;
    for (direct, proxied) in direct.iter().zip(&proxied) {
        let scenario = direct["scenario"].as_str().unwrap();
        assert_eq!(proxied["scenario"], scenario, "the order of the scenarios");
        let is_listed = DIFFERENCES
            .iter()
            .any(|one| (one.0, one.1, one.2) == (driver, presentation, scenario));
        listed += usize::from(is_listed);
        let differs = direct["outcome"] != proxied["outcome"];
        if differs && !is_listed {
            faults.push(format!(
                "{scenario} differs:\n  directly {}\n  through the proxy {}",
                direct["outcome"], proxied["outcome"]
            ));
        } else if is_listed && !differs {
            faults.push(format!("{scenario} is listed as different, but is not"));
        }
    }
    assert!(
        faults.is_empty(),
        "{driver:?}, {presentation:?}:\n{}",
        faults.join("\n")
    );
    assert_eq!(direct.len(), proxied.len());
    let expected = DIFFERENCES
        .iter()
        .filter(|one| (one.0, one.1) == (driver, presentation));
    assert_eq!(
        listed,
        expected.count(),
        "each listed difference names a scenario"
    );
    println!(
        "{driver:?}, {presentation:?}: {} scenarios, {} equal, {listed} with a listed difference",
        direct.len(),
        direct.len() - listed
    );
}

/// The lines of one run, in which nothing failed.
fn outcomes(driver: Driver, uri: &str, single: &str, side: &str) -> Vec<Value> {
    let database = format!("drivers_{driver:?}_{side}").to_lowercase();
    let mut command = driver.command();
    command.args([uri, single, &database]);
    let start = Instant::now();
    let output = run(&mut command, DEADLINE);
    let mut lines: Vec<Value> = output
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let summary = lines.pop().unwrap_or_default();
    let failures: Vec<String> = lines
        .iter()
        .filter(|line| !line["failed"].is_null())
        .map(|line| {
            format!(
                "{}: {}",
                line["scenario"],
                line["failed"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{driver:?}, {side}:\n{}\n{}",
        failures.join("\n"),
        output.stderr
    );
    assert!(output.status.success(), "{driver:?}, {side}: {output:#?}");
    assert_eq!(summary["failures"], 0, "{driver:?}, {side}: {output:#?}");
    assert_eq!(summary["scenarios"], lines.len(), "{driver:?}, {side}");
    assert!(!lines.is_empty(), "{driver:?}, {side}: no scenario");
    println!("{driver:?}, {side}: {:.1} s", start.elapsed().as_secs_f64());
    lines
}
