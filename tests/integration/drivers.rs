//! The current drivers have the same outcomes through the proxy as directly: the programs below `tests/clients`, each run
//! directly and through every presentation.
//!
//! A program takes a URI, a URI of one address (with `directConnection=true`) and a database, prints one JSON line for each
//! scenario, `{"scenario", "outcome"}` or `{"scenario", "failed"}`, without what belongs to one run, and at last how
//! many there were and how many failed. Scenarios check their own expectations, so that two equal failures are no pass. Here
//! it is held that none failed, and that each outcome is equal to the direct run's or listed in `DIFFERENCES`.

mod reached;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use self::reached::{Presentation, Reached};
use crate::support::{self, Proxy, run, shared_set};

/// For one run of one program: more than any takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);
/// The scenario whose outcome is not the direct run's but what the presentation says. All drivers have it but those that are
/// made of another one.
const TOPOLOGY: &str = "the topology";

/// Where outcomes rightly differ from the direct run's: driver, presentation, scenario and the reason. What is listed here
/// and does not differ is an error too.
const DIFFERENCES: &[(Driver, Presentation, &str, &str)] = &[
    (
        Driver::PymongoAsync,
        Presentation::Mongos,
        "exhaust cursors",
        NO_EXHAUST,
    ),
    (
        Driver::PymongoAsync,
        Presentation::TwoProxies,
        "exhaust cursors",
        NO_EXHAUST,
    ),
    (Driver::Motor, Presentation::Mongos, "exhaust cursors", NO_EXHAUST),
];
const NO_EXHAUST: &str = "the driver itself refuses exhaust cursors on a mongos";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Node,
    Mongoose,
    PymongoAsync,
    Motor,
    Rust,
    Go,
}

macro_rules! drivers {
    ($($name:ident: $driver:ident [$($test:ident: $presentation:ident),* $(,)?]),* $(,)?) => {
        $(
            mod $name {
                use super::{Driver, Presentation, same_outcomes};
                $(
                    #[test]
                    fn $test() {
                        same_outcomes(Driver::$driver, Presentation::$presentation);
                    }
                )*
            }
        )*
    };
}

drivers![
    node: Node [
        as_mongos: Mongos,
        as_replica_set: ReplicaSet,
        over_two_proxies: TwoProxies,
        over_two_proxies_load_balanced: LoadBalanced,
    ],
    mongoose: Mongoose [as_mongos: Mongos, as_replica_set: ReplicaSet],
    pymongo_async: PymongoAsync [
        as_mongos: Mongos,
        as_replica_set: ReplicaSet,
        over_two_proxies: TwoProxies,
        over_two_proxies_load_balanced: LoadBalanced,
    ],
    motor: Motor [as_mongos: Mongos],
    rust: Rust [
        as_mongos: Mongos,
        as_replica_set: ReplicaSet,
        over_two_proxies: TwoProxies,
        over_two_proxies_load_balanced: LoadBalanced,
    ],
    go: Go [
        as_mongos: Mongos,
        as_replica_set: ReplicaSet,
        over_two_proxies: TwoProxies,
        over_two_proxies_load_balanced: LoadBalanced,
    ],
];

impl Driver {
    fn command(self) -> Command {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        match self {
            Self::Node => node(clients.join("node/driver.js")),
            Self::Mongoose => node(clients.join("node/mongoose.js")),
            Self::PymongoAsync => python(clients.join("python/driver.py"), "pymongo"),
            Self::Motor => python(clients.join("python/driver.py"), "motor"),
            Self::Rust => Command::new(support::rust_client()),
            Self::Go => Command::new(support::go_client()),
        }
    }

    /// How many scenarios, or parts of one, ask for compressors.
    fn compressors(self) -> f64 {
        match self {
            // Zstandard would need a native add-on whose install script downloads.
            Self::Node => 4.0,
            Self::Mongoose => 0.0,
            _ => 5.0,
        }
    }

    /// The outcomes of the direct run, which is made once.
    fn direct(self) -> &'static [Value] {
        static DIRECT: [OnceLock<Vec<Value>>; 6] = [const { OnceLock::new() }; 6];
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

fn same_outcomes(driver: Driver, presentation: Presentation) {
    let reached = Reached::new(presentation);
    compare(driver, presentation, &reached);
    if !reached.proxies.is_empty() {
        compressed(driver, presentation, &reached);
    }
    if presentation.has_two_proxies() {
        both_had_a_part(driver, presentation, &reached);
    }
}

/// Each of the compressors that the driver asked for was agreed on: without one its requests and replies would lack.
fn compressed(driver: Driver, presentation: Presentation, reached: &Reached) {
    for messages in ["requests", "replies"] {
        let count = |proxy: &Proxy| proxy.metric(&format!("tidegate_compressed_{messages}_total"));
        let sum: f64 = reached.proxies.iter().map(count).sum();
        // By each compressor at least eight.
        let least = 8.0 * driver.compressors();
        assert!(
            sum >= least,
            "{driver:?}, {presentation:?}: {sum} compressed {messages}, not {least}"
        );
    }
}

/// The driver's connections ended at two proxies in turns: what it began through one it went on with through the other, unless
/// it keeps cursors to their connections.
fn both_had_a_part(driver: Driver, presentation: Presentation, reached: &Reached) {
    let mut looked_up = 0.0;
    for proxy in &reached.proxies {
        let commands = proxy.metric("tidegate_commands_total");
        assert!(commands > 100.0, "{commands} commands came to one of the proxies");
        looked_up += proxy.metric("tidegate_cursors_looked_up_total");
    }
    println!("{driver:?}, {presentation:?}: {looked_up} cursors were opened by the other proxy");
    let expected = match presentation {
        // Where the driver keeps a cursor to its connection, only what one client asks about another's cursor.
        Presentation::LoadBalanced => 0.0..5.0,
        _ => 10.0..1000.0,
    };
    assert!(
        expected.contains(&looked_up),
        "{looked_up} cursors were opened by the other proxy"
    );
}

fn compare(driver: Driver, presentation: Presentation, reached: &Reached) {
    let direct = driver.direct();
    let proxied = outcomes(driver, &reached.uri, &reached.single, presentation.name());
    assert_eq!(names(&proxied), names(direct), "the scenarios and their order");
    assert!(driver == Driver::Mongoose || names(direct).contains(&TOPOLOGY));
    let listed: Vec<&str> = DIFFERENCES
        .iter()
        .filter(|one| (one.0, one.1) == (driver, presentation))
        .map(|one| one.2)
        .collect();
    for scenario in &listed {
        assert!(names(direct).contains(scenario), "no scenario {scenario} differs");
    }
    let mut faults = Vec::new();
    for (direct, proxied) in direct.iter().zip(&proxied) {
        let scenario = direct["scenario"].as_str().unwrap_or_default();
        let expected = match scenario {
            TOPOLOGY => presentation.topology(),
            _ => direct["outcome"].clone(),
        };
        let differs = expected != proxied["outcome"];
        let is_listed = listed.contains(&scenario);
        if differs && !is_listed {
            let seen = &proxied["outcome"];
            faults.push(format!(
                "{scenario} differs:\n  expected {expected}\n  through the proxy {seen}"
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
    println!(
        "{driver:?}, {presentation:?}: {} scenarios, {} with a listed difference",
        direct.len(),
        listed.len()
    );
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line["scenario"].as_str())
        .collect()
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
