//! `tidegate check --connect`: tries the nodes.
//!
//! The members are learnt as the running proxy learns them, from the seeds on and by the same rules, so that what is reported is
//! what it would use. Each node is asked once, on a connection of its own, which logs in as the service user.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::rawdoc;
use tokio::{
    task::JoinSet,
    time::{timeout, timeout_at},
};

use super::{
    Error, runtime,
    seeds::{look_up, seedlist_lines, with_seedlist},
};
use crate::{
    admin::capacity::{self, NodeConnections, per_proxy, proxies_that_fit},
    config::Config,
    pool,
    topology::{
        Address, Event, RemovalReason, ServerDescription, ServerKind, Topology, TopologyKind, TopologyOptions,
    },
    upstream::{self, Connection, Login},
};

/// The connection that asks counts too.
const ASKING: u64 = 1;

/// Connects to every node that the configuration leads to, and compares the pools with what the nodes have left. A line for each
/// node, then warnings. Takes at most the server selection timeout.
///
/// # Errors
/// When no node that holds data answers, a node is of another replica set than the configured one, or does not let the service user in.
pub fn check_connect(config: &Config) -> Result<Checked, Error> {
    runtime()?.block_on(async {
        let mut lines = Vec::new();
        let mut config = config.clone();
        if let Some(seedlist) = look_up(&config).await.map_err(Error::Srv)? {
            lines.extend(seedlist_lines(&config.upstream, &seedlist));
            config = with_seedlist(&config, seedlist)?;
        }
        let found = discover(&config.upstream).await;
        lines.extend(found.report(&config.pool, config.upstream.server_selection_timeout)?);
        let nodes = found.topology.data_bearing().count();
        Ok(Checked { lines, nodes })
    })
}

/// What trying the nodes brought.
#[derive(Debug)]
pub struct Checked {
    /// A line for each node, then warnings.
    pub lines: Vec<String>,
    /// The data-bearing nodes: each gets a pool.
    pub nodes: usize,
}

/// What a node told beside its `hello`.
#[derive(Debug, Clone)]
struct Told {
    version: Result<String, String>,
    rtt: Duration,
    connections: Result<NodeConnections, String>,
    /// Why the service user was not let in.
    refused: Option<String>,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) topology: Topology,
    told: BTreeMap<Address, Told>,
    /// Members of the topology that could not be tried in time.
    late: BTreeSet<Address>,
    /// Nodes that were named and are not used, and why.
    left_out: Vec<String>,
    /// Nodes of another set.
    strangers: Vec<String>,
}

/// Tries the seeds, then the members that they name, all at once.
pub(super) async fn discover(options: &upstream::Options) -> Found {
    let deadline = tokio::time::Instant::now() + options.server_selection_timeout;
    let mut found = Found::new(options);
    let (mut tried, mut trials) = (BTreeSet::new(), JoinSet::new());
    loop {
        for server in found.topology.servers() {
            if tried.insert(server.address.clone()) {
                trials.spawn(try_node(server.address.clone(), options.clone()));
                found.late.insert(server.address.clone());
            }
        }
        match timeout_at(deadline, trials.join_next()).await {
            Ok(Some(Ok((description, told)))) => found.take_in(description, told),
            // A trial does not panic; should one, its node stays among the late.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return found,
        }
    }
}

async fn try_node(address: Address, options: upstream::Options) -> (ServerDescription, Option<Told>) {
    match upstream::connect(&address, &options).await {
        Ok(upstream::Opened {
            mut connection,
            hello,
            ..
        }) => {
            let found = Instant::now();
            let description = ServerDescription::from_hello(address.clone(), &hello, found, None);
            // An arbiter has no users.
            let login = options
                .service
                .as_ref()
                .filter(|_| description.kind.is_data_bearing());
            let refused = log_in(&mut connection, login, options.connect_timeout).await;
            let told = Told {
                refused,
                ..ask(&mut connection, options.connect_timeout).await
            };
            let rtt = Some(told.rtt);
            (
                ServerDescription::from_hello(address, &hello, found, rtt),
                Some(told),
            )
        }
        Err(failure) => (
            ServerDescription::unknown(address, Some(failure.to_string())),
            None,
        ),
    }
}

/// Why the service user, if there is one, cannot log in.
async fn log_in(connection: &mut Connection, login: Option<&Arc<Login>>, limit: Duration) -> Option<String> {
    match timeout(limit, upstream::login(connection, login?)).await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(_) => Some(format!("no login within {limit:?}")),
    }
}

