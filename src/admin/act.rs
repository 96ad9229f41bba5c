//! The paths that do something. Each writes to the audit log what it did.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use serde_json::json;

use super::{
    answer::{self, Answer, problem},
    draining,
    listing::is_named,
    reloading::Outcome,
    routes::{Call, report},
    show,
};
use crate::{
    pool::{Pool, Renewed},
    telemetry::log,
    topology::Address,
};

/// How long a node is avoided where nothing is said.
const AVOID_FOR: Duration = Duration::from_secs(600);
/// How long anything lasts at most that ends by itself.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) fn pause(call: &Call<'_>) -> Answer {
    set_paused(call, true)
}

pub(super) fn resume(call: &Call<'_>) -> Answer {
    set_paused(call, false)
}

fn set_paused(call: &Call<'_>, paused: bool) -> Answer {
    let changed = call.observer.pause(paused);
    call.report(changed);
    let hold = call.observer.shared().settings().failover.hold;
    answer::json(
        StatusCode::OK,
        &json!({ "paused": paused, "changed": changed, "hold_seconds": hold.as_secs_f64() }),
    )
}

pub(super) fn drain(call: &Call<'_>) -> Answer {
    let Some((changed, clients)) = draining::ask(call.observer.shared()) else {
        return problem(
            StatusCode::CONFLICT,
            "this proxy cannot be drained: it ends with the sandbox that it belongs to",
        );
    };
    call.report(changed);
    answer::json(
        StatusCode::OK,
        &json!({ "draining": true, "changed": changed, "clients": clients }),
    )
}

pub(super) async fn reload(call: &Call<'_>) -> Answer {
    let (observer, caller, route) = (Arc::clone(call.observer), call.caller, call.route);
    // Who asks may be gone before it is done: that is written down all the same.
    let asked = tokio::spawn(async move {
        let reloaded = observer.view.reloading.ask().await?;
        report(&observer, caller, route, "", reloaded.result == Outcome::Applied);
        Some(reloaded)
    });
    let Some(reloaded) = asked.await.ok().flatten() else {
        return problem(
            StatusCode::CONFLICT,
            "this proxy has no configuration to reload: it belongs to a sandbox, or is about to end",
        );
    };
    let code = match reloaded.result {
        Outcome::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Applied | Outcome::Unchanged => StatusCode::OK,
    };
    answer::json(code, &reloaded)
}

pub(super) fn reconnect(call: &Call<'_>) -> Answer {
    let (node, pools) = match node(call) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let renewed: Vec<_> = pools.iter().filter_map(|(pool, _)| pool.renew()).collect();
    call.report(!renewed.is_empty());
    let Some(first) = renewed.first() else {
        let error = format!("{node} is not reached just now: there are no connections to it");
        return problem(StatusCode::CONFLICT, &error);
    };
    let sum = |part: fn(&Renewed) -> usize| renewed.iter().map(part).sum::<usize>();
    let (closed, lent) = (sum(|renewed| renewed.closed), sum(|renewed| renewed.lent));
    tracing::info!(%node, closed, lent, "all connections are made anew (POST /pools/{{node}}/reconnect)");
    answer::json(
        StatusCode::OK,
        &json!({
            "node": node.to_string(), "changed": true, "generation": first.generation, "closed": closed, "closing_later": lent,
        }),
    )
}

