//! A status as text for people.

use std::{fmt::Write, time::Duration};

use super::status::{Awaits, Config, Drain, Gate, Listener, Node, Status};

/// The counters that tell whether something is wrong, in the order of a command's life. Those that are zero are left out.
const COUNTERS: [&str; 23] = [
    "commands",
    "commands_local",
    "commands_refused",
    "commands_failed",
    "commands_overloaded",
    "awaits_unserved",
    "commands_sent_again",
    "reads_sent_again",
    "writes_sent_again",
    "writes_sent_again_after_error",
    "outcomes_unknown",
    "state_errors_relayed",
    "commands_rescued",
    "node_errors",
    "commands_held",
    "holds_expired",
    "holds_refused",
    "pool_waits",
    "abandoned",
    "streams_broken",
    "protocol_errors",
    "clients_timed_out",
    "clients_refused",
];

/// Renders a few lines for the whole, a table of the nodes and one of their pools.
#[must_use]
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = head(status, &mut text).and_then(|()| body(status, &mut text));
    text
}

fn head(status: &Status, text: &mut String) -> std::fmt::Result {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds.max(0.0) as u64));
    let health = match (status.stopping, &status.drain, status.ready) {
        (true, ..) => "stopping",
        (_, Some(_), _) => "draining",
        (.., true) => "ready",
        (.., false) => "NOT READY",
    };
    writeln!(
        text,
        "tidegate {}  {health}, pid {}, up {uptime}",
        status.version, status.pid
    )?;
    let listeners: Vec<_> = status.listeners.iter().map(listener).collect();
    writeln!(text, "serving   {}", listeners.join(", "))?;
    if let Some(drain) = &status.drain {
        writeln!(text, "drain     {}", drained(drain))?;
    }
    if let Some(config) = &status.config {
        write!(text, "{}", configured(config))?;
    }
    let topology = &status.topology;
    let set = topology.set_name.as_deref().unwrap_or("not known yet");
    let primary = topology.primary.as_deref().unwrap_or("none known");
    writeln!(text, "set       {set} ({}), primary {primary}", topology.kind)?;
    if let Some(error) = &topology.compatibility_error {
        writeln!(text, "          {error}")?;
    }
    let clients = &status.clients;
    write!(text, "clients   {} of {}", clients.connected, clients.max_clients)?;
    writeln!(
        text,
        " ({} accepted, {} refused)",
        clients.accepted, clients.refused
    )?;
    let buffers = [&status.buffers.requests, &status.buffers.replies];
    let [requests, replies] = buffers.map(|buffer| {
        format!(
            "{} of {} MiB",
            mebibytes(buffer.used_bytes),
            mebibytes(buffer.total_bytes)
        )
    });
    writeln!(text, "buffers   requests {requests}, replies {replies}")?;
    writeln!(text, "cursors   {} pinned", status.cursors_pinned)?;
    writeln!(text, "gate      {}", gate(&status.gate))
}

/// Nothing where all is as it should be.
fn configured(config: &Config) -> String {
    let mut told = Vec::new();
    if !config.last_reload_succeeded {
        told.push("the last reload changed nothing, the configuration has mistakes:".to_owned());
        told.extend(config.mistakes.iter().cloned());
    }
    if !config.wait_for_restart.is_empty() {
        told.push(format!(
            "waits for a restart: {}",
            config.wait_for_restart.join(", ")
        ));
    }
    told.iter().map(|line| format!("config    {line}\n")).collect()
}

fn drained(drain: &Drain) -> String {
    format!(
        "{}, {:.0} of {} s, {} clients left, {} of them in a transaction or with open cursors",
        drain.stage, drain.elapsed_seconds, drain.deadline_seconds, drain.clients_left, drain.clients_tied
    )
}

