//! Asking an admin endpoint, by HTTP or HTTPS: one request on a connection and a runtime of its own.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Builder,
    time::timeout,
};

use super::Token;
use crate::tls::{Connector, ConnectorOptions};

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 9218;
/// For connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For all of it; the proxy itself takes a second at most.
const LIMIT: Duration = Duration::from_secs(10);
/// A status takes about a kilobyte for each node, a client some hundred bytes.
const MAX_BODY: usize = 16 << 20;

/// Why a proxy's state cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is none.
    #[error(
        "{url:?} is not the address of an admin endpoint: {problem}; write it as http://127.0.0.1:{DEFAULT_PORT}"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing listens there, or it cannot be reached.
    #[error(
        "no proxy answers at {authority}: {source}; is it running? name its admin endpoint ([admin] address of its \
         configuration) with --admin"
    )]
    Connect {
        /// Host and port that were tried.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// It takes too long.
    #[error("no answer from {0} within {LIMIT:?}; is that the admin endpoint of a proxy?")]
    Timeout(String),
    /// What answers does not speak HTTP, or broke off.
    #[error(
        "{authority} does not answer as an admin endpoint does: {problem}; name the proxy's with --admin"
    )]
    Answer {
        /// Host and port that were asked.
        authority: String,
        /// What it answered.
        problem: String,
    },
    /// It demands a token, or another one.
    #[error(
        "{authority} does not let you do that: {problem}; name the file that holds it with --token-file, or set TIDEGATE_TOKEN"
    )]
    Refused {
        /// Host and port that were asked.
        authority: String,
        /// What it demands.
        problem: &'static str,
    },
    /// Nobody may do that, or nobody with this token.
    #[error("{authority} does not let you do that: {problem}")]
    Forbidden {
        /// Host and port that were asked.
        authority: String,
        /// Why.
        problem: String,
    },
    /// It cannot do that, or not so.
    #[error("{0}")]
    Conflict(String),
    /// The configuration that it was to reload has these mistakes.
    #[error("{0}\nnothing was changed")]
    Invalid(String),
    /// Clients cannot be served.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The authority's certificate cannot be used.
    #[error("{0}")]
    Authority(#[from] crate::tls::TlsError),
    /// TLS failed.
    #[error("cannot speak TLS with {authority}: {source}; name the authority of its certificate with --ca")]
    Tls {
        /// Host and port that were tried.
        authority: String,
        /// Why.
        source: crate::tls::HandshakeError,
    },
    /// No runtime can be made.
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Where a proxy is asked, and by which right.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// Its address, as `http://127.0.0.1:9218` or with `https`.
    pub url: String,
    /// The token that it demands, if it does.
    pub token: Option<Token>,
    /// The authority of its certificate; `None`: those of the system.
    pub ca: Option<PathBuf>,
}

impl Endpoint {
    /// The body of an answer of 200.
    pub(super) fn ask(&self, method: Method, path: &str) -> Result<Bytes, Error> {
        let target = Target::parse(&self.url)?;
        match self.fetch(&target, method, path)? {
            (StatusCode::OK, body) => Ok(body),
            (StatusCode::UNPROCESSABLE_ENTITY, body) if path == "/reload" => Ok(body),
            (code, body) => {
                let is_refusal = matches!(
                    code,
                    StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
                );
                let reason = reason(&body).filter(|_| is_refusal);
                Err(reason.map_or_else(
                    || target.answer(format_args!("{path} answers {code}")),
                    Error::Conflict,
                ))
            }
        }
    }

    /// The same, read.
    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self, body: &[u8]) -> Result<T, Error> {
        let target = Target::parse(&self.url)?;
        serde_json::from_slice(body).map_err(|error| target.answer(error))
    }

    /// Whether clients can be served; why not.
    pub(super) fn is_ready(&self) -> Result<Result<(), Vec<String>>, Error> {
        #[derive(Deserialize)]
        struct Verdict {
            #[serde(default)]
            reasons: Vec<String>,
        }
        let target = Target::parse(&self.url)?;
        match self.fetch(&target, Method::GET, "/readyz")? {
            (StatusCode::OK, _) => Ok(Ok(())),
            (StatusCode::SERVICE_UNAVAILABLE, body) => {
                let verdict: Verdict = serde_json::from_slice(&body).map_err(|error| target.answer(error))?;
                Ok(Err(verdict.reasons))
            }
            (code, _) => Err(target.answer(format_args!("/readyz answers {code}"))),
        }
    }

    fn fetch(&self, target: &Target, method: Method, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        runtime.block_on(async {
            let fetched = timeout(
                LIMIT,
                target.fetch(method, path, self.token.as_ref(), self.ca.as_deref()),
            )
            .await;
            fetched.unwrap_or_else(|_| Err(Error::Timeout(target.authority())))
        })
    }
}

