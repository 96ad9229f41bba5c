//! What relaying an operation costs: Tidegate beside HAProxy in TCP mode and beside no proxy.
//!
//! `cargo bench --bench relay -- [options]`. The parent process starts a fixed-answer backend or a real replica set, one proxy at a
//! time and a load generator, each a process pinned to a core (backend and load are this program under hidden
//! subcommands), and judges what it measures. Everything talks to 127.0.0.1 only and ends with the parent.

mod backend;
mod calls;
mod cargo;
#[path = "../../src/tls/testing.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "made for the library's tests; parts of it serve here"
)]
mod certificates;
mod chart;
mod children;
mod driver;
mod fixed;
mod goals;
mod guided;
mod histogram;
mod idle;
mod injected;
mod legacy;
mod load;
mod measure;
mod memory;
mod message;
mod mongod;
mod overload;
mod paths;
mod peers;
mod procfs;
mod report;
mod results;
mod target;
mod training;
mod transport;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::children::Core;
use crate::goals::Goal;
use crate::guided::Guided;
use crate::measure::{Case, PINNED, Plan};

/// A result whose error is a sentence for the person who runs the benchmark.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures what relaying an operation costs and compares it with HAProxy.
///
/// Exits with 1 when a goal does not hold. Without a mode: all of them, one after the other.
#[derive(Parser)]
#[command(name = "relay", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    mode: Mode,
    /// With --mongod: load by the official Rust driver instead of plain sockets.
    #[arg(long, requires = "mongod")]
    driver: bool,
    /// Numbers of clients, instead of the mode's own.
    #[arg(long, value_delimiter = ',', value_parser = clients)]
    clients: Option<Vec<usize>>,
    /// Rounds of which the medians are taken.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds that each case is measured per round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// One round of one second.
    #[arg(long)]
    quick: bool,
    /// Print only: write no page, judge nothing.
    #[arg(long)]
    no_check: bool,
    /// Another proxy in front of the same target, as NAME=127.0.0.1:PORT:PID. May be repeated.
    #[arg(long)]
    peer: Vec<peers::Other>,
    /// A port for the fixed-answer backend, so that another proxy can be pointed at it.
    #[arg(long, default_value_t = 0)]
    backend_port: u16,
    /// The connection string of a replica set that runs already, so that another proxy can be pointed at it. Its database `bench` is
    /// overwritten.
    #[arg(long)]
    set: Option<String>,
    /// Measure cargo's plain release build, not the one with a profile that images hold; that one takes ten minutes to make.
    #[arg(long)]
    plain: bool,
    /// The binary to measure.
    #[arg(long, conflicts_with = "plain")]
    tidegate: Option<PathBuf>,
    #[arg(skip)]
    built: OnceCell<Built>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Options that mean nothing where nothing is measured.
const MEASURING: [&str; 11] = [
    "driver",
    "plain",
    "tidegate",
    "clients",
    "rounds",
    "seconds",
    "quick",
    "no_check",
    "peer",
    "backend_port",
    "set",
];
/// How long a rehearsal takes over each part of the training.
const REHEARSAL_MS: u64 = 100;

/// What to measure; at most one of them.
#[derive(Args)]
#[group(multiple = false)]
struct Mode {
    /// Finds side by side with a fixed-answer backend.
    #[arg(long)]
    fixed: bool,
    /// Only what the session costs that is added to writes.
    #[arg(long)]
    writes: bool,
    /// Only what translating legacy opcodes costs.
    #[arg(long)]
    legacy: bool,
    /// Finds side by side on a real replica set.
    #[arg(long)]
    mongod: bool,
    /// What idle clients and slow readers cost in memory.
    #[arg(long)]
    memory: bool,
    /// What logins, TLS, compression, legacy opcodes and the injected session cost.
    #[arg(long)]
    paths: bool,
    /// Ten times more clients than connections, and a greedy client beside a light one, on a real replica set.
    #[arg(long)]
    overload: bool,
    /// Measure nothing: build the program with a profile of its own traffic, and print where it is.
    #[arg(long, conflicts_with_all = MEASURING)]
    build: bool,
    /// Measure nothing: go through the traffic that a profile is made of, with cargo's plain build.
    #[arg(long, conflicts_with_all = MEASURING)]
    rehearse: bool,
}

/// The program that is measured.
struct Built {
    path: PathBuf,
    /// What it is, in a few words.
    how: &'static str,
    /// That of images. Pages tell of no other.
    guided: Option<Guided>,
}

impl Built {
    fn guided(guided: Guided) -> Self {
        Self {
            path: guided.program.clone(),
            how: "Tidegate built with a profile of its own traffic",
            guided: Some(guided),
        }
    }

    fn plain() -> Self {
        Self {
            path: env!("CARGO_BIN_EXE_tidegate").into(),
            how: if cfg!(debug_assertions) {
                "a debug build of Tidegate"
            } else {
                "a plain release build of Tidegate"
            },
            guided: None,
        }
    }

    fn named(path: &Path) -> Outcome<Self> {
        Ok(Self {
            path: std::path::absolute(path)?,
            how: "another build of Tidegate, which was named",
            guided: None,
        })
    }
}

