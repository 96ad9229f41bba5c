//! What can be wrong with a connection string.

use crate::topology::AddressError;

/// A fault in a connection string. No message quotes a part that may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The scheme is neither of MongoDB's.
    #[error("a connection string begins with mongodb://")]
    Scheme,
    /// `mongodb+srv://`.
    #[error(
        "mongodb+srv:// is not supported yet; name the nodes: mongodb://host1:27017,host2:27017/?replicaSet=NAME"
    )]
    Srv,
    /// There is a user name, and maybe a password.
    #[error(
        "a user name and password are not supported yet: Tidegate does not authenticate to the nodes; \
         take them out of the uri"
    )]
    Credentials,
    /// An `@` after the host list: in an option, or in a password with an unescaped `/` or `?`.
    #[error(
        "there is an @ after the list of hosts; write it as %40 (in a password also : / ? # as %3A %2F %3F %23)"
    )]
    StrayAt,
    /// No host at all.
    #[error("no host is named; write mongodb://host:27017")]
    NoHost,
    /// One host is no address.
    #[error("host {position}: {error}")]
    Host {
        /// Which of the hosts, counted from 1.
        position: usize,
        /// What is wrong with it.
        error: AddressError,
    },
    /// A part holds `%` without two hexadecimal digits after it, or what it encodes is not UTF-8.
    #[error(
        "{part} has a broken percent-encoding: % is followed by two hexadecimal digits and written %25 itself"
    )]
    PercentEncoding {
        /// Which part.
        part: String,
    },
    /// An option without `=`; counted from 1.
    #[error("option {position} is not written name=value")]
    OptionForm {
        /// Which of the options, counted from 1.
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
    /// Options that contradict each other, or one that contradicts the host list.
    #[error("{0}")]
    Conflict(&'static str),
}
