//! From the reply to `hello` or `isMaster` to a [`ServerDescription`].
//!
//! Never fails: a reply that makes no sense gives an Unknown server whose error says what was wrong.
//! Source: "Parsing a hello or legacy hello response" of the Server Discovery and Monitoring specification.

use std::time::{Duration, Instant};

use bson::{RawArray, RawBsonRef, RawDocument};

use super::{Address, OpTime, ServerDescription, ServerKind, TopologyVersion};

/// What only telling the kind needs; the rest goes straight into the description.
#[derive(Default)]
struct Roles {
    ok: bool,
    is_writable_primary: Option<bool>,
    is_master: bool,
    secondary: bool,
    arbiter_only: bool,
    is_replica_set: bool,
    is_mongos: bool,
    errmsg: Option<String>,
}

impl ServerDescription {
    /// What a `hello` reply tells of the server at `address`. `now` is when the reply came, `rtt` the
    /// average round trip time.
    #[must_use]
    pub fn from_hello(address: Address, reply: &RawDocument, now: Instant, rtt: Option<Duration>) -> Self {
        let mut description = match read(address.clone(), reply) {
            Ok(description) => Self { rtt, ..description },
            Err(fault) => Self::unknown(
                address,
                Some(format!("the reply to hello makes no sense: {fault}")),
            ),
        };
        description.last_update = Some(now);
        if description.kind == ServerKind::Unknown {
            description.rtt = None;
        }
        description
    }
}

/// Reads every field once, in the order of the reply.
fn read(address: Address, reply: &RawDocument) -> Result<ServerDescription, String> {
    let mut description = ServerDescription::unknown(address.clone(), None);
    let mut roles = Roles::default();
    for element in reply.iter() {
        let (key, value) = element.map_err(|error| error.to_string())?;
        read_field(&mut description, &mut roles, key.as_str(), value)
            .map_err(|fault| format!("field {:?} {fault}", key.as_str()))?;
    }
    if !roles.ok {
        let error = match roles.errmsg {
            Some(errmsg) => format!("hello failed: {errmsg}"),
            None => "the reply to hello has no \"ok: 1\"".to_owned(),
        };
        return Ok(ServerDescription::unknown(address, Some(error)));
    }
    description.secondary = roles.secondary;
    description.kind = roles.kind(&description);
    Ok(description)
}

impl Roles {
    /// The table "type" of the specification.
    fn kind(&self, description: &ServerDescription) -> ServerKind {
        if self.is_mongos {
            ServerKind::Mongos
        } else if self.is_replica_set {
            ServerKind::RsGhost
        } else if description.set_name.is_none() {
            ServerKind::Standalone
        } else if description.hidden {
            ServerKind::RsOther
        } else if self.is_writable_primary.unwrap_or(self.is_master) {
            ServerKind::RsPrimary
        } else if self.secondary {
            ServerKind::RsSecondary
        } else if self.arbiter_only {
            ServerKind::RsArbiter
        } else {
            ServerKind::RsOther
        }
    }
}

fn read_field(
    into: &mut ServerDescription,
    roles: &mut Roles,
    key: &str,
    value: RawBsonRef<'_>,
) -> Result<(), String> {
    match key {
        "ok" => roles.ok = integer(value) == Some(1) || value.as_bool() == Some(true),
        "errmsg" => roles.errmsg = value.as_str().map(str::to_owned),
        "isWritablePrimary" => roles.is_writable_primary = Some(truth(value)),
        "ismaster" => roles.is_master = truth(value),
        "secondary" => roles.secondary = truth(value),
        "arbiterOnly" => roles.arbiter_only = truth(value),
        "isreplicaset" => roles.is_replica_set = truth(value),
        "msg" => roles.is_mongos = value.as_str() == Some("isdbgrid"),
        "hidden" => into.hidden = truth(value),
        "passive" => into.passive = truth(value),
        "helloOk" => into.hello_ok = truth(value),
        "iscryptd" => into.is_cryptd = truth(value),
        "setName" => into.set_name = Some(text(value)?.to_owned()),
        "me" => into.me = Some(address(value)?),
        "primary" => into.primary = primary(value)?,
        "hosts" => into.hosts = addresses(value)?,
        "passives" => into.passives = addresses(value)?,
        "arbiters" => into.arbiters = addresses(value)?,
        "tags" => into.tags = tags(value)?,
        "setVersion" => into.set_version = Some(narrow(value)?),
        "electionId" => {
            into.election_id = Some(value.as_object_id().ok_or("is no ObjectId")?);
        }
        "minWireVersion" => into.min_wire_version = narrow(value)?,
        "maxWireVersion" => into.max_wire_version = narrow(value)?,
        "maxBsonObjectSize" => into.max_bson_object_size = limit(value)?,
        "maxMessageSizeBytes" => into.max_message_size_bytes = limit(value)?,
        "maxWriteBatchSize" => into.max_write_batch_size = limit(value)?,
        "logicalSessionTimeoutMinutes" => {
            into.logical_session_timeout_minutes = integer(value).and_then(|n| i32::try_from(n).ok());
        }
        "secondaryDelaySecs" | "slaveDelay" => into.secondary_delay_secs = integer(value),
        "lastWrite" => last_write(into, value)?,
        "topologyVersion" => {
            into.topology_version = value.as_document().and_then(TopologyVersion::from_document)
        }
        _ => {}
    }
    Ok(())
}

