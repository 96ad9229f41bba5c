//! `tidegate status`.

use super::Failure;

/// Shows the state of a running proxy.
///
/// Asks its admin endpoint for the nodes, their pools and the clients.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// The admin endpoint of the proxy
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9218")]
    admin: String,
    /// Print the JSON that the endpoint answers
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tidegate status
  tidegate status --admin http://127.0.0.1:9318 --json

Exit codes: 0 the proxy answered; 1 it did not; 2 wrong arguments.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let url = match arguments.admin.contains("://") {
        true => arguments.admin.clone(),
        false => format!("http://{}", arguments.admin),
    };
    // The sandbox prints the page itself.
    let url = url.trim_end_matches('/').trim_end_matches("/status").to_owned();
    crate::admin::status_command(&url, arguments.json).map_err(Failure::work)
}
