//! The fail point `failCommand`, as a `mongos` that was started with `enableTestCommands=1` plays it for its own clients.
//!
//! Drivers' tests and applications' rehearsals set it to see a server fail. Set on a node behind a pool it would strike
//! connections that belong to nobody, or be mended before the client sees it; so the side that clients see plays it. Its
//! fields are those of the MongoDB server ("The failCommand Fail Point" in the driver specifications' transaction tests,
//! `data` of `configureFailPoint`); `writeConcernError` alone needs the command to be run, and is left to the nodes.

use std::time::Duration;

use bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, raw::cstr};

use super::{
    Request,
    error_reply::{RETRYABLE_WRITE, TRANSIENT_TRANSACTION},
};

/// The longest that a command is held, whatever `blockTimeMS` says: every wait is bounded.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);
/// The server's own words, which tests compare.
const MESSAGE: &str = "Failing command via 'failCommand' failpoint";

/// What a `configureFailPoint` for `failCommand` asks of the proxy.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// To play this.
    Set(FailCommand),
    /// To play nothing; the nodes are to be told as well.
    Clear,
}

/// A fail point in force.
#[derive(Debug, Clone, PartialEq)]
pub struct FailCommand {
    mode: Mode,
    commands: Vec<String>,
    all_commands: bool,
    app_name: Option<String>,
    namespace: Option<String>,
    failure: Failure,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    AlwaysOn,
    Times(i64),
    Skip(i64),
}

/// How a command fails: it is held first, then the connection closes or an error is answered; without either it runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Failure {
    /// How long it is held.
    pub block: Option<Duration>,
    /// The client's connection is closed.
    pub close: bool,
    /// The code that is answered.
    pub code: Option<i32>,
    /// The labels that are answered, instead of those that a server would choose.
    pub labels: Option<Vec<String>>,
}

/// What is known of a command and its client.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The command's name as sent.
    pub name: &'a [u8],
    /// Its database.
    pub db: &'a [u8],
    /// Its collection, or empty.
    pub collection: &'a [u8],
    /// The client's application name.
    pub app_name: Option<&'a str>,
}

impl Order {
    /// What `command` asks for, if it concerns `failCommand`; `None` for other commands and other fail points, and for
    /// what cannot be understood: the nodes answer these.
    #[must_use]
    pub fn parse(command: &Document) -> Option<Self> {
        if command.get_str("configureFailPoint").ok() != Some("failCommand") {
            return None;
        }
        let mode = match command.get("mode")? {
            Bson::String(mode) if mode == "off" => return Some(Self::Clear),
            Bson::String(mode) if mode == "alwaysOn" => Mode::AlwaysOn,
            Bson::Document(mode) => match (mode.get("times"), mode.get("skip")) {
                (Some(times), None) => Mode::Times(integer(times)?),
                (None, Some(skip)) => Mode::Skip(integer(skip)?),
                _ => return None,
            },
            _ => return None,
        };
        let data = command.get_document("data").ok()?;
        if data.contains_key("writeConcernError") {
            return Some(Self::Clear);
        }
        Some(Self::Set(FailCommand {
            mode,
            commands: strings(data, "failCommands").unwrap_or_default(),
            all_commands: flag(data, "failAllCommands"),
            app_name: data.get_str("appName").ok().map(str::to_owned),
            namespace: data.get_str("namespace").ok().map(str::to_owned),
            failure: Failure {
                block: flag(data, "blockConnection").then(|| block_time(data)),
                close: flag(data, "closeConnection"),
                code: data.get("errorCode").and_then(integer).map(|code| code as i32),
                labels: strings(data, "errorLabels"),
            },
        }))
    }
}

impl FailCommand {
    /// Whether and how a command fails now; counts it if so.
    pub fn strike(&mut self, subject: Subject<'_>) -> Option<Failure> {
        if !self.concerns(subject) {
            return None;
        }
        match &mut self.mode {
            Mode::AlwaysOn => {}
            Mode::Times(0) => return None,
            Mode::Times(left) => *left -= 1,
            Mode::Skip(0) => {}
            Mode::Skip(left) => {
                *left -= 1;
                return None;
            }
        }
        Some(self.failure.clone())
    }

    /// Whether it cannot strike any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        matches!(self.mode, Mode::Times(..=0))
    }

    fn concerns(&self, subject: Subject<'_>) -> bool {
        let named = |name: &String| name.as_bytes().eq_ignore_ascii_case(subject.name);
        let of_app = self
            .app_name
            .as_deref()
            .is_none_or(|name| subject.app_name == Some(name));
        let on_namespace = self.namespace.as_deref().is_none_or(|namespace| {
            let (db, collection) = namespace.split_once('.').unwrap_or((namespace, ""));
            db.as_bytes() == subject.db && collection.as_bytes() == subject.collection
        });
        (self.all_commands || self.commands.iter().any(named)) && of_app && on_namespace
    }
}

