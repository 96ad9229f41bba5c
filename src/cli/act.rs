//! The commands that have a running proxy do something: `tidegate reload`, `drain`, `pause`, `resume`, `reconnect`, `avoid`, `log-level`
//! and `kill`.

use std::time::Duration;

use super::{Failure, endpoint::Endpoint};
use crate::admin::{Action, act_command, reload_command};

/// Has a running proxy read its configuration again.
///
/// What can change while it runs does so without a client noticing, the rest waits for the next start; which is which is told. A
/// configuration with mistakes changes nothing. SIGHUP does the same, and so does a change of the file ([reload] watch).
#[derive(Debug, clap::Args)]
#[command(after_long_help = RELOAD_HELP)]
pub(super) struct Reload {
    #[command(flatten)]
    arguments: Arguments,
}

/// Has a running proxy end without errors for its clients.
///
/// It is not ready from now on, takes no new clients after [drain] grace, lets those that it has end their transactions and
/// cursors, and ends, at the latest a second after [drain] deadline. SIGTERM does the same.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DRAIN_HELP)]
pub(super) struct Drain {
    #[command(flatten)]
    arguments: Arguments,
}

/// Has commands wait at the gate of a running proxy.
///
/// Each waits for at most [failover] hold, those of transactions go on. For maintenance of the replica set.
#[derive(Debug, clap::Args)]
#[command(after_long_help = PAUSE_HELP)]
pub(super) struct Pause {
    #[command(flatten)]
    arguments: Arguments,
}

/// Has commands go on that `tidegate pause` made wait.
///
/// They go on in the order in which they came.
#[derive(Debug, clap::Args)]
#[command(after_long_help = RESUME_HELP)]
pub(super) struct Resume {
    #[command(flatten)]
    arguments: Arguments,
}

/// Has a running proxy make all its connections to a node anew.
///
/// Idle ones are closed at once, others when their command is done. No command fails by that. For nodes whose address leads elsewhere now, or
/// load balancers in between.
#[derive(Debug, clap::Args)]
#[command(after_long_help = RECONNECT_HELP)]
pub(super) struct Reconnect {
    /// The node, as tidegate topology shows it
    #[arg(value_name = "HOST:PORT")]
    node: String,
    #[command(flatten)]
    arguments: Arguments,
}

/// Has reads by read preference pass a node over, while another one fits.
///
/// What goes to the primary as such goes there all the same. No command fails by that. For maintenance of a secondary, or one that is slow.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AVOID_HELP)]
pub(super) struct Avoid {
    /// The node, as tidegate topology shows it
    #[arg(value_name = "HOST:PORT")]
    node: String,
    /// For how long, at most 24h [default: 10m]
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Have reads go there again
    #[arg(long, conflicts_with = "lasts")]
    off: bool,
    #[command(flatten)]
    arguments: Arguments,
}

/// Has a running proxy log at another level.
///
/// A level is error, warn, info, debug, trace or off; for single modules info,tidegate::pool=debug. Without one, the configured level is in
/// force again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = LOG_LEVEL_HELP)]
pub(super) struct LogLevel {
    /// The level
    level: Option<String>,
    /// For how long, at most 24h; then the configured level is in force again
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, requires = "level")]
    lasts: Option<Duration>,
    #[command(flatten)]
    arguments: Arguments,
}

/// Closes a client's connection to a running proxy.
///
/// At once, whatever it is at: a write that was sent may still be executed, as when a connection breaks.
#[derive(Debug, clap::Args)]
#[command(after_long_help = KILL_HELP)]
pub(super) struct Kill {
    /// The client's number, as tidegate clients shows it
    id: i32,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Print the JSON that the endpoint answers
    #[arg(long)]
    json: bool,
}

const RELOAD_HELP: &str = "\
Examples:
  tidegate reload
  tidegate reload --admin http://127.0.0.1:9318 --json
  tidegate reload --token-file /run/secrets/tidegate-token

Exit codes: 0 the configuration is in force; 1 it has mistakes, or the proxy did not answer; 2 wrong arguments.";

const DRAIN_HELP: &str = "\
Examples:
  tidegate drain
  tidegate drain --admin http://127.0.0.1:9318 --json
  tidegate drain --token-file /run/secrets/tidegate-token

Exit codes: 0 the proxy drains; 1 it does not; 2 wrong arguments.";

const PAUSE_HELP: &str = "\
Examples:
  tidegate pause
  tidegate pause --admin http://127.0.0.1:9318 --json

Exit codes: 0 commands wait; 1 the proxy did not answer so; 2 wrong arguments.";

const RESUME_HELP: &str = "\
Examples:
  tidegate resume
  tidegate resume --admin http://127.0.0.1:9318 --json

Exit codes: 0 commands go on; 1 the proxy did not answer so; 2 wrong arguments.";

const RECONNECT_HELP: &str = "\
Examples:
  tidegate reconnect db1.example.com:27017

Exit codes: 0 it does so; 1 it does not, or there is no such node; 2 wrong arguments.";

const AVOID_HELP: &str = "\
Examples:
  tidegate avoid db2.example.com:27017 --for 30m
  tidegate avoid db2.example.com:27017 --off

Exit codes: 0 it does so; 1 it does not, or there is no such node; 2 wrong arguments.";

const LOG_LEVEL_HELP: &str = "\
Examples:
  tidegate log-level debug --for 5m
  tidegate log-level info,tidegate::pool=trace
  tidegate log-level

Exit codes: 0 it does so; 1 it does not; 2 wrong arguments.";

const KILL_HELP: &str = "\
Examples:
  tidegate kill 4711

Exit codes: 0 the connection is closed; 1 it is not, or there is no such client; 2 wrong arguments.";

pub(super) fn reload(reload: &Reload) -> Result<(), Failure> {
    let Arguments { endpoint, json } = &reload.arguments;
    let endpoint = endpoint.resolve("/reload").map_err(Failure::work)?;
    reload_command(&endpoint, *json).map_err(Failure::work)
}

pub(super) fn drain(drain: &Drain) -> Result<(), Failure> {
    run(&Action::Drain, &drain.arguments)
}

pub(super) fn pause(pause: &Pause) -> Result<(), Failure> {
    run(&Action::Pause, &pause.arguments)
}

pub(super) fn resume(resume: &Resume) -> Result<(), Failure> {
    run(&Action::Resume, &resume.arguments)
}

pub(super) fn reconnect(reconnect: Reconnect) -> Result<(), Failure> {
    run(&Action::Reconnect(reconnect.node), &reconnect.arguments)
}

pub(super) fn avoid(avoid: Avoid) -> Result<(), Failure> {
    let (node, lasts) = (avoid.node, avoid.lasts);
    let action = match avoid.off {
        true => Action::Unavoid(node),
        false => Action::Avoid { node, lasts },
    };
    run(&action, &avoid.arguments)
}

pub(super) fn log_level(set: LogLevel) -> Result<(), Failure> {
    let (level, lasts) = (set.level, set.lasts);
    run(&Action::LogLevel { level, lasts }, &set.arguments)
}

pub(super) fn kill(kill: &Kill) -> Result<(), Failure> {
    run(&Action::Kill(kill.id), &kill.arguments)
}

fn run(action: &Action, arguments: &Arguments) -> Result<(), Failure> {
    let path = action.path();
    let path = path.split('?').next().unwrap_or_default();
    let endpoint = arguments.endpoint.resolve(path).map_err(Failure::work)?;
    act_command(&endpoint, action, arguments.json).map_err(Failure::work)
}
