//! What is written to the audit log: the events, as types from which a line of JSON is made.
//!
//! Invariant: no field takes free text. What a client has sent appears only as a [`Name`], which is bounded and escaped, and there
//! is no place for a password, a proof or a key.

use std::{
    fmt,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// The most characters of a name that are written.
const LONGEST_NAME: usize = 128;

/// A name as a client sent it: of a user, a database, a command. Written without control characters, and cut off with an ellipsis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self(name.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Name<'a> {
    fn from(name: &'a [u8]) -> Self {
        Self(name)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A character takes at most four bytes; a few more, so that a cut shows.
        let start = &self.0[..self.0.len().min(LONGEST_NAME * 4 + 4)];
        let text = String::from_utf8_lossy(start);
        for (at, character) in text.chars().enumerate() {
            if at == LONGEST_NAME {
                return f.write_str("\u{2026}");
            }
            // What would move the cursor, or turn the direction of the text round, must not reach a terminal.
            if character.is_control()
                || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "\\u{{{:x}}}", u32::from(character))?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A user, by name and by the database that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User<'a> {
    /// The name.
    pub name: Name<'a>,
    /// The database.
    pub database: Name<'a>,
}

impl<'a> User<'a> {
    /// The user `name` of `database`.
    #[must_use]
    pub fn new(name: &'a str, database: &'a str) -> Self {
        Self {
            name: name.into(),
            database: database.into(),
        }
    }
}

/// Where a client came from and what it reached.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// Its address; `None` for one on a Unix domain socket.
    pub address: Option<SocketAddr>,
    /// The listener's own address.
    pub listener: &'a (dyn fmt::Display + Sync),
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.address, self.listener)
    }
}

/// Why a login was refused, as a class: the client is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// There is no such user.
    UnknownUser,
    /// The password, or the proof that it is known, is wrong.
    WrongPassword,
    /// The mechanism is not offered, or not to this user.
    Mechanism,
    /// No certificate, or one that names no user.
    Certificate,
    /// The user may not log in from this address, or at this one (`authenticationRestrictions`).
    Restricted,
    /// The messages break the mechanism's rules.
    Malformed,
    /// The login was not finished in its time.
    TimedOut,
    /// The nodes refused the login, or what is known of the user could not be read.
    Unavailable,
}

impl LoginRefusal {
    /// The name in the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown user",
            Self::WrongPassword => "wrong password",
            Self::Mechanism => "mechanism",
            Self::Certificate => "certificate",
            Self::Restricted => "restricted",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed out",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The rule by which a command was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `[listener] deny_commands`.
    DenyCommands,
    /// `[listener] read_only`.
    ReadOnly,
    /// A field stands twice, so that it cannot be judged.
    Ambiguous,
}

impl Rule {
    /// The name in the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DenyCommands => "deny_commands",
            Self::ReadOnly => "read_only",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Why the admin endpoint refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminRefusal {
    /// No token, where one is needed.
    NoToken,
    /// A token that is none of those configured.
    WrongToken,
    /// A token for reading, where acting needs more.
    MayOnlyRead,
    /// It came from a page of another site.
    CrossSite,
    /// It names a host that this endpoint does not go by.
    UnknownHost,
}

impl AdminRefusal {
    /// The name in the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no token",
            Self::WrongToken => "wrong token",
            Self::MayOnlyRead => "may only read",
            Self::CrossSite => "cross-site",
            Self::UnknownHost => "unknown host",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A client has logged in.
    Login {
        /// The client.
        origin: Origin<'a>,
        /// As whom.
        user: User<'a>,
        /// By which mechanism.
        mechanism: Name<'a>,
    },
    /// A client could not log in.
    LoginRefused {
        /// The client.
        origin: Origin<'a>,
        /// As whom, if that came to be known.
        user: Option<User<'a>>,
        /// By which mechanism.
        mechanism: Name<'a>,
        /// Why not.
        reason: LoginRefusal,
    },
    /// A client has logged out, or its connection ended.
    Logout {
        /// The client.
        origin: Origin<'a>,
        /// Who was logged in.
        user: User<'a>,
    },
    /// A rule of the listener denied a command.
    CommandDenied {
        /// The client.
        origin: Origin<'a>,
        /// Who is logged in.
        user: Option<User<'a>>,
        /// The command as it was named.
        command: Name<'a>,
        /// The database that it was for.
        database: Name<'a>,
        /// Which rule.
        rule: Rule,
    },
    /// A connection was closed because its address is in no allowed network.
    ConnectionRefused {
        /// The client.
        origin: Origin<'a>,
    },
    /// Something was done through the admin endpoint.
    AdminAction {
        /// By whom.
        address: Option<SocketAddr>,
        /// The path, one of the endpoint's own.
        action: &'static str,
        /// What it was done to, where the path has a name in braces.
        subject: Option<&'a str>,
        /// Whether anything is different now.
        changed: bool,
    },
    /// The admin endpoint refused a request.
    AdminRefused {
        /// Whose.
        address: Option<SocketAddr>,
        /// The path that was asked for.
        path: Name<'a>,
        /// Why.
        reason: AdminRefusal,
    },
}

impl Event<'_> {
    /// The event as a line of JSON with its newline, as of `now`.
    pub(super) fn line(&self, now: SystemTime) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        // Writing to memory does not fail, and nothing here fails to serialize.
        let _ = serde_json::to_writer(&mut line, &Stamped { event: self, now });
        line.push(b'\n');
        line
    }
}

