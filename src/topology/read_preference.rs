//! Which servers of a replica set a read may go to.
//!
//! Source: "Read Preference" of the Server Selection specification.

use std::{fmt, str::FromStr, time::Duration};

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::CString};

use super::ReadPreferenceError;

/// The least `maxStalenessSeconds` that servers take.
pub const SMALLEST_MAX_STALENESS: Duration = Duration::from_secs(90);

/// What kind of member is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// The primary alone.
    #[default]
    Primary,
    /// The primary, or a secondary if there is none.
    PrimaryPreferred,
    /// Secondaries alone.
    Secondary,
    /// A secondary, or the primary if none fits.
    SecondaryPreferred,
    /// Any of them.
    Nearest,
}

impl Mode {
    /// The name in connection strings and in `$readPreference`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::PrimaryPreferred => "primaryPreferred",
            Self::Secondary => "secondary",
            Self::SecondaryPreferred => "secondaryPreferred",
            Self::Nearest => "nearest",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = ReadPreferenceError;

    /// Reads the exact name, as servers do.
    fn from_str(name: &str) -> Result<Self, ReadPreferenceError> {
        Ok(match name {
            "primary" => Self::Primary,
            "primaryPreferred" => Self::PrimaryPreferred,
            "secondary" => Self::Secondary,
            "secondaryPreferred" => Self::SecondaryPreferred,
            "nearest" => Self::Nearest,
            other => return Err(ReadPreferenceError::unknown_mode(other)),
        })
    }
}

/// Tags that a server must all have. The empty set fits every server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagSet(pub Vec<(String, String)>);

impl TagSet {
    /// Whether a server with these tags has all tags of the set.
    #[must_use]
    pub fn matches(&self, tags: &[(String, String)]) -> bool {
        self.0.iter().all(|wanted| tags.contains(wanted))
    }
}

impl FromStr for TagSet {
    type Err = ReadPreferenceError;

    /// Reads one `readPreferenceTags` of a connection string, `dc:ny,rack:1`; an empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, ReadPreferenceError> {
        let pairs = text.split(',').filter(|_| !text.is_empty());
        let tags = pairs.map(|pair| match pair.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains('\0') => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(ReadPreferenceError::malformed_tag(pair)),
        });
        tags.collect::<Result<_, _>>().map(Self)
    }
}

/// Which servers a read may go to. The default is the primary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPreference {
    /// What kind of member is wanted.
    pub mode: Mode,
    /// Tried in order until a server fits one; empty fits every server.
    pub tag_sets: Vec<TagSet>,
    /// How far a secondary may lag behind; `None` sets no bound.
    pub max_staleness: Option<Duration>,
}

impl ReadPreference {
    /// The primary alone.
    pub const PRIMARY: Self = Self {
        mode: Mode::Primary,
        tag_sets: Vec::new(),
        max_staleness: None,
    };

    /// A read preference from the options of a connection string: `readPreference`, each
    /// `readPreferenceTags` in order, and `maxStalenessSeconds`, where -1 sets no bound. (In a
    /// `$readPreference`, it is 0 that sets none, and -1 is an error: so servers have it.)
    ///
    /// # Errors
    /// If tags or a staleness stand with mode primary, or the staleness is under 90 s.
    pub fn from_parts(
        mode: Mode,
        tag_sets: Vec<TagSet>,
        max_staleness_seconds: Option<i64>,
    ) -> Result<Self, ReadPreferenceError> {
        match max_staleness_seconds {
            None | Some(-1) => Self::checked(mode, tag_sets, 0),
            Some(0) => Err(ReadPreferenceError::staleness_too_small()),
            Some(seconds) => Self::checked(mode, tag_sets, seconds),
        }
    }

    /// The rules that hold for every source. `seconds` of zero sets no bound.
    pub(super) fn checked(
        mode: Mode,
        tag_sets: Vec<TagSet>,
        seconds: i64,
    ) -> Result<Self, ReadPreferenceError> {
        Self::check_tags(mode, &tag_sets)?;
        let staleness = Duration::from_secs(
            u64::try_from(seconds).map_err(|_| ReadPreferenceError::negative_staleness())?,
        );
        if seconds == i64::MAX {
            return Err(ReadPreferenceError::staleness_too_large());
        }
        if !staleness.is_zero() && staleness < SMALLEST_MAX_STALENESS {
            return Err(ReadPreferenceError::staleness_too_small());
        }
        if mode == Mode::Primary && !staleness.is_zero() {
            return Err(ReadPreferenceError::staleness_with_primary());
        }
        Ok(Self {
            mode,
            tag_sets: if mode == Mode::Primary {
                Vec::new()
            } else {
                tag_sets
            },
            max_staleness: Some(staleness).filter(|staleness| !staleness.is_zero()),
        })
    }

    /// Mode primary goes with no tags, written as no tag set or as one that is empty.
    pub(super) fn check_tags(mode: Mode, tag_sets: &[TagSet]) -> Result<(), ReadPreferenceError> {
        match (mode, tag_sets) {
            (Mode::Primary, []) => Ok(()),
            (Mode::Primary, [only]) if only.0.is_empty() => Ok(()),
            (Mode::Primary, _) => Err(ReadPreferenceError::tags_with_primary()),
            _ => Ok(()),
        }
    }

    /// Reads a `$readPreference`.
    ///
    /// # Errors
    /// With the code that a `mongod` answers.
    pub fn parse(document: &RawDocument) -> Result<Self, ReadPreferenceError> {
        super::read_preference_parse::parse(document)
    }

    /// The document for `$readPreference`.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(bson::raw::cstr!("mode"), self.mode.name());
        if !self.tag_sets.is_empty() {
            let mut sets = RawArrayBuf::new();
            for TagSet(tags) in &self.tag_sets {
                let mut set = RawDocumentBuf::new();
                for (name, value) in tags {
                    // Parsing lets no NUL into a name, and BSON cannot carry one.
                    if let Ok(name) = CString::try_from(name.as_str()) {
                        set.append(&name, value.as_str());
                    }
                }
                sets.push(set);
            }
            document.append(bson::raw::cstr!("tags"), sets);
        }
        if let Some(staleness) = self.max_staleness {
            let seconds = i64::try_from(staleness.as_secs()).unwrap_or(i64::MAX);
            match i32::try_from(seconds) {
                Ok(seconds) => document.append(bson::raw::cstr!("maxStalenessSeconds"), seconds),
                Err(_) => document.append(bson::raw::cstr!("maxStalenessSeconds"), seconds),
            }
        }
        document
    }
}

impl fmt::Display for ReadPreference {
    /// As the options of a connection string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "readPreference={}", self.mode)?;
        for TagSet(tags) in &self.tag_sets {
            f.write_str("&readPreferenceTags=")?;
            for (index, (name, value)) in tags.iter().enumerate() {
                write!(f, "{}{name}:{value}", if index == 0 { "" } else { "," })?;
            }
        }
        match self.max_staleness {
            Some(staleness) => write!(f, "&maxStalenessSeconds={}", staleness.as_secs()),
            None => Ok(()),
        }
    }
}
