//! The paths that tell something.

use std::time::UNIX_EPOCH;

use hyper::StatusCode;
use serde_json::json;

use super::{
    answer::{self, Answer, JSON, TEXT, answer, problem},
    lists::{Config, LogLevel},
    live, metrics,
    routes::Call,
};
use crate::telemetry::log;

/// What the paths are, what they take and what they answer.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

pub(super) fn list(_: &Call<'_>) -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    answer::json(
        StatusCode::OK,
        &json!({ "name": "tidegate", "version": version, "paths": answer::paths() }),
    )
}

pub(super) fn livez(_: &Call<'_>) -> Answer {
    answer(StatusCode::OK, TEXT, "ok\n")
}

pub(super) fn readyz(call: &Call<'_>) -> Answer {
    let verdict = call.observer.verdict();
    let code = if verdict.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer::json(code, &verdict)
}

pub(super) async fn status(call: &Call<'_>) -> Answer {
    call.observer.ask_nodes().await;
    answer::json(StatusCode::OK, &call.observer.status())
}

pub(super) async fn topology(call: &Call<'_>) -> Answer {
    call.observer.ask_nodes().await;
    let mut topology = call.observer.status().topology;
    if let Some(wanted) = call.query.get("node") {
        topology
            .nodes
            .retain(|node| node.address.eq_ignore_ascii_case(wanted));
        if topology.nodes.is_empty() {
            return problem(StatusCode::NOT_FOUND, &format!("there is no node {wanted:?}"));
        }
    }
    answer::json(StatusCode::OK, &topology)
}

pub(super) fn slow(call: &Call<'_>) -> Answer {
    answer::json(StatusCode::OK, &live::slow_commands(call.observer))
}

pub(super) fn metrics(call: &Call<'_>) -> Answer {
    let observer = call.observer;
    let started = observer.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (counters, measured) = (observer.counters(), observer.measured());
    match metrics::render(observer.status(), counters, measured, started.as_secs_f64()) {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be rendered",
        ),
    }
}

pub(super) fn config(call: &Call<'_>) -> Answer {
    let settings = call.observer.settings();
    answer::json(StatusCode::OK, &Config { settings })
}

pub(super) fn openapi(_: &Call<'_>) -> Answer {
    answer(StatusCode::OK, JSON, OPENAPI)
}

pub(super) fn log_level(_: &Call<'_>) -> Answer {
    match log::control() {
        Some(control) => answer::json(StatusCode::OK, &level(control, false)),
        None => no_log(),
    }
}

/// The level of now.
pub(super) fn level(control: &log::Control, changed: bool) -> LogLevel {
    let (level, left) = control.now();
    LogLevel {
        level: level.to_string(),
        configured: control.configured().to_string(),
        changed,
        returns_in_seconds: left.map(|left| left.as_secs_f64()),
    }
}

pub(super) fn no_log() -> Answer {
    problem(
        StatusCode::CONFLICT,
        "the log of this process is not the proxy's own",
    )
}