pub(super) fn avoid(call: &Call<'_>) -> Answer {
    let (node, pools) = match node(call) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    if pools.iter().all(|(_, is_alone)| *is_alone) {
        let error = format!(
            "{node} is served by a [[listener]] of its own alone, whose clients have no other node to read from"
        );
        return problem(StatusCode::CONFLICT, &error);
    }
    let avoided = call.observer.shared().cluster.avoided();
    let lasts = match duration(call, "for") {
        Ok(lasts) => lasts,
        Err(refusal) => return *refusal,
    };
    let is_off = match call.query.flag("off") {
        Ok(is_off) => is_off,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    if is_off {
        if lasts.is_some() {
            return problem(StatusCode::BAD_REQUEST, "give one of for and off");
        }
        let changed = avoided.lift(&node);
        call.report(changed);
        tracing::info!(%node, changed, "reads go to it again (POST /nodes/{{node}}/avoid?off)");
        let body = json!({ "node": node.to_string(), "avoided": false, "changed": changed });
        return answer::json(StatusCode::OK, &body);
    }
    let lasts = lasts.unwrap_or(AVOID_FOR);
    let changed = avoided.left(&node).is_none();
    avoided.set(&node, Instant::now() + lasts);
    call.report(changed);
    tracing::warn!(%node, ?lasts, "reads pass it over while another node fits (POST /nodes/{{node}}/avoid)");
    let body = json!({
        "node": node.to_string(), "avoided": true, "changed": changed, "seconds": lasts.as_secs_f64(),
    });
    answer::json(StatusCode::OK, &body)
}

pub(super) fn kill(call: &Call<'_>) -> Answer {
    let found = call
        .name
        .parse()
        .ok()
        .filter(|id| call.observer.shared().roster.kill(*id));
    let Some(id) = found else {
        let error = format!("there is no client {:?}; GET /clients lists them", call.name);
        return problem(StatusCode::NOT_FOUND, &error);
    };
    call.report(true);
    answer::json(StatusCode::OK, &json!({ "id": id, "killed": true }))
}

pub(super) fn log_level(call: &Call<'_>) -> Answer {
    let bad = |error: &str| problem(StatusCode::BAD_REQUEST, error);
    let Some(control) = log::control() else {
        return show::no_log();
    };
    let lasts = match duration(call, "for") {
        Ok(lasts) => lasts,
        Err(refusal) => return *refusal,
    };
    let resets = match call.query.flag("reset") {
        Ok(resets) => resets,
        Err(error) => return bad(&error),
    };
    let level = match (call.query.get("level"), resets) {
        (Some(text), false) => match text.parse::<log::Level>() {
            Ok(level) => Some(level),
            Err(error) => return bad(&error.to_string()),
        },
        (None, true) if lasts.is_none() => None,
        _ => return bad("give either level, and for how long if it shall end (for), or reset"),
    };
    let (changed, change) = control.set(level, lasts);
    if let Some(lasts) = lasts {
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            control.end(change);
        });
    }
    call.report(changed);
    let (level, _) = control.now();
    tracing::warn!(%level, ?lasts, "the log's level was set (POST /log-level)");
    answer::json(StatusCode::OK, &show::level(control, changed))
}

/// A pool of a node, and whether it is that of a listener that serves the node alone.
type OfNode = (Arc<Pool>, bool);

/// The node that the path names, and its pools.
fn node(call: &Call<'_>) -> Result<(Address, Vec<OfNode>), Box<Answer>> {
    let (mut pools, mut found, mut known) = (Vec::new(), None, BTreeSet::new());
    for reached in call.observer.reached() {
        let snapshot = reached.cluster.load();
        for (server, pool) in snapshot.topology.servers().iter().zip(&snapshot.nodes) {
            if is_named(&server.address, &call.name) {
                pools.push((Arc::clone(pool), reached.listener.is_some()));
                found.get_or_insert_with(|| server.address.clone());
            }
            known.insert(server.address.to_string());
        }
    }
    found.map(|node| (node, pools)).ok_or_else(|| {
        let known = Vec::from_iter(known).join(", ");
        let error = format!("there is no node {:?}; there are: {known}", call.name);
        Box::new(problem(StatusCode::NOT_FOUND, &error))
    })
}

/// How long something shall last, if that is said.
fn duration(call: &Call<'_>, name: &str) -> Result<Option<Duration>, Box<Answer>> {
    let Some(text) = call.query.get(name) else {
        return Ok(None);
    };
    let lasts = humantime::parse_duration(text)
        .ok()
        .filter(|lasts| !lasts.is_zero() && *lasts <= LONGEST);
    lasts.map(Some).ok_or_else(|| {
        let error = format!("{name} must be a duration such as 90s or 10m, at most 24h, not {text:?}");
        Box::new(problem(StatusCode::BAD_REQUEST, &error))
    })
}
