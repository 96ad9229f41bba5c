//! Settings from environment variables and from arguments, laid over those of the file.
//!
//! A variable's name is `TIDEGATE_`, the section, `__`, the key, all in capitals; for a listener its position stands
//! between, from 0: `TIDEGATE_LISTENER__0__ADDRESS`. A name with `__` that is none of ours is a mistake. A name
//! without is not, unless it is nearly one of ours: container platforms set `TIDEGATE_SERVICE_HOST`,
//! `TIDEGATE_PORT_27018_TCP` and the like for a service of that name.

use super::{
    mistake::{Place, Report},
    schema,
    tree::{self, Node, Table, Value},
};

/// What all our variables begin with.
pub(super) const PREFIX: &str = "TIDEGATE_";

/// Variables that are read elsewhere and are no settings of the file.
const OTHERS: &[&str] = &[
    "TIDEGATE_CONFIG",
    "TIDEGATE_LOG",
    "TIDEGATE_MONGOD",
    "TIDEGATE_TOKEN",
];

/// One setting that was given outside the file. It has no `Debug`: the value may be a secret.
#[derive(Clone)]
pub(super) struct Given {
    /// The setting, as the name of its variable.
    pub(super) variable: String,
    /// What messages call it: the variable, or an argument.
    pub(super) called: String,
    /// `None` where the variable's value is not Unicode.
    pub(super) value: Option<String>,
    /// Arguments take precedence over variables.
    pub(super) is_argument: bool,
}

/// The setting that a variable's name stands for.
#[derive(Clone, Copy)]
struct Target {
    section: &'static schema::Section,
    /// Which of the section's repetitions.
    index: usize,
    key: &'static str,
    /// A key of the table that `read_preference` may be.
    inner: Option<&'static str>,
}

/// Lays the given settings over `root`, which holds those of the file.
pub(super) fn overlay(root: &mut Table, given: Vec<Given>, report: &mut Report) {
    let mut found = Vec::with_capacity(given.len());
    for given in given {
        let place = Place::Named(given.called.as_str().into());
        match (target(&given.variable), given.value) {
            (Err(None), _) => {}
            (Err(Some(problem)), _) => report.mistake(&place, "", problem),
            (Ok(_), None) => report.mistake(&place, "", "the value is not valid Unicode"),
            (Ok(target), Some(value)) => found.push((given.is_argument, target, value, place)),
        }
    }
    // Arguments last, listeners by position, and a whole read preference before its parts.
    found.sort_by_key(|(is_argument, target, ..)| (*is_argument, target.index, target.inner));
    for (is_argument, target, value, place) in found {
        if let Some(table) = table_of(root, target, &place, report) {
            set(table, target, is_argument, value, place);
        }
    }
}

/// The setting of this name; else what is wrong with the name, or nothing where it is none of our concern.
fn target(variable: &str) -> Result<Target, Option<String>> {
    let Some(rest) = variable.strip_prefix(PREFIX) else {
        return Err(None);
    };
    let index = rest
        .split("__")
        .nth(1)
        .and_then(|part| part.parse().ok())
        .unwrap_or(0);
    let names = all(index);
    if let Some((_, target)) = names.iter().find(|(name, _)| name == variable) {
        return Ok(*target);
    }
    if OTHERS.contains(&variable) || is_service_link(rest) {
        return Err(None);
    }
    let ours = rest.contains("__");
    let candidates = names
        .iter()
        .map(|(name, _)| name.as_str())
        .chain(OTHERS.iter().copied());
    let near = candidates
        .map(|name| (schema::distance(&squeezed(variable), &squeezed(name)), name))
        .min()
        .filter(|(distance, _)| variable.len() < 128 && *distance <= if ours { 4 } else { 2 });
    match near {
        Some((_, name)) => Err(Some(format!("there is no such variable; did you mean {name}?"))),
        None if ours => Err(Some(format!(
            "there is no such setting; variables are named {PREFIX}SECTION__KEY, as in {PREFIX}POOL__MAX_SIZE"
        ))),
        None => Err(None),
    }
}

/// The name with single underscores alone, so that `TIDEGATE_POOL_MAX_SIZE` is seen for what was meant.
fn squeezed(variable: &str) -> String {
    variable.chars().take(128).collect::<String>().replace("__", "_")
}

/// Whether a container platform sets such a name for a service called `tidegate`.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT"
        || rest.starts_with("PORT_")
        || rest.starts_with("SERVICE_")
        || rest == "NAME"
        || rest.starts_with("ENV_")
}