fn gate(gate: &Gate) -> String {
    let mut told = gate.state.clone();
    if let Some(paused) = gate.paused_seconds {
        told.push_str(&format!(" for {paused:.0} s"));
    }
    if let Some(oldest) = gate.oldest_seconds {
        let Gate {
            commands,
            max_commands,
            hold_seconds,
            ..
        } = gate;
        told.push_str(&format!(
            ", {commands} of {max_commands} commands wait, the first for {oldest:.1} of {hold_seconds} s"
        ));
    }
    told
}

fn body(status: &Status, text: &mut String) -> std::fmt::Result {
    let nodes = &status.topology.nodes;
    writeln!(text)?;
    nodes_table(text, nodes)?;
    writeln!(text)?;
    let header = [
        "POOL",
        "IN USE",
        "IDLE",
        "WAITING",
        "MAX",
        "AWAITING",
        "OPENED",
        "FAILED",
        "AVG WAIT ms",
        "TIMEOUTS",
        "FREE ON NODE",
        "PROXIES THAT FIT",
    ];
    write_table(text, &header, nodes.iter().map(pool_row))?;
    for node in nodes.iter().filter(|node| node.error.is_none()) {
        if let Some(reason) = &node.connections.unknown_because {
            writeln!(text, "{}: connections not known: {reason}", node.address)?;
        }
    }
    writeln!(text)?;
    let counters = COUNTERS
        .iter()
        .filter_map(|name| status.counters.get_key_value(*name));
    let counters = counters.filter(|(name, value)| **value > 0 || *name == "commands");
    for (name, value) in counters {
        writeln!(text, "{name:<29} {value}")?;
    }
    Ok(())
}

/// The members, and what is wrong with them.
pub(super) fn nodes_table(text: &mut String, nodes: &[Node]) -> std::fmt::Result {
    let header = ["NODE", "STATE", "RTT ms", "STALE<= s", "CHECKED s AGO", "TAGS"];
    write_table(text, &header, nodes.iter().map(node_row))?;
    for node in nodes {
        if let Some(error) = &node.error {
            writeln!(text, "{}: {error}", node.address)?;
        }
        if let Some(seconds) = node.avoided_seconds {
            writeln!(
                text,
                "{}: reads pass it over for another {seconds:.0} s",
                node.address
            )?;
        }
    }
    Ok(())
}

fn node_row(node: &Node) -> Vec<String> {
    let tags: Vec<_> = node
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let hidden = if node.hidden { " (hidden)" } else { "" };
    vec![
        node.address.clone(),
        format!("{}{hidden}", node.state),
        number(node.rtt_ms),
        number(node.staleness_seconds),
        number(node.last_update_age_seconds),
        tags.join(","),
    ]
}

fn pool_row(node: &Node) -> Vec<String> {
    let (pool, connections) = (&node.pool, &node.connections);
    vec![
        node.address.clone(),
        pool.in_use.to_string(),
        pool.idle.to_string(),
        pool.waiting.to_string(),
        pool.max_size.to_string(),
        awaiting(&pool.awaits),
        pool.opened.to_string(),
        pool.connect_failures.to_string(),
        number(pool.average_wait_ms),
        pool.wait_timeouts.to_string(),
        connections
            .available
            .map_or("-".to_owned(), |count| count.to_string()),
        connections
            .proxies_that_fit
            .map_or("-".to_owned(), |count| count.to_string()),
    ]
}

