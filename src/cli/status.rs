//! The commands that show what a running proxy does: `tidegate status`, `topology`, `pools`, `clients`, `cursors` and `config`.

use super::{Failure, endpoint::Endpoint};
use crate::admin::{Filter, Show, ready_command, show_command};

/// Shows the state of a running proxy.
///
/// Asks its admin endpoint for the nodes, their pools and the clients.
#[derive(Debug, clap::Args)]
#[command(after_long_help = STATUS_HELP)]
pub(super) struct Status {
    #[command(flatten)]
    output: Output,
    /// Print nothing and exit with 0 if the proxy can serve clients, else say why not: for health checks of containers
    #[arg(long, conflicts_with = "json")]
    ready: bool,
}

/// Shows the replica set as a running proxy sees it.
///
/// Each member with its role, round trip time, staleness and what its last check failed with.
#[derive(Debug, clap::Args)]
#[command(after_long_help = TOPOLOGY_HELP)]
pub(super) struct Topology {
    #[command(flatten)]
    output: Output,
}

/// Shows the connections of a running proxy to each node, and who holds them.
///
/// Of each pool the users are told that have most of it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = POOLS_HELP)]
pub(super) struct Pools {
    #[command(flatten)]
    output: Output,
}

/// Shows who is connected to a running proxy, and what each client is at.
///
/// States: idle; in_transaction: idle with a transaction open; in_command; waiting_for_connection and at_gate: in a command that waits;
/// monitoring: in a hello that waits for news of the topology.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CLIENTS_HELP)]
pub(super) struct Clients {
    #[command(flatten)]
    output: Output,
    /// Only those of this user, as NAME@DATABASE
    #[arg(long)]
    user: Option<String>,
    /// Only those of the application that calls itself so (appName)
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only those in this state
    #[arg(long)]
    state: Option<String>,
    /// How many are shown [default: 100]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Shows the open cursors of a running proxy, and the node of each.
///
/// Those whose last batch has not been fetched; a proxy remembers where they live.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CURSORS_HELP)]
pub(super) struct Cursors {
    #[command(flatten)]
    output: Output,
    /// How many are shown [default: 100]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Shows the configuration of a running proxy, each value with its place.
///
/// Of secrets it shows only that they are set.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CONFIG_HELP)]
pub(super) struct Config {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Output {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Print the JSON that the endpoint answers
    #[arg(long)]
    json: bool,
}

const STATUS_HELP: &str = "\
Examples:
  tidegate status
  tidegate status --admin https://proxy.example.com:9218 --ca ca.pem --json
  tidegate status --token-file /run/secrets/tidegate-read-token
  tidegate status --ready

Exit codes: 0 the proxy answered, with --ready: it can serve clients; 1 it did not, or cannot; 2 wrong arguments.";

const TOPOLOGY_HELP: &str = "\
Examples:
  tidegate topology
  tidegate topology --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

const POOLS_HELP: &str = "\
Examples:
  tidegate pools
  tidegate pools --admin http://127.0.0.1:9318 --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

const CLIENTS_HELP: &str = "\
Examples:
  tidegate clients
  tidegate clients --state in_command --limit 20
  tidegate clients --user ann@shop --application checkout --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

const CURSORS_HELP: &str = "\
Examples:
  tidegate cursors
  tidegate cursors --limit 1000 --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

const CONFIG_HELP: &str = "\
Examples:
  tidegate config
  tidegate config --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

pub(super) fn status(arguments: &Status) -> Result<(), Failure> {
    if !arguments.ready {
        return run(&Show::Status, &arguments.output);
    }
    let endpoint = arguments
        .output
        .endpoint
        .resolve("/status")
        .map_err(Failure::work)?;
    ready_command(&endpoint).map_err(Failure::work)
}

pub(super) fn topology(arguments: &Topology) -> Result<(), Failure> {
    run(&Show::Topology, &arguments.output)
}

pub(super) fn pools(arguments: &Pools) -> Result<(), Failure> {
    run(&Show::Pools, &arguments.output)
}

pub(super) fn clients(arguments: Clients) -> Result<(), Failure> {
    let filter = Filter {
        user: arguments.user,
        application: arguments.application,
        state: arguments.state,
        limit: arguments.limit,
    };
    run(&Show::Clients(filter), &arguments.output)
}

pub(super) fn cursors(arguments: &Cursors) -> Result<(), Failure> {
    let limit = arguments.limit;
    run(&Show::Cursors { limit }, &arguments.output)
}

pub(super) fn config(arguments: &Config) -> Result<(), Failure> {
    run(&Show::Config, &arguments.output)
}

fn run(show: &Show, output: &Output) -> Result<(), Failure> {
    let endpoint = output.endpoint.resolve(show.path()).map_err(Failure::work)?;
    show_command(&endpoint, show, output.json).map_err(Failure::work)
}