/// The names of all variables, for the listener at `index`.
fn all(index: usize) -> Vec<(String, Target)> {
    let mut names = Vec::new();
    for section in schema::SECTIONS {
        let (outer, inner) = parts(section);
        let mut head = format!("{PREFIX}{}__", outer.to_uppercase());
        let index = if section.repeated { index } else { 0 };
        if section.repeated {
            head.push_str(&format!("{index}__"));
        }
        if let Some(inner) = inner {
            head.push_str(&format!("{}__", inner.to_uppercase()));
        }
        for key in section.keys {
            let name = format!("{head}{}", key.to_uppercase());
            if *key == "read_preference" {
                names.extend(schema::READ_PREFERENCE_KEYS.iter().map(|inner| {
                    (
                        format!("{name}__{}", inner.to_uppercase()),
                        Target {
                            section,
                            index,
                            key,
                            inner: Some(*inner),
                        },
                    )
                }));
            }
            names.push((
                name,
                Target {
                    section,
                    index,
                    key,
                    inner: None,
                },
            ));
        }
    }
    names
}

/// A section's name: that of the outermost section, and its own where it is within that one.
fn parts(section: &schema::Section) -> (&'static str, Option<&'static str>) {
    match section.name.split_once('.') {
        Some((outer, inner)) => (outer, Some(inner)),
        None => (section.name, None),
    }
}

/// The section that a setting belongs to, made if need be; `None` where what stands there is no section, which is
/// reported when it is read.
fn table_of<'a>(
    root: &'a mut Table,
    target: Target,
    place: &Place,
    report: &mut Report,
) -> Option<&'a mut Table> {
    let (outer, inner) = parts(target.section);
    let table = outer_table_of(root, target, outer.to_owned(), place, report)?;
    let Some(inner) = inner else {
        return Some(table);
    };
    let node = table.entry(inner.to_owned()).or_insert_with(|| Node {
        value: Value::Table(Table::new()),
        place: place.clone(),
    });
    as_table(&mut node.value)
}

fn outer_table_of<'a>(
    root: &'a mut Table,
    target: Target,
    name: String,
    place: &Place,
    report: &mut Report,
) -> Option<&'a mut Table> {
    let new = |value| Node {
        value,
        place: place.clone(),
    };
    if !target.section.repeated {
        return as_table(
            &mut root
                .entry(name)
                .or_insert_with(|| new(Value::Table(Table::new())))
                .value,
        );
    }
    let Value::List(list) = &mut root
        .entry(name)
        .or_insert_with(|| new(Value::List(Vec::new())))
        .value
    else {
        return None;
    };
    if target.index == list.len() {
        list.push(new(Value::Table(Table::new())));
    }
    let count = list.len();
    let Some(node) = list.get_mut(target.index) else {
        let problem = format!("listeners are counted from 0 without a gap, and there are only {count}");
        report.mistake(place, "", problem);
        return None;
    };
    as_table(&mut node.value)
}

fn as_table(value: &mut Value) -> Option<&mut Table> {
    if let Value::Table(table) = value {
        Some(table)
    } else {
        None
    }
}

fn set(table: &mut Table, target: Target, is_argument: bool, value: String, place: Place) {
    for (section, setting, file) in schema::SECRETS {
        let other = if target.key == *setting { file } else { setting };
        let replaced = |node: &Node| is_argument || matches!(node.place, Place::File { .. });
        let pair = *section == target.section.name && (target.key == *setting || target.key == *file);
        if pair && table.get(*other).is_some_and(replaced) {
            table.remove(*other);
        }
    }
    let Some(inner) = target.inner else {
        let open = if schema::LISTS.contains(&target.key) {
            '['
        } else {
            '{'
        };
        table.insert(target.key.to_owned(), node(value, open, place));
        return;
    };
    let whole = table.entry(target.key.to_owned()).or_insert_with(|| Node {
        value: Value::Table(Table::new()),
        place: place.clone(),
    });
    if let Value::Text(_) = whole.value {
        // `read_preference = "nearest"` is short for a table with that mode alone.
        let mode = whole.clone();
        whole.value = Value::Table(Table::from([("mode".to_owned(), mode)]));
    }
    if let Some(parts) = as_table(&mut whole.value) {
        parts.insert(inner.to_owned(), node(value, '[', place));
    }
}

/// The value as a string, or as TOML where it begins with `open`, as only tables and lists do.
fn node(value: String, open: char, place: Place) -> Node {
    if value.trim_start().starts_with(open)
        && let Some(node) = tree::parse_value(value.trim(), &place)
    {
        return node;
    }
    Node {
        value: Value::Text(value),
        place,
    }
}
