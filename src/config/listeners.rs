//! The listeners: their addresses, what they present, and the read preference of clients that send none.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::{
    access, check,
    compressors::compressors,
    mistake::{Place, Report},
    read_preference::{ReadPreferenceParts, mode_named},
    reader::Section,
    schema,
    tls::listener_tls,
    tree::{Node, Table, Value},
    values,
};
use crate::{
    client::{ListenerOptions, Presentation, Reach, Twin, UNIX_MODE},
    topology::{ReadPreference, TagSet},
};

/// Where a listener listens that names no address.
const DEFAULT_LISTENER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 27018);
pub(super) const SWITCH: &[(&str, bool)] = &[("on", true), ("off", false)];
const LEGACY: &[(&str, bool)] = &[("translate", true), ("refuse", false)];
/// Far above that of any server.
const MOST_WIRE_VERSION: usize = 100;
const PRESENTATIONS: &[(&str, Presentation)] = &[
    ("mongos", Presentation::Mongos),
    ("replica_set", Presentation::ReplicaSet),
];

/// The listeners, each with the place of its address.
pub(super) fn listeners(
    root: &mut Table,
    folder: &Path,
    fallback: &ReadPreference,
    heartbeat: Duration,
    report: &mut Report,
) -> Vec<(ListenerOptions, Place)> {
    let nodes = match root.remove("listener") {
        Some(Node {
            value: Value::List(nodes),
            ..
        }) if !nodes.is_empty() => nodes,
        None
        | Some(Node {
            value: Value::List(_),
            ..
        }) => {
            vec![Node {
                value: Value::Table(Table::new()),
                place: Place::Nowhere,
            }]
        }
        Some(Node { place, .. }) => {
            report.mistake(
                &place,
                "listener",
                "must be written [[listener]], once for each address",
            );
            return Vec::new();
        }
    };
    let mut listeners = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let path = format!("listener[{index}]");
        let Value::Table(table) = node.value else {
            report.mistake(&node.place, &path, "must be a section, written [[listener]]");
            continue;
        };
        let mut section = Section::new(path, node.place, table, report);
        listeners.extend(listener(&mut section, folder, fallback, heartbeat));
        section.finish(|name| schema::unknown(schema::section("listener"), name));
    }
    listeners
}

/// One listener; `None` where its address is wrong, so that it is not compared with those of others.
fn listener(
    section: &mut Section<'_>,
    folder: &Path,
    fallback: &ReadPreference,
    heartbeat: Duration,
) -> Option<(ListenerOptions, Place)> {
    let address = section.listen_address("address", DEFAULT_LISTENER);
    let unix_mode = section.access_mode("unix_mode", UNIX_MODE);
    let tls = listener_tls(section, folder);
    let presents_as = section.choice("presents_as", PRESENTATIONS, Presentation::default());
    let advertise = section.node("advertise");
    let node = section.node("node");
    let secondary = secondary_alias(section);
    let read_preference = listener_read_preference(section, heartbeat).unwrap_or_else(|| fallback.clone());
    let fail_points = section.choice("fail_points", SWITCH, false);
    let compressors = compressors(section, "compressors");
    let translates = section.choice("legacy", LEGACY, true);
    let max_wire_version = section.count_or_off("max_wire_version", 0..=MOST_WIRE_VERSION, None);
    let rules = access::rules(section);
    if !section.are_sound(&["address"]) {
        return None;
    }
    let options = ListenerOptions {
        unix_mode,
        tls,
        presents_as,
        advertise,
        twin: secondary,
        reach: node.map_or(Reach::Cluster, Reach::Node),
        read_preference,
        fail_points,
        compressors,
        translates,
        allow_networks: rules.allow_networks,
        policy: rules.policy,
        max_wire_version: max_wire_version.map(|version| version as i32),
        ..ListenerOptions::at(address)
    };
    check::listener(section, &options);
    access::check_rules(section, &options);
    Some((options, section.place_of("address").clone()))
}

