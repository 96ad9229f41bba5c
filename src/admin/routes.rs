//! Every path of the endpoint: one table, from which requests are answered, and which the list at `/` shows.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::{access::Need, act, answer::Answer, gather::Observer, listing, live, query::Query, show};
use crate::audit::Event;

/// What is done at a path.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Verb,
    /// The path; a part in braces stands for any text, up to the next slash.
    pub(super) path: &'static str,
    /// The right that it asks for.
    pub(super) need: Need,
    /// What may stand in the query string.
    pub(super) parameters: &'static [&'static str],
    /// Says what it does.
    pub(super) about: &'static str,
    pub(super) handler: Handler,
}

/// How a path is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// By `GET`, and by `HEAD`.
    Get,
    /// By `POST`.
    Post,
}

/// What answers.
#[derive(Debug)]
pub(super) enum Handler {
    /// At once.
    Now(fn(&Call<'_>) -> Answer),
    /// After a while.
    Later(for<'a> fn(&'a Call<'a>) -> Pending<'a>),
}

/// An answer that is being prepared.
pub(super) type Pending<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Who sends requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) address: SocketAddr,
    /// A certificate that was verified.
    pub(super) has_certificate: bool,
    /// When the connection is closed.
    pub(super) until: Instant,
}

/// A request that may be answered.
pub(super) struct Call<'a> {
    pub(super) route: &'static Route,
    pub(super) observer: &'a Arc<Observer>,
    pub(super) caller: Caller,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: Query,
    /// What stands in the path where the route's has braces.
    pub(super) name: String,
}

impl Call<'_> {
    /// Writes down that the caller had this done.
    pub(super) fn report(&self, changed: bool) {
        report(self.observer, self.caller, self.route, &self.name, changed);
    }
}

/// Writes down that somebody had this done.
pub(super) fn report(observer: &Observer, caller: Caller, route: &Route, name: &str, changed: bool) {
    observer.audit().report(&Event::AdminAction {
        address: Some(caller.address),
        action: route.path,
        subject: Some(name).filter(|name| !name.is_empty()),
        changed,
    });
}

/// Every path, and what it tells or does.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Verb::Get,
        path: "/",
        need: Need::Read,
        parameters: &[],
        about: "the dashboard for browsers, this list for programs",
        handler: Handler::Now(show::list),
    },
    Route {
        method: Verb::Get,
        path: "/livez",
        need: Need::Nothing,
        parameters: &[],
        about: "200 while the process serves",
        handler: Handler::Now(show::livez),
    },
    Route {
        method: Verb::Get,
        path: "/readyz",
        need: Need::Nothing,
        parameters: &[],
        about: "200 when clients can be served, else 503; says why",
        handler: Handler::Now(show::readyz),
    },
    Route {
        method: Verb::Get,
        path: "/status",
        need: Need::Read,
        parameters: &[],
        about: "nodes, pools, clients and counters, as JSON",
        handler: Handler::Later(|call| Box::pin(show::status(call))),
    },
    Route {
        method: Verb::Get,
        path: "/topology",
        need: Need::Read,
        parameters: &["node"],
        about: "the replica set and its members; ?node=HOST:PORT for one of them",
        handler: Handler::Later(|call| Box::pin(show::topology(call))),
    },
    Route {
        method: Verb::Get,
        path: "/pools",
        need: Need::Read,
        parameters: &["node"],
        about: "the connections to each node, and who holds them; ?node=HOST:PORT for one of them",
        handler: Handler::Now(listing::pools),
    },
    Route {
        method: Verb::Get,
        path: "/clients",
        need: Need::Read,
        parameters: &["user", "application", "state", "limit"],
        about: "who is connected, and what each is at; ?user=, ?application=, ?state= choose, ?limit= says how many are told",
        handler: Handler::Now(listing::clients),
    },
    Route {
        method: Verb::Get,
        path: "/cursors",
        need: Need::Read,
        parameters: &["limit"],
        about: "open cursors and the node of each; ?limit= says how many are told",
        handler: Handler::Now(listing::cursors),
    },
    Route {
        method: Verb::Get,
        path: "/config",
        need: Need::Read,
        parameters: &[],
        about: "every setting, its value and where that comes from; of secrets only that they are set",
        handler: Handler::Now(show::config),
    },
    Route {
        method: Verb::Get,
        path: "/openapi.json",
        need: Need::Read,
        parameters: &[],
        about: "all of this for machines (OpenAPI 3.1)",
        handler: Handler::Now(show::openapi),
    },
    Route {
        method: Verb::Get,
        path: "/events",
        need: Need::Read,
        parameters: &[],
        about: "what happens, as it happens, and the state each second: server-sent events",
        handler: Handler::Now(live::open),
    },
    Route {
        method: Verb::Get,
        path: "/slow",
        need: Need::Read,
        parameters: &[],
        about: "the last hundred slow commands, the newest first ([log] slow)",
        handler: Handler::Now(show::slow),
    },
    Route {
        method: Verb::Get,
        path: "/metrics",
        need: Need::Read,
        parameters: &[],
        about: "the same for Prometheus",
        handler: Handler::Now(show::metrics),
    },
    Route {
        method: Verb::Post,
        path: "/pause",
        need: Need::Act,
        parameters: &[],
        about: "commands wait at the gate from now on, for as long as [failover] hold says",
        handler: Handler::Now(act::pause),
    },
    Route {
        method: Verb::Post,
        path: "/resume",
        need: Need::Act,
        parameters: &[],
        about: "they go on",
        handler: Handler::Now(act::resume),
    },
    Route {
        method: Verb::Post,
        path: "/drain",
        need: Need::Act,
        parameters: &[],
        about: "the proxy takes no new clients soon, lets those that it has end what they are at, and ends ([drain])",
        handler: Handler::Now(act::drain),
    },
    Route {
        method: Verb::Post,
        path: "/reload",
        need: Need::Act,
        parameters: &[],
        about: "reads the configuration again; tells what took effect, what waits for a restart, and every mistake (422)",
        handler: Handler::Later(|call| Box::pin(act::reload(call))),
    },
    Route {
        method: Verb::Post,
        path: "/pools/{node}/reconnect",
        need: Need::Act,
        parameters: &[],
        about: "all connections to a node are made anew: idle ones are closed now, others when their command is done",
        handler: Handler::Now(act::reconnect),
    },
    Route {
        method: Verb::Post,
        path: "/nodes/{node}/avoid",
        need: Need::Act,
        parameters: &["for", "off"],
        about: "reads by read preference pass a node over while another fits; ?for= says how long (10m), ?off ends it",
        handler: Handler::Now(act::avoid),
    },
    Route {
        method: Verb::Post,
        path: "/clients/{id}/kill",
        need: Need::Act,
        parameters: &[],
        about: "a client's connection is closed at once, whatever it is at",
        handler: Handler::Now(act::kill),
    },
    Route {
        method: Verb::Get,
        path: "/log-level",
        need: Need::Read,
        parameters: &[],
        about: "the level of the log",
        handler: Handler::Now(show::log_level),
    },
    Route {
        method: Verb::Post,
        path: "/log-level",
        need: Need::Act,
        parameters: &["level", "for", "reset"],
        about: "the log's level changes: ?level=debug or info,tidegate::pool=trace, ?for= says how long; ?reset sets the configured one",
        handler: Handler::Now(act::log_level),
    },
];

