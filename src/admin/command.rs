//! `tidegate status`, and the commands that have a running proxy do something: asks its admin endpoint and prints what it tells.

use std::{
    io::{self, Write},
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
use tokio::{net::TcpStream, runtime::Builder, time::timeout};

use super::{Outcome, Reloaded, Status, Token, table};

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 9218;
/// For connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For all of it; the proxy itself takes a second at most.
const LIMIT: Duration = Duration::from_secs(10);
/// A status takes about a kilobyte for each node.
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
    /// It cannot do that.
    #[error("{0}")]
    Conflict(String),
    /// The configuration that it was to reload has these mistakes.
    #[error("{0}\nnothing was changed: the configuration has mistakes")]
    Invalid(String),
    /// No runtime can be made.
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Asks the proxy whose admin endpoint is at `url` and prints its state, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, or its answer makes no sense. In at most ten seconds.
pub fn status_command(url: &str, token: Option<&Token>, json: bool) -> Result<(), Error> {
    let target = Target::parse(url)?;
    let body = target.ask(Method::GET, "/status", token)?;
    if json {
        return print(&String::from_utf8_lossy(&body));
    }
    let status: Status = serde_json::from_slice(&body).map_err(|error| target.answer(error))?;
    print(&table::render(&status))
}

/// Has the proxy whose admin endpoint is at `url` reload its configuration, and prints what that came to, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, it refuses, or its configuration has mistakes: then nothing has changed. In at most ten seconds.
pub fn reload_command(url: &str, token: Option<&Token>, json: bool) -> Result<(), Error> {
    let target = Target::parse(url)?;
    let body = target.ask(Method::POST, "/reload", token)?;
    if json {
        print(&String::from_utf8_lossy(&body))?;
    }
    let reloaded: Reloaded = serde_json::from_slice(&body).map_err(|error| target.answer(error))?;
    if reloaded.result == Outcome::Invalid {
        return Err(Error::Invalid(reloaded.mistakes.join("\n")));
    }
    match json {
        true => Ok(()),
        false => print(&what_changed(&reloaded)),
    }
}

fn what_changed(reloaded: &Reloaded) -> String {
    let mut text = match reloaded.result {
        Outcome::Unchanged => "nothing has changed\n".to_owned(),
        _ => "the configuration was reloaded\n".to_owned(),
    };
    for (when, keys) in [
        ("at once", &reloaded.at_once),
        ("for new connections", &reloaded.for_new_connections),
        ("with the next start", &reloaded.wait_for_restart),
    ] {
        if !keys.is_empty() {
            text.push_str(&format!("{when}: {}\n", keys.join(", ")));
        }
    }
    text
}

/// What a running proxy can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To end without errors for its clients.
    Drain,
    /// To have commands wait.
    Pause,
    /// To have them go on.
    Resume,
}

impl Action {
    /// The path to which it is posted.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Drain => "/drain",
            Self::Pause => "/pause",
            Self::Resume => "/resume",
        }
    }
}

/// What an action is answered with.
#[derive(Debug, Deserialize)]
struct Done {
    changed: bool,
    /// Told for a drain.
    clients: Option<usize>,
}

/// Has the proxy whose admin endpoint is at `url` do something, and prints its answer, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, or it refuses. In at most ten seconds.
pub fn act_command(url: &str, token: Option<&Token>, action: Action, json: bool) -> Result<(), Error> {
    let target = Target::parse(url)?;
    let body = target.ask(Method::POST, action.path(), token)?;
    if json {
        return print(&String::from_utf8_lossy(&body));
    }
    let done: Done = serde_json::from_slice(&body).map_err(|error| target.answer(error))?;
    print(&(told(action, &done) + "\n"))
}

fn told(action: Action, done: &Done) -> String {
    let clients = done.clients.unwrap_or_default();
    match (action, done.changed) {
        (Action::Drain, true) => {
            format!("the proxy drains; {clients} clients are connected (tidegate status tells how far it is)")
        }
        (Action::Drain, false) => format!("the proxy drains already; {clients} clients are left"),
        (Action::Pause, true) => "commands wait now, until tidegate resume".to_owned(),
        (Action::Pause, false) => "commands wait already".to_owned(),
        (Action::Resume, true) => "commands go on".to_owned(),
        (Action::Resume, false) => "nothing to resume: commands were not made to wait".to_owned(),
    }
}

fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is none of our concern.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// An admin endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Error> {
        let error = |problem| Error::Url {
            url: url.to_owned(),
            problem,
        };
        let uri: Uri = url.parse().map_err(|_| error("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(error("only http is served"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(error("it has a path"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| error("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(DEFAULT_PORT),
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

    /// Asks on a runtime and a connection of its own; the body of an answer of 200.
    fn ask(&self, method: Method, path: &str, token: Option<&Token>) -> Result<Bytes, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        runtime.block_on(async {
            let asked = timeout(LIMIT, self.fetch(method, path, token)).await;
            asked.unwrap_or_else(|_| Err(Error::Timeout(self.authority())))
        })
    }

    async fn fetch(&self, method: Method, path: &str, token: Option<&Token>) -> Result<Bytes, Error> {
        let dial = TcpStream::connect((self.host.as_str(), self.port));
        let dialled = timeout(CONNECT_LIMIT, dial)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = dialled.map_err(|source| Error::Connect {
            authority: self.authority(),
            source,
        })?;
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
        if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
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
        match code {
            StatusCode::OK => Ok(body),
            StatusCode::UNPROCESSABLE_ENTITY if path == "/reload" => Ok(body),
            StatusCode::CONFLICT => Err(Error::Conflict(reason(&body))),
            _ => Err(self.answer(format_args!("{path} answers {code}"))),
        }
    }
}

/// Why something was not done, as the endpoint says.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice::<Refusal>(body).map_or_else(
        |_| "the proxy cannot do that now".to_owned(),
        |refusal| refusal.error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_a_port() {
        for (url, authority) in [
            ("http://127.0.0.1:9318", "127.0.0.1:9318"),
            ("http://proxy.example/", "proxy.example:9218"),
            ("http://[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(Target::parse(url).unwrap().authority(), authority);
        }
        for (url, problem) in [
            ("https://127.0.0.1", "only http is served"),
            ("http://127.0.0.1/status", "it has a path"),
            ("http://", "it is no URL"),
            ("127.0.0.1:9218", "only http is served"),
        ] {
            let message = Target::parse(url).unwrap_err().to_string();
            assert!(message.contains(problem) && message.contains(url), "{message}");
        }
    }

    #[test]
    fn where_nothing_listens_the_message_says_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let message = status_command(&format!("http://{address}"), None, false)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(&address.to_string()) && message.contains("--admin"),
            "{message}"
        );
    }

    #[test]
    fn actions_tell_whether_they_changed_anything() {
        let done = |changed| Done {
            changed,
            clients: Some(7),
        };
        let all = [Action::Drain, Action::Pause, Action::Resume];
        let texts: std::collections::BTreeSet<_> = all
            .iter()
            .flat_map(|action| [true, false].map(|changed| told(*action, &done(changed))))
            .collect();
        assert_eq!(texts.len(), 6);
        assert!(told(Action::Drain, &done(true)).contains("7 clients"));
        assert_eq!(reason(br#"{"error": "not now"}"#), "not now");
        assert!(!reason(b"no JSON").is_empty());
    }

    #[test]
    fn a_reload_tells_what_changed_and_when_it_takes_effect() {
        let reloaded = Reloaded {
            result: Outcome::Applied,
            at_once: vec!["log.level".to_owned(), "pool.max_size".to_owned()],
            wait_for_restart: vec!["upstream.uri".to_owned()],
            ..Reloaded::invalid(Vec::new())
        };
        assert_eq!(
            what_changed(&reloaded),
            "the configuration was reloaded\nat once: log.level, pool.max_size\nwith the next start: upstream.uri\n"
        );
    }

    #[test]
    fn what_is_no_admin_endpoint_is_recognised() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"SSH-2.0-something\r\n");
            // The client closes once it has read that.
            let _ = io::Read::read_to_end(&mut stream, &mut Vec::new());
        });
        let message = status_command(&format!("http://{address}"), None, true)
            .unwrap_err()
            .to_string();
        server.join().unwrap();
        assert!(
            message.contains("does not answer as an admin endpoint does"),
            "{message}"
        );
    }
}
