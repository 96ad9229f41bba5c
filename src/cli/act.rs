//! `tidegate reload`, `tidegate drain`, `tidegate pause` and `tidegate resume`.

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

pub(super) fn reload(reload: &Reload) -> Result<(), Failure> {
    let Arguments { endpoint, json } = &reload.arguments;
    let token = endpoint.token().map_err(Failure::work)?;
    reload_command(&endpoint.url("/reload"), token.as_ref(), *json).map_err(Failure::work)
}

pub(super) fn drain(drain: &Drain) -> Result<(), Failure> {
    run(Action::Drain, &drain.arguments)
}

pub(super) fn pause(pause: &Pause) -> Result<(), Failure> {
    run(Action::Pause, &pause.arguments)
}

pub(super) fn resume(resume: &Resume) -> Result<(), Failure> {
    run(Action::Resume, &resume.arguments)
}

fn run(action: Action, arguments: &Arguments) -> Result<(), Failure> {
    let token = arguments.endpoint.token().map_err(Failure::work)?;
    let url = arguments.endpoint.url(action.path());
    act_command(&url, token.as_ref(), action, arguments.json).map_err(Failure::work)
}
