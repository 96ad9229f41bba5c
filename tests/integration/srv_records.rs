//! `mongodb+srv://`: the nodes that a name server on loopback names, at the start and as it names others.
//!
//! What records may look like is judged by the specification's tests (`tests/specification/srv_seedlist.rs`).

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::doc;
use tidegate::{
    shutdown::Shutdown,
    topology::{Address, TopologyKind},
    upstream::{self, Cluster, SrvOptions},
};
use tokio::time::sleep;

use crate::support::{
    Client, Proxy,
    client::{batch, eventually},
    dns::{Manner, NameServer},
    nothing::Nothing,
    shared_set,
};

const HOST: &str = "tides.gate.test";
const NAME: &str = "_mongodb._tcp.tides.gate.test";
/// A host of the same domain, at the loopback address.
const NODE: &str = "node.gate.test";
/// Where nobody listens.
const NOBODY: u16 = 1;
const LIMIT: Duration = Duration::from_secs(30);
/// The shortest time between two looks, which is a minute but here.
const RESCAN: Duration = Duration::from_millis(200);
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// A name server that names these ports of [`NODE`].
fn name_server(ttl: u32, ports: &[u16]) -> NameServer {
    let dns = NameServer::start();
    dns.add_address(NODE, Ipv4Addr::LOCALHOST);
    name(&dns, ttl, ports);
    dns
}

fn name(dns: &NameServer, ttl: u32, ports: &[u16]) {
    let hosts: Vec<_> = ports.iter().map(|port| (NODE, *port)).collect();
    dns.set_srv(NAME, ttl, &hosts);
}

/// A cluster that began with `seed` and looks at the records.
struct Polling {
    cluster: Arc<Cluster<Nothing>>,
    shutdown: Shutdown,
}

impl Polling {
    fn start(dns: &NameServer, seed: &str) -> Self {
        let shutdown = Shutdown::new();
        let options = upstream::Options {
            seeds: vec![seed.parse().unwrap()],
            srv: Some(SrvOptions {
                shortest_rescan: RESCAN,
                ..SrvOptions::new(HOST)
            }),
            nameserver: Some(dns.address()),
            heartbeat: Duration::from_millis(500),
            ..upstream::Options::default()
        };
        let cluster = Cluster::start(options, &shutdown, |_| Arc::new(Nothing));
        Self { cluster, shutdown }
    }

    fn kind(&self) -> TopologyKind {
        self.cluster.load().topology.kind()
    }

    /// The ports of the nodes, in order.
    fn ports(&self) -> Vec<u16> {
        let snapshot = self.cluster.load();
        let mut ports: Vec<_> = snapshot
            .topology
            .servers()
            .iter()
            .map(|server| server.address.port())
            .collect();
        ports.sort_unstable();
        ports
    }

