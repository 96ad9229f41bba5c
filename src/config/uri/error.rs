//! What can be wrong with a connection string.

/// A fault in a connection string. No message, and no `Debug` output, quotes a part that may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The scheme is neither of MongoDB's.
    #[error("a connection string begins with mongodb:// or mongodb+srv://")]
    Scheme,
    /// The part before the `@` is no user name with or without a password.
    #[error(
        "the user name and password are not written NAME:PASSWORD@; in each write % as %25 and \
         : / ? # @ as %3A %2F %3F %23 %40"
    )]
    UserInfo,
    /// An `@` after the host list: in an option, or in a password with an unescaped `/` or `?`.
    #[error(
        "there is an @ after the list of hosts; write it as %40 (in a password also : / ? # as %3A %2F %3F %23)"
    )]
    StrayAt,
    /// No host at all.
    #[error("no host is named; write mongodb://host:27017")]
    NoHost,
    /// One host is no address. What was written is not quoted: it is a password where the user forgot the host.
    #[error("host {position}: {why}")]
    Host {
        /// Which of the hosts, counted from 1.
        position: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What follows `mongodb+srv://` is not one name of a domain.
    #[error(
        "mongodb+srv:// takes one host name without a port, such as mongodb+srv://cluster.example.com: {0}"
    )]
    SrvHost(&'static str),
    /// A part holds `%` without two hexadecimal digits after it, or what it encodes is not UTF-8.
    #[error(
        "{part} has a broken percent-encoding: % is followed by two hexadecimal digits and written %25 itself"
    )]
    PercentEncoding {
        /// Which part.
        part: String,
    },
    /// What follows the hosts cannot be the name of a database.
    #[error("the part after the hosts is not a database name; an unescaped / ends the list of hosts")]
    Database,
    /// An option without `=`; counted from 1.
    #[error("option {position} is not written name=value")]
    OptionForm {
        /// Which of the options, counted from 1.
        position: usize,
    },
    /// A value that must not be ignored.
    #[error("{option}: must be {right}")]
    Value {
        /// The option's name.
        option: &'static str,
        /// What would be right.
        right: &'static str,
    },
    /// Options that contradict each other, or one that contradicts the host list.
    #[error("{0}")]
    Conflict(String),
    /// The TXT record has an option that may stand in the connection string only.
    #[error("the TXT record sets an option other than authSource, replicaSet and loadBalanced")]
    TxtOption,
    /// The TXT record has a fault of its own.
    #[error("the TXT record: {0}")]
    Txt(Box<UriError>),
    /// A mechanism is named, and no user.
    #[error("a user name is missing, which the authMechanism needs: write mongodb://NAME:PASSWORD@host")]
    NoUser,
    /// A user is named, and no password.
    #[error("a password is missing: write mongodb://NAME:PASSWORD@host")]
    NoPassword,
    /// A host is a path.
    #[error("host {position}: a Unix domain socket is not supported for nodes: name a host and a port")]
    UnixSocket {
        /// Which of the hosts, counted from 1.
        position: usize,
    },
    /// An option that asks for what Tidegate cannot do; to ignore it would do something else than was asked.
    #[error("{option}: {why}")]
    Unsupported {
        /// The option's name.
        option: &'static str,
        /// Why, and what to do instead.
        why: &'static str,
    },
}