async fn ask(connection: &mut Connection, limit: Duration) -> Told {
    let late = || format!("no reply within {limit:?}");
    let asked = Instant::now();
    let build_info = rawdoc! { "buildInfo": 1, "$db": "admin" };
    let version = match timeout(limit, connection.run(&build_info)).await {
        Ok(Ok(reply)) => reply
            .get_str("version")
            .map(str::to_owned)
            .map_err(|_| "the reply names none".to_owned()),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(late()),
    };
    let rtt = asked.elapsed();
    let connections = match connection.is_clean() {
        true => match timeout(limit, capacity::ask(connection)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(late()),
        },
        false => Err("the connection broke".to_owned()),
    };
    Told {
        version,
        rtt,
        connections,
        refused: None,
    }
}

impl Found {
    fn new(options: &upstream::Options) -> Self {
        Self {
            topology: Topology::new(TopologyOptions {
                seeds: options.seeds.clone(),
                set_name: options.set_name.clone(),
                direct: options.direct,
                ..TopologyOptions::default()
            }),
            told: BTreeMap::new(),
            late: BTreeSet::new(),
            left_out: Vec::new(),
            strangers: Vec::new(),
        }
    }

    fn take_in(&mut self, description: ServerDescription, told: Option<Told>) {
        let address = description.address.clone();
        self.late.remove(&address);
        self.told.extend(told.map(|told| (address, told)));
        for event in self.topology.apply(description).events {
            match &event {
                Event::SetNameMismatch { .. }
                | Event::MemberRemoved {
                    reason: RemovalReason::SetNameMismatch { .. },
                    ..
                } => {
                    self.strangers.push(event.to_string());
                }
                Event::MemberRemoved { .. } => self.left_out.push(event.to_string()),
                _ => {}
            }
        }
    }

    pub(super) fn report(&self, pool: &pool::Options, patience: Duration) -> Result<Vec<String>, Error> {
        if !self.strangers.is_empty() {
            return Err(Error::Check(format!(
                "{}; correct replicaSet or the hosts in [upstream] uri",
                self.strangers.join("; ")
            )));
        }
        let refused = self.told.iter().filter_map(|(address, told)| {
            let why = told.refused.as_ref()?;
            Some(format!("{address}: {why}"))
        });
        let refused: Vec<_> = refused.collect();
        if !refused.is_empty() {
            return Err(Error::Check(refused.join("; ")));
        }
        if let Some(incompatible) = self.topology.compatibility_error() {
            return Err(Error::Check(incompatible.to_string()));
        }
        let servers = self.topology.servers();
        if self.topology.data_bearing().next().is_none() {
            let each: Vec<_> = servers
                .iter()
                .map(|server| self.node_line(server, pool, patience))
                .collect();
            let each = [each, self.left_out.clone()].concat().join("; ");
            return Err(Error::Check(format!("no node that holds data answers: {each}")));
        }
        let mut lines: Vec<String> = servers
            .iter()
            .map(|server| self.node_line(server, pool, patience))
            .collect();
        lines.extend(self.left_out.iter().map(|event| format!("warning: {event}")));
        lines.extend(
            servers
                .iter()
                .filter_map(|server| self.room_warning(&server.address, pool)),
        );
        if self.topology.kind() == TopologyKind::ReplicaSetNoPrimary {
            lines.push("warning: no primary is known: writes would wait for an election".to_owned());
        }
        Ok(lines)
    }

    fn node_line(&self, server: &ServerDescription, pool: &pool::Options, patience: Duration) -> String {
        let address = &server.address;
        if server.kind == ServerKind::Unknown {
            let why = match &server.error {
                Some(error) => error.clone(),
                None if self.late.contains(address) => format!("no answer within {patience:?}"),
                None => "nothing is known".to_owned(),
            };
            return format!("node {address}: DOWN: {why}");
        }
        let Some(told) = self.told.get(address) else {
            return format!("node {address}: {}", server.kind);
        };
        let version = match &told.version {
            Ok(version) => format!("MongoDB {version}"),
            Err(why) => format!("version not known ({why})"),
        };
        let rtt = told.rtt.as_secs_f64() * 1000.0;
        format!(
            "node {address}: {}, {version}, RTT {rtt:.1} ms, {}",
            server.kind,
            room(&told.connections, pool)
        )
    }

    /// A pool that cannot fill itself is a mistake that shows only under load.
    fn room_warning(&self, address: &Address, pool: &pool::Options) -> Option<String> {
        let connections = self.told.get(address)?.connections.as_ref().ok()?;
        let (needed, available) = (per_proxy(pool.most()), connections.available + ASKING);
        (needed > available).then(|| {
            format!(
                "warning: {address} has {available} connections left, and a proxy may take {needed} ([pool] max_size {}, \
                 max_awaiting {}, and {} for monitoring): lower max_size or max_awaiting, or raise the node's net.maxIncomingConnections or its limit \
                 on open files",
                pool.max_size,
                pool.max_awaiting,
                capacity::MONITORING
            )
        })
    }
}

