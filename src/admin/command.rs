//! The commands that ask a running proxy, or have it do something: `tidegate status` and the like.

use std::{
    io::{self, Write},
    time::Duration,
};

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    Outcome, Reloaded, Status,
    ask::{Endpoint, Error},
    table, tables,
};

/// What a running proxy can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// All of it, in short.
    Status,
    /// The replica set.
    Topology,
    /// The connections to the nodes, and who holds them.
    Pools,
    /// Those who are connected.
    Clients(Filter),
    /// Cursors and the node of each.
    Cursors {
        /// How many are told.
        limit: Option<usize>,
    },
    /// The configuration.
    Config,
}

/// Which clients are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this user, as `name@database`.
    pub user: Option<String>,
    /// Those of this application.
    pub application: Option<String>,
    /// Those in this state.
    pub state: Option<String>,
    /// How many are told.
    pub limit: Option<usize>,
}

impl Show {
    /// The path, without a query string.
    #[must_use]
    pub fn path(&self) -> &'static str {
        match self {
            Self::Status => "/status",
            Self::Topology => "/topology",
            Self::Pools => "/pools",
            Self::Clients(_) => "/clients",
            Self::Cursors { .. } => "/cursors",
            Self::Config => "/config",
        }
    }

    fn query(&self) -> String {
        let number = |limit: &Option<usize>| limit.map(|limit| limit.to_string());
        match self {
            Self::Clients(filter) => query(&[
                ("user", filter.user.as_deref()),
                ("application", filter.application.as_deref()),
                ("state", filter.state.as_deref()),
                ("limit", number(&filter.limit).as_deref()),
            ]),
            Self::Cursors { limit } => query(&[("limit", number(limit).as_deref())]),
            Self::Status | Self::Topology | Self::Pools | Self::Config => String::new(),
        }
    }
}

/// What a running proxy can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To end without errors for its clients.
    Drain,
    /// To have commands wait.
    Pause,
    /// To have them go on.
    Resume,
    /// To make all connections to this node anew.
    Reconnect(String),
    /// To have reads pass a node over.
    Avoid {
        /// The node.
        node: String,
        /// For how long; `None`: as the proxy sees fit.
        lasts: Option<Duration>,
    },
    /// To have them go to a node again.
    Unavoid(String),
    /// To log at another level.
    LogLevel {
        /// The level; `None`: the one that is configured.
        level: Option<String>,
        /// For how long; `None`: until another one is set.
        lasts: Option<Duration>,
    },
    /// To close a client's connection.
    Kill(i32),
}

impl Action {
    /// The path to which it is posted, with its query string.
    #[must_use]
    pub fn path(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let lasting = |lasts: &Option<Duration>| lasts.map(|lasts| format!("{}ms", lasts.as_millis()));
        match self {
            Self::Drain => "/drain".to_owned(),
            Self::Pause => "/pause".to_owned(),
            Self::Resume => "/resume".to_owned(),
            Self::Reconnect(node) => format!("/pools/{}/reconnect", encoded(node)),
            Self::Avoid { node, lasts } => {
                let query = query(&[("for", lasting(lasts).as_deref())]);
                format!("/nodes/{}/avoid{query}", encoded(node))
            }
            Self::Unavoid(node) => format!("/nodes/{}/avoid?off", encoded(node)),
            Self::LogLevel { level: None, .. } => "/log-level?reset".to_owned(),
            Self::LogLevel { level, lasts } => {
                let query = query(&[("level", level.as_deref()), ("for", lasting(lasts).as_deref())]);
                format!("/log-level{query}")
            }
            Self::Kill(id) => format!("/clients/{id}/kill"),
        }
    }

    /// What its answer means, for people.
    fn told(&self, answer: &Value) -> String {
        let changed = answer["changed"] == true;
        let number = |field: &str| answer[field].as_u64().unwrap_or_default();
        match self {
            Self::Drain => {
                let clients = number("clients");
                match changed {
                    true => format!(
                        "the proxy drains; {clients} clients are connected (tidegate status tells how far it is)"
                    ),
                    false => format!("the proxy drains already; {clients} clients are left"),
                }
            }
            Self::Pause => {
                let hold =
                    Duration::from_secs_f64(answer["hold_seconds"].as_f64().unwrap_or_default().max(0.0));
                match (changed, hold) {
                    (_, Duration::ZERO) => {
                        "commands fail now, until tidegate resume: none waits, because [failover] hold is off"
                            .to_owned()
                    }
                    (true, hold) => format!(
                        "commands wait now, each for up to {}, until tidegate resume",
                        humantime::format_duration(hold)
                    ),
                    (false, _) => "commands wait already".to_owned(),
                }
            }
            Self::Resume if changed => "commands go on".to_owned(),
            Self::Resume => "nothing to resume: commands were not made to wait".to_owned(),
            Self::Reconnect(node) => format!(
                "connections to {node} are made anew; {} idle ones were closed, {} are closed when their command is done",
                number("closed"),
                number("closing_later")
            ),
            Self::Avoid { node, .. } => {
                let seconds = Duration::from_secs(answer["seconds"].as_f64().unwrap_or_default() as u64);
                format!(
                    "reads pass {node} over for {}, while another node fits",
                    humantime::format_duration(seconds)
                )
            }
            Self::Unavoid(node) if changed => format!("reads go to {node} again"),
            Self::Unavoid(node) => format!("nothing to end: reads did not pass {node} over"),
            Self::LogLevel { .. } => {
                let level = answer["level"].as_str().unwrap_or_default();
                match answer["returns_in_seconds"].as_f64() {
                    Some(seconds) => {
                        let back = answer["configured"].as_str().unwrap_or_default();
                        let seconds = Duration::from_secs(seconds.round() as u64);
                        format!(
                            "the log's level is {level}, and {back} again in {}",
                            humantime::format_duration(seconds)
                        )
                    }
                    None => format!("the log's level is {level}"),
                }
            }
            Self::Kill(id) => format!("the connection of client {id} is closed"),
        }
    }
}

fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            let sign = if text.is_empty() { '?' } else { '&' };
            text.push_str(&format!(
                "{sign}{name}={}",
                utf8_percent_encode(value, NON_ALPHANUMERIC)
            ));
        }
    }
    text
}

/// Asks the proxy behind this endpoint and prints what it tells, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, or its answer makes no sense. In at most ten seconds.
pub fn show_command(endpoint: &Endpoint, show: &Show, json: bool) -> Result<(), Error> {
    let body = endpoint.ask(Method::GET, &format!("{}{}", show.path(), show.query()))?;
    if json {
        return print(&String::from_utf8_lossy(&body));
    }
    let text = match show {
        Show::Status => table::render(&endpoint.read::<Status>(&body)?),
        Show::Topology => tables::topology(&endpoint.read(&body)?),
        Show::Pools => tables::pools(&endpoint.read(&body)?),
        Show::Clients(_) => tables::clients(&endpoint.read(&body)?),
        Show::Cursors { .. } => tables::cursors(&endpoint.read(&body)?),
        Show::Config => tables::config(&endpoint.read(&body)?),
    };
    let lines: String = text.lines().map(|line| table::legible(line) + "\n").collect();
    print(&lines)
}

/// Says nothing if the proxy behind this endpoint can serve clients.
///
/// # Errors
/// When it cannot, or does not answer.
pub fn ready_command(endpoint: &Endpoint) -> Result<(), Error> {
    endpoint
        .is_ready()?
        .map_err(|reasons| Error::NotReady(reasons.join("; ")))
}

/// Has the proxy behind this endpoint do something, and prints its answer, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, or it refuses. In at most ten seconds.
pub fn act_command(endpoint: &Endpoint, action: &Action, json: bool) -> Result<(), Error> {
    let body = endpoint.ask(Method::POST, &action.path())?;
    if json {
        return print(&String::from_utf8_lossy(&body));
    }
    print(&(action.told(&endpoint.read(&body)?) + "\n"))
}

/// Has the proxy behind this endpoint reload its configuration, and prints what that came to, as JSON or for people.
///
/// # Errors
/// When no proxy answers there, it refuses, or its configuration has mistakes: then nothing has changed. In at most ten seconds.
pub fn reload_command(endpoint: &Endpoint, json: bool) -> Result<(), Error> {
    let body = endpoint.ask(Method::POST, "/reload")?;
    if json {
        print(&String::from_utf8_lossy(&body))?;
    }
    let reloaded: Reloaded = endpoint.read(&body)?;
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

fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is none of our concern.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::admin::routes::{self, Verb};

    fn actions() -> Vec<Action> {
        let node = || "[::1]:27017".to_owned();
        let lasts = Some(Duration::from_secs(90));
        vec![
            Action::Drain,
            Action::Pause,
            Action::Resume,
            Action::Reconnect(node()),
            Action::Avoid { node: node(), lasts },
            Action::Unavoid(node()),
            Action::LogLevel {
                level: Some("info,tidegate::pool=debug".to_owned()),
                lasts,
            },
            Action::LogLevel {
                level: None,
                lasts: None,
            },
            Action::Kill(7),
        ]
    }

    #[test]
    fn every_command_asks_a_path_that_there_is() {
        for action in actions() {
            let path = action.path();
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let (route, name) = routes::at(path)
                .find(|(route, _)| route.method == Verb::Post)
                .unwrap();
            assert!(
                name.is_empty() || ["[::1]:27017", "7"].contains(&&*name),
                "{name}"
            );
            super::super::query::Query::parse(query, route.parameters).unwrap();
        }
        let filter = Filter {
            user: Some("ann@shop".to_owned()),
            application: Some("a & b".to_owned()),
            state: Some("idle".to_owned()),
            limit: Some(3),
        };
        for show in [
            Show::Status,
            Show::Topology,
            Show::Pools,
            Show::Clients(filter),
            Show::Cursors { limit: Some(3) },
            Show::Config,
        ] {
            let (route, _) = routes::at(show.path())
                .find(|(route, _)| route.method == Verb::Get)
                .unwrap();
            let query = show.query();
            super::super::query::Query::parse(query.trim_start_matches('?'), route.parameters).unwrap();
        }
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
    fn actions_tell_whether_they_changed_anything() {
        let told = |changed| {
            let answer = json!({ "changed": changed, "clients": 7, "hold_seconds": 30.0 });
            actions()[..3]
                .iter()
                .map(|action| action.told(&answer))
                .collect::<Vec<_>>()
        };
        let texts: BTreeSet<_> = [told(true), told(false)].concat().into_iter().collect();
        assert_eq!(texts.len(), 6);
        for part in ["7 clients", "each for up to 30s"] {
            assert!(texts.iter().any(|text| text.contains(part)), "{texts:?}");
        }
        let no_hold = Action::Pause.told(&json!({ "changed": true, "hold_seconds": 0.0 }));
        assert!(no_hold.starts_with("commands fail now"), "{no_hold}");
        let answer = json!({ "level": "debug", "configured": "info", "returns_in_seconds": 89.7 });
        let text = actions()[6].told(&answer);
        assert_eq!(text, "the log's level is debug, and info again in 1m 30s");
    }
}