impl Failure {
    /// The error to answer, if there is one; its labels are those that were set, else a server's choice for the request.
    #[must_use]
    pub fn reply(&self, request: &Request) -> Option<RawDocumentBuf> {
        let code = self.code?;
        let labels: Vec<&str> = match &self.labels {
            Some(set) => set.iter().map(String::as_str).collect(),
            None => server_label(code, request).into_iter().collect(),
        };
        let mut reply = RawDocumentBuf::new();
        reply.append(cstr!("ok"), 0.0);
        reply.append(cstr!("errmsg"), MESSAGE);
        reply.append(cstr!("code"), code);
        reply.append(cstr!("codeName"), code_name(code));
        if !labels.is_empty() {
            let mut array = RawArrayBuf::new();
            labels.into_iter().for_each(|label| array.push(label));
            reply.append(cstr!("errorLabels"), array);
        }
        Some(reply)
    }
}

/// The label that a server gives an error (its `error_labels.cpp`): codes after which a transaction or a write may go again.
/// That a change stream may be resumed it does not say here, because it has not found the cursor yet.
fn server_label(code: i32, request: &Request) -> Option<&'static str> {
    const RETRYABLE: &[i32] = &[6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436];
    // WriteConflict, LockTimeout, PreparedTransactionInProgress, SnapshotUnavailable, SnapshotTooOld, NoSuchTransaction.
    const TRANSIENT: &[i32] = &[112, 24, 267, 246, 239, 251];
    let retryable = RETRYABLE.contains(&code);
    if request.is_transaction_statement() {
        (retryable || TRANSIENT.contains(&code)).then_some(TRANSIENT_TRANSACTION)
    } else if request.ends_transaction() && TRANSIENT.contains(&code) {
        Some(TRANSIENT_TRANSACTION)
    } else {
        (request.has_txn_number && retryable).then_some(RETRYABLE_WRITE)
    }
}

/// The server's name of a code, for those that tests use.
fn code_name(code: i32) -> &'static str {
    match code {
        2 => "BadValue",
        6 => "HostUnreachable",
        7 => "HostNotFound",
        11 => "UserNotFound",
        13 => "Unauthorized",
        18 => "AuthenticationFailed",
        24 => "LockTimeout",
        43 => "CursorNotFound",
        50 => "MaxTimeMSExpired",
        59 => "CommandNotFound",
        63 => "StaleShardVersion",
        64 => "WriteConcernFailed",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        112 => "WriteConflict",
        133 => "FailedToSatisfyReadPreference",
        150 => "StaleEpoch",
        189 => "PrimarySteppedDown",
        234 => "RetryChangeStream",
        251 => "NoSuchTransaction",
        262 => "ExceededTimeLimit",
        391 => "ReauthenticationRequired",
        462 => "IngressRequestRateLimitExceeded",
        9001 => "SocketException",
        10107 => "NotWritablePrimary",
        11600 => "InterruptedAtShutdown",
        11601 => "Interrupted",
        11602 => "InterruptedDueToReplStateChange",
        13388 => "StaleConfig",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        _ => "UnknownError",
    }
}

fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}

fn flag(data: &Document, name: &str) -> bool {
    match data.get(name) {
        Some(Bson::Boolean(flag)) => *flag,
        Some(other) => integer(other).is_some_and(|n| n != 0),
        None => false,
    }
}

fn block_time(data: &Document) -> Duration {
    let millis = data.get("blockTimeMS").and_then(integer).unwrap_or_default();
    Duration::from_millis(millis.max(0) as u64).min(LONGEST_BLOCK)
}

