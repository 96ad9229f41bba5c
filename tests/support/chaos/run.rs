//! A run: a set behind relays, a proxy, clients, and faults one after the other.

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc};
use tidegate::sandbox::Options;
use tokio::time::sleep;

use super::{
    ACCOUNTS, BALANCE, Class, DATABASE, DIRECT, Inflicted, MARKER, Operation, PROXIED, Workload,
    crew::{Client, Crew, Kind},
    fault::{Inflictor, insist},
    judge::{Judged, judge},
    pause,
    secure::{Secure, USERS, User, create_users},
};
use crate::support::{Proxy, relay::RelayedSet};

/// Clients whose workers do nothing but `$inc`, through the proxy and directly; their pauses are compared.
pub(crate) const PACED: [&str; 2] = ["paced", "paced_direct"];
/// The same at `w: 1`.
pub(crate) const PACED_W1: [&str; 2] = ["w1", "w1_direct"];
/// Clients that know the nodes themselves.
pub(crate) const DIRECT_CLIENTS: [&str; 2] = [PACED[1], PACED_W1[1]];
/// What all clients that have a driver have in their URI.
const URI_OPTIONS: &str = "serverSelectionTimeoutMS=60000&w=majority";
/// Between two operations of a worker: the pauses are to be those of elections, not of a busy machine.
const OFTEN: Duration = Duration::from_millis(8);
const RARELY: Duration = Duration::from_millis(25);
/// Between two faults, so that each begins in fair weather.
const BETWEEN: std::ops::Range<u64> = 500..900;
/// The proxy's counters that tell what a fault did, without prefix and suffix.
const COUNTERS: [&str; 9] = [
    "commands_held",
    "commands_sent_again",
    "writes_sent_again",
    "writes_sent_again_after_error",
    "reads_sent_again",
    "commands_rescued",
    "retries_recognised",
    "outcomes_unknown",
    "state_errors_relayed",
];

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Class>,
    /// `[failover] exactly_once`.
    pub(crate) exactly_once: bool,
    /// Fewer clients, none of them direct.
    pub(crate) small: bool,
    /// With PyMongo 2, which needs a Python 2.7.
    pub(crate) with_python2: bool,
    /// With logins and TLS on both sides of the proxy, and the clients that can do both.
    pub(crate) secure: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) faults: Vec<Inflicted>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) judged: Judged,
    /// When nodes became primary.
    pub(crate) elections: Vec<f64>,
    /// By how much the proxy's counters rose at the faults of a class.
    pub(crate) counters: BTreeMap<Class, BTreeMap<&'static str, f64>>,
    /// Clients that did not end when they were told to, or before.
    pub(crate) broken: Vec<String>,
    pub(crate) proxy_log: String,
}

impl Outcome {
    /// How many commands of the proxy the faults of a class met for certain, and what the proxy counted.
    pub(crate) fn met(&self, class: Class) -> usize {
        let of_class = self.faults.iter().filter(|fault| fault.class == class);
        of_class.map(|fault| fault.in_flight.max(fault.met.len())).sum()
    }
}

/// Carries out a plan. Panics if the set or the proxy does not come up, or a fault cannot be inflicted.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let secure = plan.secure.then(Secure::new);
    let mut options = Options {
        // A primary that is asked to end tells clients for this long that it is going.
        mongod_arguments: ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=1000"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    };
    if let Some(secure) = &secure {
        secure.demand(&mut options);
    }
    let ends = secure.as_ref().map(Secure::ends);
    let nodes = RelayedSet::start_with(options, MARKER, plan.seed, ends.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        give_up_soon(&nodes).await;
        prepare(&nodes).await;
        if secure.is_some() {
            create_users(&nodes.set).await;
        }
    });
    let upstream = format!("{}&appName={MARKER}{PROXIED}", nodes.uri());
    let exactly_once = if plan.exactly_once { "auto" } else { "off" };
    let failover = format!("[failover]\nexactly_once = \"{exactly_once}\"\n");
    let proxy = match &secure {
        Some(secure) => Proxy::start_with(
            &secure.as_service(&upstream),
            "",
            &secure.listener(),
            &format!("[auth]\nsource = \"backend\"\n{failover}"),
        ),
        None => Proxy::start(&upstream, &failover),
    };
    let clients = match &secure {
        Some(secure) => secure_clients(plan, &nodes, &proxy, secure),
        None => clients(plan, &nodes, &proxy),
    };
    let mut crew = Crew::start(&clients);
    let mut seen = Seen {
        elections: Vec::new(),
        counters: BTreeMap::new(),
        broken: Vec::new(),
    };
    let faults = runtime.block_on(inflict(plan, &nodes, &proxy, &mut crew, &mut seen));
    let (operations, hung) = crew.stop();
    seen.broken
        .extend(hung.into_iter().map(|name| format!("{name} did not end")));
    let judged = runtime.block_on(async {
        nodes.set.wait_ready().await.unwrap();
        judge(&nodes.set, &operations, &faults).await.unwrap()
    });
    let proxy_log = proxy.log();
    Outcome {
        faults,
        operations,
        judged,
        elections: seen.elections,
        counters: seen.counters,
        broken: seen.broken,
        proxy_log,
    }
}

