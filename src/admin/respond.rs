//! Who asks for what, whether they may, and who answers.

use std::sync::Arc;

use hyper::{Request, StatusCode};

use super::{
    access::{Asker, Need},
    answer::{Answer, problem, refused, unknown, wrong_method},
    gather::Observer,
    page,
    query::Query,
    routes::{self, Call, Caller, Handler},
};
use crate::audit::Event;

/// Answers a request, whose body is of no concern, if its sender has the right to that.
pub(super) async fn respond<B>(request: &Request<B>, caller: Caller, observer: &Arc<Observer>) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    // The page itself tells nothing.
    let is_page = page::is_asked(method, path, request.headers());
    let need = if is_page {
        Need::Nothing
    } else {
        routes::need(method, path)
    };
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
    if is_page {
        return page::page();
    }
    if routes::at(path).next().is_none() {
        return unknown(path);
    }
    let Some((route, name)) = routes::at(path).find(|(route, _)| route.takes(method)) else {
        return wrong_method(routes::at(path).map(|(route, _)| route.method));
    };
    // Probes and scrapers may add what they like to what takes nothing; what acts or chooses does not overlook a word.
    let is_strict = need == Need::Act || !route.parameters.is_empty();
    let query = request.uri().query().filter(|_| is_strict).unwrap_or_default();
    let query = match Query::parse(query, route.parameters) {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    let call = Call {
        route,
        observer,
        caller,
        headers: request.headers(),
        query,
        name,
    };
    match route.handler {
        Handler::Now(answer) => answer(&call),
        Handler::Later(answer) => answer(&call).await,
    }
}