fn strings(data: &Document, name: &str) -> Option<Vec<String>> {
    let array = data.get_array(name).ok()?;
    Some(
        array
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::wire::{RawDoc, op_msg};

    fn request(command: &Document) -> Request {
        let mut message = bytes::BytesMut::new();
        let bytes = command.to_vec().unwrap();
        op_msg::encode(RawDoc::prefix(&bytes).unwrap(), 1, 0, 0, &mut message);
        Request::peek(&message, op_msg::Layout::parse(&message).unwrap()).unwrap()
    }

    fn subject(name: &'static str) -> Subject<'static> {
        Subject {
            name: name.as_bytes(),
            db: b"shop",
            collection: b"orders",
            app_name: Some("till"),
        }
    }

    fn set(mode: impl Into<Bson>, data: Document) -> FailCommand {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        match Order::parse(&command) {
            Some(Order::Set(point)) => point,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_strikes_the_named_commands_as_often_as_its_mode_says() {
        let mut twice = set(
            doc! { "times": 2 },
            doc! { "failCommands": ["find"], "errorCode": 6 },
        );
        let strikes: Vec<bool> = ["insert", "find", "find", "find"]
            .map(|name| twice.strike(subject(name)).is_some())
            .into();
        assert_eq!(strikes, [false, true, true, false]);
        assert!(twice.is_spent());

        let mut later = set(
            doc! { "skip": 1.0 },
            doc! { "failCommands": ["find"], "closeConnection": true },
        );
        assert_eq!(later.strike(subject("find")), None);
        assert!(later.strike(subject("find")).unwrap().close);

        let mut always = set(
            "alwaysOn",
            doc! { "failCommands": ["hello", "isMaster"], "errorCode": 91 },
        );
        assert!((0..5).all(|_| always.strike(subject("ismaster")).is_some()));
    }

    #[test]
    fn it_strikes_only_the_application_and_the_collection_that_it_names() {
        for (restriction, strikes) in [
            (doc! { "appName": "till" }, true),
            (doc! { "appName": "other" }, false),
            (doc! { "namespace": "shop.orders" }, true),
            (doc! { "namespace": "shop.other" }, false),
            (doc! { "namespace": "other.orders" }, false),
        ] {
            let mut data = doc! { "failCommands": ["find"], "errorCode": 6 };
            data.extend(restriction.clone());
            assert_eq!(
                set("alwaysOn", data).strike(subject("find")).is_some(),
                strikes,
                "{restriction}"
            );
        }
    }

    #[test]
    fn what_it_does_is_read_from_its_data() {
        let data = doc! {
            "failAllCommands": true, "blockConnection": true, "blockTimeMS": 90_000_000_i64,
            "errorCode": 10107, "errorLabels": ["A", "B"],
        };
        let failure = set("alwaysOn", data).strike(subject("anything")).unwrap();
        let expected = Failure {
            block: Some(LONGEST_BLOCK),
            close: false,
            code: Some(10107),
            labels: Some(vec!["A".to_owned(), "B".to_owned()]),
        };
        assert_eq!(failure, expected);
    }

    #[test]
    fn others_orders_and_what_only_a_node_can_do_are_left_to_the_nodes() {
        let parse = |mode: Bson, data: Document| {
            Order::parse(&doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data })
        };
        assert_eq!(parse("off".into(), doc! {}), Some(Order::Clear));
        let error = doc! { "failCommands": ["insert"], "writeConcernError": { "code": 91 } };
        assert_eq!(parse("alwaysOn".into(), error), Some(Order::Clear));
        assert_eq!(parse("sometimes".into(), doc! {}), None);
        assert_eq!(parse(Bson::Null, doc! {}), None);
        let other = doc! { "configureFailPoint": "stopReplProducer", "mode": "alwaysOn" };
        assert_eq!(Order::parse(&other), None);
    }

    #[test]
    fn errors_carry_the_labels_of_a_server_unless_others_are_set() {
        let cases = [
            (
                doc! { "insert": "c", "txnNumber": 1_i64 },
                10107,
                vec![RETRYABLE_WRITE],
            ),
            (doc! { "insert": "c", "txnNumber": 1_i64 }, 11601, vec![]),
            (doc! { "insert": "c" }, 10107, vec![]),
            (
                doc! { "find": "c", "autocommit": false },
                112,
                vec![TRANSIENT_TRANSACTION],
            ),
            (
                doc! { "commitTransaction": 1, "txnNumber": 1_i64, "autocommit": false },
                91,
                vec![RETRYABLE_WRITE],
            ),
            (doc! { "getMore": 7_i64 }, 6, vec![]),
        ];
        for (mut command, code, labels) in cases {
            command.insert("$db", "test");
            let request = request(&command);
            let failure = Failure {
                code: Some(code),
                ..Failure::default()
            };
            let reply = failure.reply(&request).unwrap();
            let reply = Document::try_from(reply).unwrap();
            let found = strings(&reply, "errorLabels").unwrap_or_default();
            assert_eq!(found, labels, "{command} {code}");
            let none = Failure {
                labels: Some(Vec::new()),
                ..failure
            };
            assert!(
                none.reply(&request)
                    .unwrap()
                    .get("errorLabels")
                    .unwrap()
                    .is_none()
            );
        }
    }
}
