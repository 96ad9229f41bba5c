//! The address of a node, as connection strings and `hello` replies name it.
//!
//! Invariant: the host is lower case and not empty and the port is not 0, so that two addresses are equal
//! exactly when the Server Discovery and Monitoring specification takes them for the same server.

use std::{fmt, net::Ipv6Addr, str::FromStr, sync::Arc};

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 27017;

/// A host and a port; cloning it costs a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no host.
    #[error("address {0:?} names no host")]
    NoHost(String),
    /// The port is not a number from 1 to 65535.
    #[error("address {0:?} has a port that is not a number from 1 to 65535")]
    Port(String),
    /// A bracket is missing, or what stands in brackets is not an IPv6 address.
    #[error("address {0:?} is not a valid IPv6 address: write it as [::1]:27017")]
    Ipv6(String),
    /// A character that cannot stand in a host name.
    #[error("address {address:?} has the character {character:?}, which cannot stand in a host name")]
    Character {
        /// The text.
        address: String,
        /// The first such character.
        character: char,
    },
    /// A path of a Unix domain socket.
    #[error("address {0:?} is a Unix domain socket, which is not supported: name a host and a port")]
    UnixSocket(String),
}

impl Address {
    /// An address from its parts; an IPv6 address stands without brackets.
    ///
    /// # Errors
    /// If the host is empty or no host name, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        check_host(host, host)?;
        if port == 0 {
            return Err(AddressError::Port(format!("{host}:0")));
        }
        Ok(Self {
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }

    /// The host name or IP address, lower case, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        check_host(host, text)?;
        let port = match port {
            None => DEFAULT_PORT,
            // `u16::from_str` would also take a leading plus sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(AddressError::Port(text.to_owned())),
            },
            Some(_) => return Err(AddressError::Port(text.to_owned())),
        };
        Ok(Self {
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }
}

/// Splits a text into host (without brackets) and port.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Ok(match text.split_once(':') {
            // Without brackets it cannot be told where an IPv6 address ends and a port begins.
            Some((_, port)) if port.contains(':') => return Err(AddressError::Ipv6(text.to_owned())),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    };
    let error = || AddressError::Ipv6(text.to_owned());
    let (host, rest) = bracketed.split_once(']').ok_or_else(error)?;
    if !host.contains(':') {
        return Err(error());
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(error()),
    }
}

/// Refuses what cannot be a host; `whole` is the text that the error shows.
fn check_host(host: &str, whole: &str) -> Result<(), AddressError> {
    if host.is_empty() {
        return Err(AddressError::NoHost(whole.to_owned()));
    }
    if host.ends_with(".sock") || host.starts_with('/') {
        return Err(AddressError::UnixSocket(whole.to_owned()));
    }
    if host.contains(':') {
        // A link-local address may name its zone: fe80::1%eth0.
        let (ip, _) = host.split_once('%').unwrap_or((host, ""));
        return match ip.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(AddressError::Ipv6(whole.to_owned())),
        };
    }
    // Names are otherwise taken as they are: operators use underscores and the like.
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/\\@,?#[]%\"".contains(c);
    match host.chars().find(|c| bad(*c)) {
        Some(character) => Err(AddressError::Character {
            address: whole.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_addresses() {
        for (text, host, port, shown) in [
            ("a", "a", 27017, "a:27017"),
            (
                "Db-1.Example.COM:1234",
                "db-1.example.com",
                1234,
                "db-1.example.com:1234",
            ),
            ("under_score:65535", "under_score", 65535, "under_score:65535"),
            ("127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
            ("[::1]", "::1", 27017, "[::1]:27017"),
            ("[FE80::1]:30000", "fe80::1", 30000, "[fe80::1]:30000"),
            (
                "[fe80::1%eth0]:30000",
                "fe80::1%eth0",
                30000,
                "[fe80::1%eth0]:30000",
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::new(address.host(), port).unwrap(), address);
        }
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| text.parse::<Address>().unwrap_err();
        for text in ["", ":27017"] {
            assert_eq!(fault(text), AddressError::NoHost(text.into()));
        }
        for text in [
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:-1",
            "a:x",
            "[::1]:",
            "a:99999999999999999999",
        ] {
            assert_eq!(fault(text), AddressError::Port(text.into()), "{text}");
        }
        for text in [
            "::1",
            "::1:27017",
            "[::1",
            "[::1]27017",
            "[a]",
            "[]:1",
            "[1::2::3]",
        ] {
            assert_eq!(fault(text), AddressError::Ipv6(text.into()), "{text}");
        }
        for text in ["/tmp/mongodb-27017.sock", "x.sock"] {
            assert_eq!(fault(text), AddressError::UnixSocket(text.into()), "{text}");
        }
        for (text, character) in [
            ("a b", ' '),
            ("a,b", ','),
            ("u@h:1", '@'),
            ("a\0:1", '\0'),
            ("%2f", '%'),
        ] {
            assert_eq!(
                fault(text),
                AddressError::Character {
                    address: text.into(),
                    character
                },
                "{text}"
            );
        }
        assert!(Address::new("a", 0).is_err());
        assert!(Address::new("a:1", 1).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_survives_a_round_trip(text in "\\PC{0,20}|[\\[\\]:a-fA-F0-9.%]{0,24}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            }
        }
    }
}
