//! Runs scenarios and prints one JSON line each, without what belongs to one run, so that the lines of a direct run and of
//! one through Tidegate can be compared. The last line tells how many ran and how many failed.
//!
//! A scenario checks its own expectations, so that two equal failures are no pass.

use std::{
    error::Error,
    fmt::Debug,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mongodb::{
    Client, Collection, Database,
    bson::{Bson, Document, doc},
    error::{ErrorKind, WriteFailure},
    event::{EventHandler, command::CommandEvent},
    options::{Acknowledgment, ClientOptions, WriteConcern},
};
use serde_json::{Value, json};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Outcome = Result<Bson, Failure>;
pub(crate) type Scenario = for<'a> fn(&'a Context) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// What a client sent, and the replies.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) commands: Vec<(String, Document)>,
    pub(crate) replies: Vec<(String, Document)>,
}

impl Log {
    pub(crate) fn names(&self) -> Vec<String> {
        self.commands.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn last_reply(&self, name: &str) -> Document {
        let found = self.replies.iter().rev().find(|(command, _)| command == name);
        found.map(|(_, reply)| reply.clone()).unwrap_or_default()
    }
}

pub(crate) type SharedLog = Arc<Mutex<Log>>;

/// What one scenario is given: clients of one side and a database.
pub(crate) struct Context {
    pub(crate) uri: String,
    /// One address, with directConnection=true.
    pub(crate) single: String,
    pub(crate) database: String,
    pub(crate) client: Client,
}

impl Context {
    pub(crate) fn db(&self) -> Database {
        self.client.database(&self.database)
    }

    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        self.db().collection(name)
    }

    /// A new client and what it sends; `extra` is appended to the URI.
    pub(crate) async fn connect(&self, extra: &str) -> Result<(Client, SharedLog), Failure> {
        let uri = if extra.is_empty() {
            self.uri.clone()
        } else {
            format!("{}&{extra}", self.uri)
        };
        connect(&uri, |_| ()).await
    }

    /// The documents 0 to `count` - 1 on every node, so that a read of any secondary sees them.
    pub(crate) async fn seed(
        &self,
        name: &str,
        count: i32,
        more: &Document,
    ) -> Result<Collection<Document>, Failure> {
        let documents = (0..count).map(|n| {
            let mut document = doc! { "_id": n };
            document.extend(more.clone());
            document
        });
        let everywhere = WriteConcern::builder()
            .w(Acknowledgment::Nodes(3))
            .w_timeout(Duration::from_secs(30))
            .build();
        let things = self.collection(name);
        things.insert_many(documents).write_concern(everywhere).await?;
        Ok(things)
    }
}

pub(crate) async fn connect(
    uri: &str,
    change: impl FnOnce(&mut ClientOptions),
) -> Result<(Client, SharedLog), Failure> {
    let mut options = ClientOptions::parse(uri).await?;
    options
        .server_selection_timeout
        .get_or_insert(Duration::from_secs(20));
    let log = SharedLog::default();
    let writer = log.clone();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        let mut log = writer.lock().unwrap();
        match event {
            CommandEvent::Started(event) => log.commands.push((event.command_name, event.command)),
            CommandEvent::Succeeded(event) => log.replies.push((event.command_name, event.reply)),
            _ => (),
        }
    }));
    change(&mut options);
    Ok((Client::with_options(options)?, log))
}

/// Fails unless `seen == wanted`.
pub(crate) fn equal<T: PartialEq + Debug>(seen: T, wanted: T) -> Result<(), Failure> {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("expected {wanted:?}, saw {seen:?}").into())
    }
}

/// The error that `result` must be, with this code.
pub(crate) fn refused<T: Debug>(result: mongodb::error::Result<T>, code: i32) -> Outcome {
    match result {
        Ok(result) => Err(format!("expected an error, got {result:?}").into()),
        Err(error) => {
            let described = described(&error);
            let seen = described.as_document().and_then(|one| one.get_i32("code").ok());
            if code != 0 && seen != Some(code) {
                return Err(format!("expected code {code}, saw {error:?}").into());
            }
            Ok(described)
        }
    }
}

/// What an application can tell of an error.
fn described(error: &mongodb::error::Error) -> Bson {
    let mut labels: Vec<&String> = error.labels().iter().collect();
    labels.sort();
    let mut told = match &*error.kind {
        ErrorKind::Command(one) => {
            doc! { "code": one.code, "codeName": &one.code_name, "message": &one.message }
        }
        ErrorKind::Write(WriteFailure::WriteError(one)) => doc! { "code": one.code, "message": &one.message },
        ErrorKind::Write(WriteFailure::WriteConcernError(one)) => {
            doc! { "code": one.code, "codeName": &one.code_name, "message": &one.message }
        }
        ErrorKind::InsertMany(many) => {
            let errors = many.write_errors.iter().flatten();
            let errors = errors
                .map(|one| doc! { "index": one.index as i64, "code": one.code, "message": &one.message });
            doc! { "code": 11000, "errors": errors.collect::<Vec<_>>() }
        }
        _ => doc! { "message": error.to_string() },
    };
    told.insert(
        "labels",
        labels.iter().map(|label| label.as_str()).collect::<Vec<_>>(),
    );
    told.into()
}

fn tidy(value: &Bson, database: &str) -> Value {
    match value {
        Bson::Document(document) => {
            let volatile = [
                "$clusterTime",
                "operationTime",
                "electionId",
                "opTime",
                "topologyVersion",
                "recoveryToken",
            ];
            let fields = document
                .iter()
                .filter(|(key, _)| !volatile.contains(&key.as_str()));
            fields
                .map(|(key, inner)| (key.clone(), tidy(inner, database)))
                .collect()
        }
        Bson::Array(array) => array.iter().map(|inner| tidy(inner, database)).collect(),
        Bson::String(text) => json!(without_numbers(&text.replace(database, "<database>"))),
        Bson::Int32(n) => json!(f64::from(*n)),
        Bson::Int64(n) => json!(*n as f64),
        Bson::Double(n) => json!(n),
        Bson::Boolean(b) => json!(b),
        Bson::Null => Value::Null,
        other => json!(format!("<{:?}>", other.element_type())),
    }
}

/// Which number a transaction has is a matter of which pooled session it got.
fn without_numbers(text: &str) -> String {
    const NUMBER: &str = "txnNumber: ";
    let mut parts = text.split(NUMBER);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| {
        told + NUMBER + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

/// Runs all and returns whether all met their own expectations.
pub(crate) async fn run(scenarios: &[(&str, Scenario)]) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, single, database] = &arguments[..] else {
        panic!("usage: URI SINGLE_URI DATABASE")
    };
    let mut failures = 0;
    for (name, scenario) in scenarios {
        let start = Instant::now();
        let (client, _) = connect(uri, |_| ()).await.unwrap();
        let (uri, single, database) = (uri.clone(), single.clone(), database.clone());
        let context = Context {
            uri,
            single,
            database,
            client,
        };
        let mut line = json!({ "scenario": name.replace('_', " ") });
        match scenario(&context).await {
            Ok(outcome) => line["outcome"] = tidy(&outcome, &context.database),
            Err(error) => {
                failures += 1;
                line["failed"] = json!(format!("{error:?}"));
            }
        }
        line["ms"] = json!(start.elapsed().as_millis() as u64);
        println!("{line}");
    }
    let (client, _) = connect(uri, |_| ()).await.unwrap();
    client.database(database).drop().await.unwrap();
    println!(
        "{}",
        json!({ "scenarios": scenarios.len(), "failures": failures })
    );
    failures == 0
}
