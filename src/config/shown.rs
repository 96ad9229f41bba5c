//! The settings as they are shown to the operator: each with its value in force and where that comes from.
//!
//! Invariant: no value of a secret setting is kept here, only that there is one. What a setting is has to be known for its value to be
//! shown: all that the table of secrets names is not.

use std::collections::BTreeMap;

use super::{
    mistake::{Place, Report},
    schema,
    tree::{Node, Value},
    uri::{self, ConnectionString},
};
use crate::topology::TagSet;

/// Stands for a secret.
const SECRET: &str = "(set)";
/// Stands for what a connection string holds that is secret.
const HIDDEN: &str = "***";
/// What is said of values that the connection string gives.
const FROM_URI: &str = "upstream.uri";

/// What is known of the settings of one section.
#[derive(Default)]
pub(super) struct Notes {
    /// As they were written, where they were.
    written: BTreeMap<&'static str, (String, String)>,
    /// The values in force.
    values: BTreeMap<&'static str, String>,
    /// Where values come from that are not written.
    sources: BTreeMap<&'static str, String>,
}

impl Notes {
    /// Takes note of a setting as it was written.
    pub(super) fn written(&mut self, key: &'static str, node: &Node) {
        let text = if is_secret(key) {
            SECRET.to_owned()
        } else {
            text(&node.value)
        };
        self.written.insert(key, (text, node.place.to_string()));
    }

    /// Takes note of the value in force.
    pub(super) fn value(&mut self, key: &'static str, value: String) {
        if !is_secret(key) {
            self.values.insert(key, value);
        }
    }

    /// Takes note of a connection string, and of where it was given.
    pub(super) fn connection(&mut self, string: &ConnectionString, place: &Place) {
        self.values.insert("uri", connection(string));
        self.sources.insert("uri", place.to_string());
    }

    /// Takes note that the connection string gives this value, if it is not written.
    pub(super) fn given_by_uri(&mut self, key: &'static str) {
        self.sources.insert(key, FROM_URI.to_owned());
    }

    /// Reports all settings of the section that is shown as `path`.
    pub(super) fn report(&self, path: &str, report: &mut Report) {
        // `listener[0].tls` is a `listener.tls`.
        let name = match (path.split_once('['), path.split_once(']')) {
            (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
            _ => path.to_owned(),
        };
        let Some(section) = schema::section(&name) else {
            return;
        };
        for key in section.keys {
            let written = self.written.get(key);
            let value = self.values.get(key).or(written.map(|(text, _)| text));
            let source = written.map(|(_, place)| place).or(self.sources.get(key));
            let source = source.map_or("default", String::as_str).to_owned();
            report.setting(format!("{path}.{key}"), value.cloned(), source);
        }
    }
}

fn is_secret(key: &str) -> bool {
    schema::SECRETS.iter().any(|(_, secret, _)| *secret == key)
}

/// A value as it may be written.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(Some(number)) => number.to_string(),
        Value::Integer(None) | Value::Other(_) => String::new(),
        Value::Boolean(value) => value.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| quoted(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let fields: Vec<_> = table
                .iter()
                .map(|(key, node)| format!("{key} = {}", quoted(&node.value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        other => text(other),
    }
}

/// A connection string without what is secret in it. It is made of what was read, so that nothing else can be in it.
fn connection(string: &ConnectionString) -> String {
    let mut text = match &string.srv_host {
        Some(_) => "mongodb+srv://".to_owned(),
        None => "mongodb://".to_owned(),
    };
    if string.user.is_some() {
        text.push_str(&format!("{HIDDEN}@"));
    }
    match &string.srv_host {
        Some(host) => text.push_str(host),
        None => {
            let hosts: Vec<_> = string.hosts.iter().map(ToString::to_string).collect();
            text.push_str(&hosts.join(","));
        }
    }
    text.push('/');
    text.push_str(string.database.as_deref().unwrap_or_default());
    for (number, (name, value)) in string.options.iter().enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        text.push_str(&format!("{name}={}", option(value)));
    }
    text
}

fn option(value: &uri::Value) -> String {
    match value {
        uri::Value::Text(text) => text.clone(),
        uri::Value::Secret(_) | uri::Value::Properties(_) => HIDDEN.to_owned(),
        uri::Value::Boolean(value) => value.to_string(),
        uri::Value::Integer(number) => number.to_string(),
        uri::Value::List(names) => names.join(","),
        uri::Value::TagSets(sets) => {
            let tags = |set: &TagSet| {
                let tags: Vec<_> = set
                    .0
                    .iter()
                    .map(|(name, value)| format!("{name}:{value}"))
                    .collect();
                tags.join(",")
            };
            sets.iter()
                .map(tags)
                .collect::<Vec<_>>()
                .join("&readPreferenceTags=")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_shown_without_what_is_secret_in_it() {
        for (given, shown) in [
            ("mongodb://a", "mongodb://a:27017/"),
            ("mongodb://hidden:hidden@a,b:1/db", "mongodb://***@a:27017,b:1/db"),
            (
                "mongodb://hidden@a/?tls=true&tlsCertificateKeyFile=/x&tlsCertificateKeyFilePassword=hidden&appName=x",
                "mongodb://***@a:27017/?appName=x&tls=true&tlsCertificateKeyFile=/x&tlsCertificateKeyFilePassword=***",
            ),
            (
                "mongodb://a/?readPreference=nearest&readPreferenceTags=dc:ams&compressors=zstd,snappy",
                "mongodb://a:27017/?compressors=zstd,snappy&readPreference=nearest&readPreferenceTags=dc:ams",
            ),
        ] {
            assert_eq!(connection(&uri::parse(given).unwrap()), shown);
        }
    }
}
