//! The Initial DNS Seedlist Discovery specification's tests, against a name server on loopback that serves its test zone.
//!
//! What the resolver step yields is judged: seeds and options. The hosts that discovery would then find belong to servers with
//! TLS; discovery itself has tests of its own.

use std::{collections::BTreeSet, sync::OnceLock};

use serde_json::Value as Json;
use tidegate::{
    config::uri::{self, ConnectionString, Host, Secret},
    upstream::{Resolver, Seedlist, SrvError, SrvOptions, srv},
};

use super::{
    connection_string::judge_options,
    report::run_cases,
    support::dns::{Manner, NameServer},
};

/// Service and subdomain below test.build.10gen.cc, and where the records lead, from the specification's "Test Setup". The
/// tests of `test22` expect a second record that is missing there.
const SRV: &[(&str, &[(&str, u16)])] = &[
    ("_mongodb._tcp.test1", &[(LOCALHOST, 27017), (LOCALHOST, 27018)]),
    ("_mongodb._tcp.test2", &[(LOCALHOST, 27018), (LOCALHOST, 27019)]),
    ("_mongodb._tcp.test3", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test5", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test6", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test7", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test8", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test10", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test11", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test12", &[("localhost.build.10gen.cc", 27017)]),
    ("_mongodb._tcp.test13", &[("test.build.10gen.cc", 27017)]),
    (
        "_mongodb._tcp.test14",
        &[("localhost.not-test.build.10gen.cc", 27017)],
    ),
    (
        "_mongodb._tcp.test15",
        &[("localhost.test.not-build.10gen.cc", 27017)],
    ),
    (
        "_mongodb._tcp.test16",
        &[("localhost.test.build.not-10gen.cc", 27017)],
    ),
    (
        "_mongodb._tcp.test17",
        &[("localhost.test.build.10gen.not-cc", 27017)],
    ),
    (
        "_mongodb._tcp.test18",
        &[("localhost.sub.test.build.10gen.cc", 27017)],
    ),
    (
        "_mongodb._tcp.test19",
        &[("localhost.evil.build.10gen.cc", 27017), (LOCALHOST, 27017)],
    ),
    ("_mongodb._tcp.test20", &[(LOCALHOST, 27017)]),
    ("_mongodb._tcp.test21", &[(LOCALHOST, 27017)]),
    (
        "_customname._tcp.test22",
        &[(LOCALHOST, 27017), (LOCALHOST, 27018)],
    ),
    ("_mongodb._tcp.test23", &[(LOCALHOST, 8000)]),
    ("_mongodb._tcp.test24", &[(LOCALHOST, 8000)]),
];
/// What a case may say.
const FIELDS: &[&str] = &[
    "uri",
    "comment",
    "error",
    "seeds",
    "numSeeds",
    "options",
    "parsed_options",
    "hosts",
    "numHosts",
    "ping",
];
pub(crate) const LOCALHOST: &str = "localhost.test.build.10gen.cc";
const TXT: &[(&str, &[&str])] = &[
    ("test5", &["replicaSet=repl0&authSource=thisDB"]),
    ("test6", &["replicaSet=repl0"]),
    ("test6", &["authSource=otherDB"]),
    ("test7", &["ssl=false"]),
    ("test8", &["authSource"]),
    ("test10", &["socketTimeoutMS=500"]),
    ("test11", &["replicaS", "et=rep", "l0"]),
    ("test20", &["loadBalanced=true"]),
    ("test21", &["loadBalanced=false"]),
    ("test24", &["loadBalanced=true"]),
];

fn zone() -> &'static NameServer {
    static ZONE: OnceLock<NameServer> = OnceLock::new();
    ZONE.get_or_init(|| {
        let server = NameServer::start();
        for (name, hosts) in SRV {
            server.set_srv(&format!("{name}.test.build.10gen.cc"), 86_400, hosts);
        }
        for (name, strings) in TXT {
            server.add_txt(&format!("{name}.test.build.10gen.cc"), strings);
        }
        server
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

/// Parses a string and asks the DNS, as the start of Tidegate does; what cannot be done yet (TLS, users, load balancers) is
/// not judged.
fn resolve(text: &str) -> Result<ConnectionString, String> {
    let shown = |errors: Vec<uri::UriError>| format!("{errors:?}");
    let parsed = uri::parse(text).map_err(shown)?;
    let options = parsed.srv_options().unwrap();
    let resolver = Resolver::new(Some(zone().address()));
    let found = run(srv::discover(&options, &resolver)).map_err(|error| error.to_string())?;
    parsed.resolved(found.hosts, found.txt.as_deref()).map_err(shown)
}

#[test]
fn srv_seedlist() {
    println!(
        "srv_seedlist: not applicable: `hosts`, `numHosts` and `ping` of each case (its servers are not there)"
    );
    run_cases("srv_seedlist", &[], |_, case| {
        for field in case.as_object().unwrap().keys() {
            assert!(
                FIELDS.contains(&field.as_str()),
                "{field:?} is not understood here"
            );
        }
        let text = case["uri"].as_str().unwrap();
        let resolved = match (resolve(text), case["error"] == true) {
            (Ok(resolved), false) => resolved,
            (Err(_), true) => return,
            (Ok(_), true) => panic!("{text} was taken: {}", case["comment"]),
            (Err(error), false) => panic!("{text}: {error}"),
        };
        let found: BTreeSet<_> = resolved.hosts.iter().map(Host::to_string).collect();
        if let Some(seeds) = case["seeds"].as_array() {
            let expected: BTreeSet<_> = seeds
                .iter()
                .map(|seed| seed.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(found, expected);
        }
        if let Some(count) = case["numSeeds"].as_u64() {
            assert_eq!(found.len() as u64, count);
        }
        judge_options(&resolved.options, &case["options"]);
        judge_rest(&resolved, &case["parsed_options"]);
    });
}

fn judge_rest(resolved: &ConnectionString, expected: &Json) {
    let user = resolved.user.as_ref();
    let shown = |secret: &Secret| secret.expose().to_owned();
    for (name, expected) in expected.as_object().into_iter().flatten() {
        let found = match name.as_str() {
            "user" => user.map(|user| shown(&user.username)),
            "password" => user.and_then(|user| user.password.as_ref().map(shown)),
            "db" | "auth_database" | "defaultDatabase" => resolved.database.clone(),
            other => panic!("what is {other}?"),
        };
        assert_eq!(expected.as_str(), found.as_deref(), "{name}");
    }
}

/// Asks a server that knows one SRV record.
fn discover(host: &str, target: &str) -> Result<Seedlist, SrvError> {
    let server = NameServer::start();
    server.set_srv(&format!("_mongodb._tcp.{host}"), 300, &[(target, 27017)]);
    run(srv::discover(
        &SrvOptions::new(host),
        &Resolver::new(Some(server.address())),
    ))
}

#[test]
fn prose_1_names_with_fewer_than_three_parts_are_taken() {
    for (text, target) in [
        ("mongodb+srv://localhost", "node.localhost"),
        ("mongodb+srv://mongo.local", "node.mongo.local"),
    ] {
        let host = uri::parse(text).unwrap().srv_host.unwrap();
        assert_eq!(discover(&host, target).unwrap().hosts[0].host(), target);
    }
}

#[test]
fn prose_2_to_4_targets_outside_of_the_domain_are_refused() {
    for (host, target) in [
        ("localhost", "localhost.mongodb"),
        ("mongo.local", "test_1.evil.local"),
        ("blogs.mongodb.com", "blogs.evil.com"),
        ("localhost", "localhost"),
        ("mongo.local", "mongo.local"),
        ("localhost", "test_1.cluster_1localhost"),
        ("mongo.local", "test_1.my_hostmongo.local"),
        ("blogs.mongodb.com", "cluster.testmongodb.com"),
    ] {
        let error = discover(host, target).unwrap_err();
        assert!(
            matches!(error, SrvError::Domain { .. }),
            "{host} -> {target}: {error}"
        );
        assert!(error.is_final());
    }
}

#[test]
fn long_answers_are_fetched_by_tcp() {
    let server = NameServer::start();
    let ports: Vec<_> = (1..=60).map(|port| (LOCALHOST, port)).collect();
    server.set_srv("_mongodb._tcp.a.test.build.10gen.cc", 77, &ports);
    server.set_manner(Manner::Truncates);
    let options = SrvOptions::new("a.test.build.10gen.cc");
    let found = run(srv::discover(&options, &Resolver::new(Some(server.address())))).unwrap();
    assert_eq!(found.hosts.len(), 60);
    assert_eq!(found.ttl.as_secs(), 77);
}

#[test]
fn a_name_that_is_not_there_is_final_and_a_server_that_fails_is_not() {
    let server = NameServer::start();
    let ask = || {
        let options = SrvOptions::new("a.b.c");
        run(srv::discover(&options, &Resolver::new(Some(server.address())))).unwrap_err()
    };
    let missing = ask();
    assert!(
        missing.is_final() && missing.to_string().contains("_mongodb._tcp.a.b.c"),
        "{missing}"
    );
    for code in [2, 5] {
        server.set_manner(Manner::Fails(code));
        let failing = ask();
        assert!(!failing.is_final(), "{failing}");
        assert!(
            failing.to_string().contains(&server.address().to_string()),
            "{failing}"
        );
    }
}

#[test]
fn no_more_hosts_than_srv_max_hosts_are_drawn_and_every_one_can_be() {
    let server = NameServer::start();
    server.set_srv(
        "_mongodb._tcp.a.b.c",
        60,
        &[("n.b.c", 1), ("n.b.c", 2), ("n.b.c", 3)],
    );
    let options = SrvOptions {
        max_hosts: 1,
        ..SrvOptions::new("a.b.c")
    };
    let resolver = Resolver::new(Some(server.address()));
    let drawn: BTreeSet<_> = (0..200)
        .map(|_| {
            let found = run(srv::discover(&options, &resolver)).unwrap();
            assert_eq!(found.hosts.len(), 1);
            found.hosts[0].port()
        })
        .collect();
    assert_eq!(drawn.len(), 3);
}
