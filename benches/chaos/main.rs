//! Chaos: is any command lost, doubled or failed while a replica set and its network break, and how long do clients pause?
//!
//! `cargo bench --bench chaos -- [options]`. Real `mongod`s behind relays, the built proxy, six kinds of clients through it and
//! one beside it, and faults of each class in turns; what clients were told is compared with the database. A second, short run
//! with `exactly_once = "off"` must fail, or the first one proves nothing. A full run writes `docs/results/chaos.md`; one with logins
//! and TLS (`--secure`) writes `docs/results/chaos_secure.md`.
//! Everything is on 127.0.0.1 and ends with this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run, and says why"
)]

mod report;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for tests; parts of it serve here")]
mod support;

use std::{fs, path::Path, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::support::{
    chaos::{Class, Outcome, Plan, run, verdict},
    legacy::python2_interpreter,
};

const RESULTS: &str = "docs/results/chaos.md";
const SECURE_RESULTS: &str = "docs/results/chaos_secure.md";
/// Of each class, if `--faults` does not say.
const LONG: usize = 20;
const SHORT: usize = 1;
/// A run with fewer faults leaves the results page alone.
const FULL: usize = 100;
const SECURE_FULL: usize = 20;
/// The classes that make writes uncertain; without retries they must show.
const UNCERTAIN: [Class; 4] = [Class::Kill, Class::CutAfter, Class::StepDown, Class::CutReply];

/// Inflicts faults on a replica set while clients work, and compares what they were told with the database.
///
/// Exits with 1 when a retryable command failed, an acknowledged write is lost or one is applied twice, when a class of
/// faults met too few commands, or when nothing fails without exactly-once retries. What was said is kept in target/chaos.
#[derive(Parser)]
#[command(name = "chaos")]
struct Cli {
    /// How many faults of each class.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    faults: Option<u16>,
    /// The classes, by name and separated by commas; all if there are none.
    #[arg(long, value_delimiter = ',', value_parser = class)]
    classes: Vec<Class>,
    /// The order of the faults, their lengths, what relays cut.
    #[arg(long, default_value_t = 20_261_121)]
    seed: u64,
    /// Only one run, with this setting of the proxy.
    #[arg(long, value_enum)]
    exactly_once: Option<Switch>,
    /// One fault of each class, fewer clients, no results page.
    #[arg(long)]
    short: bool,
    /// Leave out the clients of PyMongo 2, which need a Python 2.7.
    #[arg(long)]
    without_python2: bool,
    /// Logins and TLS on both sides of the proxy; only clients that can do both, as several users.
    #[arg(long)]
    secure: bool,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    Auto,
    Off,
}

fn class(name: &str) -> Result<Class, String> {
    let found = Class::ALL.iter().find(|class| class.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("no class {name:?}; there are {}", names.join(", "))
    })
}

impl Cli {
    fn classes(&self) -> &[Class] {
        if self.classes.is_empty() {
            Class::ALL
        } else {
            &self.classes
        }
    }

    /// Classes in turns, so that each meets the traces of all others.
    fn plan(&self) -> Plan {
        let each = self
            .faults
            .map_or(if self.short { SHORT } else { LONG }, usize::from);
        Plan {
            seed: self.seed,
            faults: in_turns(self.classes(), each, self.seed),
            exactly_once: self.exactly_once != Some(Switch::Off),
            small: self.short,
            with_python2: !self.without_python2 && !self.secure,
            secure: self.secure,
        }
    }

    fn results(&self) -> &'static str {
        if self.secure { SECURE_RESULTS } else { RESULTS }
    }

    fn is_full(&self, plan: &Plan) -> bool {
        let is_whole = self.classes.is_empty() && self.exactly_once.is_none() && !self.short;
        is_whole && plan.faults.len() >= if self.secure { SECURE_FULL } else { FULL }
    }
}

/// `each` rounds of all classes, every round in an order of its own.
fn in_turns(classes: &[Class], each: usize, seed: u64) -> Vec<Class> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut faults = Vec::new();
    for _ in 0..each {
        let mut round = classes.to_vec();
        rng.shuffle(&mut round);
        faults.extend(round);
    }
    faults
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tidegate::cli::raise_file_limit();
    let plan = cli.plan();
    if plan.with_python2
        && let Err(what) = python2_interpreter()
    {
        eprintln!("chaos: {what}; or leave it out (--without-python2)");
        return ExitCode::FAILURE;
    }
    println!("{} faults, seed {}", plan.faults.len(), plan.seed);
    let outcome = run(&plan);
    let control = (cli.exactly_once.is_none()).then(|| {
        println!("control: exactly_once = \"off\"");
        run(&Plan {
            faults: in_turns(&UNCERTAIN, if cli.short { 1 } else { 3 }, cli.seed),
            exactly_once: false,
            small: true,
            with_python2: false,
            ..plan.clone()
        })
    });
    let complaints = verdict::complaints(&plan, &outcome, control.as_ref());
    let page = report::page(cli.results(), &plan, &outcome, control.as_ref(), &complaints);
    keep(&outcome);
    println!("{page}");
    if cli.is_full(&plan) {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(cli.results()), &page).unwrap();
    }
    if !complaints.is_empty() {
        eprintln!("chaos: {} complaints, see above", complaints.len());
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

/// Leaves the proxy's log, all findings and all operations for those who look into them.
fn keep(outcome: &Outcome) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("chaos");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("proxy.log"), &outcome.proxy_log).unwrap();
    let mut findings = String::new();
    for finding in &outcome.judged.findings {
        findings += &format!("{finding:?}\n");
    }
    for fault in &outcome.faults {
        findings += &format!("{} {:.3} {:.3}\n", fault.class.name(), fault.start, fault.end);
    }
    fs::write(folder.join("findings.txt"), findings).unwrap();
    let mut operations = String::new();
    for one in &outcome.operations {
        let error = one.error.as_deref().unwrap_or_default();
        operations += &format!(
            "{}\t{}\t{}\t{:.4}\t{:.4}\t{error}\n",
            one.worker, one.workload, one.id, one.start, one.end
        );
    }
    fs::write(folder.join("operations.tsv"), operations).unwrap();
}