/// `secondary_address` and `advertise_secondary`.
fn secondary_alias(section: &mut Section<'_>) -> Option<Twin> {
    let advertise = section.node("advertise_secondary");
    let is_given = section.has("secondary_address");
    if !is_given {
        if advertise.is_some() {
            section.mistake("advertise_secondary", "has no meaning without secondary_address");
        }
        return None;
    }
    let address = section.address("secondary_address", false, DEFAULT_LISTENER)?;
    section
        .are_sound(&["secondary_address"])
        .then_some(Twin { address, advertise })
}

/// `read_preference`: a mode, or a table of mode, tags and max_staleness.
fn listener_read_preference(section: &mut Section<'_>, heartbeat: Duration) -> Option<ReadPreference> {
    let node = section.take("read_preference")?;
    let mut mistakes = Vec::new();
    let mut parts = ReadPreferenceParts::default();
    match node.value {
        Value::Text(mode) => read_mode(&mode, &mut parts, &mut mistakes),
        Value::Table(table) => {
            for (key, node) in table {
                let before = mistakes.len();
                match (key.as_str(), node.value) {
                    ("mode", Value::Text(mode)) => read_mode(&mode, &mut parts, &mut mistakes),
                    ("tags", Value::List(sets)) => read_tags(sets, &mut parts, &mut mistakes),
                    ("max_staleness", Value::Text(text)) if text == "off" => {}
                    ("max_staleness", Value::Text(text)) => match values::duration(&text) {
                        Ok(bound) => parts.max_staleness = Some(bound),
                        Err(problem) => mistakes.push(problem),
                    },
                    ("mode", _) => {
                        mistakes.push("must be a string such as \"secondaryPreferred\"".to_owned())
                    }
                    ("tags", _) => mistakes.push(TAGS_FORM.to_owned()),
                    ("max_staleness", _) => {
                        mistakes.push("must be a duration such as \"120s\", or \"off\"".to_owned())
                    }
                    (other, _) => mistakes.push(schema::unknown_key(other, schema::READ_PREFERENCE_KEYS)),
                }
                for mistake in &mut mistakes[before..] {
                    *mistake = format!("{key}: {mistake}");
                }
            }
        }
        _ => mistakes.push(
            "must be a mode such as \"secondaryPreferred\", or a table such as { mode = \"nearest\", \
             tags = [{ dc = \"ams\" }], max_staleness = \"120s\" }"
                .to_owned(),
        ),
    }
    if mistakes.is_empty() {
        match parts.assemble(heartbeat) {
            Ok(read_preference) => return Some(read_preference),
            Err(problems) => mistakes = problems,
        }
    }
    mistakes
        .into_iter()
        .for_each(|problem| section.mistake("read_preference", problem));
    None
}

const TAGS_FORM: &str = "must be a list of tables of strings such as [{ dc = \"ams\", rack = \"1\" }, {}]";

fn read_mode(name: &str, parts: &mut ReadPreferenceParts, mistakes: &mut Vec<String>) {
    match mode_named(name) {
        Ok(mode) => parts.mode = Some(mode),
        Err(right) => mistakes.push(format!("must be {right}")),
    }
}

fn read_tags(sets: Vec<Node>, parts: &mut ReadPreferenceParts, mistakes: &mut Vec<String>) {
    let tag = |(key, node): (String, Node)| match node.value {
        // BSON has no NUL in names.
        Value::Text(value) if !key.contains('\0') => Some((key, value)),
        _ => None,
    };
    let set = |node: Node| match node.value {
        Value::Table(table) => table.into_iter().map(tag).collect::<Option<_>>().map(TagSet),
        _ => None,
    };
    match sets.into_iter().map(set).collect() {
        Some(sets) => parts.tag_sets = sets,
        None => mistakes.push(TAGS_FORM.to_owned()),
    }
}
