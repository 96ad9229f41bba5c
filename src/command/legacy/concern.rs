//! The write concern of a `getLastError`.

use bson::{RawDocumentBuf, raw::cstr};

use crate::wire::{Element, RawDoc, WireError};

/// Most members of a replica set.
const MOST_MEMBERS: i64 = 50;
/// The longest `wtimeout` that servers take, in milliseconds.
const LONGEST: i64 = i32::MAX as i64;

/// How many members are to have a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Members {
    /// As the server takes it when nothing is said.
    #[default]
    Unsaid,
    /// That many; at least 1.
    Count(i64),
    /// `majority`, or a mode of the set's configuration.
    Mode(String),
}

/// What `getLastError` asks of the write before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concern {
    /// `w`.
    pub members: Members,
    /// `j` or `fsync`: on the disk's journal.
    pub journal: bool,
    /// `wtimeout`, in milliseconds; 0 waits without a limit.
    pub timeout: i64,
}

/// Why a `getLastError` cannot be judged, in the words of mongod 4.2; all have code 9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadConcern(pub String);

impl From<WireError> for BadConcern {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

impl Concern {
    /// The concern of a write that nobody asks about.
    #[must_use]
    pub fn one() -> Self {
        Self {
            members: Members::Count(1),
            ..Self::default()
        }
    }

    /// Reads the fields of a `getLastError`. Where it names no members it means one, as it always did: today's servers would take
    /// silence for a majority.
    ///
    /// # Errors
    /// For what mongod 4.2 refuses.
    pub fn of_last_error(command: RawDoc<'_>) -> Result<Self, BadConcern> {
        let mut concern = Self::one();
        let (mut j, mut fsync) = (false, false);
        for element in command.iter().skip(1) {
            let element = element?;
            match element.key {
                b"w" => concern.members = members(&element)?,
                b"j" => j = flag(&element, "j")?,
                b"fsync" => fsync = flag(&element, "fsync")?,
                b"wtimeout" => {
                    concern.timeout = element.as_i64().unwrap_or_default().clamp(0, LONGEST);
                }
                key if is_common(key) => {}
                key => {
                    let key = String::from_utf8_lossy(key);
                    return Err(BadConcern(format!("unrecognized write concern field: {key}")));
                }
            }
        }
        if j && fsync {
            return Err(BadConcern(
                "fsync and j options cannot be used together".to_owned(),
            ));
        }
        concern.journal = j || fsync;
        Ok(concern)
    }

    /// What can go along with a write: servers do not do a write whose concern they cannot read.
    #[must_use]
    pub fn for_write(&self) -> Self {
        if self.is_beyond_sets() {
            Self::one()
        } else {
            self.clone()
        }
    }

    /// Whether it asks for more members than any set may have.
    #[must_use]
    pub fn is_beyond_sets(&self) -> bool {
        matches!(self.members, Members::Count(count) if count > MOST_MEMBERS)
    }

    /// Whether it asks for no more than that the write was done.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.journal && matches!(self.members, Members::Unsaid | Members::Count(1))
    }

    /// Whether it asks for more than one member.
    #[must_use]
    pub fn waits_for_members(&self) -> bool {
        !matches!(self.members, Members::Unsaid | Members::Count(1))
    }

    /// Adds `writeConcern` to a command's body, unless it says nothing.
    pub fn append_to(&self, body: &mut RawDocumentBuf) {
        if *self == Self::default() {
            return;
        }
        let mut fields = RawDocumentBuf::new();
        match &self.members {
            Members::Unsaid => {}
            Members::Count(count) => match i32::try_from(*count) {
                Ok(count) => fields.append(cstr!("w"), count),
                Err(_) => fields.append(cstr!("w"), *count),
            },
            Members::Mode(mode) => fields.append(cstr!("w"), mode.as_str()),
        }
        if self.journal {
            fields.append(cstr!("j"), true);
        }
        if self.timeout > 0 {
            fields.append(cstr!("wtimeout"), self.timeout);
        }
        body.append(cstr!("writeConcern"), fields);
    }
}

fn members(w: &Element<'_>) -> Result<Members, BadConcern> {
    if let Some(count) = w.as_i64() {
        return Ok(Members::Count(count.max(1)));
    }
    match (w.as_str(), w.kind) {
        (Some(""), _) | (None, 0x0a) => Ok(Members::Count(1)),
        (Some(mode), _) => Ok(Members::Mode(mode.to_owned())),
        (None, _) => Err(BadConcern("w has to be a number or a string".to_owned())),
    }
}

