//! `/topology`, `/pools`, `/clients`, `/cursors` and `/config` as text for people.

use std::{fmt::Write, time::Duration};

use super::{
    lists::{Clients, Config, Cursors, Identity, Pools},
    status::Topology,
    table::{nodes_table, write_table},
};

pub(super) fn topology(topology: &Topology) -> String {
    let mut text = String::new();
    let set = topology.set_name.as_deref().unwrap_or("not known yet");
    let primary = topology.primary.as_deref().unwrap_or("none known");
    let _ = writeln!(text, "set {set} ({}), primary {primary}\n", topology.kind);
    let _ = nodes_table(&mut text, &topology.nodes);
    text
}

pub(super) fn pools(pools: &Pools) -> String {
    let header = [
        "POOL",
        "STATE",
        "IDENTITY",
        "IN USE",
        "AWAITING",
        "IDLE",
        "CONNECTING",
        "WAITING",
        "STREAMING",
        "MAX",
        "GENERATION",
    ];
    let mut rows = Vec::new();
    for node in &pools.pools {
        let pool = &node.pool;
        let counts = [
            pool.in_use,
            pool.awaits.in_use,
            pool.idle,
            pool.connecting,
            pool.waiting + pool.awaits.waiting,
        ];
        let name = match &node.listener {
            Some(listener) => format!("{} by {listener}", node.node),
            None => node.node.clone(),
        };
        let mut row = vec![name, node.state.clone(), "all".to_owned()];
        row.extend(counts.map(|count| count.to_string()));
        row.extend([
            node.streaming.to_string(),
            pool.max_size.to_string(),
            pool.generation.to_string(),
        ]);
        rows.push(row);
        for part in &node.identities {
            let counts = [
                part.in_use,
                part.awaiting,
                part.idle,
                part.connecting,
                part.waiting,
            ];
            let mut row = vec![String::new(), String::new(), identity(part)];
            row.extend(counts.map(|count| count.to_string()));
            row.extend(["-", "-", "-"].map(str::to_owned));
            rows.push(row);
        }
        if node.other_identities > 0 {
            let mut row = vec![
                String::new(),
                String::new(),
                format!("and {} others", node.other_identities),
            ];
            row.resize(header.len(), "-".to_owned());
            rows.push(row);
        }
    }
    table(&header, rows, None)
}

fn identity(part: &Identity) -> String {
    part.user.clone().unwrap_or_else(|| format!("({})", part.kind))
}

pub(super) fn clients(clients: &Clients) -> String {
    let header = [
        "ID",
        "ADDRESS",
        "USER",
        "APPLICATION",
        "DRIVER",
        "STATE",
        "COMMAND",
        "SINCE",
        "AGE",
        "TIES",
    ];
    let rows = clients.clients.iter().map(|client| {
        let driver = [client.driver.as_deref(), client.driver_version.as_deref()];
        let driver: Vec<_> = driver.into_iter().flatten().collect();
        let mut ties = Vec::new();
        if client.in_transaction {
            ties.push("transaction".to_owned());
        }
        if !client.cursors.is_empty() {
            ties.push(format!("{} cursors", client.cursors.len()));
        }
        vec![
            client.id.to_string(),
            client.address.clone(),
            or_dash(client.user.as_deref()),
            or_dash(client.application.as_deref()),
            or_dash(Some(&*driver.join(" ")).filter(|text| !text.is_empty())),
            client.state.clone(),
            or_dash(client.command.as_deref()),
            client.command_age_seconds.map_or("-".to_owned(), ago),
            ago(client.age_seconds),
            or_dash(Some(&*ties.join(", ")).filter(|text| !text.is_empty())),
        ]
    });
    let mut text = format!(
        "{} clients, {} of them match\n\n",
        clients.connected, clients.matching
    );
    text.push_str(&table(&header, rows.collect(), clients.note.as_deref()));
    text
}

