//! How many proxies a node's connections suffice for: its own count, and the arithmetic.
//!
//! A node is asked on a short connection of its own, so that a full pool is seen from outside and no client waits for it. The
//! answers are kept for some seconds. Source: `connections` in the reply to `serverStatus`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bson::{RawDocument, rawdoc};
use tokio::{sync, task::JoinSet, time::timeout};

use crate::{
    topology::Address,
    upstream::{self, Connection, Failure},
};

/// The connections that monitoring takes beside a pool: one for checks, one for round trip times.
pub const MONITORING: u64 = 2;
/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(5);
/// How long one node is waited for; less than [`PATIENCE`], so that the reason gets told.
const NODE_PATIENCE: Duration = Duration::from_millis(800);
/// How long all nodes are waited for, together with others who ask.
const PATIENCE: Duration = Duration::from_secs(1);

/// A node's own count of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConnections {
    /// Those that it has.
    pub current: u64,
    /// Those that it could still take.
    pub available: u64,
}

/// Why a node did not tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CapacityError {
    /// The exchange failed.
    #[error("cannot ask for serverStatus: {0}")]
    Exchange(#[from] Failure),
    /// The node refused.
    #[error("the node refused serverStatus: {0}")]
    Refused(String),
    /// The reply lacks what was asked for.
    #[error("the reply to serverStatus has no connection counts")]
    Missing,
}

/// The most connections that one proxy takes from a node whose pool takes up to `most`.
#[must_use]
pub fn per_proxy(most: usize) -> u64 {
    (most as u64).saturating_add(MONITORING)
}

/// How many proxies with pools of up to `most` connections a node can serve that has `available` connections left and gives `own` of those
/// in use to the one that asks. Rounded down: the rest does not serve a whole proxy.
#[must_use]
pub fn proxies_that_fit(available: u64, own: u64, most: usize) -> u64 {
    available.saturating_add(own) / per_proxy(most)
}

/// Asks a node on a clean connection.
///
/// # Errors
/// If the exchange fails or the node does not tell.
pub async fn ask(connection: &mut Connection) -> Result<NodeConnections, CapacityError> {
    // The large sections are left out; a node passes over those that it does not have.
    let command = rawdoc! {
        "serverStatus": 1, "metrics": 0, "locks": 0, "wiredTiger": 0, "tcmalloc": 0, "repl": 0, "opLatencies": 0,
        "globalLock": 0, "transactions": 0, "flowControl": 0, "indexStats": 0, "$db": "admin",
    };
    read(&connection.run(&command).await?)
}

fn read(reply: &RawDocument) -> Result<NodeConnections, CapacityError> {
    if number(reply, "ok") != Some(1) {
        let why = reply.get_str("errmsg").unwrap_or("no reason given");
        return Err(CapacityError::Refused(why.to_owned()));
    }
    let counts = reply
        .get_document("connections")
        .map_err(|_| CapacityError::Missing)?;
    match (number(counts, "current"), number(counts, "available")) {
        (Some(current), Some(available)) => Ok(NodeConnections { current, available }),
        _ => Err(CapacityError::Missing),
    }
}

/// A field of any number type, if it is not negative.
fn number(document: &RawDocument, field: &str) -> Option<u64> {
    let value = document.get(field).ok().flatten()?;
    let from_double = || value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64);
    let from_int = || value.as_i32().map(i64::from).and_then(|n| u64::try_from(n).ok());
    let from_long = || value.as_i64().and_then(|n| u64::try_from(n).ok());
    from_int().or_else(from_long).or_else(from_double)
}

/// What a node answered when it was last asked.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) asked: Instant,
    pub(super) outcome: Result<NodeConnections, String>,
}

/// The newest answers of the nodes.
#[derive(Debug)]
pub(super) struct Answers {
    /// How nodes are reached.
    upstream: Arc<upstream::Options>,
    known: Mutex<HashMap<Address, Answer>>,
    /// Held by the one who asks, so that many requests make one question.
    asking: sync::Mutex<()>,
}