/// An event and its time.
struct Stamped<'a> {
    event: &'a Event<'a>,
    now: SystemTime,
}

/// How the time of an event is written (RFC 3339, in UTC).
pub(super) fn time(now: SystemTime) -> String {
    // The year 9999 is as far as dates are written; a clock that is beyond that is not to be trusted.
    const LAST: u64 = 253_402_300_799;
    let is_date = now
        .duration_since(UNIX_EPOCH)
        .is_ok_and(|since| since.as_secs() <= LAST);
    humantime::format_rfc3339_millis(if is_date { now } else { UNIX_EPOCH }).to_string()
}

impl Serialize for Stamped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &time(self.now))?;
        match *self.event {
            Event::Login {
                origin,
                user,
                mechanism,
            } => {
                map.serialize_entry("event", "login")?;
                write_origin(&mut map, origin)?;
                write_user(&mut map, Some(user))?;
                map.serialize_entry("mechanism", &mechanism)?;
            }
            Event::LoginRefused {
                origin,
                user,
                mechanism,
                reason,
            } => {
                map.serialize_entry("event", "login refused")?;
                write_origin(&mut map, origin)?;
                write_user(&mut map, user)?;
                map.serialize_entry("mechanism", &mechanism)?;
                map.serialize_entry("reason", reason.name())?;
            }
            Event::Logout { origin, user } => {
                map.serialize_entry("event", "logout")?;
                write_origin(&mut map, origin)?;
                write_user(&mut map, Some(user))?;
            }
            Event::CommandDenied {
                origin,
                user,
                command,
                database,
                rule,
            } => {
                map.serialize_entry("event", "command denied")?;
                write_origin(&mut map, origin)?;
                write_user(&mut map, user)?;
                map.serialize_entry("command", &command)?;
                map.serialize_entry("on", &database)?;
                map.serialize_entry("rule", rule.name())?;
            }
            Event::ConnectionRefused { origin } => {
                map.serialize_entry("event", "connection refused")?;
                write_origin(&mut map, origin)?;
                map.serialize_entry("rule", "allow_networks")?;
            }
            Event::AdminAction {
                address,
                action,
                subject,
                changed,
            } => {
                map.serialize_entry("event", "admin action")?;
                write_address(&mut map, address)?;
                map.serialize_entry("action", action)?;
                if let Some(subject) = subject {
                    map.serialize_entry("subject", subject)?;
                }
                map.serialize_entry("changed", &changed)?;
            }
            Event::AdminRefused {
                address,
                path,
                reason,
            } => {
                map.serialize_entry("event", "admin refused")?;
                write_address(&mut map, address)?;
                map.serialize_entry("path", &path)?;
                map.serialize_entry("reason", reason.name())?;
            }
        }
        map.end()
    }
}

fn write_address<M: SerializeMap>(map: &mut M, address: Option<SocketAddr>) -> Result<(), M::Error> {
    match address {
        Some(address) => map.serialize_entry("address", &address),
        None => map.serialize_entry("address", "unix"),
    }
}

fn write_origin<M: SerializeMap>(map: &mut M, origin: Origin<'_>) -> Result<(), M::Error> {
    write_address(map, origin.address)?;
    map.serialize_entry("listener", &format_args!("{}", origin.listener))
}

fn write_user<M: SerializeMap>(map: &mut M, user: Option<User<'_>>) -> Result<(), M::Error> {
    map.serialize_entry("user", &user.map(|user| user.name))?;
    map.serialize_entry("database", &user.map(|user| user.database))
}