/// A number of any width, if it is whole.
fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(n) => Some(n.into()),
        RawBsonRef::Int64(n) => Some(n),
        // The cast saturates, and 2^53 bounds what a double holds exactly.
        RawBsonRef::Double(n) if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 => Some(n as i64),
        _ => None,
    }
}

/// As a server reads its own flags: true, or a number other than zero.
fn truth(value: RawBsonRef<'_>) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| integer(value).is_some_and(|n| n != 0))
}

fn text(value: RawBsonRef<'_>) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "is no string".to_owned())
}

fn narrow(value: RawBsonRef<'_>) -> Result<i32, String> {
    integer(value)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or_else(|| "is no 32-bit integer".to_owned())
}

fn limit(value: RawBsonRef<'_>) -> Result<i32, String> {
    match narrow(value)? {
        n if n > 0 => Ok(n),
        n => Err(format!("is {n}, not above zero")),
    }
}

fn address(value: RawBsonRef<'_>) -> Result<Address, String> {
    text(value)?
        .parse()
        .map_err(|error| format!("names no server: {error}"))
}

/// An empty string stands for "none known" in replies of members that have lost their primary.
fn primary(value: RawBsonRef<'_>) -> Result<Option<Address>, String> {
    if value.as_str() == Some("") {
        Ok(None)
    } else {
        address(value).map(Some)
    }
}

fn elements(list: &RawArray) -> impl Iterator<Item = Result<RawBsonRef<'_>, String>> {
    list.into_iter()
        .map(|element| element.map_err(|error| error.to_string()))
}

fn addresses(value: RawBsonRef<'_>) -> Result<Vec<Address>, String> {
    elements(value.as_array().ok_or("is no array")?)
        .map(|element| address(element?))
        .collect()
}

fn tags(value: RawBsonRef<'_>) -> Result<Vec<(String, String)>, String> {
    let mut tags = Vec::new();
    for element in value.as_document().ok_or("is no document")? {
        let (key, value) = element.map_err(|error| error.to_string())?;
        tags.push((key.as_str().to_owned(), text(value)?.to_owned()));
    }
    Ok(tags)
}

fn last_write(into: &mut ServerDescription, value: RawBsonRef<'_>) -> Result<(), String> {
    for element in value.as_document().ok_or("is no document")? {
        let (key, value) = element.map_err(|error| error.to_string())?;
        match key.as_str() {
            "lastWriteDate" => {
                // Test servers and old proxies write the date as a plain number.
                let millis = value.as_datetime().map(bson::DateTime::timestamp_millis);
                into.last_write = millis.or_else(|| integer(value));
            }
            "opTime" => into.op_time = op_time(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// `{ts, t}`; a server of the first replication protocol writes a bare timestamp, which is no use here.
fn op_time(value: RawBsonRef<'_>) -> Result<Option<OpTime>, String> {
    let Some(document) = value.as_document() else {
        return Ok(None);
    };
    let field = |name| document.get(name).map_err(|error| error.to_string());
    let timestamp = field("ts")?.and_then(RawBsonRef::as_timestamp);
    let term = field("t")?.and_then(integer);
    Ok(timestamp
        .zip(term)
        .map(|(timestamp, term)| OpTime { timestamp, term }))
}

impl TopologyVersion {
    /// Reads the `topologyVersion` of a `hello` reply or of a state change error; `None` if it lacks a field
    /// or is damaged, which leaves nothing to compare.
    #[must_use]
    pub fn from_document(document: &RawDocument) -> Option<Self> {
        let process_id = document.get("processId").ok()??.as_object_id()?;
        let counter = integer(document.get("counter").ok()??)?;
        Some(Self { process_id, counter })
    }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
