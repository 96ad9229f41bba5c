//! What `hello` answers: Tidegate presents itself as a `mongos`.
//!
//! Drivers then take its one address for the whole set, send their read preference along, and leave the choice of nodes to it
//! (Server Discovery and Monitoring specification, `msg: "isdbgrid"`). It stays writable during elections: holding commands
//! back is the proxy's work. Without a `topologyVersion` drivers ask at each heartbeat instead of waiting for changes.

use bson::{DateTime, RawDocumentBuf, raw::cstr};

use super::{inbound::Inbound, session::Session};
use crate::{command::ErrorReply, wire::MAX_MESSAGE_LEN};

/// Bytes that a request may grow by on its way: a message of the full size could not take a splice.
const SPLICE_ROOM: i32 = 16 << 10;

/// Why this `hello` is refused, if its API version says so: there is one version, and only `hello` by that name is part of it.
pub(super) fn refusal(inbound: &Inbound) -> Option<ErrorReply> {
    if !inbound.request.has_api_version {
        return None;
    }
    let message = inbound.frame.bytes();
    let body = inbound.request.layout.body(message).ok()?;
    let flag = |name| matches!(body.get(name), Ok(Some(flag)) if flag.as_bool() == Some(true));
    match body.get("apiVersion") {
        Ok(Some(version)) if version.as_str_bytes() != Some(b"1") => Some(ErrorReply::api_version()),
        Ok(Some(_)) if flag("apiStrict") && inbound.request.name(message) != b"hello" => {
            Some(ErrorReply::api_strict(inbound.request.name(message)))
        }
        Ok(Some(_)) => None,
        _ if flag("apiStrict") || flag("apiDeprecationErrors") => Some(ErrorReply::api_version_missing()),
        _ => None,
    }
}

/// The reply to `hello` or its older names; `None` while no node has ever answered.
pub(super) fn document(session: &Session, inbound: &Inbound) -> Option<RawDocumentBuf> {
    let message = inbound.frame.bytes();
    let body = inbound.request.layout.body(message).ok()?;
    let is_hello = inbound.request.name(message) == b"hello";
    let hello_ok = matches!(body.get("helloOk"), Ok(Some(flag)) if flag.as_bool() == Some(true));

    let snapshot = session.shared.cluster.load();
    let common = snapshot.topology.common()?;
    let limits = common.limits;
    let mut hello = RawDocumentBuf::new();
    if hello_ok {
        hello.append(cstr!("helloOk"), true);
    }
    hello.append(
        if is_hello {
            cstr!("isWritablePrimary")
        } else {
            cstr!("ismaster")
        },
        true,
    );
    hello.append(cstr!("msg"), "isdbgrid");
    hello.append(cstr!("maxBsonObjectSize"), limits.max_bson_object_size);
    let largest = limits.max_message_size_bytes.min(MAX_MESSAGE_LEN as i32) - SPLICE_ROOM;
    hello.append(cstr!("maxMessageSizeBytes"), largest);
    hello.append(cstr!("maxWriteBatchSize"), limits.max_write_batch_size);
    hello.append(cstr!("localTime"), DateTime::now());
    if let Some(minutes) = common.session_timeout_minutes {
        hello.append(cstr!("logicalSessionTimeoutMinutes"), minutes);
    }
    hello.append(cstr!("connectionId"), session.id);
    hello.append(cstr!("maxWireVersion"), common.max_wire_version);
    hello.append(cstr!("minWireVersion"), 0);
    hello.append(cstr!("readOnly"), false);
    hello.append(cstr!("ok"), 1.0);
    Some(hello)
}
