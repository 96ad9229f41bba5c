//! The forms that answers have.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::routes::{ROUTES, Verb};
use crate::audit::AdminRefusal;

/// For a line of plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// For everything that has a shape.
pub(super) const JSON: &str = "application/json";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The body of an answer: whole, or as it comes.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
/// What a request is answered with.
pub(super) type Answer = Response<Body>;

/// An answer of this kind (`Content-Type`).
pub(super) fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    protect(headers);
    response
}

/// What every answer tells browsers, for each tells of one moment, and has names in it that clients choose.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // It is what it says, and no other site's page may embed it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// A value as JSON that people can read, too.
pub(super) fn json(code: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(code, JSON, text + "\n"),
        Err(_) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            "the answer cannot be rendered\n",
        ),
    }
}

/// Says what is wrong.
pub(super) fn problem(code: StatusCode, error: &str) -> Answer {
    json(code, &json!({ "error": error }))
}

/// There is no such path.
pub(super) fn unknown(path: &str) -> Answer {
    let error = format!("there is no {path:?} here");
    json(
        StatusCode::NOT_FOUND,
        &json!({ "error": error, "paths": paths() }),
    )
}

/// The path is asked in other ways.
pub(super) fn wrong_method(asked_by: impl Iterator<Item = Verb>) -> Answer {
    let allowed: Vec<_> = asked_by
        .map(|verb| match verb {
            Verb::Get => "GET, HEAD",
            Verb::Post => "POST",
        })
        .collect();
    let allowed = allowed.join(", ");
    let error = format!("only {allowed} is served here");
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({ "error": error, "paths": paths() }),
    );
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Tells why somebody may not do what was asked for, and how they may.
pub(super) fn refused(reason: AdminRefusal) -> Answer {
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
    let mut response = problem(code, says);
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"tidegate\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Every path with what it is for; what is done there by `POST` follows that word.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let mut about = match route.method {
            Verb::Get => route.about.to_owned(),
            Verb::Post => format!("POST: {}", route.about),
        };
        if let Some(Value::String(first)) = paths.get(route.path) {
            about = format!("{first}; {about}");
        }
        paths.insert(route.path.to_owned(), json!(about));
    }
    paths
}
