//! What each path answers.

use std::{net::SocketAddr, time::UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::json;

use super::{
    access::{Asker, Need},
    draining,
    gather::Observer,
    metrics,
};
use crate::audit::{AdminRefusal, Event};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Every path, and what it tells.
pub(super) const PATHS: [(&str, &str); 8] = [
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
    (
        DRAIN,
        "POST: the proxy takes no new clients soon, lets those that it has end what they are at, and ends ([drain])",
    ),
];
const PAUSE: &str = "/pause";
const RESUME: &str = "/resume";
const DRAIN: &str = "/drain";

/// Who sends requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) address: SocketAddr,
    /// A certificate that was verified.
    pub(super) has_certificate: bool,
}

/// The right that a request needs. Whatever is no question asks for the right to act, be there such a path or not.
fn need(method: &Method, path: &str) -> Need {
    if matches!(path, PAUSE | RESUME | DRAIN) || !matches!(*method, Method::GET | Method::HEAD) {
        Need::Act
    } else if matches!(path, "/livez" | "/readyz") {
        Need::Nothing
    } else {
        Need::Read
    }
}

/// Answers a request, whose body is of no concern, if its sender has the right to that.
pub(super) async fn respond<B>(
    request: &Request<B>,
    caller: Caller,
    observer: &Observer,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    let need = need(method, path);
    let asker = Asker {
        headers: request.headers(),
        has_certificate: caller.has_certificate,
    };
    if need != Need::Nothing && asker.shows_token() && !observer.access().is_open() {
        tokio::time::sleep(observer.delay(caller.address.ip())).await;
    }
    if let Err(reason) = observer.access().judge(need, &asker) {
        observer.note_refusal(caller.address.ip(), reason);
        observer.audit().report(&Event::AdminRefused {
            address: Some(caller.address),
            path: path.into(),
            reason,
        });
        return refused(reason);
    }
    if !PATHS.iter().any(|(known, _)| *known == path) {
        return refusal(StatusCode::NOT_FOUND, &format!("there is no {path:?} here"));
    }
    if matches!(path, PAUSE | RESUME | DRAIN) && *method != Method::POST {
        return wrong_method("POST");
    }
    if path == DRAIN {
        return drain(caller, observer);
    }
    if matches!(path, PAUSE | RESUME) {
        let changed = observer.pause(path == PAUSE);
        observer.audit().report(&Event::AdminAction {
            address: Some(caller.address),
            action: if path == PAUSE { PAUSE } else { RESUME },
            changed,
        });
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

/// Has the proxy drained.
fn drain(caller: Caller, observer: &Observer) -> Response<Full<Bytes>> {
    let Some((changed, clients)) = draining::ask(observer.shared()) else {
        return json(
            StatusCode::CONFLICT,
            &json!({ "error": "this proxy cannot be drained: it ends with the sandbox that it belongs to" }),
        );
    };
    observer.audit().report(&Event::AdminAction {
        address: Some(caller.address),
        action: DRAIN,
        changed,
    });
    json(
        StatusCode::OK,
        &json!({ "draining": true, "changed": changed, "clients": clients }),
    )
}

/// Tells why somebody may not do what was asked for, and how they may.
fn refused(reason: AdminRefusal) -> Response<Full<Bytes>> {
    let (code, says) = match reason {
        AdminRefusal::NoToken => (
            StatusCode::UNAUTHORIZED,
            "a token is needed: send the header \"Authorization: Bearer TOKEN\" ([admin] token or read_token)",
        ),
        AdminRefusal::WrongToken => (StatusCode::UNAUTHORIZED, "the token is wrong"),
        AdminRefusal::MayOnlyRead => (
            StatusCode::FORBIDDEN,
            "this token is for reading: acting needs the other one ([admin] token)",
        ),
        AdminRefusal::CrossSite => (StatusCode::FORBIDDEN, "web pages may not do this"),
        AdminRefusal::UnknownHost => (
            StatusCode::FORBIDDEN,
            "without a token, requests must be for an IP address or localhost (header Host)",
        ),
    };
    let mut response = json(code, &json!({ "error": says }));
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"tidegate\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
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
