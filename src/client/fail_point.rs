//! The fail point `failCommand` at a listener that permits it: set, cleared and struck here, before anything is routed.
//!
//! Each listener has one, as each server of a cluster has its own. Where none is set, a command costs an atomic load; on
//! listeners that do not permit it, nothing.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bson::rawdoc;

use super::{
    ListenAddress,
    inbound::{Inbound, ReplyTo, encode},
    session::{End, Session},
};
use crate::command::fail_command::{FailCommand, Failure, Order, Subject};

/// The fail points in force, by listener.
#[derive(Debug, Default)]
pub(super) struct FailPoints {
    /// How many there are: a look at this spares all others the lock.
    set: AtomicUsize,
    by_listener: Mutex<HashMap<ListenAddress, FailCommand>>,
}

impl FailPoints {
    /// Puts `point` in force at a listener, or nothing.
    fn put(&self, listener: &ListenAddress, point: Option<FailCommand>) {
        let mut points = self.by_listener.lock().unwrap_or_else(PoisonError::into_inner);
        match point {
            Some(point) => points.insert(listener.clone(), point),
            None => points.remove(listener),
        };
        self.set.store(points.len(), Relaxed);
    }

    fn strike(&self, listener: &ListenAddress, subject: Subject<'_>) -> Option<Failure> {
        if self.set.load(Relaxed) == 0 {
            return None;
        }
        let mut points = self.by_listener.lock().unwrap_or_else(PoisonError::into_inner);
        let point = points.get_mut(listener)?;
        let failure = point.strike(subject);
        if point.is_spent() {
            points.remove(listener);
        }
        self.set.store(points.len(), Relaxed);
        failure
    }
}

/// Lets a fail point act on a command that is answered to `reply_to`; `true` if nothing is left to do for it.
///
/// # Errors
/// When the fail point closes the connection, or the answer cannot be sent.
pub(super) async fn strike(session: &mut Session, inbound: &Inbound, reply_to: ReplyTo) -> Result<bool, End> {
    let message = inbound.frame.bytes();
    let name = inbound.request.name(message);
    if name == b"configureFailPoint" {
        return obey(session, inbound).await;
    }
    let body = inbound.request.layout.body(message)?;
    remember_app_name(session, inbound)?;
    let first = body.iter().next().transpose()?;
    let collection = match body.get("collection")? {
        Some(named) if name == b"getMore" => Some(named),
        _ => first,
    };
    let subject = Subject {
        name,
        db: inbound.request.db(message),
        collection: collection.and_then(|c| c.as_str_bytes()).unwrap_or_default(),
        app_name: session.place.app_name.as_deref(),
    };
    let Some(failure) = session
        .shared
        .fail_points
        .strike(&session.listener.address, subject)
    else {
        return Ok(false);
    };
    if let Some(time) = failure.block {
        tokio::time::sleep(time).await;
    }
    if failure.close {
        return Err(End::FailPoint);
    }
    match failure.reply(&inbound.request) {
        Some(reply) => answer(session, reply_to, &reply).await,
        None => Ok(false),
    }
}

/// Carries out a `configureFailPoint`, if it is one for here; the nodes are told what they have to know.
async fn obey(session: &mut Session, inbound: &Inbound) -> Result<bool, End> {
    let body = inbound.request.layout.body(inbound.frame.bytes())?;
    let Some(order) = crate::wire::decode(body).ok().as_ref().and_then(Order::parse) else {
        return Ok(false);
    };
    let (points, listener) = (&session.shared.fail_points, &session.listener.address);
    match order {
        Order::Clear => {
            points.put(listener, None);
            Ok(false)
        }
        Order::Set(point) => {
            tracing::warn!(%listener, ?point, "a client has set a fail point");
            points.put(listener, Some(point));
            answer(session, inbound.reply_to, &rawdoc! { "count": 0, "ok": 1.0 }).await
        }
    }
}

async fn answer(session: &mut Session, reply_to: ReplyTo, reply: &bson::RawDocument) -> Result<bool, End> {
    if let Some(reply) = encode(reply, reply_to)? {
        session.answer(reply).await?;
    }
    Ok(true)
}

/// Takes the application's name from the first `hello` (MongoDB Handshake specification).
fn remember_app_name(session: &mut Session, inbound: &Inbound) -> Result<(), End> {
    let name = inbound.request.name(inbound.frame.bytes());
    if session.place.app_name.is_some() || !(name == b"hello" || name.eq_ignore_ascii_case(b"ismaster")) {
        return Ok(());
    }
    let body = inbound.request.layout.body(inbound.frame.bytes())?;
    let client = body.get("client")?.and_then(|client| client.as_doc());
    let application = match client {
        Some(client) => client.get("application")?.and_then(|part| part.as_doc()),
        None => None,
    };
    if let Some(application) = application
        && let Some(name) = application.get("name")?
    {
        session.place.app_name = name.as_str().map(Into::into);
    }
    Ok(())
}
