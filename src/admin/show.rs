//! The paths that tell something.

use std::time::UNIX_EPOCH;

use hyper::StatusCode;
use serde_json::json;

use super::{
    answer::{self, Answer, TEXT, answer, problem},
    metrics,
    routes::Call,
};

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
        topology.nodes.retain(|node| node.address == wanted);
        if topology.nodes.is_empty() {
            return problem(StatusCode::NOT_FOUND, &format!("there is no node {wanted:?}"));
        }
    }
    answer::json(StatusCode::OK, &topology)
}

pub(super) fn metrics(call: &Call<'_>) -> Answer {
    let observer = call.observer;
    let started = observer.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    match metrics::render(observer.status(), observer.counters(), started.as_secs_f64()) {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be rendered",
        ),
    }
}