/// The roles of the benchmark's own child processes.
#[derive(Subcommand)]
enum Part {
    /// Answers everything with one prepared reply.
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        port: u16,
    },
    /// Sends commands and measures.
    #[command(hide = true)]
    Load(load::Options),
    /// Connects, does a find and waits.
    #[command(hide = true)]
    Idle(load::Options),
    /// Reads large documents slowly.
    #[command(hide = true)]
    Slow(idle::Slow),
    /// Becomes another program, pinned to a core and bound to the parent's life.
    #[command(hide = true)]
    Spawn {
        core: usize,
        parent: u32,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

/// More than file descriptors and ids last for is refused.
fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=5000) => Ok(n),
        _ => Err("a number of clients is 1 to 5000".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.part {
        None => bench(&cli),
        Some(Part::Backend { port }) => backend::run(*port).map(|()| ExitCode::SUCCESS),
        Some(Part::Load(options)) => load::run(options).map(|()| ExitCode::SUCCESS),
        Some(Part::Idle(options)) => idle::run_idle(options).map(|()| ExitCode::SUCCESS),
        Some(Part::Slow(options)) => idle::run_slow(options).map(|()| ExitCode::SUCCESS),
        Some(Part::Spawn {
            core,
            parent,
            program,
        }) => spawn(*core, *parent, program),
    };
    done.unwrap_or_else(|error| {
        eprintln!("relay: {error}");
        ExitCode::FAILURE
    })
}

fn spawn(core: usize, parent: u32, program: &[OsString]) -> Outcome<ExitCode> {
    let (program, arguments) = program.split_first().ok_or("no program was named")?;
    children::become_pinned(Core(core), parent, program, arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn bench(cli: &Cli) -> Outcome<ExitCode> {
    if cli.mode.build {
        let built = guided::Profdata::find()?.build()?;
        writeln!(std::io::stdout(), "{}", built.program.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    if cli.mode.rehearse {
        training::train(&Built::plain().path, REHEARSAL_MS)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (program, option) in [("haproxy", "-v"), ("strace", "-V")] {
        results::require(program, option)?;
    }
    let mode = &cli.mode;
    let unjudged = |()| ExitCode::SUCCESS;
    let runs: [(bool, &dyn Fn() -> Outcome<ExitCode>); 8] = [
        (mode.fixed, &|| fixed::relay(cli)),
        (mode.writes, &|| fixed::writes(cli).map(unjudged)),
        (mode.legacy, &|| fixed::translation(cli).map(unjudged)),
        (mode.mongod && !cli.driver, &|| mongod::run(cli, false)),
        (mode.mongod && cli.driver, &|| mongod::run(cli, true)),
        (mode.memory, &|| memory::run(cli)),
        (mode.paths, &|| paths::run(cli)),
        (mode.overload, &|| overload::run(cli)),
    ];
    let all = runs.iter().all(|(is_wanted, _)| !is_wanted);
    let mut judged = ExitCode::SUCCESS;
    for (_, run) in runs.iter().filter(|(is_wanted, _)| all || *is_wanted) {
        let code = run()?;
        if code != ExitCode::SUCCESS {
            judged = code;
        }
    }
    Ok(judged)
}

impl Cli {
    /// The program to measure, which is built first if need be.
    fn built(&self) -> Outcome<&Built> {
        if let Some(built) = self.built.get() {
            return Ok(built);
        }
        let built = match &self.tidegate {
            Some(path) => Built::named(path)?,
            None if self.plain || cfg!(debug_assertions) => Built::plain(),
            None => match guided::Profdata::find() {
                Ok(profdata) => Built::guided(profdata.build()?),
                Err(why) => {
                    eprintln!(
                        "{why}; what follows is of the plain build, which is slower, and no page is written"
                    );
                    Built::plain()
                }
            },
        };
        Ok(self.built.get_or_init(|| built))
    }

    fn binary(&self) -> Outcome<PathBuf> {
        Ok(self.built()?.path.clone())
    }

    /// What a page says of its figures.
    fn about(&self, plan: &Plan) -> Outcome<String> {
        let about = results::provenance(self.built()?)?;
        Ok(format!(
            "{about} {} rounds of {} s.",
            plan.rounds,
            plan.window_ms / 1000
        ))
    }

    /// How to measure these cases.
    fn plan(&self, cases: Vec<Case>) -> Plan {
        Plan {
            cases,
            rounds: if self.quick { 1 } else { self.rounds.into() },
            warm_up_ms: if self.quick { 300 } else { 1000 },
            window_ms: if self.quick { 1000 } else { self.seconds * 1000 },
            counts_calls: false,
            cores: PINNED,
            driver: None,
        }
    }

    /// Whether pages are written: a quick look is no result to keep, nor is a part of a run, nor what is not shipped.
    fn is_kept(&self) -> bool {
        let is_shipped = self.built.get().is_some_and(|built| built.guided.is_some());
        is_shipped && !self.quick && !self.no_check && self.clients.is_none()
    }

    /// The exit code.
    fn judge(&self, goals: &[Goal]) -> ExitCode {
        if self.no_check {
            ExitCode::SUCCESS
        } else {
            goals::judge(goals)
        }
    }
}
