//! Configurations made of files, made anew when a file has changed.
//!
//! A broken file never replaces what is in force. The files are looked at before they are read, so that one that changes while it is
//! read counts as changed again.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use super::TlsError;

/// A certificate that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its file.
    pub path: PathBuf,
    /// Its subject, in MongoDB's form.
    pub subject: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it, and all of its chain, is valid.
    pub not_after: SystemTime,
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Outcome {
    /// They are as they were.
    Unchanged,
    /// New connections use the new ones.
    Reloaded,
    /// They have changed and cannot be used: what was in force stays. Told once for each change.
    Broken(TlsError),
}

/// What reads its files again.
pub trait Reload: Send + Sync + fmt::Debug {
    /// Looks whether files have changed, and reads them again if so. Blocks for as long as reading takes.
    fn look(&self) -> Outcome;
    /// The certificate that is presented to peers, if any.
    fn certificate(&self) -> Option<Certificate>;
}

/// From when on it is said that a certificate expires soon, as MongoDB's servers do.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// All that reads files again, each with who uses it.
#[derive(Debug, Default)]
pub struct Reloads(Vec<(String, Arc<dyn Reload>)>);

impl Reloads {
    /// Adds one; `user` is told in the log and by the admin endpoint.
    pub fn add(&mut self, user: String, files: impl Reload + 'static) {
        self.0.push((user, Arc::new(files)));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at all files, reads those that have changed, and says so in the log. Blocks for as long as that takes.
    pub fn look(&self) {
        for (user, files) in &self.0 {
            match files.look() {
                Outcome::Unchanged => {}
                Outcome::Reloaded => tracing::info!(used_by = user, "certificates were read again"),
                Outcome::Broken(error) => {
                    tracing::warn!(used_by = user, "certificates stay as they were: {error}");
                }
            }
        }
    }

    /// Says in the log which certificates expire soon, or have expired.
    pub fn warn_of_expiry(&self) {
        let now = SystemTime::now();
        for (user, certificate) in self.certificates() {
            let (path, at) = (certificate.path.display(), super::at(certificate.not_after));
            if certificate.not_after < now {
                tracing::error!(used_by = user, "the certificate in {path} expired at {at}");
            } else if certificate.not_after < now + SOON {
                tracing::warn!(used_by = user, "the certificate in {path} expires at {at}");
            }
        }
    }

    /// The certificates in use, each with who uses it.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, Certificate)> {
        self.0
            .iter()
            .filter_map(|(user, files)| Some((user.as_str(), files.certificate()?)))
    }
}

/// What is made of files, together with the certificate in them.
pub(super) struct Made<T> {
    pub(super) config: Arc<T>,
    pub(super) certificate: Option<Certificate>,
}

/// How a file looks from outside; `None` if it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<Made<T>, TlsError> + Send + Sync>,
    current: ArcSwap<Made<T>>,
    seen: Mutex<Vec<Stamp>>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Reads the files for the first time.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<Made<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let seen = stamps(&files);
        let made = make()?;
        Ok(Self {
            files,
            make: Box::new(make),
            current: ArcSwap::from_pointee(made),
            seen: Mutex::new(seen),
        })
    }

    pub(super) fn config(&self) -> Arc<T> {
        Arc::clone(&self.current.load().config)
    }

    pub(super) fn certificate(&self) -> Option<Certificate> {
        self.current.load().certificate.clone()
    }

    pub(super) fn look(&self) -> Outcome {
        // Held all the while, so that an older state never replaces a newer one.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if *seen == now {
            return Outcome::Unchanged;
        }
        *seen = now;
        match (self.make)() {
            Ok(made) => {
                self.current.store(Arc::new(made));
                Outcome::Reloaded
            }
            Err(error) => Outcome::Broken(error),
        }
    }
}

/// Links are followed: a mounted secret changes by a link that leads elsewhere.
fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.size(),
            found.ctime(),
            found.ctime_nsec(),
        ))
    };
    files.iter().map(stamp).collect()
}
