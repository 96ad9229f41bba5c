//! Upgrades of one proxy under load: the next process takes the sockets over, the one before drains.

use std::time::{Duration, Instant};

use bson::doc;
use tidegate::sandbox::ReplicaSet;

use crate::Outcome;
use crate::support::{
    self, Proxy,
    chaos::{
        DATABASE, Workload,
        crew::{Client, Crew, Kind},
    },
    provenance,
    steady::{Seen, Steady},
};

pub(crate) const RESULTS: &str = "docs/results/upgrade.md";
/// Clients that come and go without a driver, so that a connection that is refused or reset shows as such.
const VISITING: usize = 8;
const PAUSE: Duration = Duration::from_millis(3);
/// Between two upgrades.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long the process before may take to let its clients go.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn run(set: &ReplicaSet, upgrades: usize) -> Outcome {
    let mut proxy = Proxy::upgradable(
        &set.uri(),
        &format!("[drain]\ndeadline = '{}s'\n", DEADLINE.as_secs()),
    );
    seed(&proxy).await;
    let crew = Crew::start(&drivers(&proxy.uri()));
    let load = Steady::start(proxy.address, 0, VISITING, PAUSE);
    tokio::time::sleep(BETWEEN * 3).await;
    let (started, mut took) = (Instant::now(), Duration::ZERO);
    for _ in 0..upgrades {
        let begun = Instant::now();
        let next = proxy.upgrade();
        took = took.max(begun.elapsed());
        let (status, log) = std::mem::replace(&mut proxy, next).ended_within(DEADLINE + BETWEEN * 5);
        assert!(status.success() && !log.contains("panicked"), "{log}");
        tokio::time::sleep(BETWEEN).await;
    }
    let elapsed = started.elapsed();
    let seen = load.stop();
    let (operations, hung) = crew.stop();
    assert_eq!(hung, Vec::<String>::new());
    let failed: Vec<_> = operations
        .iter()
        .filter(|operation| operation.error.is_some())
        .collect();
    println!("{seen:?}\n{:?}", &failed[..failed.len().min(20)]);
    Outcome {
        page: page(upgrades, elapsed, took, &seen, [operations.len(), failed.len()]),
        faults: seen.failed + failed.len() as u64,
    }
}

/// Writes the document that drivers read, on all nodes.
pub(crate) async fn seed(proxy: &Proxy) {
    let documents = [doc! { "_id": 1 }];
    let insert = doc! { "insert": "seeds", "documents": documents, "writeConcern": { "w": 3 } };
    support::Client::connect(proxy.address)
        .await
        .run(DATABASE, insert)
        .await;
}

/// Long-lived clients, with the drivers' defaults.
pub(crate) fn drivers(uri: &str) -> Vec<Client> {
    let cycle = vec![
        Workload::Inc,
        Workload::Once,
        Workload::Insert,
        Workload::Modify,
        Workload::Read,
        Workload::Push,
    ];
    let client = |name, kind| Client {
        name,
        kind,
        target: uri.to_owned(),
        user: None,
        cycles: vec![cycle.clone(); 4],
        pause: Duration::from_millis(10),
    };
    vec![client("pymongo", Kind::Pymongo), client("node", Kind::Node)]
}

fn page(
    upgrades: usize,
    elapsed: Duration,
    took: Duration,
    seen: &Seen,
    [told, failed]: [usize; 2],
) -> String {
    format!(
        "# Upgrades under load\n\n\
         Written by `cargo bench --bench service -- --upgrades {upgrades}`; edits are lost. {}\n\n\
         One proxy in front of three nodes is replaced {upgrades} times in {:.0} s by a process that takes its listening sockets over; the one before drains. {VISITING} raw \
         clients come and go, five commands each, without retries: any connection that were refused or reset would be an error. PyMongo and Node with four \
         workers each stay, with their default settings.\n\n\
         | | |\n|---|---:|\n\
         | upgrades | {upgrades} |\n\
         | the slowest, from the start of the next process until it is ready | {:.0} ms |\n\
         | connections that raw clients made and ended | {} |\n\
         | their commands | {} |\n\
         | errors that they saw | {} |\n\
         | operations of PyMongo and Node | {told} |\n\
         | errors that they saw | {failed} |\n",
        provenance(RESULTS),
        elapsed.as_secs_f64(),
        took.as_secs_f64() * 1000.0,
        seen.visits,
        seen.commands,
        seen.failed,
    )
}
