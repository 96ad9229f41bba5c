//! Mistakes in a configuration: where each is, which key it concerns, what is wrong and what would be right.
//!
//! Invariant: no text in this module ever holds the value of a secret setting. Those who report a mistake about
//! such a setting describe the fault and leave the value out.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::admin::Setting;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file `name`, on `line` (counted from 1).
    File {
        /// The file's path as it was given.
        name: Arc<str>,
        /// The line, counted from 1.
        line: usize,
    },
    /// In an environment variable, or by an argument of the command line (`--listen`); the name of either.
    Named(Arc<str>),
    /// Nowhere: the mistake is that something is missing.
    Nowhere,
}

impl Place {
    /// Whether values given here have no type of their own, so that `"100"` is a number where one is asked for.
    pub(super) fn is_untyped(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Named(name) => f.write_str(name),
            Self::Nowhere => f.write_str("default"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where the value was given.
    pub place: Place,
    /// The key, as `pool.max_size` or `listener[0].address`; empty where the mistake is about no key.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { name, line } => write!(f, "{name}:{line}: ")?,
            // The name of a variable or argument says which key it is.
            Place::Named(name) => return write!(f, "{name}: {}", self.problem),
            Place::Nowhere => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Every mistake of a configuration, in the order of the file, then by variable. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The mistakes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

/// Gathers mistakes and warnings while a configuration is read, so that all are reported at once.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Mistake>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    files: Vec<PathBuf>,
    settings: Vec<Setting>,
}

impl Report {
    pub(super) fn mistake(&mut self, place: &Place, key: &str, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            place: place.clone(),
            key: key.to_owned(),
            problem: problem.into(),
        });
    }

    pub(super) fn warning(&mut self, place: &Place, key: &str, problem: impl Into<String>) {
        self.warnings.push(Mistake {
            place: place.clone(),
            key: key.to_owned(),
            problem: problem.into(),
        });
    }

    /// Takes note of a setting that was read.
    pub(super) fn setting(&mut self, key: String, value: Option<String>, source: String) {
        self.settings.push(Setting { key, value, source });
    }

    /// The settings that were read, in the order of the sections.
    pub(super) fn take_settings(&mut self) -> Vec<Setting> {
        std::mem::take(&mut self.settings)
    }

    /// A line that could not be read at all. What else is wrong on it mostly follows from that and is passed over.
    pub(super) fn syntax_fault(&mut self, place: Place, problem: String) {
        if self.faults.iter().any(|fault| fault.place == place) {
            return;
        }
        self.faults.push(Mistake {
            place,
            key: String::new(),
            problem,
        });
    }

    /// A file beside the configuration's own in which a setting stands.
    pub(super) fn note_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// Those files.
    pub(super) fn take_files(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.files)
    }

    /// Whether all of the text could be read, so that what was not found is indeed missing.
    pub(super) fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// The warnings, each as one line, or every mistake.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Mistakes> {
        // What was made of a line that could not be read is only a consequence of that.
        let faults = &self.faults;
        self.mistakes
            .retain(|mistake| faults.iter().all(|fault| fault.place != mistake.place));
        self.mistakes.append(&mut self.faults);
        if !self.mistakes.is_empty() {
            self.mistakes.sort();
            self.mistakes.dedup();
            return Err(Mistakes(self.mistakes));
        }
        self.warnings.sort();
        Ok(self.warnings.iter().map(Mistake::to_string).collect())
    }
}
