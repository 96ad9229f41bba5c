//! A process that has one core does everything on one thread: it serves clients, looks after the nodes and answers operators.

use std::{fs, time::Duration};

use bson::doc;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::{
    Client, Proxy,
    client::{batch, eventually},
    shared_set,
};

const DB: &str = "one_core";
const LIMIT: Duration = Duration::from_secs(60);

/// What is started meanwhile has one core, the first of those that this thread may use.
fn on_one_core<T>(start: impl FnOnce() -> T) -> T {
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    let started = start();
    sched_setaffinity(None, &all).unwrap();
    started
}

fn threads(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/task", proxy.pid()))
        .unwrap()
        .count()
}

#[tokio::test]
async fn clients_and_operators_are_served_on_one_thread_which_the_next_process_takes_over() {
    const CLIENTS: i32 = 40;
    const COMMANDS: usize = 20;
    let proxy = on_one_core(|| Proxy::upgradable(&shared_set().uri(), "[pool]\nmax_size = 4\n"));
    let (address, mut tasks) = (proxy.address, tokio::task::JoinSet::new());
    for number in 0..CLIENTS {
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            let write = doc! { "update": "c", "updates": [{ "q": { "_id": number }, "u": { "$inc": { "n": 1 } }, "upsert": true }] };
            for _ in 0..COMMANDS {
                client.succeed(DB, write.clone()).await;
            }
        });
    }
    eventually("operators are answered meanwhile", LIMIT, async || {
        proxy.metric("tidegate_clients") == f64::from(CLIENTS)
    })
    .await;
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // What looks at the configuration's file now and then is there for a moment.
    eventually("one thread does it all", LIMIT, async || threads(&proxy) == 1).await;

    let next = on_one_core(|| proxy.upgrade());
    let mut client = Client::connect(next.address).await;
    let count = doc! { "aggregate": "c", "pipeline": [{ "$group": { "_id": null, "n": { "$sum": "$n" } } }], "cursor": {} };
    let reply = client.succeed(DB, count).await;
    let (found, _) = batch(&reply);
    assert_eq!(found[0].get_i32("n").unwrap(), CLIENTS * COMMANDS as i32);
    eventually("one thread does it all", LIMIT, async || threads(&next) == 1).await;
    let (status, log) = next.stop();
    assert!(status.success(), "{log}");
}
