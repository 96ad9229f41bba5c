//! Configurations made of files, made anew when a file has changed.
//!
//! A broken file never replaces what is in force. The files are looked at before they are read, so that one that changes while it is
//! read counts as changed again.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
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
