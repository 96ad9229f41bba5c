//! Choosing a node and getting a connection to it.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    attend::{IfGone, attend},
    awaits,
    roster::HeldUpBy,
    session::Session,
    shared::Shared,
};
use crate::{
    command::{ErrorReply, Request},
    pool::{CheckOutError, Lease, Pool, Share},
    routing::Route,
    telemetry::{Count, Wait},
    topology::{Address, Criteria, ServerKind},
};

/// A node, and what it is at this moment.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) pool: Arc<Pool>,
    pub(super) kind: ServerKind,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NoNode {
    /// Tell the client this.
    Answer(ErrorReply),
    /// The client went away.
    Gone,
}

/// How long this command may wait, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    since: Instant,
    /// How long it may be held.
    hold: Duration,
    /// When it has been held for so long.
    hold_until: Instant,
    /// The command's own `maxTimeMS`, if that is a deadline.
    max_time: Option<Duration>,
}

impl Patience {
    /// Patience from now on: for being held as long as `hold`.
    pub(super) fn new(request: &Request, hold: Duration) -> Self {
        let max_time = request.deadline_millis().map(Duration::from_millis);
        let since = Instant::now();
        Self {
            since,
            hold,
            hold_until: since + hold,
            max_time,
        }
    }

    /// When the command came.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// The same after a node had the command since `then`: the command's own time ran on, but it was not held.
    pub(super) fn not_held_since(self, then: Instant) -> Self {
        Self {
            hold_until: self.hold_until + then.elapsed(),
            ..self
        }
    }

    /// When waiting for a node ends.
    pub(super) fn deadline(&self) -> Instant {
        self.max_time
            .map_or(self.hold_until, |max| self.hold_until.min(self.since + max))
    }

    /// What is left of `maxTimeMS`.
    pub(super) fn max_time_left(&self) -> Option<Duration> {
        self.max_time.map(|max| max.saturating_sub(self.since.elapsed()))
    }

    /// Time spent so far.
    pub(super) fn spent(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether another attempt may be made. Where nothing is held, it may, if it need not wait.
    pub(super) fn is_left(&self) -> bool {
        self.max_time_left() != Some(Duration::ZERO)
            && (self.hold.is_zero() || Instant::now() < self.hold_until)
    }

    /// The error at the end: the command's own limit, or Tidegate's.
    pub(super) fn expired(&self, request: &Request, what: &str, detail: &str) -> ErrorReply {
        match self.max_time_left() {
            Some(Duration::ZERO) => ErrorReply::max_time_expired(what),
            _ => {
                let waited = self.spent().as_millis();
                ErrorReply::unreachable(request, format!("no {what} within {waited} ms: {detail}"))
            }
        }
    }
}

/// The node that fits now; `avoid` only if no other does.
pub(super) fn choose(
    shared: &Shared,
    route: &Route,
    request: &Request,
    avoid: Option<&Address>,
) -> Result<Option<Chosen>, ErrorReply> {
    let snapshot = shared.cluster.load();
    let criteria = match route {
        Route::Read(preference) => Criteria::Read(preference),
        Route::AnyNode => Criteria::AnyReachable,
        _ => Criteria::Primary,
    };
    let options = shared.cluster.selection();
    let avoided = shared.cluster.avoided();
    let found = match avoid {
        _ if avoided.is_any() && matches!(criteria, Criteria::Read(_)) => {
            snapshot.select_sparing(&criteria, options, avoid, avoided)
        }
        None => snapshot.select(&criteria, options),
        Some(avoid) => snapshot.select_avoiding(&criteria, options, avoid),
    };
    let found = found.map_err(|error| ErrorReply::unreachable(request, error.to_string()))?;
    Ok(found.map(|(pool, kind)| Chosen {
        pool: Arc::clone(pool),
        kind,
    }))
}

impl Session {
    /// The node that fits now, for a command that need not wait.
    pub(super) fn choose_now(&self, route: &Route, request: &Request) -> Result<Option<Chosen>, ErrorReply> {
        if self.must_wait(route) {
            return Ok(None);
        }
        choose(&self.shared, route, request, None)
    }

    /// The node with this address, if it is still part of the cluster.
    pub(super) fn node(&self, address: &Address) -> Option<Chosen> {
        let snapshot = self.shared.cluster.load();
        let index = snapshot.topology.index_of(address)?;
        let kind = snapshot.topology.servers().get(index)?.kind;
        snapshot.nodes.get(index).map(|pool| Chosen {
            pool: Arc::clone(pool),
            kind,
        })
    }

    /// The data-bearing nodes, the primary first.
    pub(super) fn data_bearing(&self) -> Vec<Chosen> {
        let snapshot = self.shared.cluster.load();
        let mut nodes: Vec<_> = snapshot
            .topology
            .data_bearing()
            .filter_map(|(index, server)| {
                snapshot.nodes.get(index).map(|pool| Chosen {
                    pool: Arc::clone(pool),
                    kind: server.kind,
                })
            })
            .collect();
        nodes.sort_by_key(|node| node.kind != ServerKind::RsPrimary);
        nodes
    }

