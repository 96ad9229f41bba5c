//! Credentials of the cluster itself: what its nodes keep in `admin.system.users`, read with the service user.
//!
//! What was read is believed for `credential_ttl`, whether there is such a user or not. It is read again at once when somebody
//! changes users through this proxy, and when a proof does not fit. One task reads, over a connection of its own: however many log in at a
//! time, and however busy the pools are. Users that were seen lately come first: names that strangers invent can fill the queue of those
//! that nobody knows, not theirs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bson::rawdoc;
use tokio::sync::{mpsc, oneshot};

use super::{
    kept::{counts, find, first_batch, inherited, role_ids, sample},
    source::judges,
};
use crate::{
    auth::{Credentials, UserName, scram::Iterations},
    pool::Pool,
    shutdown::Shutdown,
    topology::Address,
    upstream::{self, Cluster, Connection, connect_as},
};

/// Most users whose credentials are remembered.
const MOST_USERS: usize = 10_000;
/// Most names that no user has.
const MOST_UNKNOWN: usize = 1000;
/// For how long a node that did not answer is asked last.
const ASKED_LAST: Duration = Duration::from_secs(5);
/// Logins that may wait to be looked up, of users that were seen lately, and as many of all others.
const QUEUE: usize = 1024;
/// For how long a user counts as seen lately after what was read is not believed any more.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How long a login waits for what it needs to be judged.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one node may take to tell.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// The pause before all nodes are asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// What is younger is not read again because a proof does not fit.
const FRESH: Duration = Duration::from_secs(1);
/// After this long they are looked at again.
const SAMPLE_LASTS: Duration = Duration::from_secs(3600);
/// `Unauthorized`.
const UNAUTHORIZED: i32 = 13;

/// Why nothing is known of a user.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum BackendError {
    /// No node could be asked.
    #[error("no node could be asked within {0:?}: {1}")]
    OutOfReach(Duration, String),
    /// The service user may not read what it must.
    #[error(
        "the service user may not read {0}: {1} (grant it a role with the action find on this collection, see docs/authentication.md)"
    )]
    MayNotRead(&'static str, String),
    /// What the cluster keeps cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Too many logins wait.
    #[error("too many logins are under way")]
    Busy,
}

type Found = Option<Arc<Credentials>>;
type Answer = Result<Found, BackendError>;

/// Credentials of the cluster itself. Clones share what was read.
#[derive(Debug, Clone)]
pub struct Backend {
    cache: Arc<Cache>,
    asks: mpsc::Sender<Ask>,
    /// The same of users that were seen lately.
    first: mpsc::Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    user: UserName,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
struct Cache {
    ttl: Duration,
    known: Mutex<Known>,
}

/// What was read of a user.
#[derive(Debug)]
struct Read {
    at: Instant,
    found: Found,
    /// That of the cache when it was read; `None` if it is doubted.
    generation: Option<u64>,
}

#[derive(Debug, Default)]
struct Known {
    /// Users; they stay for a while after what was read of them is believed no more.
    users: HashMap<UserName, Read>,
    /// Names that no user has, which strangers invent: they push no user out.
    unknown: HashMap<UserName, Read>,
    /// When what had expired was dropped last.
    swept: Option<Instant>,
    /// Raised when all is forgotten: what was asked before is not to be remembered.
    generation: u64,
    /// How many iterations users have.
    usual: Iterations,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, user: &UserName, now: Instant) -> Option<Found> {
        let known = self.lock();
        let read = known.users.get(user).or_else(|| known.unknown.get(user))?;
        let is_believed =
            read.generation == Some(known.generation) && now.saturating_duration_since(read.at) < self.ttl;
        is_believed.then(|| read.found.clone())
    }

    fn put(&self, user: UserName, found: Found, asked: Instant, generation: u64) {
        let mut known = self.lock();
        if known.generation != generation {
            return;
        }
        known.sweep(asked, self.ttl);
        let Known { users, unknown, .. } = &mut *known;
        let (alike, others, most) = match &found {
            Some(_) => (users, unknown, MOST_USERS),
            None => (unknown, users, MOST_UNKNOWN),
        };
        others.remove(&user);
        if alike.len() >= most {
            alike.clear();
        }
        let read = Read {
            at: asked,
            found,
            generation: Some(generation),
        };
        alike.insert(user, read);
    }

