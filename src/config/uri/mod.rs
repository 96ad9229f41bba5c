//! MongoDB connection strings, as the Connection String, URI Options and Initial DNS Seedlist Discovery specifications
//! define them.
//!
//! [`parse`] reads all that the specifications define, credentials and TLS included. [`ConnectionString::supported`] then says
//! what Tidegate can do of it: options that concern a proxy are honoured; those that belong to the application's driver
//! have no effect here, which is told; those that ask for what Tidegate cannot do are errors.
//!
//! Invariant: no error, warning or `Debug` output holds credentials or other secrets. Where it cannot be told whether a
//! part belongs to a password, nothing of the string is shown.

mod authority;
mod conflicts;
mod credential;
mod error;
mod honoured;
mod options;
mod secret;
mod support;
mod table;
mod value;

use percent_encoding::percent_decode_str;

pub use authority::{Host, UserInfo};
pub use credential::Credential;
pub use error::UriError;
pub use honoured::UriOptions;
pub use options::Options;
pub use secret::Secret;
pub use support::Supported;
pub use value::Value;

use crate::topology::Address;

/// What a TXT record may set (Initial DNS Seedlist Discovery specification, "Default Connection String Options").
const TXT_OPTIONS: &[&str] = &["authSource", "replicaSet", "loadBalanced"];

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionString {
    /// User name and password.
    pub user: Option<UserInfo>,
    /// The name after `mongodb+srv://`, lower case.
    pub srv_host: Option<String>,
    /// The hosts, each once, in their order. For `mongodb+srv://` empty until [`resolved`](Self::resolved).
    pub hosts: Vec<Host>,
    /// The database in the path: where the user is kept, unless `authSource` says.
    pub database: Option<String>,
    /// The options that are valid. `tls` is there for `mongodb+srv://` in any case.
    pub options: Options,
    /// What was ignored, and why.
    pub warnings: Vec<String>,
}

/// Reads a connection string.
///
/// # Errors
/// Every fault that was found. After a wrong scheme or a stray `@` nothing else is looked at.
pub fn parse(uri: &str) -> Result<ConnectionString, Vec<UriError>> {
    match read(uri) {
        Ok((parsed, errors)) if errors.is_empty() => Ok(parsed),
        Ok((_, errors)) => Err(errors),
        Err(error) => Err(vec![error]),
    }
}

/// Reads a connection string and says what can be done of it.
///
/// # Errors
/// Every fault that was found, and all that asks for what Tidegate cannot do, at once.
pub fn parse_supported(uri: &str) -> Result<(ConnectionString, Supported), Vec<UriError>> {
    let (parsed, mut errors) = read(uri).map_err(|error| vec![error])?;
    match parsed.supported() {
        Ok(supported) if errors.is_empty() => return Ok((parsed, supported)),
        Ok(_) => {}
        Err(unsupported) => errors.extend(unsupported),
    }
    Err(errors)
}

/// What could be read, and what could not; alone the error after which nothing may be shown.
fn read(uri: &str) -> Result<(ConnectionString, Vec<UriError>), UriError> {
    let (is_srv, rest) = match uri.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mongodb") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mongodb+srv") => (true, rest),
        _ => return Err(UriError::Scheme),
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password with an unescaped slash or question mark puts its @ behind what looks like the host list. Which it is
    // cannot be told, so that nothing of such a string is shown or used.
    if path.contains('@') || (query.contains('@') && !authority.contains('@')) {
        return Err(UriError::StrayAt);
    }
    let (user, list) = authority::split(authority)?;

    let mut errors = Vec::new();
    let mut parsed = ConnectionString {
        user,
        ..Default::default()
    };
    match is_srv {
        true if list.is_empty() => errors.push(UriError::NoHost),
        true => match authority::srv_host(list) {
            Ok(host) => parsed.srv_host = Some(host),
            Err(error) => errors.push(error),
        },
        false => parsed.hosts = authority::hosts(list, &mut errors),
    }
    parsed.database = database(path, &mut errors);
    let pairs = options::pairs(query, &mut errors);
    parsed.options = options::read(&pairs, &mut errors, &mut parsed.warnings);
    if parsed.srv_host.is_some() {
        parsed.options.default_to("tls", Value::Boolean(true));
    }
    if is_srv == parsed.srv_host.is_some() {
        errors.extend(conflicts::conflicts(&parsed));
    }
    // An @ that is not escaped in an option is taken only where all else is as it should be: for the same reason.
    if query.contains('@') && !(errors.is_empty() && parsed.warnings.is_empty()) {
        return Err(UriError::StrayAt);
    }
    Ok((parsed, errors))
}

impl ConnectionString {
    /// A `mongodb+srv://` string with the hosts of its SRV records and the options of its TXT record, which count where
    /// the string itself does not give them.
    ///
    /// # Errors
    /// If the TXT record is not well-formed or sets another option than it may, or if what came by the DNS contradicts the string.
    pub fn resolved(&self, hosts: Vec<Address>, txt: Option<&str>) -> Result<Self, Vec<UriError>> {
        let mut errors = Vec::new();
        let mut resolved = self.clone();
        resolved.hosts = hosts.into_iter().map(Host::Tcp).collect();
        if resolved.hosts.is_empty() {
            errors.push(UriError::NoHost);
        }
        let pairs = options::pairs(txt.unwrap_or(""), &mut errors);
        let is_allowed = |name: &String| {
            TXT_OPTIONS
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name))
        };
        if pairs.iter().any(|(name, _)| !is_allowed(name)) {
            errors.push(UriError::TxtOption);
        }
        let defaults = options::read(&pairs, &mut errors, &mut resolved.warnings);
        let in_txt = |error| match error {
            error @ (UriError::TxtOption | UriError::NoHost) => error,
            error => UriError::Txt(Box::new(error)),
        };
        let mut errors: Vec<_> = errors.into_iter().map(in_txt).collect();
        resolved.options.fill_up(defaults);
        errors.extend(conflicts::conflicts(&resolved));
        if errors.is_empty() {
            Ok(resolved)
        } else {
            Err(errors)
        }
    }
}

fn database(path: &str, errors: &mut Vec<UriError>) -> Option<String> {
    let name = path.strip_prefix('/').filter(|name| !name.is_empty())?;
    match decode(name) {
        None => errors.push(UriError::PercentEncoding {
            part: "the database name".to_owned(),
        }),
        Some(decoded) if decoded.contains(['/', '\\', ' ', '"', '$', '\0']) => {
            errors.push(UriError::Database)
        }
        decoded => return decoded,
    }
    None
}

/// Decodes percent-encoding; `None` where an escape is broken or the outcome is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut escapes = text.split('%');
    escapes.next();
    let whole = |escape: &str| {
        let bytes = escape.as_bytes();
        bytes.len() >= 2 && bytes[0].is_ascii_hexdigit() && bytes[1].is_ascii_hexdigit()
    };
    if !escapes.all(whole) {
        return None;
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests;
