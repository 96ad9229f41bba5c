//! Reads the settings of one section, each by its type, and reports those that are wrong.
//!
//! Invariant: every reading method returns a usable value, the default where the given one is wrong, so that all of
//! a configuration is read whatever was wrong before.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    mistake::{Place, Report},
    schema,
    shown::Notes,
    tree::{Node, Table, Value},
    values,
};
use crate::{client::ListenAddress, topology::Address};

/// Bytes of the longest path of a Unix domain socket.
const LONGEST_PATH: usize = 107;

/// One section of the file while it is read. Each setting that is read is taken out; what remains is unknown.
pub(super) struct Section<'a> {
    /// As messages show it: `pool`, `listener[0]`.
    path: String,
    place: Place,
    table: Table,
    /// The settings that were given: where, and whether they could be read.
    seen: BTreeMap<&'static str, (Place, bool)>,
    /// What will be shown of them.
    pub(super) notes: Notes,
    report: &'a mut Report,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: String, place: Place, table: Table, report: &'a mut Report) -> Self {
        Self {
            path,
            place,
            table,
            seen: BTreeMap::new(),
            notes: Notes::default(),
            report,
        }
    }

    /// Where this setting was given, else where the section begins.
    pub(super) fn place_of(&self, key: &str) -> &Place {
        self.seen.get(key).map_or(&self.place, |(place, _)| place)
    }

    /// Whether this setting was given.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.seen.contains_key(key)
    }

    /// Whether none of these settings was given wrong, so that comparing them means something.
    pub(super) fn are_sound(&self, keys: &[&str]) -> bool {
        keys.iter()
            .all(|key| self.seen.get(key).is_none_or(|(_, sound)| *sound))
    }

    /// Reports a mistake about a setting, at the place where it was given.
    pub(super) fn mistake(&mut self, key: &'static str, problem: impl Into<String>) {
        let place = self.place_of(key).clone();
        self.report
            .mistake(&place, &format!("{}.{key}", self.path), problem);
        if let Some((_, sound)) = self.seen.get_mut(key) {
            *sound = false;
        }
    }

    /// Reports a warning about a setting, at the place where it was given.
    pub(super) fn warning(&mut self, key: &'static str, problem: impl Into<String>) {
        let place = self.place_of(key).clone();
        self.report
            .warning(&place, &format!("{}.{key}", self.path), problem);
    }

    /// Says that settings stand in this file, too.
    pub(super) fn note_file(&mut self, path: &Path) {
        self.report.note_file(path);
    }

    /// Takes a setting as it was written.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        let node = self.table.remove(key)?;
        self.seen.insert(key, (node.place.clone(), true));
        self.notes.written(key, &node);
        Some(node)
    }

    /// A section within this one, written `[outer.inner]`; `None` if there is none. Must be finished by itself.
    pub(super) fn inner(&mut self, key: &'static str) -> Option<Section<'_>> {
        let node = self.take(key)?;
        let path = format!("{}.{key}", self.path);
        let Value::Table(table) = node.value else {
            self.mistake(key, format!("must be a section, written [{}.{key}]", self.name()));
            return None;
        };
        Some(Section::new(path, node.place, table, self.report))
    }

    /// The section's name in the file: `listener` where the path is `listener[0]`.
    fn name(&self) -> &str {
        self.path.split('[').next().unwrap_or_default()
    }

    /// A path. In the file a relative one counts from that file, in a variable from the working directory.
    pub(super) fn path(&mut self, key: &'static str, folder: &Path) -> Option<PathBuf> {
        self.read(key, "a path", |node| match &node.value {
            Value::Text(text) if text.is_empty() => Some(Err("is empty".to_owned())),
            Value::Text(text) if node.place.is_untyped() => Some(Ok(text.into())),
            Value::Text(text) => Some(Ok(folder.join(text))),
            _ => None,
        })
    }

    /// Reads a setting by `read`; a value of the wrong kind is reported with `wanted`, which is what would be right.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&Node) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let node = self.take(key)?;
        match read(&node) {
            Some(Ok(value)) => return Some(value),
            Some(Err(problem)) => self.mistake(key, problem),
            None => self.mistake(key, format!("must be {wanted}, not {}", shown(&node))),
        }
        None
    }

    /// A number within `bounds`.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let wanted = format!("a number from {} to {}", bounds.start(), bounds.end());
        let value = self
            .read(key, &wanted, |node| {
                whole_number(node).map(|number| values::count(number, &bounds))
            })
            .unwrap_or(default);
        self.notes.value(key, value.to_string());
        value
    }

    /// A number within `bounds`, or `"off"`.
    pub(super) fn count_or_off(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
        default: Option<usize>,
    ) -> Option<usize> {
        let wanted = format!("a number from {} to {}, or \"off\"", bounds.start(), bounds.end());
        let read = |node: &Node| match &node.value {
            Value::Text(text) if text == "off" => Some(Ok(None)),
            _ => whole_number(node).map(|number| values::count(number, &bounds).map(Some)),
        };
        let value = self.read(key, &wanted, read).unwrap_or(default);
        self.notes.value(key, or_off(value));
        value
    }

    /// A number of bytes within `bounds`.
    pub(super) fn size(&mut self, key: &'static str, bounds: RangeInclusive<usize>, default: usize) -> usize {
        let read = |node: &Node| {
            let bytes = match &node.value {
                Value::Integer(Some(number)) => {
                    usize::try_from(*number).map_err(|_| format!("{number} is not a size"))
                }
                Value::Text(text) => values::size(text),
                _ => return None,
            };
            Some(bytes.and_then(|bytes| {
                let shown = values::display_size;
                let (least, most) = (shown(*bounds.start()), shown(*bounds.end()));
                let fault = || {
                    format!(
                        "{} is out of range; it must be from {least} to {most}",
                        shown(bytes)
                    )
                };
                bounds.contains(&bytes).then_some(bytes).ok_or_else(fault)
            }))
        };
        let value = self
            .read(key, "a size such as \"64MiB\", or a number of bytes", read)
            .unwrap_or(default);
        self.notes.value(key, values::display_size(value));
        value
    }

    /// A time such as `"5s"`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let read = |node: &Node| match &node.value {
            Value::Text(text) if text == "off" => {
                Some(Err("cannot be \"off\": this wait must have an end".to_owned()))
            }
            _ => duration_text(node).map(|text| values::duration(&text)),
        };
        let value = self
            .read(key, "a duration such as \"5s\"", read)
            .unwrap_or(default);
        self.notes
            .value(key, humantime::format_duration(value).to_string());
        value
    }

    /// A time such as `"5s"`, or `"off"`.
    pub(super) fn duration_or_off(
        &mut self,
        key: &'static str,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let read = |node: &Node| match duration_text(node)?.as_str() {
            "off" => Some(Ok(None)),
            text => Some(
                values::duration(text)
                    .map(Some)
                    .map_err(|problem| format!("{problem}, or \"off\"")),
            ),
        };
        let value = self
            .read(key, "a duration such as \"5s\", or \"off\"", read)
            .unwrap_or(default);
        self.notes
            .value(key, or_off(value.map(humantime::format_duration)));
        value
    }

    /// An IP address and port to listen on; `None` for `"off"` where that `may_be_off`.
    pub(super) fn address(
        &mut self,
        key: &'static str,
        may_be_off: bool,
        default: SocketAddr,
    ) -> Option<SocketAddr> {
        let wanted = if may_be_off {
            "an address such as \"127.0.0.1:9218\", or \"off\""
        } else {
            "an address such as \"127.0.0.1:27018\""
        };
        let read = |node: &Node| match &node.value {
            Value::Text(text) if may_be_off && text == "off" => Some(Ok(None)),
            Value::Text(text) => Some(
                text.parse()
                    .map(Some)
                    .map_err(|_| format!("{text:?} is not an IP address and port; write {wanted}")),
            ),
            _ => None,
        };
        let value = self.read(key, wanted, read).unwrap_or(Some(default));
        self.notes.value(key, or_off(value));
        value
    }

    /// The IP address of a name server, and a port where it is not the DNS's own; `None` for `"system"`.
    pub(super) fn name_server(&mut self, key: &'static str) -> Option<SocketAddr> {
        const DNS: u16 = 53;
        let wanted = "\"system\", or an IP address such as \"10.0.0.2\" or \"10.0.0.2:5353\"";
        let read = |node: &Node| match &node.value {
            Value::Text(text) if text == "system" => Some(Ok(None)),
            Value::Text(text) => {
                let address = text
                    .parse()
                    .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, DNS)));
                let address = address.ok().filter(|address| address.port() != 0);
                let wrong = || format!("{text:?} is no name server; write {wanted}");
                Some(address.map(Some).ok_or_else(wrong))
            }
            _ => None,
        };
        self.read(key, wanted, read).flatten()
    }

    /// An IP address and port to listen on, or the path of a Unix domain socket, with or without `unix:` before it.
    pub(super) fn listen_address(&mut self, key: &'static str, default: SocketAddr) -> ListenAddress {
        let wanted =
            "an address such as \"127.0.0.1:27018\", or a path such as \"/run/tidegate/tidegate.sock\"";
        let read = |node: &Node| {
            let Value::Text(text) = &node.value else {
                return None;
            };
            let path = text.strip_prefix("unix:").unwrap_or(text);
            Some(if path.starts_with('/') && !path.contains('\0') {
                // The kernel has room for 108 bytes with the NUL at the end (unix(7)).
                match path.len() {
                    ..=LONGEST_PATH => Ok(ListenAddress::Unix(path.into())),
                    length => Err(format!(
                        "the path has {length} bytes; a Unix domain socket's has at most {LONGEST_PATH}"
                    )),
                }
            } else {
                text.parse().map(ListenAddress::Tcp).map_err(|_| {
                    format!("{text:?} is not an IP address and port, nor an absolute path; write {wanted}")
                })
            })
        };
        let value = self
            .read(key, wanted, read)
            .unwrap_or(ListenAddress::Tcp(default));
        self.notes.value(key, value.to_string());
        value
    }

    /// The access mode of a file, written in octal digits.
    pub(super) fn access_mode(&mut self, key: &'static str, default: u32) -> u32 {
        let wanted = "an access mode in octal digits such as \"0660\"";
        let read = |node: &Node| match &node.value {
            Value::Text(text) => Some(
                u32::from_str_radix(text, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
                    .ok_or_else(|| format!("{text:?} is no access mode; write {wanted}")),
            ),
            _ => None,
        };
        let value = self.read(key, wanted, read).unwrap_or(default);
        self.notes.value(key, format!("{value:04o}"));
        value
    }

    /// A host and a port, as drivers name a server; `None` if it is not given.
    pub(super) fn node(&mut self, key: &'static str) -> Option<Address> {
        let read = |node: &Node| match &node.value {
            Value::Text(text) => Some(text.parse::<Address>().map_err(|error| error.to_string())),
            _ => None,
        };
        self.read(key, "a host and port such as \"db1.example.com:27018\"", read)
    }

    /// Whether this setting was given and is yet to be read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let quoted = names
            .iter()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(" or ");
        let read = |node: &Node| {
            let Value::Text(text) = &node.value else {
                return None;
            };
            let found = choices
                .iter()
                .find(|(name, _)| name == text)
                .map(|(_, choice)| *choice);
            let meant = || {
                schema::suggest(text, &names)
                    .map_or(String::new(), |near| format!("; did you mean {near:?}?"))
            };
            Some(found.ok_or_else(|| format!("must be {quoted}, not {text:?}{}", meant())))
        };
        let value = self.read(key, &quoted, read).unwrap_or(default);
        if let Some((name, _)) = choices.iter().find(|(_, choice)| *choice == value) {
            self.notes.value(key, (*name).to_owned());
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let read = |node: &Node| match &node.value {
            Value::Boolean(value) => Some(Ok(*value)),
            Value::Text(text) if node.place.is_untyped() => text.trim().parse().ok().map(Ok),
            _ => None,
        };
        let value = self.read(key, "true or false", read).unwrap_or(default);
        self.notes.value(key, value.to_string());
        value
    }

    /// A list of texts, each read by `read`; empty if it is not given. What is wrong is reported, one by one.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        let form = format!("must be a list such as {example}");
        let Value::List(nodes) = node.value else {
            self.mistake(key, form);
            return Vec::new();
        };
        let mut list = Vec::new();
        for node in nodes {
            let Value::Text(text) = &node.value else {
                self.mistake(key, form.as_str());
                continue;
            };
            match read(text) {
                Ok(item) if list.contains(&item) => self.mistake(key, format!("{text:?} is listed twice")),
                Ok(item) => list.push(item),
                Err(problem) => self.mistake(key, problem),
            }
        }
        list
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, "a string", |node| match &node.value {
            Value::Text(text) => Some(Ok(text.clone())),
            _ => None,
        })
    }

    /// Reports every setting that was not read, by the keys that there are.
    pub(super) fn finish(self, unknown: impl Fn(&str) -> String) {
        for (key, node) in &self.table {
            self.report
                .mistake(&node.place, &format!("{}.{key}", self.path), unknown(key));
        }
        self.notes.report(&self.path, self.report);
    }
}

/// A value, or the word for none.
fn or_off(value: Option<impl ToString>) -> String {
    value.map_or("off".to_owned(), |value| value.to_string())
}

/// A whole number, also as text where values have no type of their own.
fn whole_number(node: &Node) -> Option<i64> {
    match &node.value {
        // Beyond 64 bits is beyond any bound too.
        Value::Integer(number) => Some(number.unwrap_or(i64::MAX)),
        Value::Text(text) if node.place.is_untyped() => text.trim().parse().ok(),
        _ => None,
    }
}

/// A duration's text; a bare number is passed on, so that its missing unit is what is reported.
fn duration_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(Some(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// What was given, for a message: short values themselves, else what kind they are.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) if text.len() <= 40 => format!("{text:?}"),
        other => other.kind().to_owned(),
    }
}
