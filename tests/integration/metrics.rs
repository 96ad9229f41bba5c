//! The metrics of a live proxy, held against the table of `docs/metrics.md`, and what a scrape costs.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bson::doc;

use crate::support::{Client, Proxy, client::is_ok, http_get, shared_proxy, shared_set};

/// A family, as its row in the table says: name, type, labels and unit.
type Family = (String, String, Vec<String>, String);

/// The families of a page, with what it says of each.
fn families(page: &str) -> BTreeMap<String, (Family, String)> {
    let mut families: BTreeMap<String, (Family, String)> = BTreeMap::new();
    let mut help = String::new();
    let (mut name, mut kind) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (_, text) = rest.split_once(' ').unwrap();
            help = text.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, of) = rest.split_once(' ').unwrap();
            (name, kind) = (family.to_owned(), of.to_owned());
            let suffix = match of {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let shown = format!("{family}{suffix}");
            let entry = (shown, kind.clone(), Vec::new(), String::new());
            families.insert(name.clone(), (entry, help.clone()));
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let unit = rest.split_once(' ').unwrap().1;
            families.get_mut(&name).unwrap().0.3 = unit.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels
                .split("=\"")
                .map(|part| part.rsplit(['"', ',']).next().unwrap());
            let mut labels: Vec<String> = labels.map(str::to_owned).collect();
            labels.pop();
            labels.retain(|label| kind != "histogram" || label != "le");
            families.get_mut(&name).unwrap().0.2 = labels;
        }
    }
    families
}

/// The rows of the table: what each says of its metric, and what the metric means.
fn documented() -> BTreeMap<String, (Family, String)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else {
            panic!("{row}")
        };
        let name = name.trim_matches('`').to_owned();
        let labels = labels.split_whitespace();
        let labels = labels
            .map(|label| label.trim_matches([',', '`']).to_owned())
            .collect();
        let family = (name.clone(), kind.to_owned(), labels, unit.to_owned());
        (name, (family, meaning.to_owned()))
    })
    .collect()
}

#[test]
fn every_metric_of_a_live_proxy_stands_in_the_table_and_every_row_is_a_metric() {
    let proxy = shared_proxy();
    let (_, page) = http_get(proxy.admin, "/metrics").unwrap();
    let mut documented = documented();
    let mut wrong = Vec::new();
    for ((shown, kind, labels, unit), help) in families(&page).into_values() {
        let labels_shown: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!(
            "| `{shown}` | {kind} | {} | {unit} | {help} |",
            labels_shown.join(", ")
        );
        let holds = documented
            .remove(&shown)
            .is_some_and(|((_, of, told, in_unit), meaning)| {
                // What has no sample now shows no labels.
                let fits = labels.is_empty() || labels == told;
                (of, in_unit, meaning) == (kind, unit, help) && fits
            });
        if !holds {
            wrong.push(row);
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/metrics.md lacks these rows, or has others in their place:\n{}",
        wrong.join("\n")
    );
    assert!(
        documented.is_empty(),
        "docs/metrics.md has rows of no metric: {documented:#?}"
    );
}

#[tokio::test]
async fn commands_are_timed_and_errors_counted_by_command_and_node() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..3 {
        client.succeed("metrics", doc! { "find": "tides" }).await;
    }
    assert!(!is_ok(
        &client.run("metrics", doc! { "find": "tides", "filter": 1 }).await
    ));
    client.run("metrics", doc! { "ping": 1 }).await;
    let status = proxy.status();
    let commands = status["commands"].as_array().unwrap();
    let find = commands.iter().find(|command| command["name"] == "find").unwrap();
    assert_eq!(
        (&find["count"], &find["errors"]),
        (&4.into(), &1.into()),
        "{commands:#?}"
    );
    assert!(find["p99_ms"].as_f64() >= find["p50_ms"].as_f64() && find["p50_ms"].as_f64() > Some(0.0));
    // What the proxy answers itself has no duration that says anything.
    assert!(
        commands.iter().all(|command| command["name"] != "ping"),
        "{commands:#?}"
    );
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let primary = nodes.iter().find(|node| node["state"] == "primary").unwrap();
    assert_eq!(primary["took"]["errors"], 1, "{primary:#}");
    assert_eq!(primary["took"]["count"], 4, "{primary:#}");
    for (metric, value) in [
        ("tidegate_command_duration_seconds_count", 4.0),
        ("tidegate_command_errors_total", 1.0),
        ("tidegate_node_command_duration_seconds_count", 4.0),
        ("tidegate_node_command_errors_total", 1.0),
        ("tidegate_upstream_wait_seconds_count", 1.0),
    ] {
        assert_eq!(proxy.metric(metric), value, "{metric}");
    }
    assert!(proxy.metric("tidegate_command_duration_seconds_sum") > 0.0);
}