/// What was noted on the way.
struct Seen {
    elections: Vec<f64>,
    counters: BTreeMap<Class, BTreeMap<&'static str, f64>>,
    broken: Vec<String>,
}

async fn inflict(
    plan: &Plan,
    nodes: &RelayedSet,
    proxy: &Proxy,
    crew: &mut Crew,
    seen: &mut Seen,
) -> Vec<Inflicted> {
    let mut inflictor = Inflictor::new(nodes, plan.seed);
    // Interpreters start, drivers connect.
    sleep(Duration::from_millis(1500)).await;
    let mut faults = Vec::new();
    for (number, class) in plan.faults.iter().enumerate() {
        let pause = inflictor.rng.u64(BETWEEN);
        sleep(Duration::from_millis(pause)).await;
        let before = counters(proxy);
        let fault = inflictor.inflict(*class).await;
        let fault = fault.unwrap_or_else(|why| panic!("fault {number}: {why}\n{}", proxy.log()));
        let rise = counters(proxy).into_iter().zip(before);
        let sums = seen.counters.entry(*class).or_default();
        let mut told = Vec::new();
        for ((name, after), (_, before)) in rise {
            *sums.entry(name).or_default() += after - before;
            if after > before {
                told.push(format!("{name} {}", after - before));
            }
        }
        println!(
            "{:3} {:14} {:5.1} s, {} in flight, {} met; {}",
            number + 1,
            class.name(),
            fault.end - fault.start,
            fault.in_flight,
            fault.met.len(),
            told.join(", ")
        );
        pause::elections(nodes.set.folder(), nodes.relays.len(), &mut seen.elections);
        faults.push(fault);
        seen.broken = crew.ended();
        if !seen.broken.is_empty() {
            break;
        }
    }
    sleep(Duration::from_millis(1000)).await;
    faults
}

fn counters(proxy: &Proxy) -> Vec<(&'static str, f64)> {
    let value = |name| (name, proxy.metric(&format!("tidegate_{name}_total")));
    COUNTERS.into_iter().map(value).collect()
}

/// Lets members give up a heartbeat after as long as an election takes: a new primary waits for one that is out of reach before
/// it takes writes, ten seconds by default.
async fn give_up_soon(nodes: &RelayedSet) {
    let primary = nodes.set.primary().await.unwrap();
    let reply = nodes.set.command(primary, doc! { "replSetGetConfig": 1 }).await;
    let mut configuration = reply.unwrap().get_document("config").unwrap().clone();
    let version = configuration.get_i32("version").unwrap();
    configuration.insert("version", version + 1);
    let settings = configuration.get_document_mut("settings").unwrap();
    settings.insert("heartbeatTimeoutSecs", 2);
    // The first configuration may not be committed yet.
    insist(&nodes.set, &doc! { "replSetReconfig": configuration })
        .await
        .unwrap();
}

/// What the workloads find.
async fn prepare(nodes: &RelayedSet) {
    let account = |id: i32| doc! { "q": { "_id": id }, "u": { "_id": id, "n": BALANCE }, "upsert": true };
    let accounts: Vec<Document> = (0..ACCOUNTS).map(account).collect();
    let put = |collection: &str, updates: Vec<Document>| {
        doc! { "update": collection, "updates": updates, "writeConcern": { "w": 3 }, "$db": DATABASE }
    };
    let unacknowledged = doc! { "key": { "u": 1 }, "name": "u" };
    let mut commands = vec![
        put("accounts", accounts),
        put(
            "seeds",
            vec![doc! { "q": { "_id": 1 }, "u": { "_id": 1 }, "upsert": true }],
        ),
        doc! { "createIndexes": "silent", "indexes": [unacknowledged], "writeConcern": { "w": 3 }, "$db": DATABASE },
    ];
    let others = Workload::ALL
        .into_iter()
        .filter(|w| w.writes() && *w != Workload::Silent);
    commands.extend(others.map(|workload| doc! { "create": workload.name(), "$db": DATABASE }));
    for command in commands {
        insist(&nodes.set, &command).await.unwrap();
    }
}

