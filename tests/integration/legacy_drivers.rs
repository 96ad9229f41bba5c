//! Old drivers have the outcomes through the proxy, in front of a current set, that they have directly on MongoDB 4.2, and
//! where 4.2 refuses what they do, those that older servers gave. `support::legacy` says how.
//!
//! Those that need a Python or a Node of their time run with `cargo bench --bench legacy_drivers`.

use std::thread;

use bson::doc;
use serde_json::Value;

use crate::support::{
    legacy::{DRIVERS, Driver, Side, Sides, compare, outcomes},
    raw::{Raw, query},
    shared_set,
};

/// The bits of an OP_QUERY.
const SLAVE_OK: u8 = 1 << 2;
const NO_CURSOR_TIMEOUT: u8 = 1 << 4;

#[test]
fn old_drivers_have_the_outcomes_that_they_had() {
    let sides = Sides::start();
    let faults: Vec<String> = thread::scope(|scope| {
        let tested = DRIVERS.iter().filter(|driver| driver.tested);
        let runs: Vec<_> = tested
            .map(|driver| {
                let sides = &sides;
                scope.spawn(move || faults(driver, sides))
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn faults(driver: &Driver, sides: &Sides) -> Vec<String> {
    let direct = lines(driver, Side::Direct, sides);
    driver
        .presentations()
        .iter()
        .flat_map(|side| {
            let proxied = lines(driver, *side, sides);
            compare(driver, *side, &direct, &proxied).faults
        })
        .collect()
}

fn lines(driver: &Driver, side: Side, sides: &Sides) -> Vec<Value> {
    outcomes(driver, side, sides).unwrap_or_else(|missing| panic!("{}: missing: {missing}", driver.name))
}

#[tokio::test]
async fn slave_ok_moves_a_read_to_a_secondary_where_the_client_can_mean_that() {
    let sides = Sides::start();
    let [mongos, primary] = sides.proxies().map(|proxy| proxy.address.to_string());
    let secondary = secondary_address(&primary).await;
    let cases = [
        (&mongos, 0, true),
        (&mongos, SLAVE_OK, false),
        // Set by old Node drivers on all commands.
        (&mongos, SLAVE_OK | NO_CURSOR_TIMEOUT, true),
        (&primary, 0, true),
        // A primary answers by itself.
        (&primary, SLAVE_OK, true),
        (&secondary, SLAVE_OK, false),
    ];
    for (address, flags, by_primary) in cases {
        let served = served_by_primary(address, flags).await;
        assert_eq!(served, by_primary, "{address} with flags {flags:#x}");
    }
}

/// The address for reads from secondaries, which the one for the primary tells of.
async fn secondary_address(primary: &str) -> String {
    let mut client = Raw::connect(primary).await.unwrap();
    let told = client
        .command(&doc! { "isMaster": 1, "$db": "admin" })
        .await
        .unwrap();
    let hosts = told.body.get_array("hosts").unwrap();
    let mut hosts = hosts.iter().filter_map(|host| host.as_str());
    hosts.find(|host| *host != primary).unwrap().to_owned()
}

/// Whether the primary answers a read that comes by an OP_QUERY with these bits.
async fn served_by_primary(address: &str, flags: u8) -> bool {
    let mut client = Raw::connect(address).await.unwrap();
    let read = doc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": {} }, { "$limit": 1 }, { "$project": { "host": 1 } }],
        "cursor": {},
    };
    let id = client.next_id();
    let mut message = query(id, "admin.$cmd", &read);
    message[16] = flags;
    client.send(&message).await.unwrap();
    let reply = client.reply_to(id).await.unwrap();
    let batch = reply
        .body
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    let host = batch[0].as_document().unwrap().get_str("host").unwrap();
    let primary = shared_set().primary().await.unwrap();
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    port(host) == port(shared_set().address(primary))
}
