//! Rolling restarts of two proxies behind HAProxy: one at a time drains on SIGTERM, ends, and starts anew.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tidegate::sandbox::{Guard, ReplicaSet, free_ports, temporary_folder};

use crate::{
    Outcome,
    support::{self, Proxy, chaos::crew::Crew, provenance},
    upgrades::{drivers, seed},
};

pub(crate) const RESULTS: &str = "docs/results/rolling.md";
/// HAProxy looks every 200 ms, and takes a proxy out after two failures: well within the grace.
const DRAIN: &str = "[drain]\ngrace = '1s'\ndeadline = '15s'\n";
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two restarts: HAProxy has the new one by then.
const BETWEEN: Duration = Duration::from_millis(800);

/// HAProxy in TCP mode in front of the two, which it asks at `/readyz`.
struct Haproxy {
    port: u16,
    child: Child,
    guard: Guard,
    folder: PathBuf,
}

impl Haproxy {
    fn start(proxies: &[Proxy; 2]) -> Self {
        let folder = temporary_folder().unwrap();
        let guard = Guard::for_temporary(&folder).unwrap();
        let port = free_ports(1).unwrap()[0];
        let servers: Vec<_> = proxies
            .iter()
            .enumerate()
            .map(|(number, proxy)| {
                let (address, admin) = (proxy.address, proxy.admin.port());
                format!("  server p{number} {address} check port {admin} inter 200ms fall 2 rise 2")
            })
            .collect();
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
             backend b\n  balance roundrobin\n  option httpchk GET /readyz\n{}\n",
            servers.join("\n")
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let arguments = ["haproxy".into(), "-db".into(), "-f".into(), file.into()];
        let child = guard
            .spawn("/usr/bin/env".as_ref(), &arguments, &folder.join("log"))
            .unwrap();
        Self {
            port,
            child,
            guard,
            folder,
        }
    }

    fn stop(mut self) -> String {
        self.guard.kill(&mut self.child).unwrap();
        self.guard.forget(self.child.id());
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

pub(crate) async fn run(set: &ReplicaSet, restarts: usize) -> Outcome {
    let mut proxies = [(); 2].map(|()| Proxy::start(&set.uri(), DRAIN));
    let haproxy = Haproxy::start(&proxies);
    tokio::time::sleep(BETWEEN * 2).await;
    seed(&proxies[0]).await;
    let crew = Crew::start(&drivers(&format!("mongodb://127.0.0.1:{}/", haproxy.port)));
    tokio::time::sleep(BETWEEN * 3).await;
    let (started, mut slowest) = (Instant::now(), Duration::ZERO);
    for number in 0..restarts {
        let at: &mut Proxy = &mut proxies[number % 2];
        let (address, admin): (SocketAddr, SocketAddr) = (at.address, at.admin);
        at.signal(Signal::TERM);
        let begun = Instant::now();
        let (status, log) = at.end_within(DEADLINE + BETWEEN * 5);
        slowest = slowest.max(begun.elapsed());
        assert!(status.success() && !log.contains("panicked"), "{log}");
        *at = Proxy::start_at_with(&set.uri(), address, admin, DRAIN);
        tokio::time::sleep(BETWEEN).await;
    }
    let elapsed = started.elapsed();
    let (operations, hung) = crew.stop();
    let said = haproxy.stop();
    assert_eq!(hung, Vec::<String>::new(), "{said}");
    let failed: Vec<_> = operations
        .iter()
        .filter(|operation| operation.error.is_some())
        .collect();
    println!("{:?}", &failed[..failed.len().min(20)]);
    Outcome {
        page: page(restarts, elapsed, slowest, [operations.len(), failed.len()]),
        faults: failed.len() as u64,
    }
}

fn version() -> String {
    let output = support::run(std::process::Command::new("haproxy").arg("-v"), DEADLINE);
    let line = output.stdout.lines().next().unwrap_or_default().to_owned();
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn page(restarts: usize, elapsed: Duration, slowest: Duration, [told, failed]: [usize; 2]) -> String {
    format!(
        "# Rolling restarts of a fleet under load\n\n\
         Written by `cargo bench --bench service -- --restarts {restarts}`; edits are lost. {}\n\n\
         Two proxies in front of three nodes, behind {} in TCP mode that asks both at `/readyz` every 200 ms. By turns one gets SIGTERM, drains (`grace` 1 s, `deadline` \
         15 s), ends and starts anew, {restarts} times in {:.0} s. PyMongo and Node with four workers each write and read through HAProxy all the time, \
         with their default settings.\n\n\
         | | |\n|---|---:|\n\
         | restarts | {restarts} |\n\
         | the slowest drain | {:.1} s |\n\
         | operations of PyMongo and Node | {told} |\n\
         | errors that they saw | {failed} |\n",
        provenance(RESULTS),
        version(),
        elapsed.as_secs_f64(),
        slowest.as_secs_f64(),
    )
}
