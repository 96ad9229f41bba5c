//! Starting a set, step by step, from a binary to a writable primary.

use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bson::doc;

use super::{
    Error, MemberState, Options,
    access::key_file,
    call::CALL_TIMEOUT,
    folder::{Folder, Record},
    members, mongod,
    node::{Node, Start},
    ports,
    replica_set::ReplicaSet,
};

/// Attempts to find a port that nobody takes before `mongod` does.
const PORT_TRIES: usize = 10;
/// A set whose owner was killed a moment ago is still closing its files.
const PORT_WAIT: Duration = Duration::from_secs(30);
/// The most that a `mongod` caches. What is not committed yet must fit into a part of it: with a quarter of this, large
/// transactions beside each other were refused.
const CACHE_GB: &str = "1";
/// Of several tests' large documents at once, change streams that resume still find their place.
const OPLOG_MB: &str = "256";

/// Something that has just happened while a set starts. Its `Display` is a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something that takes long has begun.
    Note(String),
    /// The binary that is used.
    Mongod {
        /// Its path.
        path: PathBuf,
        /// Its version, such as `v6.0.5`.
        version: String,
    },
    /// Where the data lies.
    Data {
        /// The folder.
        folder: PathBuf,
        /// `false`: it is removed at the end.
        kept: bool,
    },
    /// A node answers commands.
    Answers {
        /// Its number.
        node: usize,
        /// Its `host:port`.
        address: String,
    },
    /// `replSetInitiate` succeeded.
    Initiated {
        /// The replica set's name.
        set_name: String,
    },
    /// A member changed its state.
    Member {
        /// Its `host:port`.
        address: String,
        /// The new state.
        state: MemberState,
    },
    /// The set has a primary that accepts writes, and every other member is at its work.
    Ready {
        /// The `mongodb://` URI of the set itself.
        uri: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(note) => f.write_str(note),
            Self::Mongod { path, version } => write!(f, "mongod {version} at {}", path.display()),
            Self::Data { folder, kept: true } => write!(f, "data in {}, which is kept", folder.display()),
            Self::Data { folder, kept: false } => {
                write!(f, "data in {}, which is removed at the end", folder.display())
            }
            Self::Answers { node, address } => write!(f, "node {node} answers at {address}"),
            Self::Initiated { set_name } => write!(f, "replica set {set_name:?} initiated"),
            Self::Member { address, state } => write!(f, "{address} is {state}"),
            Self::Ready { uri } => write!(f, "replica set ready: {uri}"),
        }
    }
}

pub(super) async fn start(options: Options, progress: &dyn Fn(Step)) -> Result<ReplicaSet, Error> {
    options.check()?;
    let binary = binary(&options, progress).await?;
    let (folder, guard) = Folder::open(&options)?;
    progress(Step::Data {
        folder: folder.path.clone(),
        kept: folder.kept,
    });
    let earlier = folder.record(&options)?;
    let key_file = options
        .authentication
        .then(|| key_file(&folder.path))
        .transpose()?;
    let mut arguments = arguments(&options);
    if let Some(path) = &key_file {
        arguments.extend(["--auth".into(), "--keyFile".into(), path.into()]);
    }
    let mut set = ReplicaSet {
        nodes: Vec::new(),
        guard,
        folder,
        arguments,
        mongod: binary,
        options,
        key_file,
    };
    let initiated = match &earlier {
        Some(record) => {
            wait_for_ports(&set, record, progress).await?;
            record.initiated
        }
        None => false,
    };
    let ports = match earlier {
        Some(record) => record.ports,
        None => ports::free_ports(set.options.size())?,
    };
    for (number, port) in ports.into_iter().enumerate() {
        let node = Node::new(&set.folder.node(number), set.options.ip, port, set.access()?)?;
        set.nodes.push(node);
    }
    start_nodes(&mut set, initiated, progress).await?;
    if !initiated && set.options.initiates() {
        initiate(&set, progress).await?;
    }
    if initiated || set.options.initiates() {
        set.wait_settled(progress).await?;
        progress(Step::Ready { uri: set.uri() });
    }
    Ok(set)
}