/// All workloads in turns; transactions only for drivers.
fn mixed(with_transactions: bool) -> Vec<Workload> {
    use Workload::{Bulk, Inc, Insert, Modify, Once, Push, Read, Silent, Slow, Transfer, W1};
    let transfer = if with_transactions { Transfer } else { Once };
    let round = [
        Inc, Once, Push, Insert, Modify, Read, transfer, Silent, Push, Slow, Inc, W1, Insert, Modify,
    ];
    [&round[..], &round, &[Bulk]].concat()
}

fn clients(plan: &Plan, nodes: &RelayedSet, proxy: &Proxy) -> Vec<Client> {
    let proxied = |more: &str| format!("{}?{URI_OPTIONS}&{more}", proxy.uri());
    let client = |name, kind, target: String, workers: usize| Client {
        name,
        kind,
        target,
        user: None,
        cycles: vec![mixed(matches!(kind, Kind::Pymongo | Kind::Node)); workers],
        pause: OFTEN,
    };
    let workers = if plan.small { 2 } else { 3 };
    let mut clients = vec![
        client("raw", Kind::Raw, proxy.address.to_string(), workers + 1),
        client(
            "pymongo_plain",
            Kind::Pymongo,
            proxied("retryWrites=false"),
            workers,
        ),
        client("legacy", Kind::Legacy, proxy.address.to_string(), workers),
        client("node", Kind::Node, proxied("appName=node"), 2),
    ];
    // Reads that are long enough for faults of secondaries to meet them.
    clients.push(Client {
        cycles: vec![vec![Workload::Slow, Workload::Read, Workload::Slow]; workers],
        ..client("readers", Kind::Raw, proxy.address.to_string(), 0)
    });
    if plan.with_python2 {
        clients.push(client("pymongo_2", Kind::Pymongo2, proxy.uri(), 2));
    }
    if !plan.small {
        clients.push(client(
            "pymongo_retrying",
            Kind::Pymongo,
            proxied("retryWrites=true"),
            2,
        ));
        let direct = format!("{}&{URI_OPTIONS}&appName={MARKER}{DIRECT}", nodes.uri());
        let targets = [proxied("retryWrites=true"), format!("{direct}&retryWrites=true")];
        clients.extend(paced(targets, None));
    }
    clients
}

/// Clients that do one kind of write, through the proxy and directly.
fn paced(targets: [String; 2], user: Option<&'static User>) -> Vec<Client> {
    let mut clients = Vec::new();
    for (number, target) in targets.into_iter().enumerate() {
        let client = |name, workload, workers, pause| Client {
            name,
            kind: Kind::Pymongo,
            target: target.clone(),
            user,
            cycles: vec![vec![workload]; workers],
            pause,
        };
        clients.push(client(PACED[number], Workload::Inc, 2, OFTEN));
        clients.push(client(PACED_W1[number], Workload::W1, 1, RARELY));
    }
    clients
}

/// The clients that can log in and speak TLS: drivers. Each is one of the users, and looks now and then whether it still is.
fn secure_clients(plan: &Plan, nodes: &RelayedSet, proxy: &Proxy, secure: &Secure) -> Vec<Client> {
    let [ann, ben, cleo] = &USERS;
    let proxied = |user, more: &str| secure.as_user(&format!("{}?{URI_OPTIONS}&{more}", proxy.uri()), user);
    let whoami = [Workload::Whoami];
    let mixed = mixed(true);
    let (first, second) = mixed.split_at(mixed.len() / 2);
    let mixed = [first, &whoami, second, &whoami].concat();
    let client = |name, kind, user: &'static User, more, workers| Client {
        name,
        kind,
        target: proxied(user, more),
        user: Some(user),
        cycles: vec![mixed.clone(); workers],
        pause: OFTEN,
    };
    let mut clients = vec![
        client("pymongo_plain", Kind::Pymongo, ann, "retryWrites=false", 3),
        client("pymongo_retrying", Kind::Pymongo, ben, "retryWrites=true", 2),
        client("node", Kind::Node, cleo, "appName=node", 2),
    ];
    // Reads that are long enough for faults of secondaries to meet them.
    let readers = [Workload::Slow, Workload::Read, Workload::Slow, Workload::Whoami];
    clients.push(Client {
        cycles: vec![readers.to_vec(); 3],
        ..client("readers", Kind::Pymongo, ben, "retryReads=false", 0)
    });
    if !plan.small {
        let direct = format!(
            "{}&{URI_OPTIONS}&appName={MARKER}{DIRECT}&retryWrites=true",
            nodes.uri()
        );
        let targets = [proxied(ann, "retryWrites=true"), secure.as_user(&direct, ann)];
        clients.extend(paced(targets, Some(ann)));
    }
    clients
}
