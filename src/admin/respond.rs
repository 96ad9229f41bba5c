//! What each path answers.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
};
use serde::Serialize;
use serde_json::json;

use super::{gather::Observer, metrics};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Every path, and what it tells.
pub(super) const PATHS: [(&str, &str); 7] = [
    ("/", "this list"),
    ("/livez", "200 while the process serves"),
    ("/readyz", "200 when clients can be served, else 503; says why"),
    ("/status", "nodes, pools, clients and counters, as JSON"),
    ("/metrics", "the same for Prometheus"),
    (
        PAUSE,
        "POST: commands wait at the gate from now on, for as long as [failover] hold says",
    ),
    (RESUME, "POST: they go on"),
];
const PAUSE: &str = "/pause";
const RESUME: &str = "/resume";

/// Answers a request, whose body is of no concern.
pub(super) async fn respond<B>(request: &Request<B>, observer: &Observer) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    if !PATHS.iter().any(|(known, _)| *known == path) {
        return refusal(StatusCode::NOT_FOUND, &format!("there is no {path:?} here"));
    }
    if matches!(path, PAUSE | RESUME) {
        if *method != Method::POST {
            return wrong_method("POST");
        }
        // A browser names the page that a request comes from; no page has any business here.
        if request.headers().contains_key(ORIGIN) {
            return refusal(StatusCode::FORBIDDEN, "web pages may not do this");
        }
        let changed = observer.pause(path == PAUSE);
        return json(
            StatusCode::OK,
            &json!({ "paused": path == PAUSE, "changed": changed }),
        );
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return wrong_method("GET, HEAD");
    }
    match path {
        "/livez" => answer(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => {
            let verdict = observer.verdict();
            let code = if verdict.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            json(code, &verdict)
        }
        "/status" => {
            observer.ask_nodes().await;
            json(StatusCode::OK, &observer.status())
        }
        "/metrics" => {
            let started = observer.started().duration_since(UNIX_EPOCH).unwrap_or_default();
            match metrics::render(observer.status(), observer.counters(), started.as_secs_f64()) {
                Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
                Err(_) => refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be rendered",
                ),
            }
        }
        _ => {
            let version = env!("CARGO_PKG_VERSION");
            json(
                StatusCode::OK,
                &json!({ "name": "tidegate", "version": version, "paths": paths() }),
            )
        }
    }
}

fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let problem = format!("only {allowed} is served here");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &problem);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn paths() -> serde_json::Value {
    PATHS
        .iter()
        .map(|(path, about)| ((*path).to_owned(), json!(about)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn refusal(code: StatusCode, error: &str) -> Response<Full<Bytes>> {
    json(code, &json!({ "error": error, "paths": paths() }))
}

fn json(code: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(code, JSON, text + "\n"),
        Err(_) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            "the answer cannot be rendered\n",
        ),
    }
}

fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Every answer tells of one moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