impl Answers {
    /// Nothing is known yet of the nodes, which are reached as `upstream` says.
    pub(super) fn new(upstream: &upstream::Options) -> Self {
        let upstream = upstream::Options {
            connect_timeout: NODE_PATIENCE,
            ..upstream.clone()
        };
        Self {
            upstream: Arc::new(upstream),
            known: Mutex::default(),
            asking: sync::Mutex::default(),
        }
    }

    /// The newest answer of a node.
    pub(super) fn get(&self, node: &Address) -> Option<Answer> {
        self.lock().get(node).cloned()
    }

    /// Asks those of `nodes` whose answers are old, and forgets all others. Returns after a second at the latest. Cancel safe.
    pub(super) async fn refresh(&self, nodes: &[Address]) {
        // Those that are late keep what was known of them.
        let _ = timeout(PATIENCE, self.ask_all(nodes)).await;
    }

    async fn ask_all(&self, nodes: &[Address]) {
        let _asking = self.asking.lock().await;
        let old: Vec<Address> = {
            let mut known = self.lock();
            known.retain(|node, _| nodes.contains(node));
            let is_old = |node: &&Address| {
                known
                    .get(node)
                    .is_none_or(|answer| answer.asked.elapsed() > FRESH)
            };
            nodes.iter().filter(is_old).cloned().collect()
        };
        let mut questions = JoinSet::new();
        for node in old {
            let upstream = Arc::clone(&self.upstream);
            questions.spawn(async move { (ask_alone(&node, &upstream).await, node) });
        }
        while let Some(answered) = questions.join_next().await {
            if let Ok((outcome, node)) = answered {
                self.lock().insert(
                    node,
                    Answer {
                        asked: Instant::now(),
                        outcome,
                    },
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Answer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a node on a connection that is closed afterwards.
async fn ask_alone(node: &Address, options: &upstream::Options) -> Result<NodeConnections, String> {
    let asked = timeout(NODE_PATIENCE, async {
        let opened = upstream::connect_as(node, options, options.service.as_ref()).await?;
        let mut connection = opened.connection;
        ask(&mut connection).await
    });
    match asked.await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer to serverStatus within {NODE_PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    #[test]
    fn whole_proxies_are_counted_this_one_included() {
        for (available, own, max_size, fit) in [
            (1020, 0, 100, 10),
            (1019, 0, 100, 9),
            (1000, 20, 100, 10),
            (101, 0, 100, 0),
            (0, 102, 100, 1),
            (7, 0, 0, 3),
            (u64::MAX, 5, usize::MAX, 1),
        ] {
            assert_eq!(
                proxies_that_fit(available, own, max_size),
                fit,
                "{available} {own} {max_size}"
            );
        }
    }

    #[test]
    fn counts_are_read_from_any_number_type() {
        for counts in [
            doc! { "current": 3, "available": 97 },
            doc! { "current": 3_i64, "available": 97_i64 },
            doc! { "current": 3.0, "available": 97.0 },
        ] {
            let reply = RawDocumentBuf::try_from(&doc! { "connections": counts, "ok": 1.0 }).unwrap();
            assert_eq!(
                read(&reply).unwrap(),
                NodeConnections {
                    current: 3,
                    available: 97
                }
            );
        }
    }

    #[test]
    fn replies_without_counts_say_why() {
        for (reply, why) in [
            (
                doc! { "ok": 0.0, "errmsg": "not authorized" },
                "the node refused serverStatus: not authorized",
            ),
            (
                doc! { "ok": 1.0 },
                "the reply to serverStatus has no connection counts",
            ),
            (
                doc! { "ok": 1, "connections": { "current": -1, "available": 2 } },
                "the reply to serverStatus has no connection counts",
            ),
        ] {
            let reply = RawDocumentBuf::try_from(&reply).unwrap();
            assert_eq!(read(&reply).unwrap_err().to_string(), why);
        }
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_unknown_with_a_reason_and_forgotten_when_it_leaves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let answers = Answers::new(&upstream::Options::default());
        let started = Instant::now();
        answers.refresh(std::slice::from_ref(&silent)).await;
        assert!(started.elapsed() < Duration::from_secs(5));
        let outcome = answers.get(&silent).unwrap().outcome.unwrap_err();
        assert!(outcome.contains("within 800ms"), "{outcome}");
        answers.refresh(&[]).await;
        assert!(answers.get(&silent).is_none());
    }
}