    async fn until_ports(&self, ports: &[u16]) {
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        eventually(&format!("the nodes are {ports:?}"), LIMIT, async || {
            self.ports() == ports
        })
        .await;
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

#[tokio::test]
async fn the_routers_are_those_that_the_records_name_now_unless_they_cannot_be_had() {
    let routers = [(); 2].map(|()| Proxy::start(&shared_set().uri(), ""));
    let [first, second] = [0, 1].map(|router: usize| routers[router].address.port());
    let dns = name_server(0, &[first]);
    let polling = Polling::start(&dns, &format!("{NODE}:{first}"));
    let is_sharded = async || polling.kind() == TopologyKind::Sharded;
    eventually("the router is known", LIMIT, is_sharded).await;

    name(&dns, 0, &[first, second]);
    polling.until_ports(&[first, second]).await;
    for manner in [Manner::Fails(SERVFAIL), Manner::Fails(NXDOMAIN), Manner::Answers] {
        // In the end there is an answer, that there are none.
        name(&dns, 0, &[]);
        dns.set_manner(manner);
        let before = dns.questions();
        eventually("it is asked again", LIMIT, async || dns.questions() >= before + 2).await;
        assert_eq!(polling.ports().len(), 2, "{manner:?} changes nothing");
    }
    // A record that leads out of the domain is no record.
    dns.set_srv(NAME, 0, &[("node.elsewhere.test", first), (NODE, second)]);
    polling.until_ports(&[second]).await;
    assert_eq!(polling.kind(), TopologyKind::Sharded);
}

#[tokio::test]
async fn a_replica_set_tells_its_members_itself() {
    let set = shared_set();
    let port = |address: &str| address.parse::<Address>().unwrap().port();
    let ports: Vec<_> = set.addresses().iter().map(|address| port(address)).collect();
    let dns = name_server(0, &ports);
    let polling = Polling::start(&dns, &format!("{NODE}:{}", ports[0]));
    let has_primary = async || polling.kind() == TopologyKind::ReplicaSetWithPrimary;
    eventually("the set is known", LIMIT, has_primary).await;
    polling.until_ports(&ports).await;
    // One question may be under way.
    sleep(RESCAN).await;
    let before = dns.questions();
    name(&dns, 0, &[NOBODY]);
    sleep(RESCAN * 5).await;
    assert_eq!(dns.questions(), before, "nobody asks any more");
    polling.until_ports(&ports).await;
}

#[tokio::test]
async fn records_are_kept_for_as_long_as_they_say() {
    const TTL: u32 = 2;
    let dns = name_server(TTL, &[NOBODY]);
    let polling = Polling::start(&dns, &format!("127.0.0.1:{}", NOBODY + 1));
    polling.until_ports(&[NOBODY]).await;
    let looked = Instant::now();
    name(&dns, TTL, &[NOBODY + 2]);
    polling.until_ports(&[NOBODY + 2]).await;
    // The first look was up to a step of the test earlier than it was seen.
    assert!(
        looked.elapsed() > Duration::from_millis(1500),
        "{:?}",
        looked.elapsed()
    );
    assert_eq!(polling.kind(), TopologyKind::Unknown);
}

#[tokio::test]
async fn commands_are_served_behind_a_name_of_the_dns_that_is_slow_to_come_up() {
    let set = shared_set();
    let port = |address: &str| address.parse::<Address>().unwrap().port();
    let ports: Vec<_> = set.addresses().iter().map(|address| port(address)).collect();
    let dns = Arc::new(name_server(60, &ports[..2]));
    dns.add_txt(HOST, &[&format!("replicaSet={}", set.options().set_name)]);
    dns.set_manner(Manner::Fails(SERVFAIL));
    let comes_up = {
        let dns = Arc::clone(&dns);
        std::thread::spawn(move || {
            let started = Instant::now();
            while dns.questions() < 2 && started.elapsed() < LIMIT {
                std::thread::sleep(Duration::from_millis(20));
            }
            dns.set_manner(Manner::Answers);
        })
    };
    let upstream = format!("nameserver = \"{}\"", dns.address());
    let proxy = Proxy::start_with(&format!("mongodb+srv://{HOST}/?tls=false"), &upstream, "", "");
    comes_up.join().unwrap();
    let mut client = Client::connect(proxy.address).await;
    let insert = doc! { "insert": "tides", "documents": [{ "_id": 1 }] };
    client.run("srv_records", doc! { "drop": "tides" }).await;
    client.succeed("srv_records", insert).await;
    let found = client.succeed("srv_records", doc! { "find": "tides" }).await;
    assert_eq!(batch(&found).0, [doc! { "_id": 1 }]);
    // All of the set's nodes serve, under the addresses by which they know each other.
    eventually("all nodes are known", LIMIT, async || {
        let status = proxy.status();
        let nodes = status["topology"]["nodes"].as_array().unwrap();
        let known = nodes.iter().filter_map(|node| node["address"].as_str());
        let mut known: Vec<_> = known.map(str::to_owned).collect();
        let mut expected = set.addresses();
        known.sort();
        expected.sort();
        known == expected
    })
    .await;
}
