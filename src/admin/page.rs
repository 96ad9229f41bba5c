//! The dashboard: one page that holds all that it needs, and asks for nothing but `/events`.
//!
//! It holds no data, so that it is given to everybody; what it shows it gets with the token that it asks for. The browser is told by hash
//! which style and which script are the page's own, and runs no other (Content Security Policy Level 3).

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, VARY},
};
use sha2::{Digest, Sha256};

use super::answer::{Answer, answer};

const PAGE: &str = include_str!("page/dashboard.html");
const HTML: &str = "text/html; charset=utf-8";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let (style, script) = (hash_of("<style>", "</style>"), hash_of("<script>", "</script>"));
    let policy = format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    // Without a policy that is understood, nothing would be allowed.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The hash of what stands between two tags, as a policy names it.
fn hash_of(open: &str, close: &str) -> String {
    let inside = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    let digest = Sha256::digest(inside.map_or("", |(text, _)| text).as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

/// Whether a browser asks for the page, and not a program for the list of paths.
pub(super) fn is_asked(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|accepted| accepted.split(','));
    let is_html = |kind: &str| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim() == "text/html")
    };
    path == "/" && matches!(*method, Method::GET | Method::HEAD) && kinds.any(is_html)
}

/// The page.
pub(super) fn page() -> Answer {
    let mut response = answer(StatusCode::OK, HTML, PAGE);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_one_style_and_one_script_and_names_nothing_outside() {
        for tag in ["<style", "</style>", "<script", "</script>"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        for outside in [
            "http:",
            "https:",
            "//cdn",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "style=\"",
            " onclick",
        ] {
            let at = PAGE.find(outside);
            let near = at.map(|at| PAGE[at..].chars().take(60).collect::<String>());
            // The name of a namespace, which is not asked for.
            let is_fine = near
                .as_deref()
                .is_none_or(|near| near.starts_with("http://www.w3.org/"));
            assert!(
                is_fine || PAGE.replace("http://www.w3.org/", "").find(outside).is_none(),
                "{outside}: {near:?}"
            );
        }
        let policy = POLICY.to_str().unwrap();
        assert!(
            policy.contains("script-src 'sha256-") && !policy.contains("unsafe"),
            "{policy}"
        );
    }

    #[test]
    fn browsers_get_it_and_programs_do_not() {
        let asked = |path: &str, accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            is_asked(&Method::GET, path, &headers)
        };
        assert!(asked("/", Some("text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(asked("/", Some("application/json, text/html;q=0.5")));
        assert!(!asked("/", Some("*/*")) && !asked("/", None) && !asked("/status", Some("text/html")));
    }
}