    fn is_remembered(&self, user: &UserName) -> bool {
        self.lock().users.contains_key(user)
    }
}

impl Known {
    /// Drops what has expired, once in each lifetime of an entry.
    fn sweep(&mut self, now: Instant, ttl: Duration) {
        if self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= ttl)
        {
            let is_within = |read: &Read, limit| now.saturating_duration_since(read.at) < limit;
            self.users.retain(|_, read| is_within(read, ttl + REMEMBERED));
            self.unknown.retain(|_, read| is_within(read, ttl));
            self.swept = Some(now);
        }
    }
}

impl Backend {
    /// Starts the task that reads from `cluster`, on the current runtime. It ends with `shutdown`.
    #[must_use]
    pub fn start(
        cluster: &Arc<Cluster<Pool>>,
        upstream: Arc<upstream::Options>,
        ttl: Duration,
        shutdown: &Shutdown,
    ) -> Self {
        let (asks, queue) = mpsc::channel(QUEUE);
        let (first, first_queue) = mpsc::channel(QUEUE);
        let cache = Arc::new(Cache {
            ttl,
            known: Mutex::default(),
        });
        let reader = Reader {
            cluster: Arc::downgrade(cluster),
            upstream,
            cache: Arc::clone(&cache),
            connection: None,
            may_not_read_roles: false,
            silent: None,
            sampled: None,
        };
        shutdown.spawn("credentials", reader.run(first_queue, queue));
        Self { cache, asks, first }
    }

    /// What is known of a user, from memory or from a node; `None` if there is none of this name.
    pub(super) async fn find(&self, user: &UserName) -> Answer {
        if let Some(found) = self.cache.get(user, Instant::now()) {
            return Ok(found);
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            user: user.clone(),
            answer,
        };
        let queue = if self.cache.is_remembered(user) {
            &self.first
        } else {
            &self.asks
        };
        queue.try_send(ask).map_err(|_| BackendError::Busy)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(BackendError::Busy),
            Err(_) => Err(BackendError::OutOfReach(
                PATIENCE,
                "others are asked for first".to_owned(),
            )),
        }
    }

    /// A proof did not fit what is known of this user.
    pub(super) fn doubt(&self, user: &UserName) {
        let mut known = self.cache.lock();
        let read = known.users.get_mut(user);
        if let Some(read) = read.filter(|read| read.at.elapsed() >= FRESH) {
            read.generation = None;
        }
    }

    /// How many iterations users have; the defaults of a `mongod` before any was read.
    pub(super) fn usual_iterations(&self) -> Iterations {
        self.cache.lock().usual
    }

    /// Users or roles were changed.
    pub(super) fn forget_all(&self) {
        let mut known = self.cache.lock();
        known.generation += 1;
        known.unknown.clear();
    }
}

/// The task that asks nodes.
struct Reader {
    /// It lives as long as the process does; held weakly, for the cluster's end must not wait for this task.
    cluster: Weak<Cluster<Pool>>,
    upstream: Arc<upstream::Options>,
    cache: Arc<Cache>,
    connection: Option<(Address, Connection)>,
    may_not_read_roles: bool,
    /// The node that did not answer in time, and when.
    silent: Option<(Address, Instant)>,
    /// When it was looked at last how many iterations users have.
    sampled: Option<Instant>,
}

impl Reader {
    async fn run(mut self, mut first: mpsc::Receiver<Ask>, mut queue: mpsc::Receiver<Ask>) {
        loop {
            let next = tokio::select! {
                // Who is known does not wait behind names that nobody may have.
                biased;
                next = first.recv() => next,
                next = queue.recv() => next,
            };
            let Some(Ask { user, answer }) = next else { return };
            // Many clients of one application come at once.
            if answer.is_closed() {
                continue;
            }
            let found = match self.cache.get(&user, Instant::now()) {
                Some(found) => Ok(found),
                None => self.read(&user).await,
            };
            let _ = answer.send(found);
        }
    }