/// What a client has counted: commands by name, and those that failed.
type Tally = BTreeMap<(&'static str, bool), u64>;

/// A client of this application that does a little of everything, in a namespace of the application's own.
async fn count_work(proxy: SocketAddr, application: &'static str, rounds: u64) -> Tally {
    let mut client = Client::connect(proxy).await;
    let about = doc! {
        "application": { "name": application },
        "driver": { "name": "a-driver", "version": "1" },
        "os": { "type": "Linux" },
    };
    let hello = doc! { "hello": 1, "client": about };
    client.succeed("admin", hello).await;
    let mut tally = Tally::new();
    for round in 0..rounds {
        let commands = [
            (
                "insert",
                doc! { "insert": application, "documents": [{ "round": round as i64 }] },
            ),
            ("find", doc! { "find": application, "limit": 1 }),
            ("find", doc! { "find": application, "filter": 1 }),
            (
                "update",
                doc! { "update": application, "updates": [{ "q": { "round": 0 }, "u": { "$set": { "seen": true } } }] },
            ),
        ];
        for (name, command) in commands {
            let fails = !is_ok(&client.run("counted", command).await);
            *tally.entry((name, fails)).or_default() += 1;
        }
    }
    tally
}

#[tokio::test]
async fn what_clients_count_is_what_the_proxy_counts() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let applications = ["ebb", "flood", "ebb", "neap", "flood", "ebb"];
    let (mut clients, mut expected) = (Vec::new(), BTreeMap::new());
    for (number, application) in applications.into_iter().enumerate() {
        let rounds = 10 + number as u64;
        *expected.entry(application).or_insert(0.0) += 4.0 * rounds as f64;
        clients.push(tokio::spawn(count_work(proxy.address, application, rounds)));
    }
    let mut tally = Tally::new();
    for client in clients {
        for (what, count) in client.await.unwrap() {
            *tally.entry(what).or_default() += count;
        }
    }
    let (code, page) = http_get(proxy.admin, "/metrics").unwrap();
    assert_eq!(code, 200);
    let told = |sample: &str| {
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    for name in ["insert", "find", "update"] {
        let of = |fails| tally.get(&(name, fails)).copied().unwrap_or_default() as f64;
        let timed = told(&format!(
            "tidegate_command_duration_seconds_count{{command=\"{name}\"}}"
        ));
        assert_eq!(timed, Some(of(false) + of(true)), "{name}");
        let errors = told(&format!("tidegate_command_errors_total{{command=\"{name}\"}}"));
        assert_eq!(errors.unwrap_or_default(), of(true), "errors of {name}");
    }
    for (application, commands) in &expected {
        let by_name = told(&format!(
            "tidegate_application_commands_total{{application=\"{application}\"}}"
        ));
        assert_eq!(by_name, Some(*commands), "{application}");
        let there = told(&format!(
            "tidegate_namespace_commands_total{{namespace=\"counted.{application}\"}}"
        ));
        assert_eq!(there, Some(*commands), "counted.{application}");
    }
    let all: f64 = expected.values().sum();
    assert_eq!(all, tally.values().sum::<u64>() as f64);
    let clients = applications.len() as f64;
    assert_eq!(
        told("tidegate_commands_total"),
        Some(all + clients),
        "each said hello once"
    );
    assert_eq!(told("tidegate_clients_accepted_total"), Some(clients));
}

#[tokio::test]
async fn a_scrape_takes_less_than_five_milliseconds_with_a_thousand_clients() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = Client::connect(proxy.address).await;
        client.succeed("metrics", doc! { "ping": 1 }).await;
        clients.push(client);
    }
    for command in ["find", "count", "aggregate", "distinct"] {
        clients[0].run("metrics", doc! { command: "tides" }).await;
    }
    assert!(proxy.metric("tidegate_clients") >= 1000.0);
    let scrape = || {
        let begun = Instant::now();
        let (code, page) = http_get(proxy.admin, "/metrics").unwrap();
        assert!(code == 200 && page.ends_with("# EOF\n"));
        begun.elapsed()
    };
    // What other tests do at the same time is not its cost, so the fastest counts; the program of the tests is hardly optimised.
    let fastest = (0..30).map(|_| scrape()).min().unwrap();
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}
