//! MongoDB connection strings, as the Connection String and URI Options specifications define them.
//!
//! Three kinds of options: those that concern a proxy are honoured; those that belong to the application's driver
//! have no effect here and are warned about; those that ask for something that Tidegate cannot do are errors.
//! As the specification asks, an invalid *value* of an option is ignored with a warning.
//!
//! Invariant: no error, warning or `Debug` output holds credentials. A string that has some is refused before
//! anything else of it is looked at.

mod error;
mod options;

use percent_encoding::percent_decode_str;

pub use error::UriError;
pub use options::UriOptions;

use crate::topology::Address;

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionString {
    /// The nodes named in it, each once, in their order. Not empty.
    pub hosts: Vec<Address>,
    /// The options that are honoured; `None` where not given.
    pub options: UriOptions,
    /// What has no effect, and why.
    pub warnings: Vec<String>,
}

/// Reads a connection string.
///
/// # Errors
/// Every fault that was found. After a wrong scheme or credentials nothing else is looked at.
pub fn parse(uri: &str) -> Result<ConnectionString, Vec<UriError>> {
    let rest = match uri.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mongodb") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("mongodb+srv") => return Err(vec![UriError::Srv]),
        _ => return Err(vec![UriError::Scheme]),
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    // A password with an unescaped slash puts its @ behind what looks like the host list. Which it is cannot be
    // told, so that nothing of such a string is shown or used.
    if authority.contains('@') {
        return Err(vec![UriError::Credentials]);
    }
    if rest.contains('@') {
        return Err(vec![UriError::StrayAt]);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));

    let mut errors = Vec::new();
    let mut parsed = ConnectionString {
        hosts: hosts(authority, &mut errors),
        ..Default::default()
    };
    database(path, &mut errors, &mut parsed.warnings);
    let pairs = options::pairs(query, &mut errors);
    parsed.options = options::read(&pairs, &mut errors, &mut parsed.warnings);
    if parsed.options.direct == Some(true) && parsed.hosts.len() > 1 {
        errors.push(UriError::Conflict("directConnection=true takes one host only"));
    }
    if errors.is_empty() {
        Ok(parsed)
    } else {
        Err(errors)
    }
}

/// The comma-separated hosts. A host named twice counts once.
fn hosts(authority: &str, errors: &mut Vec<UriError>) -> Vec<Address> {
    if authority.is_empty() {
        errors.push(UriError::NoHost);
        return Vec::new();
    }
    let mut hosts = Vec::new();
    for (index, text) in authority.split(',').enumerate() {
        let position = index + 1;
        let Some(decoded) = decode(text) else {
            errors.push(UriError::PercentEncoding {
                part: format!("host {position}"),
            });
            continue;
        };
        match decoded.parse::<Address>() {
            Ok(address) if hosts.contains(&address) => {}
            Ok(address) => hosts.push(address),
            Err(error) => errors.push(UriError::Host { position, error }),
        }
    }
    hosts
}

/// The database in the path only says where credentials are kept, which a proxy without any does not need.
fn database(path: &str, errors: &mut Vec<UriError>, warnings: &mut Vec<String>) {
    let name = path.strip_prefix('/').unwrap_or(path);
    if name.is_empty() {
        return;
    }
    match decode(name) {
        None => errors.push(UriError::PercentEncoding {
            part: "the database name".to_owned(),
        }),
        Some(decoded) if decoded.contains(['/', '\\', ' ', '"', '$', '\0']) => {
            errors.push(UriError::Conflict(
                "the part after the hosts is not a database name; an unescaped / ends the list of hosts",
            ));
        }
        Some(_) => warnings
            .push("the database name has no effect: every command of a client names its own".to_owned()),
    }
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