fn flag(element: &Element<'_>, name: &str) -> Result<bool, BadConcern> {
    match element.kind {
        0x0a => Ok(false),
        _ => element
            .as_bool()
            .ok_or_else(|| BadConcern(format!("{name} must be numeric or a boolean value"))),
    }
}

/// Fields that any command may have, and those by which a `mongos` names the write that it means.
fn is_common(key: &[u8]) -> bool {
    key.starts_with(b"$")
        || matches!(
            key,
            b"lsid"
                | b"maxTimeMS"
                | b"wOpTime"
                | b"wElectionId"
                | b"apiVersion"
                | b"apiStrict"
                | b"apiDeprecationErrors"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, doc};
    use proptest::prelude::*;

    fn concern(command: &Document) -> Result<Concern, BadConcern> {
        Concern::of_last_error(RawDoc::prefix(&command.to_vec().unwrap()).unwrap())
    }

    #[test]
    fn what_is_asked_is_understood_as_mongod_did() {
        let mode = |name: &str| Members::Mode(name.to_owned());
        let table = [
            (doc! {}, Members::Count(1), false, 0),
            (doc! {"w": 0}, Members::Count(1), false, 0),
            (doc! {"w": -1, "wtimeout": "x"}, Members::Count(1), false, 0),
            (
                doc! {"w": Bson::Null, "wtimeout": -5},
                Members::Count(1),
                false,
                0,
            ),
            (doc! {"w": ""}, Members::Count(1), false, 0),
            (doc! {"w": 2.0, "wtimeout": 100i64}, Members::Count(2), false, 100),
            (doc! {"w": "majority", "j": true}, mode("majority"), true, 0),
            (
                doc! {"fsync": 1, "$db": "d", "lsid": {}},
                Members::Count(1),
                true,
                0,
            ),
            (doc! {"j": false, "fsync": true}, Members::Count(1), true, 0),
        ];
        for (fields, members, journal, timeout) in table {
            let mut command = doc! {"getlasterror": 1};
            command.extend(fields);
            let expected = Concern {
                members,
                journal,
                timeout,
            };
            assert_eq!(concern(&command), Ok(expected), "{command}");
        }
    }

    #[test]
    fn what_mongod_refused_is_refused() {
        for (fields, words) in [
            (doc! {"j": true, "fsync": true}, "cannot be used together"),
            (doc! {"w": true}, "w has to be"),
            (doc! {"w": {"dc": 1}}, "w has to be"),
            (doc! {"j": "x"}, "j must be"),
            (doc! {"fsync": "x"}, "fsync must be"),
            (doc! {"bogus": 1}, "unrecognized write concern field: bogus"),
        ] {
            let mut command = doc! {"getlasterror": 1};
            command.extend(fields);
            let BadConcern(message) = concern(&command).unwrap_err();
            assert!(message.contains(words), "{command}: {message}");
        }
    }

    #[test]
    fn a_write_goes_out_with_nothing_that_servers_cannot_read() {
        let asked = concern(&doc! {"getlasterror": 1, "w": 51, "wtimeout": 1_i64 << 33}).unwrap();
        assert!(asked.is_beyond_sets());
        assert_eq!((asked.timeout, asked.for_write()), (LONGEST, Concern::one()));
        let asked = concern(&doc! {"getlasterror": 1, "w": 50, "wtimeout": 5}).unwrap();
        assert_eq!(asked.for_write(), asked);
    }

    #[test]
    fn only_what_is_said_is_sent() {
        let sent = |concern: &Concern| {
            let mut body = RawDocumentBuf::new();
            concern.append_to(&mut body);
            Document::try_from(body).unwrap()
        };
        assert_eq!(sent(&Concern::default()), doc! {});
        assert_eq!(sent(&Concern::one()), doc! {"writeConcern": {"w": 1}});
        let all = Concern {
            members: Members::Mode("dc".to_owned()),
            journal: true,
            timeout: 7,
        };
        assert_eq!(
            sent(&all),
            doc! {"writeConcern": {"w": "dc", "j": true, "wtimeout": 7i64}}
        );
        assert!(!all.is_plain() && Concern::one().is_plain());
    }

    proptest! {
        #[test]
        fn damaged_commands_never_panic(at in 4usize..80, with in any::<u8>()) {
            let mut command = doc! {"getlasterror": 1, "w": "majority", "j": true, "wtimeout": 5}.to_vec().unwrap();
            let at = at % (command.len() - 1);
            command[at.max(4)] = with;
            if let Ok(raw) = RawDoc::prefix(&command) {
                let _ = Concern::of_last_error(raw);
            }
        }
    }
}
