//! Where the audit log goes: a file that may be rotated away, or one of the standard streams.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Who may read a file that is made here: its owner alone.
const MODE: u32 = 0o600;

/// Where the audit log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, to whose end lines are added; made with mode 0600 if there is none.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error, beside the log.
    Stderr,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
        }
    }
}

/// A target that is open.
#[derive(Debug)]
pub(super) enum Sink {
    File(Rotated),
    Stdout,
    Stderr,
}

impl Sink {
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::File(path) => Self::File(Rotated::open(path)?),
            Target::Stdout => Self::Stdout,
            Target::Stderr => Self::Stderr,
        })
    }

    /// Writes whole lines. They go to the file that has the path now, whatever was done with the one before.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(rotated) => {
                rotated.follow()?;
                rotated.file.write_all(lines)
            }
            Self::Stdout => {
                let mut stream = io::stdout().lock();
                stream.write_all(lines)?;
                stream.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(lines),
        }
    }

    /// Makes the file anew if it was renamed or removed.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        match self {
            Self::File(rotated) => rotated.follow(),
            Self::Stdout | Self::Stderr => Ok(()),
        }
    }
}

/// A file that others may rename at any time.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    /// Device and inode of the open file.
    identity: (u64, u64),
}

impl Rotated {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(path)?;
        let opened = file.metadata()?;
        if opened.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            path: path.to_owned(),
            identity: (opened.dev(), opened.ino()),
            file,
        })
    }

    fn follow(&mut self) -> io::Result<()> {
        let is_there =
            fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if !is_there {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_follow_the_path_when_the_file_is_renamed_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
        fs::write(&path, "before\n").unwrap();
        let mut sink = Sink::open(&Target::File(path.clone())).unwrap();
        sink.write(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        sink.write(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        sink.follow().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        sink.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "before\none\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn a_path_that_cannot_be_written_to_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing/audit")] {
            assert!(Sink::open(&Target::File(path)).is_err());
        }
    }
}
