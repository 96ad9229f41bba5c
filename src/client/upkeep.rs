//! Upkeep of what is remembered: the proxy's own server sessions that the nodes are about to forget are ended, and all of them when the
//! proxy stops; cursors and transactions that nobody has used for long are forgotten.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc, uuid::Uuid};

use super::{numbered::session_timeout, shared::Shared};
use crate::{
    failover::sessions::SessionId,
    pool::{Identity, Pool, Share},
    topology::ServerKind,
};

/// How often idle sessions are looked through.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long a node may take to end sessions while nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most sessions that are ended by one command (Driver Sessions specification, "endSession").
const MOST_ENDED: usize = 10_000;

/// Ends the sessions that were idle for too long, and forgets what the nodes have, now and then. Runs for ever; cancel safe.
pub async fn keep_sessions(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        forget_unused(&shared);
        let Some(timeout) = session_timeout(&shared) else {
            continue;
        };
        let expired = shared.sessions.expire(Instant::now(), timeout);
        let _ = tokio::time::timeout(PATIENCE, end(&shared, expired)).await;
    }
}

/// Forgets cursors and transactions that their nodes have forgotten, too.
fn forget_unused(shared: &Arc<Shared>) {
    let now = Instant::now();
    shared.open_transactions.forget_unused(now);
    for reached in shared.members().iter().chain([shared]) {
        reached.pins.forget_unused(now);
        reached.transactions.forget_unused(now);
    }
}

/// Ends all sessions that are not lent, as far as that is possible within `patience`; the nodes forget the rest by themselves.
pub async fn end_sessions(shared: &Shared, patience: Duration) {
    let idle = shared.sessions.drain();
    let count: usize = idle.values().map(Vec::len).sum();
    if count == 0 {
        return;
    }
    match tokio::time::timeout(patience, end(shared, idle)).await {
        Ok(Some(())) => tracing::debug!(count, "server sessions ended"),
        _ => tracing::debug!(count, "server sessions are left to expire"),
    }
}

/// Ends sessions on one node, which tells the others; `None` if it did not come about.
async fn end(shared: &Shared, sessions: BTreeMap<Identity, Vec<SessionId>>) -> Option<()> {
    let mut all = Some(());
    for (identity, ids) in sessions {
        // One user who is not let in any more must not keep the others' sessions alive.
        all = all.and(end_of(shared, &identity, &ids).await);
    }
    all
}

/// Ends the sessions of one identity.
async fn end_of(shared: &Shared, identity: &Identity, ids: &[SessionId]) -> Option<()> {
    for ids in ids.chunks(MOST_ENDED) {
        let node = any_node(shared)?;
        let mut lease = match node.try_check_out(identity, 0, Share::Ordinary) {
            Some(lease) => lease,
            None => node
                .wait(
                    identity,
                    0,
                    Share::Ordinary,
                    Instant::now().into(),
                    Some(PATIENCE),
                )
                .uncounted()
                .await
                .ok()?,
        };
        lease.run(&command(ids)).await.ok()?;
    }
    Some(())
}

/// The primary, or else any node that holds data.
fn any_node(shared: &Shared) -> Option<Arc<Pool>> {
    let snapshot = shared.cluster.load();
    let takes_writes = |kind| matches!(kind, ServerKind::RsPrimary | ServerKind::Mongos);
    let (index, _) = snapshot
        .topology
        .data_bearing()
        .min_by_key(|(_, server)| !takes_writes(server.kind))?;
    snapshot.nodes.get(index).cloned()
}

fn command(ids: &[SessionId]) -> RawDocumentBuf {
    let mut sessions = RawArrayBuf::new();
    for id in ids {
        sessions.push(rawdoc! { "id": bson::Binary::from(Uuid::from_bytes(*id)) });
    }
    rawdoc! { "endSessions": sessions, "$db": "admin" }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        client::testing::{self, PlayedNode},
        shutdown::Shutdown,
        upstream,
    };

    #[tokio::test]
    async fn a_user_who_was_dropped_does_not_keep_the_sessions_of_others_alive() {
        let shutdown = Shutdown::new();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = upstream::Options {
            seeds: vec![socket.local_addr().unwrap().to_string().parse().unwrap()],
            ..upstream::Options::default()
        };
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        // It lets nobody in.
        let node = PlayedNode::standalone(move |command| {
            if let Ok(payload) = command.get_binary("payload") {
                let payload = String::from_utf8_lossy(payload.bytes).into_owned();
                seen.lock().unwrap().push(payload);
            }
            Some(rawdoc! { "ok": 0.0, "code": 18, "errmsg": "Authentication failed." })
        });
        let node = tokio::spawn(testing::play(socket, node));
        let (session, _client) = testing::pooled(options, crate::pool::Options::default(), &shutdown).await;
        while any_node(&session.shared).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let sessions = [1, 2].map(|number| (Identity::testing(number), vec![[7; 16]]));
        let ended = end(&session.shared, sessions.into());
        assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap().is_none());
        for user in ["n=user1,", "n=user2,"] {
            let is_asked = asked.lock().unwrap().iter().any(|payload| payload.contains(user));
            assert!(is_asked, "{user} is not tried");
        }
        node.abort();
        shutdown.begin();
    }
}
