//! Whose connections they are.
//!
//! Invariant: a connection that is logged in as one identity is reachable from no other. There is no way to make an [`Identity`] of a
//! user but by a login that succeeded ([`Identities::admit`]); the pool logs a new connection in as the identity that it was asked
//! for, and keeps it in that identity's lane, which is found by the identity alone. Two logins are the same identity only if
//! user, mechanism and proven key are the same: what one client may reach, it has proven itself.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::{auth::UserName, upstream::Login};

/// That of Tidegate itself is zero; users have higher ones.
const SERIAL_OF_NOBODY: u64 = 1;

/// Whose connections they are: one identity's are never lent to another.
#[derive(Clone)]
pub struct Identity(Option<Arc<Principal>>);

/// As whom connections are logged in, if as anybody.
struct Principal {
    /// Unique in the process.
    serial: u64,
    /// `None` for nobody.
    login: Option<Arc<Login>>,
    /// Raised when the nodes have forgotten the logins of this user's connections.
    epoch: AtomicU32,
}

static NOBODY: LazyLock<Arc<Principal>> = LazyLock::new(|| Arc::new(Principal::new(SERIAL_OF_NOBODY, None)));

impl Principal {
    fn new(serial: u64, login: Option<Arc<Login>>) -> Self {
        Self {
            serial,
            login,
            epoch: AtomicU32::new(0),
        }
    }
}

impl Identity {
    /// Tidegate itself: the user of the upstream's connection string, or nobody where it names none.
    pub const SERVICE: Self = Self(None);

    /// Whoever has not logged in: the nodes themselves refuse what only users may do.
    #[must_use]
    pub fn nobody() -> Self {
        Self(Some(Arc::clone(&NOBODY)))
    }

    /// The login of a user's connections; `None` for Tidegate itself and for nobody.
    #[must_use]
    pub fn login(&self) -> Option<&Arc<Login>> {
        self.0.as_ref()?.login.as_ref()
    }

    /// The user, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.login().map(|login| login.user())
    }

    /// Whether it is Tidegate itself.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it is nobody.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.serial() == SERIAL_OF_NOBODY
    }

    /// Connections of another epoch than this are lent no more.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0
            .as_ref()
            .map_or(0, |principal| principal.epoch.load(Relaxed))
    }

    /// A node says that a connection of this identity is not logged in any more: all are made anew.
    pub fn forget_connections(&self) {
        if let Some(principal) = &self.0 {
            principal.epoch.fetch_add(1, Relaxed);
        }
    }

    fn serial(&self) -> u64 {
        self.0.as_ref().map_or(0, |principal| principal.serial)
    }

    /// One that stands for nobody in particular.
    #[cfg(test)]
    pub(crate) fn testing(number: u64) -> Self {
        let login = Arc::new(Login::testing(number));
        Self(Some(Arc::new(Principal::new(
            SERIAL_OF_NOBODY + number,
            Some(login),
        ))))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.serial() == other.serial()
    }
}

impl Eq for Identity {}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.serial().cmp(&other.serial())
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial().hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user() {
            Some(user) => write!(f, "Identity({user})"),
            None if self.is_service() => f.write_str("Identity(service)"),
            None => f.write_str("Identity(nobody)"),
        }
    }
}

/// The identities in use. The same login always leads to the same identity while anybody holds it.
#[derive(Debug, Default)]
pub struct Identities {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_user: HashMap<UserName, Vec<Weak<Principal>>>,
    admitted: u64,
    /// How many users there were when those were last looked for whom nobody holds any more.
    swept: usize,
}

impl Identities {
    /// The identity of a login that has succeeded, be it that its client has proven the key or that the operator has named it.
    #[must_use]
    pub fn admit(&self, login: &Arc<Login>) -> Identity {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let same_user = known.by_user.entry(login.user().clone()).or_default();
        same_user.retain(|principal| principal.strong_count() > 0);
        let same = same_user.iter().filter_map(Weak::upgrade);
        if let Some(principal) = same
            .into_iter()
            .find(|known| known.login.as_ref().is_some_and(|known| known.is_same(login)))
        {
            return Identity(Some(principal));
        }
        known.admitted += 1;
        let serial = SERIAL_OF_NOBODY + known.admitted;
        let principal = Arc::new(Principal::new(serial, Some(Arc::clone(login))));
        let weak = Arc::downgrade(&principal);
        known.by_user.entry(login.user().clone()).or_default().push(weak);
        Identity(Some(principal))
    }
}

impl Known {
    /// Forgets users whom nobody holds any more, each time their number may have doubled.
    fn sweep(&mut self) {
        if self.by_user.len() > 2 * self.swept.max(64) {
            self.by_user
                .retain(|_, same| same.iter().any(|principal| principal.strong_count() > 0));
            self.swept = self.by_user.len();
        }
    }
}