async fn binary(options: &Options, progress: &dyn Fn(Step)) -> Result<PathBuf, Error> {
    let path = match &options.mongod {
        Some(path) => path.clone(),
        None => mongod::find(&|note| progress(Step::Note(note.to_owned()))).await?,
    };
    let version = mongod::version(&path)
        .await
        .map_err(|why| Error::MongodNotFound {
            tried: format!("{} {why}", path.display()),
        })?;
    progress(Step::Mongod {
        path: path.clone(),
        version,
    });
    Ok(path)
}

fn arguments(options: &Options) -> Vec<OsString> {
    let ip = options.ip.to_string();
    let mut arguments = vec![
        "--bind_ip",
        &ip,
        "--wiredTigerCacheSizeGB",
        CACHE_GB,
        // A socket file in /tmp would outlive a killed node.
        "--nounixsocket",
        "--setParameter",
        "diagnosticDataCollectionEnabled=false",
    ];
    if options.ip.is_ipv6() {
        arguments.push("--ipv6");
    }
    if !options.standalone {
        arguments.extend(["--replSet", &options.set_name, "--oplogSize", OPLOG_MB]);
    }
    if options.arbiters > 1 {
        arguments.extend(["--setParameter", "allowMultipleArbiters=true"]);
    }
    arguments
        .into_iter()
        .map(OsString::from)
        .chain(options.mongod_arguments.iter().map(OsString::from))
        .collect()
}

async fn wait_for_ports(set: &ReplicaSet, record: &Record, progress: &dyn Fn(Step)) -> Result<(), Error> {
    for &port in &record.ports {
        if ports::is_free(port) {
            continue;
        }
        progress(Step::Note(format!(
            "waiting for port {port}, which this set is configured for and is in use"
        )));
        if !ports::wait_free(port, PORT_WAIT).await {
            return Err(Error::PortTaken {
                port,
                folder: set.folder.path.clone(),
            });
        }
    }
    Ok(())
}

/// Starts all nodes at once. Until the set is initiated, a node whose port was snatched moves to another.
async fn start_nodes(set: &mut ReplicaSet, initiated: bool, progress: &dyn Fn(Step)) -> Result<(), Error> {
    for node in &set.nodes {
        node.spawn(&set.guard, &set.mongod, &set.arguments)?;
    }
    for number in 0..set.nodes.len() {
        let mut tries = 0;
        while let Start::PortTaken = set.nodes[number].wait_answer(&set.guard).await? {
            tries += 1;
            if initiated || tries == PORT_TRIES {
                return Err(Error::PortTaken {
                    port: set.nodes[number].port,
                    folder: set.folder.path.clone(),
                });
            }
            move_node(set, number)?;
        }
        progress(Step::Answers {
            node: number,
            address: set.nodes[number].address.clone(),
        });
    }
    set.remember(initiated)
}

fn move_node(set: &mut ReplicaSet, number: usize) -> Result<(), Error> {
    let port = ports::free_ports(1)?[0];
    let node = Node::new(&set.folder.node(number), set.options.ip, port, set.access()?)?;
    // What the failed attempt wrote would be taken for this one's.
    remove_file(&node.log)?;
    node.spawn(&set.guard, &set.mongod, &set.arguments)?;
    set.nodes[number] = node;
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::io(format!("removing {}", path.display())))
}

async fn initiate(set: &ReplicaSet, progress: &dyn Fn(Step)) -> Result<(), Error> {
    // A node accepts only a configuration under which it may itself be elected.
    let number = (0..set.options.nodes)
        .find(|node| set.options.priority(*node) > 0.0)
        .unwrap_or(0);
    let configuration =
        members::configuration(&set.options, set.nodes.iter().map(|node| node.address.as_str()));
    let command = doc! { "replSetInitiate": configuration, "$db": "admin" };
    match set.nodes[number].call(command, CALL_TIMEOUT).await {
        Ok(_) => {}
        // An owner that was killed between initiating and writing that down.
        Err(error) if error.code() == Some(members::ALREADY_INITIALIZED) => {}
        Err(error) => return Err(error),
    }
    progress(Step::Initiated {
        set_name: set.options.set_name.clone(),
    });
    set.remember(true)
}
