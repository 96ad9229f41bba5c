//! Tidegate's own errors in MongoDB's form: `{ok: 0, errmsg, code, codeName, errorLabels}`.

use bson::{RawArrayBuf, RawDocumentBuf};

use super::Request;
use crate::{
    audit::Name,
    topology::{ReadPreferenceError, TopologyVersion},
    wire::WireError,
};

/// A label that lets drivers retry a write once more.
pub const RETRYABLE_WRITE: &str = "RetryableWriteError";
/// A label that lets applications run a whole transaction again.
pub const TRANSIENT_TRANSACTION: &str = "TransientTransactionError";
/// A label that lets drivers open a change stream anew.
pub const RESUMABLE_CHANGE_STREAM: &str = "ResumableChangeStreamError";
/// Labels of an answer to overload; the command was not run.
pub const OVERLOAD: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

/// `HostUnreachable`: what `mongos` answers in place of an error that would make a driver take the proxy for a node
/// that stepped down.
pub const HOST_UNREACHABLE: (i32, &str) = (6, "HostUnreachable");

/// An error reply in the making; in a box, for whatever may come to one is small then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    code: i32,
    code_name: &'static str,
    message: String,
    labels: Vec<&'static str>,
    topology_version: Option<TopologyVersion>,
}

impl ErrorReply {
    fn new(code: i32, code_name: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            code_name,
            message: message.into(),
            labels: Vec::new(),
            topology_version: None,
        }))
    }

    /// A message that breaks the protocol in a way that can be answered, with the codes of a `mongod`.
    #[must_use]
    pub fn invalid_message(error: &WireError) -> Self {
        let (code, name) = match error {
            WireError::TwoBodies => (40430, "Location40430"),
            WireError::NoBody => (40587, "Location40587"),
            WireError::SectionKind(_) => (40432, "Location40432"),
            WireError::Bson(_) => (22, "InvalidBSON"),
            WireError::Truncated(_) => (15, "Overflow"),
            _ => (17, "ProtocolError"),
        };
        Self::new(code, name, error.to_string())
    }

    /// An API version that does not exist.
    #[must_use]
    pub fn api_version() -> Self {
        Self::new(322, "APIVersionError", "API version must be \"1\"")
    }

    /// A command that is not part of the API version which the client demands strictly.
    #[must_use]
    pub fn api_strict(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        Self::new(
            323,
            "APIStrictError",
            format!("{name} is not in API version 1, which apiStrict demands"),
        )
    }

    /// Demands on an API version without naming one.
    #[must_use]
    pub fn api_version_missing() -> Self {
        let message = "apiStrict and apiDeprecationErrors need an apiVersion";
        Self::new(4_886_600, "Location4886600", message)
    }

    /// A `hello` with a field that a `mongod` refuses with this code.
    #[must_use]
    pub fn invalid_hello(code: i32, code_name: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, code_name, message)
    }

    /// A client that describes itself a second time.
    #[must_use]
    pub fn metadata_is_known() -> Self {
        let message = "the client metadata may only be sent in the first hello";
        Self::new(186, "ClientMetadataCannotBeMutated", message)
    }

    /// What a secondary answers to a command that only a primary takes. With the `topologyVersion` of the last `hello` drivers see
    /// that the error tells nothing new (Server Discovery and Monitoring specification), and go on using the secondary. Drivers of old
    /// know it by its `words`, "not master", alone.
    #[must_use]
    pub fn not_primary(request: &Request, topology_version: TopologyVersion, words: &'static str) -> Self {
        let mut reply = Self::new(10107, "NotWritablePrimary", words).labelled(request);
        reply.0.topology_version = Some(topology_version);
        reply
    }

    /// A request without `$db`.
    #[must_use]
    pub fn missing_db() -> Self {
        Self::new(40571, "Location40571", "OP_MSG requests require a $db argument")
    }

    /// A request whose `$db` is not a string.
    #[must_use]
    pub fn db_not_a_string() -> Self {
        Self::new(13111, "Location13111", "the $db field must be a string")
    }

    /// A read preference that no server accepts.
    #[must_use]
    pub fn read_preference(error: &ReadPreferenceError) -> Self {
        Self::new(error.code, error.code_name, error.to_string())
    }

    /// A command that is not served here.
    #[must_use]
    pub fn refused(name: &[u8], reason: &str) -> Self {
        let name = String::from_utf8_lossy(name);
        // Drivers tell a failed login from a command that does not exist.
        match &*name {
            "saslStart" | "saslContinue" | "authenticate" => Self::new(
                18,
                "AuthenticationFailed",
                format!("authentication failed: {name}: {reason}"),
            ),
            _ => Self::new(115, "CommandNotSupported", format!("{name}: {reason}")),
        }
    }

    /// A command that a rule of the listener denies: the code of a server for a missing right, upon which drivers do not try again.
    #[must_use]
    pub fn unauthorized(name: &[u8], database: &[u8], rule: &str) -> Self {
        let (name, database) = (Name::from(name), Name::from(database));
        let message = format!(
            "not authorized on {database} to execute command {name}: this listener denies it ({rule})"
        );
        Self::new(13, "Unauthorized", message)
    }

    /// A command of a client that has not logged in.
    #[must_use]
    pub fn requires_authentication(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        Self::new(
            13,
            "Unauthorized",
            format!("command {name} requires authentication"),
        )
    }

    /// A login that came to nothing.
    #[must_use]
    pub fn authentication_failed(message: impl Into<String>) -> Self {
        Self::new(18, "AuthenticationFailed", message)
    }

    /// A login that cannot be judged, because no node could be asked.
    #[must_use]
    pub fn login_unavailable() -> Self {
        let (code, name) = HOST_UNREACHABLE;
        Self::new(
            code,
            name,
            "the login cannot be judged now: no node could be asked for the user",
        )
    }

    /// A mechanism that is not offered.
    #[must_use]
    pub fn mechanism_unavailable(name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let message = format!("Received authentication for mechanism {name} which is not enabled");
        Self::new(334, "MechanismUnavailable", message)
    }

    /// A second login on one connection, as another user: of the same database or of another.
    #[must_use]
    pub fn already_authenticated(already: &str, same_database: bool) -> Self {
        if same_database {
            let message = format!("this connection is authenticated already, as {already}; log out first");
            Self::new(5_626_702, "Location5626702", message)
        } else {
            let message = format!(
                "Each client connection may only be authenticated once. Previously authenticated as: {already}"
            );
            Self::new(5_626_701, "Location5626701", message)
        }
    }

    /// A message that is out of turn.
    #[must_use]
    pub fn protocol(message: &str) -> Self {
        Self::new(17, "ProtocolError", message)
    }

    /// A field with a value that makes no sense.
    #[must_use]
    pub fn bad_value(message: impl Into<String>) -> Self {
        Self::new(2, "BadValue", message)
    }

    /// A command without a field that it needs.
    #[must_use]
    pub fn missing_field(command: &str, field: &str) -> Self {
        let message = format!("BSON field '{command}.{field}' is missing but a required field");
        Self::new(40414, "Location40414", message)
    }

    /// A field of another type than it must have.
    #[must_use]
    pub fn type_mismatch(command: &str, field: &str, expected: &str) -> Self {
        let message = format!("BSON field '{command}.{field}' is the wrong type, expected type '{expected}'");
        Self::new(14, "TypeMismatch", message)
    }

    /// A `hello` that begins what is no login.
    #[must_use]
    pub fn unknown_speculation(command: &str, name: &str) -> Self {
        let message = format!("{command}.speculativeAuthenticate unknown command: {name}");
        Self::new(51769, "Location51769", message)
    }

    /// A command that newer nodes do not have: the code by which drivers know that a server lacks a command, and the way out.
    #[must_use]
    pub fn removed(name: &[u8], way_out: &str) -> Self {
        let name = String::from_utf8_lossy(name);
        let message = format!("no such command: '{name}': {way_out}");
        Self::new(59, "CommandNotFound", message)
    }

    /// An old command whose fields make no sense.
    #[must_use]
    pub fn failed_to_parse(message: impl Into<String>) -> Self {
        Self::new(9, "FailedToParse", message)
    }

    /// A command that this kind of cluster does not take.
    #[must_use]
    pub fn illegal_operation(message: impl Into<String>) -> Self {
        Self::new(20, "IllegalOperation", message)
    }

    /// An index that cannot be created.
    #[must_use]
    pub fn cannot_create_index(message: impl Into<String>) -> Self {
        Self::new(67, "CannotCreateIndex", message)
    }

    /// The result of an `aggregate` without a cursor is larger than a document may be, with the code of servers before 3.6.
    #[must_use]
    pub fn aggregation_too_large() -> Self {
        let message = "aggregation result exceeds maximum document size (16MB): ask for a cursor, or write it with $out";
        Self::new(16389, "Location16389", message)
    }

    /// A command for `admin` that was sent to another database.
    #[must_use]
    pub fn admin_only(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        let message = format!("{name} may only be run against the admin database.");
        Self::new(13, "Unauthorized", message)
    }

    /// A statement of a transaction that is gone: the application may run the whole transaction again.
    #[must_use]
    pub fn no_such_transaction(message: impl Into<String>) -> Self {
        let mut reply = Self::new(251, "NoSuchTransaction", message);
        reply.0.labels.push(TRANSIENT_TRANSACTION);
        reply
    }

    /// A cursor that no node knows.
    #[must_use]
    pub fn cursor_not_found(id: i64) -> Self {
        Self::new(43, "CursorNotFound", format!("cursor id {id} not found"))
    }

    /// A command whose `maxTimeMS` ran out before a node could take it.
    #[must_use]
    pub fn max_time_expired(waited_for: &str) -> Self {
        Self::new(
            50,
            "MaxTimeMSExpired",
            format!("operation exceeded time limit while waiting for {waited_for}"),
        )
    }

    /// A message that is too large to be sent on.
    #[must_use]
    pub fn too_large(length: usize, max: usize) -> Self {
        let message = format!("a message of {length} bytes is above the limit of {max}");
        Self::new(10334, "BSONObjectTooLarge", message)
    }

    /// No node could be had, or the one that had the command failed.
    #[must_use]
    pub fn unreachable(request: &Request, message: impl Into<String>) -> Self {
        let (code, name) = HOST_UNREACHABLE;
        Self::new(code, name, message).labelled(request)
    }

    /// Too much to do: the command was not sent, and may be sent again later.
    #[must_use]
    pub fn overloaded(request: &Request, message: impl Into<String>) -> Self {
        let mut reply = Self::unreachable(request, message);
        reply.0.labels.extend(OVERLOAD);
        reply
    }

    /// Adds the labels by which drivers decide what to do; they add these themselves only to errors of their own
    /// connections.
    fn labelled(mut self, request: &Request) -> Self {
        if request.is_transaction_statement() {
            self.0.labels.push(TRANSIENT_TRANSACTION);
        } else if request.has_txn_number {
            self.0.labels.push(RETRYABLE_WRITE);
        }
        if request.cursor_id.is_some() {
            self.0.labels.push(RESUMABLE_CHANGE_STREAM);
        }
        self
    }

    /// The error's code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.0.code
    }

    /// The error's message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The reply document.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut doc = RawDocumentBuf::new();
        if let Some(version) = &self.0.topology_version {
            doc.append(bson::raw::cstr!("topologyVersion"), version.to_document());
        }
        doc.append(bson::raw::cstr!("ok"), 0.0);
        doc.append(bson::raw::cstr!("errmsg"), self.0.message.as_str());
        doc.append(bson::raw::cstr!("code"), self.0.code);
        doc.append(bson::raw::cstr!("codeName"), self.0.code_name);
        if !self.0.labels.is_empty() {
            let mut labels = RawArrayBuf::new();
            for label in &self.0.labels {
                labels.push(*label);
            }
            doc.append(bson::raw::cstr!("errorLabels"), labels);
        }
        doc
    }

    /// A command by OP_QUERY, where that is not served.
    #[must_use]
    pub fn unsupported_op_query(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        let message = format!(
            "OP_QUERY is not translated by this listener (legacy = \"refuse\"), and {name} came by it: use a driver that sends OP_MSG, \
             or another listener"
        );
        Self::new(352, "UnsupportedOpQueryCommand", message)
    }
}
