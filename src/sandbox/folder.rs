//! The folder that holds a set's data: a temporary one, or one that is kept and remembers its ports.
//!
//! A kept set's configuration names its members by port, so it can only be started again on the same ports; they are
//! written down beside the data before the first node is started.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Error, Guard, Options, guard};

const RECORD: &str = "tidegate-sandbox.json";
const LOCK: &str = "tidegate-sandbox.lock";
/// Seconds that the guard of a kept set gives `mongod` to close its files.
const GRACE_SECONDS: u32 = 25;

/// What is remembered of a kept set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) set_name: String,
    pub(super) arbiters: usize,
    /// Of every member, arbiters last.
    pub(super) ports: Vec<u16>,
    /// `replSetInitiate` has succeeded.
    pub(super) initiated: bool,
}

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) kept: bool,
    /// Held for as long as the set runs, so that two sandboxes never share a kept folder.
    lock: Option<File>,
}

impl Folder {
    /// Opens the kept folder, or makes a temporary one, and starts the guard that suits it.
    pub(super) fn open(options: &Options) -> Result<(Self, Guard), Error> {
        let Some(path) = &options.data else {
            let path = guard::temporary_folder()?;
            // From here on the guard is responsible for the folder.
            let guard = Guard::for_temporary(&path).inspect_err(|_| drop(fs::remove_dir_all(&path)))?;
            return Ok((
                Self {
                    path,
                    kept: false,
                    lock: None,
                },
                guard,
            ));
        };
        fs::create_dir_all(path).map_err(Error::io(format!("making {}", path.display())))?;
        let path = path
            .canonicalize()
            .map_err(Error::io(format!("finding {}", path.display())))?;
        let lock = lock(&path)?;
        Ok((
            Self {
                path,
                kept: true,
                lock: Some(lock),
            },
            Guard::for_kept(GRACE_SECONDS)?,
        ))
    }

    /// What an earlier run left here; an error if it does not fit `options`.
    pub(super) fn record(&self, options: &Options) -> Result<Option<Record>, Error> {
        let file = self.path.join(RECORD);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("reading {}", file.display()))(e)),
        };
        let record: Record = serde_json::from_str(&text)
            .map_err(|e| Error::Options(format!("{} is damaged: {e}", file.display())))?;
        let nodes = record.ports.len().saturating_sub(record.arbiters);
        if (nodes, record.arbiters, &record.set_name) != (options.nodes, options.arbiters, &options.set_name)
        {
            return Err(Error::Options(format!(
                "{} holds the replica set {:?} of {nodes} nodes and {} arbiters: ask for the same, or use another \
                 data folder",
                self.path.display(),
                record.set_name,
                record.arbiters
            )));
        }
        Ok(Some(record))
    }

    /// Remembers `record` if the folder is kept.
    pub(super) fn remember(&self, record: &Record) -> Result<(), Error> {
        if !self.kept {
            return Ok(());
        }
        let file = self.path.join(RECORD);
        let failed = || Error::io(format!("writing {}", file.display()));
        let text = serde_json::to_string_pretty(record).map_err(|e| failed()(e.into()))?;
        let unfinished = file.with_extension("json.new");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &file))
            .map_err(failed())
    }

    /// Where node number `node` lives.
    pub(super) fn node(&self, node: usize) -> PathBuf {
        self.path.join(format!("node-{node}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            // Closing alone would leave it locked while a child being forked in this moment has a copy.
            let _ = lock.unlock();
        }
    }
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let failed = || Error::io(format!("locking {}", path.display()));
    let file = File::create(&path).map_err(failed())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Options(format!(
            "{} is in use by another running sandbox",
            folder.display()
        ))),
        Err(fs::TryLockError::Error(e)) => Err(failed()(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> (tempfile::TempDir, Options) {
        let data = tempfile::tempdir().unwrap();
        let options = Options {
            data: Some(data.path().to_owned()),
            ..Options::default()
        };
        (data, options)
    }

    #[test]
    fn a_kept_folder_remembers_its_ports() {
        let (_data, options) = kept();
        let record = Record {
            set_name: "sandbox".into(),
            arbiters: 0,
            ports: vec![1, 2, 3],
            initiated: true,
        };
        let (folder, guard) = Folder::open(&options).unwrap();
        assert_eq!(folder.record(&options).unwrap(), None);
        folder.remember(&record).unwrap();
        drop((folder, guard));
        let (folder, _guard) = Folder::open(&options).unwrap();
        assert_eq!(folder.record(&options).unwrap(), Some(record));
        let message = folder
            .record(&Options { nodes: 5, ..options })
            .unwrap_err()
            .to_string();
        assert!(message.contains("3 nodes and 0 arbiters"), "{message}");
    }

    #[test]
    fn a_kept_folder_has_one_owner_at_a_time() {
        let (_data, options) = kept();
        let _owner = Folder::open(&options).unwrap();
        let message = Folder::open(&options).unwrap_err().to_string();
        assert!(message.contains("another running sandbox"), "{message}");
    }

    #[test]
    fn a_temporary_folder_goes_with_its_guard() {
        let (folder, guard) = Folder::open(&Options::default()).unwrap();
        assert!(folder.path.is_dir());
        drop(guard);
        assert!(!folder.path.exists());
    }
}