    /// Whether a node that was chosen as the primary is still known as such. A member that is reached directly is whatever it is.
    pub(super) fn is_primary_still(&self, pool: &Pool) -> bool {
        let snapshot = self.shared.cluster.load();
        let primary = snapshot.topology.primary().map(|(_, server)| &server.address);
        !snapshot.topology.kind().is_replica_set() || primary == Some(pool.address())
    }

    /// Waits for a connection to a node, for at most `limit`, if that is less than the pool's own.
    pub(super) async fn check_out_later(
        &mut self,
        pool: &Arc<Pool>,
        request: &Request,
        limit: Option<Duration>,
    ) -> Result<Result<Lease, CheckOutError>, NoNode> {
        let (share, begun) = (awaits::share(request), Instant::now());
        self.counters().pool_waits.one();
        let _waiting = self.entry.wait(HeldUpBy::Connection);
        self.counters().reasons.one(match share {
            Share::Ordinary => Wait::Connection,
            Share::Awaiting => Wait::AwaitConnection,
        });
        let waited = attend(
            &mut self.client,
            if_gone(request),
            pin!(pool.wait(&self.identity, self.core, share, begun, limit)),
        )
        .await;
        self.waited += match &waited {
            Ok(Ok(lease)) => lease.waited(),
            _ => begun.elapsed(),
        };
        waited.map_err(|_| NoNode::Gone)
    }

    /// The answer to a command that got no connection, once no other attempt is made.
    pub(super) fn no_connection(
        &self,
        error: &CheckOutError,
        request: &Request,
        patience: Patience,
    ) -> ErrorReply {
        if patience.max_time_left() == Some(Duration::ZERO) {
            return ErrorReply::max_time_expired("a connection");
        }
        match error {
            CheckOutError::Timeout { .. } => ErrorReply::overloaded(request, error.to_string()),
            _ => ErrorReply::unreachable(request, format!("{error}; the command was not sent")),
        }
    }
}

/// Reads that nobody waits for any more are given up; a write that arrived is executed.
fn if_gone(request: &Request) -> IfGone {
    if request.is_abandonable() {
        IfGone::Stop
    } else {
        IfGone::GoOn
    }
}

pub(super) fn describe(route: &Route, session: &Session) -> String {
    let wanted = match route {
        Route::Read(preference) => format!("read preference {preference}"),
        Route::AnyNode => "any member".to_owned(),
        _ => "the primary".to_owned(),
    };
    let snapshot = session.shared.cluster.load();
    if snapshot.topology.servers().is_empty() {
        let named = snapshot.topology.set_name();
        let named = named.map_or(String::new(), |name| format!(" (replicaSet={name})"));
        return format!("no server is left: check the seeds and replicaSet of the connection string{named}");
    }
    let servers = snapshot.topology.servers().iter().map(|server| {
        let error = server
            .error
            .as_deref()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        format!("{} is {}{error}", server.address, server.kind.name())
    });
    format!("wanted {wanted}; {}", servers.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{
        client::{exchange::execute, inbound::Inbound, testing},
        pool::{self, Identity},
        shutdown::Shutdown,
        upstream::{
            self,
            testing::{Node, member},
        },
        wire::{Frame, RawDoc, op_msg},
    };

    #[tokio::test]
    async fn a_write_that_waited_for_a_connection_is_not_sent_to_a_node_that_has_stepped_down() {
        let (node, shutdown) = (Node::silent().await, Shutdown::new());
        let says = |election| node.say(member(&[&node.address], &node.address, election));
        says(Some(1));
        let options = upstream::Options {
            seeds: vec![node.address.clone()],
            set_name: Some("rs".to_owned()),
            ..upstream::Options::default()
        };
        let pools = pool::Options {
            max_size: 1,
            ..pool::Options::default()
        };
        let (mut session, mut client) = testing::pooled(options, pools, &shutdown).await;
        let cluster = Arc::clone(&session.shared.cluster);
        let until = async |has_primary| {
            let mut changes = cluster.subscribe();
            while cluster.load().topology.primary().is_some() != has_primary {
                changes.changed().await.unwrap();
            }
        };
        until(true).await;
        let pool = Arc::clone(&cluster.load().nodes[0]);
        let only = pool
            .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .unwrap();
        let insert = rawdoc! { "insert": "tides", "documents": [{}], "$db": "test" };
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(insert.as_bytes()).unwrap(), 1, 0, 0, &mut message);
        let frame = Frame::new(message).unwrap();
        let served = tokio::spawn(async move {
            execute(&mut session, &mut Inbound::new(frame, None), &mut None)
                .await
                .is_ok()
        });
        while pool.counts().waiting == 0 {
            tokio::task::yield_now().await;
        }
        says(None);
        until(false).await;
        drop(only);
        // The node would answer at once.
        let mut head = [0; 16];
        let early = tokio::time::timeout(Duration::from_millis(300), client.read_exact(&mut head)).await;
        assert!(early.is_err(), "it waits for a primary");
        says(Some(2));
        client.read_exact(&mut head).await.unwrap();
        assert!(served.await.unwrap());
        shutdown.begin();
    }
}
