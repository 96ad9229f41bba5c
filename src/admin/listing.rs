//! `/clients`, `/cursors` and `/pools`: gathered when somebody asks.

use std::{cmp::Reverse, time::Instant};

use hyper::StatusCode;

use super::{
    answer::{self, Answer, problem},
    gather::{observe_pool, state},
    lists::{Client, Clients, Cursor, Cursors, Identity, NodePool, Pools},
    query::Query,
    routes::Call,
};
use crate::{client, pool, topology::Address};

/// Entries of a list where nothing is said.
const LIMIT: usize = 100;
/// Most entries that may be asked for.
const MOST: usize = 10_000;
/// Identities that are told apart in each pool.
const IDENTITIES: usize = 20;
/// Cursors that are named of each client.
const CURSORS: usize = 16;

pub(super) fn clients(call: &Call<'_>) -> Answer {
    let limit = match limit(&call.query) {
        Ok(limit) => limit,
        Err(refusal) => return *refusal,
    };
    let state = call.query.get("state");
    if let Some(unknown) =
        state.filter(|state| client::State::ALL.iter().all(|known| known.as_str() != *state))
    {
        let known = client::State::ALL.map(client::State::as_str).join(", ");
        let error = format!("there is no state {unknown:?}; there are: {known}");
        return problem(StatusCode::BAD_REQUEST, &error);
    }
    let wanted =
        |name: &str, value: Option<&str>| call.query.get(name).is_none_or(|wanted| value == Some(wanted));
    let roster = call.observer.shared().roster.entries();
    let connected = roster.len();
    let mut matching = 0;
    let mut clients = Vec::new();
    for entry in roster {
        let seen = entry.look();
        let fits = wanted("user", seen.user.as_deref())
            && wanted("application", seen.application.as_deref())
            && state.is_none_or(|state| state == seen.state.as_str());
        if fits {
            matching += 1;
            if clients.len() < limit {
                clients.push(client(seen));
            }
        }
    }
    let note = note(clients.len(), matching);
    answer::json(
        StatusCode::OK,
        &Clients {
            connected,
            matching,
            note,
            clients,
        },
    )
}

fn client(seen: client::Client) -> Client {
    let (driver, driver_version) = seen.driver.unzip();
    let mut cursors = seen.cursors;
    cursors.truncate(CURSORS);
    Client {
        id: seen.id,
        address: seen.address,
        listener: seen.listener,
        user: seen.user,
        application: seen.application,
        driver,
        driver_version,
        state: seen.state.as_str().to_owned(),
        command: seen.command.map(str::to_owned),
        command_age_seconds: seen.command_age.map(|age| age.as_secs_f64()),
        age_seconds: seen.age.as_secs_f64(),
        in_transaction: seen.in_transaction,
        cursors,
    }
}

pub(super) fn cursors(call: &Call<'_>) -> Answer {
    let limit = match limit(&call.query) {
        Ok(limit) => limit,
        Err(refusal) => return *refusal,
    };
    let now = Instant::now();
    let reached = call.observer.reached();
    let mut all: Vec<_> = reached
        .iter()
        .flat_map(|reached| reached.pins.list(now))
        .collect();
    let pinned = all.len();
    all.sort_unstable_by_key(|(_, _, age, _)| Reverse(*age));
    all.truncate(limit);
    let cursors: Vec<_> = all
        .into_iter()
        .map(|(id, pin, age, unused)| Cursor {
            id,
            namespace: pin.namespace.map(|namespace| namespace.to_string()),
            node: pin.node.to_string(),
            awaits: pin.awaits,
            age_seconds: age.as_secs_f64(),
            idle_seconds: unused.as_secs_f64(),
        })
        .collect();
    let note = note(cursors.len(), pinned);
    answer::json(
        StatusCode::OK,
        &Cursors {
            pinned,
            note,
            cursors,
        },
    )
}

pub(super) fn pools(call: &Call<'_>) -> Answer {
    let wanted = call.query.get("node");
    let mut pools = Vec::new();
    for reached in call.observer.reached() {
        let snapshot = reached.cluster.load();
        let nodes = snapshot.topology.servers().iter().zip(&snapshot.nodes);
        let nodes = nodes.filter(|(server, _)| wanted.is_none_or(|wanted| is_named(&server.address, wanted)));
        pools.extend(nodes.map(|(server, pool)| {
            let (parts, other_identities) = pool.parts(IDENTITIES);
            NodePool {
                node: server.address.to_string(),
                listener: reached.listener.as_ref().map(ToString::to_string),
                state: state(server.kind).to_owned(),
                streaming: pool.streaming(),
                pool: observe_pool(pool),
                identities: parts.iter().map(identity).collect(),
                other_identities,
            }
        }));
    }
    match wanted {
        Some(wanted) if pools.is_empty() => {
            problem(StatusCode::NOT_FOUND, &format!("there is no node {wanted:?}"))
        }
        _ => answer::json(StatusCode::OK, &Pools { pools }),
    }
}

/// Whether somebody means this node, in whatever case its name is written.
pub(super) fn is_named(node: &Address, name: &str) -> bool {
    node.to_string().eq_ignore_ascii_case(name)
}

fn identity(part: &pool::Part) -> Identity {
    let identity = &part.identity;
    let kind = match identity {
        service if service.is_service() => "service",
        nobody if nobody.is_nobody() => "nobody",
        _ => "user",
    };
    Identity {
        user: identity.user().map(ToString::to_string),
        kind: kind.to_owned(),
        in_use: part.in_use,
        awaiting: part.awaiting,
        idle: part.idle,
        connecting: part.connecting,
        waiting: part.waiting,
    }
}

/// How many entries are asked for.
fn limit(query: &Query) -> Result<usize, Box<Answer>> {
    let Some(text) = query.get("limit") else {
        return Ok(LIMIT);
    };
    let number = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    number.ok_or_else(|| {
        let error = format!("limit must be a number from 1 to {MOST}, not {text:?}");
        Box::new(problem(StatusCode::BAD_REQUEST, &error))
    })
}

/// Says that a list was cut, if it was.
fn note(shown: usize, all: usize) -> Option<String> {
    (shown < all)
        .then(|| format!("{shown} of {all} are shown; ask for more with ?limit=NUMBER, up to {MOST}"))
}