    /// Asks one node after the other, the primary first, until one has told.
    async fn read(&mut self, user: &UserName) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut last = "no node is known to be up".to_owned();
            for node in self.nodes() {
                let (asked, generation) = (Instant::now(), self.cache.lock().generation);
                let told = tokio::time::timeout(NODE_PATIENCE, self.ask(&node, user)).await;
                match told {
                    Ok(Ok(Ok(found))) => {
                        self.cache.put(user.clone(), found.clone(), asked, generation);
                        return Ok(found);
                    }
                    Ok(Ok(Err(error))) => return Err(error),
                    Ok(Err(failure)) => last = format!("{node}: {failure}"),
                    Err(_) => {
                        last = format!("{node}: no answer within {NODE_PATIENCE:?}");
                        self.silent = Some((node, Instant::now()));
                    }
                }
                self.connection = None;
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(BackendError::OutOfReach(PATIENCE, last));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The nodes that hold users: the primary, which knows of every change, first.
    fn nodes(&self) -> Vec<Address> {
        let Some(cluster) = self.cluster.upgrade() else {
            return Vec::new();
        };
        let mut nodes = judges(&cluster);
        let silent = self
            .silent
            .as_ref()
            .filter(|(_, since)| since.elapsed() < ASKED_LAST);
        if let Some((silent, _)) = silent {
            nodes.sort_by_key(|node| node == silent);
        }
        nodes
    }

    /// Asks one node. The outer error says that another may know more.
    async fn ask(&mut self, node: &Address, user: &UserName) -> Result<Answer, String> {
        if self
            .connection
            .as_mut()
            .is_some_and(|(at, connection)| at != node || connection.is_stale())
        {
            self.connection = None;
        }
        if self.connection.is_none() {
            let opened = connect_as(node, &self.upstream, self.upstream.service.as_ref()).await;
            let opened = opened.map_err(|failure| failure.to_string())?;
            self.connection = Some((node.clone(), opened.connection));
        }
        let Some((_, connection)) = &mut self.connection else {
            return Err("it is not connected".to_owned());
        };
        if self
            .sampled
            .is_none_or(|sampled| sampled.elapsed() >= SAMPLE_LASTS)
        {
            let reply = connection.run(&sample()).await;
            let reply = reply.map_err(|failure| failure.to_string())?;
            if let Ok(users) = first_batch(&reply) {
                let mut known = self.cache.lock();
                known.usual = Iterations::usual(users.into_iter().flat_map(counts), known.usual);
                self.sampled = Some(Instant::now());
            }
        }
        let users = find(
            "system.users",
            rawdoc! { "user": &*user.name, "db": &*user.db },
            1,
        );
        let reply = connection
            .run(&users)
            .await
            .map_err(|failure| failure.to_string())?;
        let batch = match first_batch(&reply) {
            Ok(batch) => batch,
            Err(error) if error.code == UNAUTHORIZED => {
                return Ok(Err(BackendError::MayNotRead("admin.system.users", error.message)));
            }
            Err(error) => return Err(error.message),
        };
        let read = batch.first().map(|document| Credentials::read(document));
        let roles = batch.first().map_or_else(Vec::new, |document| role_ids(document));
        // Asked in any case: the time must not tell whether there is such a user.
        let restrictions = match inherited(connection, roles).await {
            Ok(restrictions) => restrictions,
            Err(error) if error.code == UNAUTHORIZED => {
                if !std::mem::replace(&mut self.may_not_read_roles, true) {
                    tracing::warn!(
                        "the service user may not read admin.system.roles: authenticationRestrictions of roles are not seen; those of users are"
                    );
                }
                Vec::new()
            }
            Err(error) => return Err(error.message),
        };
        Ok(match read {
            None => Ok(None),
            Some(Ok(mut credentials)) => {
                credentials.restrictions.extend(restrictions);
                Ok(Some(Arc::new(credentials)))
            }
            Some(Err(error)) => Err(BackendError::Unusable(error.to_string())),
        })
    }
}
