//! A process that has one core does everything on one thread: it serves clients, looks after the nodes and answers operators.

use std::{fs, path::Path, time::Duration};

use bson::doc;
use rustix::{
    fs::{CWD, FileType, Mode},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use tidegate::{app, config::Loader};
use tokio::task::JoinSet;

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
    const COMMANDS: i32 = 20;
    let uri = shared_set().uri();
    let proxy = on_one_core(|| Proxy::upgradable(&uri, "[pool]\nmax_size = 4\n"));
    let (seen, all_seen) = tokio::sync::watch::channel(false);
    let (address, mut tasks) = (proxy.address, JoinSet::new());
    for number in 0..CLIENTS {
        let mut all_seen = all_seen.clone();
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            let add = doc! { "q": { "_id": number }, "u": { "$inc": { "n": 1 } }, "upsert": true };
            let write = doc! { "update": "c", "updates": [add] };
            for _ in 0..COMMANDS {
                client.succeed(DB, write.clone()).await;
            }
            all_seen.wait_for(|seen| *seen).await.unwrap();
        });
    }
    eventually("operators see all clients", LIMIT, async || {
        proxy.metric("tidegate_clients") == f64::from(CLIENTS)
    })
    .await;
    seen.send_replace(true);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // What looks at the configuration's file now and then is there for a moment.
    eventually("one thread does it all", LIMIT, async || threads(&proxy) == 1).await;

    let next = on_one_core(|| proxy.upgrade());
    let mut client = Client::connect(next.address).await;
    let sum = doc! { "$group": { "_id": null, "n": { "$sum": "$n" } } };
    let aggregate = doc! { "aggregate": "c", "pipeline": [sum], "cursor": {} };
    let (found, _) = batch(&client.succeed(DB, aggregate).await);
    assert_eq!(found[0].get_i32("n").unwrap(), CLIENTS * COMMANDS);
    eventually("one thread does it all", LIMIT, async || threads(&next) == 1).await;
    let (status, log) = next.stop();
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_to_its_end_holds_no_client_up() {
    let uri = shared_set().uri();
    let proxy = on_one_core(|| Proxy::start(&uri, ""));
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "find": "c" }).await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("audit");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Nobody reads from it.
    proxy.configure(&uri, "", &format!("[audit]\nfile = {pipe:?}\n"));
    eventually("the pipe is being opened", LIMIT, async || threads(&proxy) > 1).await;
    for _ in 0..20 {
        client.succeed(DB, doc! { "find": "c" }).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(threads(&proxy) > 1, "it is being opened still: {}", proxy.log());
    let (status, log) = proxy.stop();
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off_when_the_proxy_stops_and_its_runtime_goes_on() {
    let set = shared_set();
    let text = format!(
        "[upstream]\nuri = {:?}\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"off\"\n",
        set.uri()
    );
    let config = Loader::new()
        .text(Path::new("one_core.toml"), text)
        .load()
        .unwrap();
    let proxy = on_one_core(|| app::Proxy::start(&config).unwrap());
    let address = proxy.listeners()[0].address.tcp().unwrap();
    let mut client = Client::connect(address).await;
    client
        .succeed(DB, doc! { "insert": "slow", "documents": [{}] })
        .await;
    let slow = doc! { "find": "slow", "filter": { "$where": "sleep(30000) || true" }, "comment": "one_core" };
    client.send(DB, slow).await.unwrap();
    eventually("the command runs", LIMIT, async || {
        let asked = doc! { "currentOp": 1, "command.comment": "one_core" };
        let found = set.command(set.primary().await.unwrap(), asked).await.unwrap();
        !found.get_array("inprog").unwrap().is_empty()
    })
    .await;
    proxy.stop().await;
    let end = tokio::time::timeout(Duration::from_secs(1), client.reply()).await;
    assert!(end.expect("the connection is closed").is_err());
}
