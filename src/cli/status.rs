//! `tidegate status`.

use super::{Failure, endpoint::Endpoint};

/// Shows the state of a running proxy.
///
/// Asks its admin endpoint for the nodes, their pools and the clients.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Print the JSON that the endpoint answers
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tidegate status
  tidegate status --admin http://127.0.0.1:9318 --json
  tidegate status --token-file /run/secrets/tidegate-read-token

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let token = arguments.endpoint.token().map_err(Failure::work)?;
    let url = arguments.endpoint.url("/status");
    crate::admin::status_command(&url, token.as_ref(), arguments.json).map_err(Failure::work)
}
