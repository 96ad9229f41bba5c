//! What stands before the path: user name, password and hosts.

use std::fmt;

use super::{Secret, UriError, decode};
use crate::topology::{Address, AddressError};

/// Who to be. A user name may be as telling as a password, so that neither is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The user name; not empty.
    pub username: Secret,
    /// The password; `None` where not even its colon is there.
    pub password: Option<Secret>,
}

/// One host of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name or IP address, and a port.
    Tcp(Address),
    /// The path of a Unix domain socket, which ends in `.sock`.
    Unix(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// Splits `user:password@hosts`.
pub(super) fn split(authority: &str) -> Result<(Option<UserInfo>, &str), UriError> {
    let Some((user, hosts)) = authority.split_once('@') else {
        return Ok((None, authority));
    };
    let (username, password) = match user.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (user, None),
    };
    // A colon or an @ that is not escaped: where the name ends, or the hosts begin, can only be guessed.
    if username.is_empty() || password.is_some_and(|password| password.contains(':')) || hosts.contains('@') {
        return Err(UriError::UserInfo);
    }
    let secret = |text| decode(text).map(Secret::new).ok_or(UriError::UserInfo);
    let user = UserInfo {
        username: secret(username)?,
        password: password.map(secret).transpose()?,
    };
    Ok((Some(user), hosts))
}

/// The comma-separated hosts. A host named twice counts once.
pub(super) fn hosts(list: &str, errors: &mut Vec<UriError>) -> Vec<Host> {
    if list.is_empty() {
        errors.push(UriError::NoHost);
        return Vec::new();
    }
    let mut hosts = Vec::new();
    for (index, text) in list.split(',').enumerate() {
        let position = index + 1;
        let Some(decoded) = decode(text) else {
            let part = format!("host {position}");
            errors.push(UriError::PercentEncoding { part });
            continue;
        };
        match host(decoded) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err(error) => errors.push(UriError::Host {
                position,
                why: fault(&error),
            }),
        }
    }
    hosts
}

fn host(text: String) -> Result<Host, AddressError> {
    if text.ends_with(".sock") && !text.contains('\0') {
        return Ok(Host::Unix(text));
    }
    text.parse().map(Host::Tcp)
}

/// The one name after `mongodb+srv://`, lower case and without the dot of the root.
pub(super) fn srv_host(list: &str) -> Result<String, UriError> {
    if list.contains(',') {
        return Err(UriError::SrvHost("there is more than one host"));
    }
    let decoded = decode(list).ok_or(UriError::SrvHost("its percent-encoding is broken"))?;
    if decoded.starts_with('[') || decoded.parse::<std::net::IpAddr>().is_ok() {
        return Err(UriError::SrvHost("an IP address has no SRV records"));
    }
    if decoded.contains(':') {
        return Err(UriError::SrvHost("there is a port, which the SRV records tell"));
    }
    let address: Address = decoded
        .strip_suffix('.')
        .unwrap_or(&decoded)
        .parse()
        .map_err(|error| UriError::SrvHost(fault(&error)))?;
    if address.host().split('.').any(str::is_empty) {
        return Err(UriError::SrvHost("a part between two dots is empty"));
    }
    Ok(address.host().to_owned())
}

/// What is wrong with an address, without quoting it.
fn fault(error: &AddressError) -> &'static str {
    match error {
        AddressError::NoHost(_) => "there is no host name",
        AddressError::Port(_) => "the port is not a number from 1 to 65535",
        AddressError::Ipv6(_) => "not a valid IPv6 address; write it as [::1]:27017",
        AddressError::Character { .. } => "a character in it cannot stand in a host name",
        AddressError::UnixSocket(_) => "the path of a Unix domain socket ends in .sock",
    }
}