impl Route {
    /// Whether it is asked by this method.
    pub(super) fn takes(&self, method: &Method) -> bool {
        match self.method {
            Verb::Get => matches!(*method, Method::GET | Method::HEAD),
            Verb::Post => *method == Method::POST,
        }
    }

    /// Whether this is a path of its; what stands where the braces are.
    pub(super) fn name_in(&self, path: &str) -> Option<String> {
        let Some((before, rest)) = self.path.split_once('{') else {
            return (self.path == path).then(String::new);
        };
        let (_, after) = rest.split_once('}')?;
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let name = percent_decode_str(name).decode_utf8().ok()?;
        Some(name.into_owned())
    }
}

/// The routes of a path, each with what stands where it has braces.
pub(super) fn at(path: &str) -> impl Iterator<Item = (&'static Route, String)> {
    ROUTES
        .iter()
        .filter_map(move |route| Some((route, route.name_in(path)?)))
}

/// The right that a request needs. Whatever is no question asks for the right to act, be there such a path or not.
pub(super) fn need(method: &Method, path: &str) -> Need {
    let here = || at(path).map(|(route, _)| route);
    let asked = here().find(|route| route.takes(method));
    match asked.or_else(|| here().next()) {
        Some(route) if route.takes(method) || route.need == Need::Act => route.need,
        _ if matches!(*method, Method::GET | Method::HEAD) => Need::Read,
        _ => Need::Act,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_route_is_there_once_and_says_what_it_does() {
        let all: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.path, route.method == Verb::Post))
            .collect();
        assert_eq!(all.len(), ROUTES.len());
        for route in ROUTES {
            assert!(!route.about.is_empty(), "{}", route.path);
            // Probes and readers change nothing.
            assert_eq!(
                route.method == Verb::Post,
                route.need == Need::Act,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn a_part_in_braces_takes_any_text_but_a_slash() {
        let route = Route {
            path: "/pools/{node}/reconnect",
            handler: Handler::Now(show::list),
            method: Verb::Post,
            need: Need::Act,
            parameters: &[],
            about: "a test",
        };
        for (path, name) in [
            ("/pools/a:27017/reconnect", Some("a:27017")),
            ("/pools/%5B::1%5D:27017/reconnect", Some("[::1]:27017")),
            ("/pools/a%2Fb/reconnect", Some("a/b")),
            ("/pools//reconnect", None),
            ("/pools/reconnect", None),
            ("/pools/a/b/reconnect", None),
            ("/pools/%FF/reconnect", None),
            ("/pools/a/reconnect/", None),
        ] {
            assert_eq!(route.name_in(path).as_deref(), name, "{path}");
        }
    }
}