/// A node's connections beside what a proxy may take.
fn room(connections: &Result<NodeConnections, String>, pool: &pool::Options) -> String {
    match connections {
        Ok(NodeConnections { current, available }) => {
            let fit = proxies_that_fit(*available, ASKING, pool.most());
            let each = per_proxy(pool.most());
            format!(
                "{current} connections, {available} left: enough for {fit} more proxies of up to {each} each"
            )
        }
        Err(why) => format!("connections not known ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, RawDocumentBuf, doc};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn options(seeds: &[&str], set_name: Option<&str>) -> upstream::Options {
        upstream::Options {
            seeds: seeds.iter().map(|seed| seed.parse().unwrap()).collect(),
            set_name: set_name.map(str::to_owned),
            server_selection_timeout: PATIENCE,
            ..upstream::Options::default()
        }
    }

    fn told(available: u64) -> Option<Told> {
        Some(Told {
            version: Ok("6.0.5".to_owned()),
            rtt: Duration::from_micros(500),
            connections: Ok(NodeConnections {
                current: 10,
                available,
            }),
            refused: None,
        })
    }

    fn member(address: &str, set: &str, role: Document) -> ServerDescription {
        let mut hello =
            doc! { "ok": 1, "maxWireVersion": 17, "setName": set, "hosts": ["a:1", "b:1"], "me": address };
        hello.extend(role);
        let hello = RawDocumentBuf::try_from(&hello).unwrap();
        ServerDescription::from_hello(address.parse().unwrap(), &hello, Instant::now(), None)
    }

    fn report(found: &Found) -> Result<Vec<String>, String> {
        found
            .report(&pool::Options::default(), PATIENCE)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_member_has_a_line_and_full_nodes_a_warning() {
        let mut found = Found::new(&options(&["a:1"], None));
        found.take_in(
            member("a:1", "rs", doc! { "isWritablePrimary": true }),
            told(2019),
        );
        found.take_in(member("b:1", "rs", doc! { "secondary": true }), told(50));
        let lines = report(&found).unwrap();
        assert_eq!(
            lines[0],
            "node a:1: RSPrimary, MongoDB 6.0.5, RTT 0.5 ms, 10 connections, 2019 left: enough for 10 more proxies of up to 202 each"
        );
        assert!(lines[1].contains("enough for 0 more proxies"), "{}", lines[1]);
        assert!(
            lines[2].starts_with("warning: b:1 has 51 connections left, and a proxy may take 202"),
            "{}",
            lines[2]
        );
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_node_that_is_down_and_a_missing_primary_are_told_but_no_error() {
        let mut found = Found::new(&options(&["a:1", "b:1"], None));
        found.take_in(member("b:1", "rs", doc! { "secondary": true }), told(51_000));
        let down =
            ServerDescription::unknown("a:1".parse().unwrap(), Some("cannot connect: refused".to_owned()));
        found.take_in(down, None);
        let lines = report(&found).unwrap();
        assert_eq!(lines[0], "node a:1: DOWN: cannot connect: refused");
        assert_eq!(
            lines[2],
            "warning: no primary is known: writes would wait for an election"
        );
    }

    #[test]
    fn another_set_is_an_error() {
        let mut found = Found::new(&options(&["a:1", "b:1"], Some("rs")));
        found.take_in(
            member("a:1", "other", doc! { "isWritablePrimary": true }),
            told(51_000),
        );
        let error = report(&found).unwrap_err();
        assert!(
            error.contains("a:1") && error.contains("other") && error.contains("replicaSet"),
            "{error}"
        );
    }

    #[test]
    fn a_node_that_does_not_let_the_service_user_in_is_an_error() {
        let mut found = Found::new(&options(&["a:1"], None));
        let told = told(2019).map(|told| Told {
            refused: Some("the password is wrong".to_owned()),
            ..told
        });
        found.take_in(member("a:1", "rs", doc! { "isWritablePrimary": true }), told);
        assert_eq!(report(&found).unwrap_err(), "a:1: the password is wrong");
    }

    #[tokio::test]
    async fn nodes_that_do_not_answer_are_an_error_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = listener.local_addr().unwrap().to_string();
        let limit = Duration::from_millis(200);
        let options = upstream::Options {
            server_selection_timeout: limit,
            ..options(&[&silent], None)
        };
        let started = Instant::now();
        let error = discover(&options)
            .await
            .report(&pool::Options::default(), limit)
            .unwrap_err()
            .to_string();
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(
            error.contains(&format!("{silent}: DOWN: no answer within 200ms")),
            "{error}"
        );
    }
}