pub(super) fn cursors(cursors: &Cursors) -> String {
    let header = ["CURSOR", "NAMESPACE", "NODE", "AWAITS", "AGE", "UNUSED FOR"];
    let rows = cursors.cursors.iter().map(|cursor| {
        vec![
            cursor.id.to_string(),
            or_dash(cursor.namespace.as_deref()),
            cursor.node.clone(),
            if cursor.awaits { "yes" } else { "no" }.to_owned(),
            ago(cursor.age_seconds),
            ago(cursor.idle_seconds),
        ]
    });
    let mut text = format!("{} cursors\n\n", cursors.pinned);
    text.push_str(&table(&header, rows.collect(), cursors.note.as_deref()));
    text
}

pub(super) fn config(config: &Config) -> String {
    let header = ["KEY", "VALUE", "FROM"];
    let rows = config.settings.iter().map(|setting| {
        vec![
            setting.key.clone(),
            or_dash(setting.value.as_deref()),
            setting.source.clone(),
        ]
    });
    table(&header, rows.collect(), None)
}

fn table(header: &[&str], rows: Vec<Vec<String>>, note: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_table(&mut text, header, rows.into_iter());
    if let Some(note) = note {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// Whole seconds in words; milliseconds below a minute.
fn ago(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.3}s");
    }
    let whole = Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::lists::{Client, Cursor, NodePool, Setting};

    #[test]
    fn lists_are_tables_whose_ends_are_told() {
        let client = Client {
            id: 7,
            address: "10.0.0.7:5000".to_owned(),
            listener: "0.0.0.0:27018".to_owned(),
            user: Some("ann@shop".to_owned()),
            application: None,
            driver: Some("PyMongo".to_owned()),
            driver_version: Some("4.10".to_owned()),
            state: "in_command".to_owned(),
            command: Some("find".to_owned()),
            command_age_seconds: Some(0.25),
            age_seconds: 3_700.0,
            in_transaction: true,
            cursors: vec![1, 2],
        };
        let text = clients(&Clients {
            connected: 9,
            matching: 2,
            note: Some("1 of 2 are shown".to_owned()),
            clients: vec![client],
        });
        let expected = "\
9 clients, 2 of them match

ID  ADDRESS        USER      APPLICATION  DRIVER        STATE       COMMAND  SINCE   AGE      TIES
 7  10.0.0.7:5000  ann@shop            -  PyMongo 4.10  in_command  find     0.250s  1h1m40s  transaction, 2 cursors

1 of 2 are shown
";
        assert_eq!(text, expected);
        let text = cursors(&Cursors {
            pinned: 1,
            note: None,
            cursors: vec![Cursor {
                id: -5,
                namespace: Some("shop.orders".to_owned()),
                node: "a:1".to_owned(),
                awaits: true,
                age_seconds: 61.0,
                idle_seconds: 0.0,
            }],
        });
        assert!(
            text.contains("-5  shop.orders  a:1   yes     1m1s  0.000s"),
            "{text}"
        );
        let text = config(&Config {
            settings: vec![Setting {
                key: "pool.max_size".to_owned(),
                value: Some("50".to_owned()),
                source: "proxy.toml:7".to_owned(),
            }],
        });
        assert!(text.contains("pool.max_size     50  proxy.toml:7"), "{text}");
    }

    #[test]
    fn a_pool_shows_all_of_it_and_then_each_identity() {
        let part = |user: Option<&str>, kind: &str| Identity {
            user: user.map(str::to_owned),
            kind: kind.to_owned(),
            in_use: 1,
            awaiting: 0,
            idle: 2,
            connecting: 0,
            waiting: 3,
        };
        let text = pools(&Pools {
            pools: vec![NodePool {
                node: "a:1".to_owned(),
                listener: None,
                state: "primary".to_owned(),
                streaming: 4,
                pool: crate::admin::testing::pool(),
                identities: vec![part(Some("ann@shop"), "user"), part(None, "service")],
                other_identities: 5,
            }],
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].starts_with("a:1   primary  all"), "{text}");
        for (line, who) in lines[2..].iter().zip(["ann@shop", "(service)", "and 5 others"]) {
            assert!(line.trim_start().starts_with(who), "{text}");
        }
    }
}