/// An admin endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    is_secure: bool,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Error> {
        let error = |problem| Error::Url {
            url: url.to_owned(),
            problem,
        };
        let uri: Uri = url.parse().map_err(|_| error("it is no URL"))?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(error("it begins with neither http:// nor https://")),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(error("it has a path"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| error("it names no host"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.strip_prefix(host) {
            Some("") => DEFAULT_PORT,
            Some(_) => uri.port_u16().ok_or_else(|| error("its port is none"))?,
            None => return Err(error("it names a user, whom no admin endpoint knows")),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port,
            is_secure,
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn answer(&self, problem: impl ToString) -> Error {
        Error::Answer {
            authority: self.authority(),
            problem: problem.to_string(),
        }
    }

    async fn fetch(
        &self,
        method: Method,
        path: &str,
        token: Option<&Token>,
        ca: Option<&Path>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let connector = match self.is_secure {
            true => Some(Connector::new(ConnectorOptions {
                ca: ca.map(Path::to_owned),
                ..ConnectorOptions::default()
            })?),
            false => None,
        };
        let dial = TcpStream::connect((self.host.as_str(), self.port));
        let dialled = timeout(CONNECT_LIMIT, dial)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = dialled.map_err(|source| Error::Connect {
            authority: self.authority(),
            source,
        })?;
        let Some(connector) = connector else {
            return self.converse(stream, method, path, token).await;
        };
        let stream = connector.connect(&self.host, stream).await;
        let stream = stream.map_err(|source| Error::Tls {
            authority: self.authority(),
            source,
        })?;
        self.converse(stream, method, path, token).await
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: Method,
        path: &str,
        token: Option<&Token>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let failed = |error: hyper::Error| self.answer(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the exchange; what breaks it, the sender tells.
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority());
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        let request = request.body(Empty::<Bytes>::new());
        let response = sender
            .send_request(request.map_err(|error| self.answer(error))?)
            .await
            .map_err(failed)?;
        let code = response.status();
        if code == StatusCode::UNAUTHORIZED {
            return Err(Error::Refused {
                authority: self.authority(),
                problem: if token.is_some() {
                    "it takes another token"
                } else {
                    "it demands a token"
                },
            });
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| self.answer(error))?.to_bytes();
        driver.abort();
        if code == StatusCode::FORBIDDEN
            && let Some(problem) = reason(&body)
        {
            return Err(Error::Forbidden {
                authority: self.authority(),
                problem,
            });
        }
        Ok((code, body))
    }
}

/// Why something was not done, as an admin endpoint says it.
fn reason(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let refusal = serde_json::from_slice::<Refusal>(body);
    refusal.ok().map(|refusal| refusal.error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn ask(address: std::net::SocketAddr) -> String {
        let endpoint = Endpoint {
            url: format!("http://{address}"),
            ..Endpoint::default()
        };
        endpoint.ask(Method::GET, "/status").unwrap_err().to_string()
    }

    #[test]
    fn addresses_are_taken_with_and_without_a_port() {
        for (url, authority, is_secure) in [
            ("http://127.0.0.1:9318", "127.0.0.1:9318", false),
            ("https://proxy.example/", "proxy.example:9218", true),
            ("http://[::1]:80", "[::1]:80", false),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((&*target.authority(), target.is_secure), (authority, is_secure));
        }
        for (url, problem) in [
            ("ftp://127.0.0.1", "neither http:// nor https://"),
            ("http://127.0.0.1/status", "it has a path"),
            ("http://", "it is no URL"),
            ("http://127.0.0.1:99999", "its port is none"),
            ("http://127.0.0.1:", "its port is none"),
            ("http://[::1]:x", "its port is none"),
            ("http://ann:secret@127.0.0.1:9218", "it names a user"),
            ("127.0.0.1:9218", "neither http:// nor https://"),
        ] {
            let message = Target::parse(url).unwrap_err().to_string();
            assert!(message.contains(problem) && message.contains(url), "{message}");
        }
        assert_eq!(reason(br#"{"error": "not now"}"#).as_deref(), Some("not now"));
    }

    #[test]
    fn where_nothing_listens_the_message_says_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let message = ask(address);
        assert!(
            message.contains(&address.to_string()) && message.contains("--admin"),
            "{message}"
        );
    }

    #[test]
    fn what_is_no_admin_endpoint_is_recognised() {
        for says in [
            "SSH-2.0-something\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.write_all(says.as_bytes());
                // The client closes once it has read that.
                let _ = io::Read::read_to_end(&mut stream, &mut Vec::new());
            });
            let message = ask(address);
            server.join().unwrap();
            assert!(
                message.contains("does not answer as an admin endpoint does"),
                "{says}: {message}"
            );
        }
    }
}
