//! Old messages are answered through the proxy, by a current server, as MongoDB 4.2 answers them itself.
//!
//! `cargo bench --bench legacy_differential` plays more sequences; here `DIFFERENTIAL_SEED` makes others, and
//! `DIFFERENTIAL_CASES` more.

use std::time::Instant;

use crate::support::legacy_differential::{Servers, run};

const CASES: u64 = 60;
const MOST: usize = 3;

#[test]
fn random_legacy_messages_are_answered_as_by_mongodb_4_2() {
    let seed = std::env::var("DIFFERENTIAL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let cases = std::env::var("DIFFERENTIAL_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    println!("seed {seed}");
    let servers = Servers::start();
    let start = Instant::now();
    let report = run(
        &servers.pair("differential"),
        seed,
        0..cases,
        MOST.max(cases as usize / 20),
    );
    println!("{} steps in {:?}", report.steps, start.elapsed());
    assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
}
