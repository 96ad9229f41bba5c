//! `tidegate status`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::admin::{Token, TokenError};

/// The variable that holds a token. An argument would show it to everybody on this host.
const VARIABLE: &str = "TIDEGATE_TOKEN";

/// Shows the state of a running proxy.
///
/// Asks its admin endpoint for the nodes, their pools and the clients.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// The admin endpoint of the proxy
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9218")]
    admin: String,
    /// The file that holds the token for reading, where the endpoint demands one; else the token is in TIDEGATE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
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
    let url = match arguments.admin.contains("://") {
        true => arguments.admin.clone(),
        false => format!("http://{}", arguments.admin),
    };
    // The sandbox prints the page itself.
    let url = url.trim_end_matches('/').trim_end_matches("/status").to_owned();
    let token = token(arguments.token_file.as_deref()).map_err(Failure::work)?;
    crate::admin::status_command(&url, token.as_ref(), arguments.json).map_err(Failure::work)
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the token from {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{place} holds no token: {source}")]
    Token { place: String, source: TokenError },
}

/// The token in the file, else that in the environment, if there is one.
fn token(file: Option<&Path>) -> Result<Option<Token>, Error> {
    let (text, place) = match file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })?;
            (text, path.display().to_string())
        }
        None => match env::var(VARIABLE) {
            Ok(text) => (text, VARIABLE.to_owned()),
            Err(_) => return Ok(None),
        },
    };
    Token::new(text.trim().to_owned())
        .map(Some)
        .map_err(|source| Error::Token { place, source })
}