/// Awaits that have a connection, those that wait for one, and the bound: `3+2/100`.
fn awaiting(awaits: &Awaits) -> String {
    let waiting = match awaits.waiting {
        0 => String::new(),
        waiting => format!("+{waiting}"),
    };
    format!("{}{waiting}/{}", awaits.in_use, awaits.max)
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

fn mebibytes(bytes: usize) -> usize {
    bytes.div_ceil(1 << 20)
}

/// Columns as wide as their widest cell; words to the left, numbers to the right.
pub(super) fn write_table(
    text: &mut String,
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> std::fmt::Result {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let legible = |row: Vec<String>| row.iter().map(|cell| legible(cell)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows.map(legible)).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let is_number = |cell: &str| cell == "-" || cell.parse::<f64>().is_ok();
    let numeric = |column: usize| rows[1..].iter().all(|row| is_number(&row[column]));
    let columns: Vec<(usize, bool)> = (0..rows[0].len())
        .map(|column| (width(column), numeric(column)))
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, (width, right)) in row.iter().zip(&columns) {
            if *right {
                write!(line, "{cell:>width$}  ")?;
            } else {
                write!(line, "{cell:<width$}  ")?;
            }
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

/// What can be shown on a terminal: control characters, which clients may put into the names that they give themselves, are escaped.
pub(super) fn legible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// An address, and what is special about it.
fn listener(listener: &Listener) -> String {
    let Listener { address, reaches, .. } = listener;
    match (listener.presents_as.as_str(), reaches.as_str()) {
        ("mongos", _) => address.clone(),
        ("node", _) => format!("{address} (node {reaches})"),
        (presents_as, "cluster") => format!("{address} ({presents_as})"),
        (presents_as, _) => format!("{address} ({presents_as}, {reaches})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::testing;

    #[test]
    fn a_status_is_shown_with_aligned_columns() {
        let expected = "\
tidegate 1.2.3  ready, pid 77, up 1h 2m 3s
serving   127.0.0.1:27018
config    the last reload changed nothing, the configuration has mistakes:
config    proxy.toml:7: pool.max_size: must be a number
config    waits for a restart: log.format
set       rs0 (ReplicaSetWithPrimary), primary a:27017
clients   3 of 10000 (9 accepted, 0 refused)
buffers   requests 0 of 256 MiB, replies 1 of 256 MiB
cursors   4 pinned
gate      paused for 2 s, 7 of 100 commands wait, the first for 1.5 of 30 s

NODE     STATE      RTT ms  STALE<= s  CHECKED s AGO  TAGS
a:27017  primary       1.2          -            0.5  dc=east
b:27017  secondary     1.2       10.5            0.5  dc=east
c:27017  unknown         -          -              -  dc=east
c:27017: cannot connect: refused

POOL     IN USE  IDLE  WAITING  MAX  AWAITING  OPENED  FAILED  AVG WAIT ms  TIMEOUTS  FREE ON NODE  PROXIES THAT FIT
a:27017       0     1        0   90  3+2/10         5       3        125.0         1           815                 8
b:27017       0     1        0   90  3+2/10         5       3        125.0         1           815                 8
c:27017       0     1        0   90  3+2/10         5       3        125.0         1             -                 -

commands                      1234
commands_failed               2
";
        assert_eq!(render(&testing::status()), expected);
    }

    #[test]
    fn no_cell_breaks_a_table_or_commands_the_terminal() {
        let mut text = String::new();
        let cell = "a\u{1b}]0;x\u{7}\n\u{9b}2Jb";
        write_table(&mut text, &["NAME"], [vec![cell.to_owned()]].into_iter()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.chars()
                .all(|character| character == '\n' || !character.is_control()),
            "{text:?}"
        );
        assert!(text.contains(r"\u{1b}]0;x\u{7}\n"), "{text}");
    }

    #[test]
    fn a_drain_shows_how_far_it_is() {
        let mut status = testing::status();
        status.ready = false;
        status.drain = Some(Drain {
            stage: "closing".to_owned(),
            elapsed_seconds: 6.2,
            deadline_seconds: 25.0,
            clients_left: 3,
            clients_tied: 1,
        });
        let text = render(&status);
        let line =
            "drain     closing, 6 of 25 s, 3 clients left, 1 of them in a transaction or with open cursors\n";
        assert!(
            text.contains("  draining, pid 77") && text.contains(line),
            "{text}"
        );
    }

    #[test]
    fn a_proxy_that_knows_nothing_yet_is_shown_too() {
        let mut status = testing::status();
        status.ready = false;
        status.topology.nodes.clear();
        status.topology.primary = None;
        let text = render(&status);
        assert!(
            text.contains("NOT READY") && text.contains("primary none known"),
            "{text}"
        );
    }
}
