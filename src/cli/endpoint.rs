//! The arguments of all commands that ask a running proxy's admin endpoint.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::admin::{self, Token, TokenError};

/// The variable that holds a token. An argument would show it to everybody on this host.
const VARIABLE: &str = "TIDEGATE_TOKEN";

// Where the endpoint is, and by which right it is asked. No doc comment: clap would show it as that of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Endpoint {
    /// The admin endpoint of the proxy
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9218")]
    admin: String,
    /// The file that holds the token, where the endpoint demands one; else the token is in TIDEGATE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// With https://: the PEM file of the authority of the endpoint's certificate [default: those of this host]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read the token from {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{place} holds no token: {source}")]
    Token { place: String, source: TokenError },
}

impl Endpoint {
    /// All of it, for a command that asks for this page.
    pub(super) fn resolve(&self, page: &str) -> Result<admin::Endpoint, Error> {
        Ok(admin::Endpoint {
            url: self.url(page),
            token: token(self.token_file.as_deref())?,
            ca: self.ca.clone(),
        })
    }

    /// Its address, without the path of the page that is asked for: the sandbox prints that of `/status`, and others may be pasted.
    fn url(&self, page: &str) -> String {
        let url = match self.admin.contains("://") {
            true => self.admin.clone(),
            false => format!("http://{}", self.admin),
        };
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix(page).unwrap_or(url);
        url.strip_suffix("/status").unwrap_or(url).to_owned()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_or_without_scheme_and_page() {
        for (admin, url) in [
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
            ("http://127.0.0.1:1/status", "http://127.0.0.1:1"),
            ("https://proxy/drain/", "https://proxy"),
        ] {
            let endpoint = Endpoint {
                admin: admin.to_owned(),
                token_file: None,
                ca: None,
            };
            assert_eq!(endpoint.url("/drain"), url);
        }
    }
}
