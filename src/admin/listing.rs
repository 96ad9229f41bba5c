//! `/clients`, `/cursors` and `/pools`: gathered when somebody asks.

use std::time::Instant;

use hyper::StatusCode;

use super::{
    answer::{self, Answer, problem},
    gather::{observe_pool, state},
    lists::{Client, Clients, Cursor, Cursors, Identity, NodePool, Pools},
    query::Query,
    routes::Call,
};
use crate::{client, pool};

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
    let pins = &call.observer.shared().pins;
    let pinned = pins.len();
    let mut cursors: Vec<_> = pins
        .list(limit, Instant::now())
        .into_iter()
        .map(|(id, pin, age, unused)| Cursor {
            id,
            node: pin.node.to_string(),
            awaits: pin.awaits,
            age_seconds: age.as_secs_f64(),
            idle_seconds: unused.as_secs_f64(),
        })
        .collect();
    cursors.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
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
    let snapshot = call.observer.shared().cluster.load();
    let nodes = snapshot.topology.servers().iter().zip(&snapshot.nodes);
    let wanted = call.query.get("node");
    let pools: Vec<_> = nodes
        .filter(|(server, _)| wanted.is_none_or(|wanted| server.address.to_string() == wanted))
        .map(|(server, pool)| {
            let (parts, other_identities) = pool.parts(IDENTITIES);
            NodePool {
                node: server.address.to_string(),
                state: state(server.kind).to_owned(),
                streaming: pool.streaming(),
                pool: observe_pool(pool),
                identities: parts.iter().map(identity).collect(),
                other_identities,
            }
        })
        .collect();
    match wanted {
        Some(wanted) if pools.is_empty() => {
            problem(StatusCode::NOT_FOUND, &format!("there is no node {wanted:?}"))
        }
        _ => answer::json(StatusCode::OK, &Pools { pools }),
    }
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
