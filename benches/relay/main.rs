//! What relaying an operation costs: Tidegate beside HAProxy in TCP mode and beside no proxy.
//!
//! `cargo bench --bench relay -- [options]`. The parent process starts a fixed-answer backend, one proxy at a time
//! and a load generator, each a process pinned to a core (backend and load are this program under hidden
//! subcommands), and judges CPU time and system calls per operation. Everything talks to 127.0.0.1 only and ends
//! with the parent.

mod backend;
mod calls;
mod children;
mod histogram;
mod injected;
mod legacy;
mod load;
mod measure;
mod message;
mod peers;
mod procfs;
mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, Subcommand};

use crate::children::Core;
use crate::measure::{Case, Plan, Work, measure};
use crate::peers::Peer;

/// A result whose error is a sentence for the person who runs the benchmark.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures what relaying an operation costs and compares it with HAProxy.
///
/// Exits with 1 when Tidegate needs more CPU time or calls per operation than the limits allow.
#[derive(Parser)]
#[command(name = "relay", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1000", value_parser = clients)]
    clients: Vec<usize>,
    /// Rounds of which the medians are taken.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds that each case is measured per round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// One round of one second.
    #[arg(long)]
    quick: bool,
    /// Measure only what the session costs that is added to writes.
    #[arg(long)]
    writes: bool,
    /// Measure only what translating legacy opcodes costs.
    #[arg(long, conflicts_with = "writes")]
    legacy: bool,
    /// Print only: write no file, judge nothing.
    #[arg(long)]
    no_check: bool,
    /// The binary to measure; without it, the one that cargo built for this benchmark.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_tidegate"))]
    tidegate: PathBuf,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The roles of the benchmark's own child processes.
#[derive(Subcommand)]
enum Part {
    /// Answers everything with one prepared reply.
    #[command(hide = true)]
    Backend,
    /// Sends commands and measures.
    #[command(hide = true)]
    Load(load::Options),
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
        Ok(n @ 1..=1000) => Ok(n),
        _ => Err("a number of clients is 1 to 1000".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.part {
        None => bench(&cli),
        Some(Part::Backend) => backend::run().map(|()| ExitCode::SUCCESS),
        Some(Part::Load(options)) => load::run(options).map(|()| ExitCode::SUCCESS),
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
    for (program, option) in [("haproxy", "-v"), ("strace", "-V")] {
        require(program, option)?;
    }
    let judged = if cli.writes || cli.legacy {
        ExitCode::SUCCESS
    } else {
        relay(cli)?
    };
    if !cli.legacy {
        writes(cli)?;
    }
    if !cli.writes {
        translation(cli)?;
    }
    Ok(judged)
}

fn plan(cli: &Cli, peers: Vec<Peer>) -> Plan {
    Plan {
        peers,
        clients: cli.clients.clone(),
        works: vec![Work::Find],
        rounds: if cli.quick { 1 } else { cli.rounds.into() },
        warm_up_ms: if cli.quick { 300 } else { 1000 },
        window_ms: if cli.quick { 1000 } else { cli.seconds * 1000 },
    }
}

/// Measures what the session costs that is added to writes.
fn writes(cli: &Cli) -> Outcome<()> {
    let binary = std::path::absolute(&cli.tidegate)?;
    let plan = Plan {
        clients: vec![report::JUDGED_CLIENTS],
        works: vec![Work::Update],
        ..plan(
            cli,
            vec![Peer::TidegateOff(binary.clone()), Peer::Tidegate(binary)],
        )
    };
    let (cases, about) = aside(&plan)?;
    println!("{}", injected::summary(&cases));
    keep(cli, "injected_session.md", &injected::page(&cases, &about))
}

/// Carries out a plan whose figures are not judged; also says when and of what they are.
fn aside(plan: &Plan) -> Outcome<(Vec<Case>, String)> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&results)?;
    let folder = tempfile::tempdir_in(&results)?;
    let cases = measure(plan, folder.path())?;
    let about = format!(
        "Of {}, commit {}; {} rounds of {} s.",
        date()?,
        commit(),
        plan.rounds,
        plan.window_ms / 1000
    );
    Ok((cases, about))
}

/// Keeps a page of results, unless it was but a quick look.
fn keep(cli: &Cli, name: &str, page: &str) -> Outcome<()> {
    if cli.quick || cli.no_check {
        return Ok(());
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results");
    write(&results.join(name), page)
}

/// Measures what translating legacy opcodes costs.
fn translation(cli: &Cli) -> Outcome<()> {
    let binary = std::path::absolute(&cli.tidegate)?;
    let plan = Plan {
        clients: vec![report::JUDGED_CLIENTS],
        works: vec![Work::Find, Work::LegacyFind, Work::Update, Work::LegacyUpdate],
        ..plan(cli, vec![Peer::Tidegate(binary)])
    };
    let (cases, about) = aside(&plan)?;
    println!("{}", legacy::summary(&cases));
    keep(cli, "legacy_cost.md", &legacy::page(&cases, &about))
}

/// Measures what relaying a find costs.
fn relay(cli: &Cli) -> Outcome<ExitCode> {
    let tidegate = Peer::Tidegate(std::path::absolute(&cli.tidegate)?);
    let plan = plan(cli, vec![Peer::Direct, Peer::Haproxy, tidegate]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = root.join("target/bench");
    std::fs::create_dir_all(&results)?;
    // Under target/, so that not even a killed run litters anywhere else.
    let folder = tempfile::tempdir_in(&results)?;
    let cases = measure(&plan, folder.path())?;
    let rows = report::rows(&cases);
    let (date, commit) = (date()?, commit());
    println!("{}", report::table(&rows));
    let json = serde_json::to_string_pretty(&report::as_json(&rows, &date, &commit))?;
    write(&results.join("relay.json"), &json)?;
    if cli.no_check {
        return Ok(ExitCode::SUCCESS);
    }
    let complaints = report::complaints(&rows);
    let about = format!(
        "Of {date}, commit {commit}, {}; {} rounds of {} s.",
        haproxy_version(),
        plan.rounds,
        plan.window_ms / 1000
    );
    // A quick look is no result to keep.
    if !cli.quick {
        write(
            &root.join("docs/results/relay.md"),
            &report::page(&rows, &complaints, &about),
        )?;
    }
    for complaint in &complaints {
        eprintln!("relay: {complaint}");
    }
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Fails with advice when a program isn't installed.
fn require(program: &str, option: &str) -> Outcome<()> {
    match Command::new(program)
        .arg(option)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{program} is needed and can't be run; apt-get install {program}").into()),
    }
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

/// Today, in UTC.
fn date() -> Outcome<String> {
    let now = bson::DateTime::now().try_to_rfc3339_string()?;
    Ok(now.split('T').next().unwrap_or_default().to_owned())
}

/// The commit that is checked out, marked when files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    git(&["describe", "--always", "--dirty", "--exclude=*"]).unwrap_or_else(|| "unknown".to_owned())
}

/// HAProxy's name and version, from the first line that it says of itself.
fn haproxy_version() -> String {
    let output = Command::new("haproxy")
        .arg("-v")
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    words.join(" ")
}
