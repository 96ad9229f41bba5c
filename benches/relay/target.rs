//! What stands behind the peers: the fixed-answer backend, or a real replica set.

use bson::{Document, doc};
use tidegate::sandbox::{Options, ReplicaSet, call};

use crate::{
    Outcome,
    children::{Core, Running, pin_self},
    message::{self, SET_NAME},
};

/// Documents of the collection that is read.
pub(crate) const DOCUMENTS: usize = 10_000;
/// Documents to one insert.
const BATCH: usize = 1_000;
/// Where load and nodes share a core an election would be nothing but a sign of that.
const ELECTION_TIMEOUT_MILLIS: i32 = 120_000;

/// Something to relay to; ends when dropped.
pub(crate) struct Target {
    /// Where the primary listens, on 127.0.0.1.
    pub(crate) port: u16,
    /// The connection string of all of it.
    pub(crate) uri: String,
    set: Option<ReplicaSet>,
    _backend: Option<Running>,
}

impl Target {
    /// Starts the fixed-answer backend, on this port unless it is 0.
    pub(crate) fn fixed(core: Core, port: u16) -> Outcome<Self> {
        let port = port.to_string();
        let mut backend = Running::start_own(core, &["backend", "--port", &port])?;
        let port = backend.line()?.parse()?;
        Ok(Self {
            port,
            uri: format!("mongodb://127.0.0.1:{port}/?replicaSet={SET_NAME}"),
            set: None,
            _backend: Some(backend),
        })
    }

    /// A `mongos`, or what presents itself as one, on this port.
    pub(crate) fn mongos(port: u16) -> Self {
        Self {
            port,
            uri: format!("mongodb://127.0.0.1:{port}/?appName=bench"),
            set: None,
            _backend: None,
        }
    }

    /// Starts a replica set of the sandbox on `core`, and fills its collection. This process stays on that core.
    pub(crate) fn set(core: Core, options: Options) -> Outcome<Self> {
        pin_self(core)?;
        eprintln!("starting a replica set ...");
        let set = block_on(async {
            let set = ReplicaSet::start(options, |_| {}).await?;
            let mut configuration = set.configuration();
            configuration.insert("version", 1_000);
            let mut settings = configuration
                .get_document("settings")
                .cloned()
                .unwrap_or_default();
            settings.insert("electionTimeoutMillis", ELECTION_TIMEOUT_MILLIS);
            configuration.insert("settings", settings);
            let primary = set.primary().await?;
            set.command(primary, doc! { "replSetReconfig": configuration })
                .await?;
            set.wait_ready().await?;
            Outcome::Ok(set)
        })?;
        let primary = block_on(set.primary())?;
        let port = port_of(set.address(primary))?;
        let target = Self {
            port,
            uri: set.uri(),
            set: Some(set),
            _backend: None,
        };
        target.fill()?;
        Ok(target)
    }

    /// Takes a replica set that runs already, and fills its collection.
    pub(crate) fn running(uri: &str) -> Outcome<Self> {
        let hosts = uri
            .strip_prefix("mongodb://")
            .ok_or("a connection string begins with mongodb://")?;
        let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
        let first = hosts.split(',').next().unwrap_or_default();
        let hello = block_on(call(first, doc! { "hello": 1, "$db": "admin" }))?;
        let primary = hello
            .get_str("primary")
            .map_err(|_| format!("{first} knows no primary"))?;
        let target = Self {
            port: port_of(primary)?,
            uri: uri.to_owned(),
            set: None,
            _backend: None,
        };
        target.fill()?;
        Ok(target)
    }

    /// Runs a command on the primary, with all rights.
    pub(crate) fn command(&self, mut command: Document) -> Outcome<Document> {
        Ok(match &self.set {
            Some(set) => block_on(async { set.command(set.primary().await?, command).await })?,
            None => {
                if !command.contains_key("$db") {
                    command.insert("$db", "admin");
                }
                block_on(call(&format!("127.0.0.1:{}", self.port), command))?
            }
        })
    }

    fn fill(&self) -> Outcome<()> {
        self.command(doc! { "dropDatabase": 1, "$db": message::DATABASE })?;
        let batches = (0..DOCUMENTS).collect::<Vec<_>>();
        for numbers in batches.chunks(BATCH) {
            let documents: Vec<Document> = numbers.iter().map(|number| message::document(*number)).collect();
            self.insert(message::COLLECTION, documents)?;
        }
        self.insert(message::TEXTS, vec![message::text_document()])
    }

    /// Inserts documents into a collection of the benchmark's database.
    pub(crate) fn insert(&self, collection: &str, documents: Vec<Document>) -> Outcome<()> {
        let reply = self.command(doc! {
            "insert": collection, "documents": documents, "$db": message::DATABASE,
            "writeConcern": { "w": "majority", "wtimeout": 60_000 },
        })?;
        if reply.contains_key("writeErrors") || reply.contains_key("writeConcernError") {
            return Err(format!("the collection could not be filled: {reply}").into());
        }
        Ok(())
    }
}

/// Waits for something that the sandbox does.
pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    #[allow(clippy::expect_used, reason = "without a runtime nothing can be measured")]
    runtime.expect("a runtime of one thread").block_on(what)
}

fn port_of(address: &str) -> Outcome<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| format!("{address} has no port").into())
}
