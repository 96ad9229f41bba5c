//! What a listener looks like to drivers, and what it reaches: as a replica set, a load balancer, one member; over IPv6 and
//! Unix domain sockets; in front of a standalone server.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::sandbox::{Guard, MemberOptions, Options, ReplicaSet, free_ports, mongod, temporary_folder};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::UnixStream};

use crate::{
    support::{
        Client, Proxy,
        client::{eventually, number},
        raw::{EXHAUST_ALLOWED, Raw, body_section, msg},
        run_python, shared_set, start_set,
    },
    topology::{restless_set, with_heartbeat},
    waiting_hello::wait_on,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A proxy with one listener of each kind.
pub(crate) struct Fixture {
    pub(crate) proxy: Proxy,
    pub(crate) primary: String,
    secondary: String,
    pub(crate) node: String,
    member: String,
    ipv6: String,
    unix: PathBuf,
    _folder: TempDir,
}

pub(crate) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let unix = folder.path().join("t.sock");
        let member = shared_set().address(1).to_owned();
        let sections = format!(
            "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\nsecondary_address = '127.0.0.1:0'\n\
             [[listener]]\naddress = '127.0.0.1:0'\nnode = '{member}'\n\
             [[listener]]\naddress = '[::1]:0'\npresents_as = 'replica_set'\n\
             [[listener]]\naddress = '{}'\nunix_mode = '0660'\n",
            unix.display()
        );
        let proxy = Proxy::start(&with_heartbeat(&shared_set().uri(), ""), &sections);
        let status = proxy.status();
        let address = |index: usize| {
            let listener = &status["listeners"][index]["address"];
            listener.as_str().unwrap().to_owned()
        };
        Fixture {
            primary: address(1),
            secondary: address(2),
            node: address(3),
            ipv6: address(4),
            member,
            unix,
            proxy,
            _folder: folder,
        }
    })
}

fn set_name() -> &'static str {
    &shared_set().options().set_name
}

async fn hello(address: &str) -> Document {
    Client::connect(address)
        .await
        .succeed("admin", doc! { "hello": 1 })
        .await
}

fn hosts(hello: &Document) -> Vec<String> {
    let hosts = hello.get_array("hosts").unwrap().iter();
    hosts.map(|host| host.as_str().unwrap().to_owned()).collect()
}

/// What the everyday work of the script comes to.
fn worked() -> Value {
    json!({ "read": 250, "inside": 252, "left": 251 })
}

#[tokio::test]
async fn both_aliases_are_members_of_the_real_set() {
    let fixture = fixture();
    let real = shared_set().primary().await.unwrap();
    let real = shared_set()
        .command(real, doc! { "hello": 1, "$db": "admin" })
        .await
        .unwrap();
    let both = vec![fixture.primary.clone(), fixture.secondary.clone()];
    for (me, is_primary) in [(&fixture.primary, true), (&fixture.secondary, false)] {
        let hello = hello(me).await;
        assert_eq!(hosts(&hello), both);
        assert_eq!(hello.get_str("setName").unwrap(), set_name());
        assert_eq!(number(&hello, "setVersion"), number(&real, "setVersion"));
        assert_eq!(hello.get_str("me").unwrap(), me);
        assert_eq!(hello.get_str("primary").unwrap(), fixture.primary);
        assert_eq!(hello.get_bool("isWritablePrimary").unwrap(), is_primary);
        assert_eq!(hello.get_bool("secondary").unwrap(), !is_primary);
        assert!(hello.get_document("lastWrite").unwrap().contains_key("opTime"));
        assert!(!hello.contains_key("msg"));
        if is_primary {
            assert_eq!(hello.get("electionId"), real.get("electionId"));
        }
    }
}

#[tokio::test]
async fn drivers_choose_between_the_aliases_and_land_where_they_meant_to() {
    let fixture = fixture();
    let uri = format!("mongodb://{}/?replicaSet={}", fixture.primary, set_name());
    let seen = run_python("python/presentation.py", &["replica_set", &uri]);
    let primary = shared_set().address(shared_set().primary().await.unwrap());
    assert_eq!(seen["work"], worked());
    assert_eq!(
        seen["shown"],
        json!({
            "primary": fixture.primary, "secondaries": [fixture.secondary], "kind": "ReplicaSetWithPrimary",
        })
    );
    assert_eq!(seen["found"], json!({ "_id": 0 }));
    for mode in ["Secondary", "SecondaryPreferred"] {
        assert_ne!(seen["served"][mode], primary, "{seen}");
    }
    for mode in ["PrimaryPreferred", "Primary"] {
        assert_eq!(seen["served"][mode], primary, "{seen}");
    }
    assert!(seen["nearest"].as_array().unwrap().len() > 1, "{seen}");
}

#[tokio::test]
async fn direct_connections_find_what_they_dialled() {
    let fixture = fixture();
    let uri = format!("mongodb://{}/?directConnection=true", fixture.primary);
    let seen = run_python("python/presentation.py", &["presented_direct", &uri]);
    assert_eq!(seen["work"], worked());
    assert_eq!(seen["kind"], "Single");
    let uri = format!("mongodb://{}/?directConnection=true", fixture.secondary);
    let seen = run_python("python/presentation.py", &["secondary", &uri]);
    let primary = shared_set().address(shared_set().primary().await.unwrap());
    assert_eq!(seen["refused"], 10107);
    assert_ne!(seen["server"], primary);
}

#[tokio::test]
async fn load_balanced_clients_have_cursors_and_transactions_everywhere() {
    let fixture = fixture();
    let mut services = Vec::new();
    let main = fixture.proxy.address.to_string();
    for (index, address) in [&main, &fixture.primary].into_iter().enumerate() {
        let name = format!("presented_balanced_{index}");
        let uri = format!("mongodb://{address}/?loadBalanced=true");
        let seen = run_python("python/presentation.py", &[&name, &uri]);
        assert_eq!(seen["work"], worked());
        assert_eq!(seen["kind"], "LoadBalanced");
        let mut client = Client::connect(address.as_str()).await;
        let hello = client
            .succeed("admin", doc! { "hello": 1, "loadBalanced": true })
            .await;
        assert_eq!(hello.get_str("msg").unwrap(), "isdbgrid");
        services.push(hello.get_object_id("serviceId").unwrap());
    }
    assert_eq!(services[0], services[1], "one process is one service");
    let other = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(other.address).await;
    let hello = client
        .succeed("admin", doc! { "hello": 1, "loadBalanced": true })
        .await;
    assert_ne!(hello.get_object_id("serviceId").unwrap(), services[0]);
}

#[tokio::test]
async fn a_listener_for_one_member_reaches_that_one_and_shows_it() {
    let fixture = fixture();
    let real = shared_set()
        .command(1, doc! { "hello": 1, "$db": "admin" })
        .await
        .unwrap();
    let hello = hello(&fixture.node).await;
    assert_eq!(hosts(&hello), [fixture.node.as_str()]);
    assert_eq!(hello.get_str("me").unwrap(), fixture.node);
    for key in [
        "secondary",
        "isWritablePrimary",
        "setName",
        "topologyVersion",
        "tags",
    ] {
        assert_eq!(hello.get(key), real.get(key), "{key}");
    }
    let uri = format!("mongodb://{}/?directConnection=true", fixture.node);
    let seen = run_python("python/presentation.py", &["node", &uri]);
    assert_eq!(seen["server"], fixture.member);
    assert_eq!(seen["operations"], true);
    if real.get_bool("secondary").unwrap() {
        assert_eq!(seen["refused"], 10107, "its own errors are true of it");
    }
}

#[tokio::test]
async fn a_hidden_member_can_be_reached_and_a_stranger_is_named() {
    let members = vec![
        MemberOptions::default(),
        MemberOptions {
            hidden: true,
            ..MemberOptions::default()
        },
    ];
    let set = start_set(Options {
        nodes: 2,
        members,
        set_name: "hiding".to_owned(),
        ..Options::default()
    });
    let stranger = shared_set().address(0);
    let sections = format!(
        "[[listener]]\naddress = '127.0.0.1:0'\nnode = '{}'\n[[listener]]\naddress = '127.0.0.1:0'\nnode = '{stranger}'\n",
        set.address(1)
    );
    let proxy = Proxy::start(&set.uri().replace("replicaSet=hiding", "appName=x"), &sections);
    let status = proxy.status();
    let address = |index: usize| status["listeners"][index]["address"].as_str().unwrap().to_owned();
    let mut client = Client::connect(address(1)).await;
    let hello = client.succeed("admin", doc! { "hello": 1 }).await;
    assert!(hello.get_bool("hidden").unwrap() && hello.get_bool("secondary").unwrap());
    let reply = client.succeed("admin", doc! { "serverStatus": 1 }).await;
    assert_eq!(
        reply.get_document("repl").unwrap().get_str("me").unwrap(),
        set.address(1)
    );
    let mut client = Client::connect(address(2)).await;
    let refused = client.run("admin", doc! { "hello": 1 }).await;
    assert_eq!(number(&refused, "code"), Some(6));
    assert!(
        refused.get_str("errmsg").unwrap().contains("not of \"hiding\""),
        "{refused}"
    );
    assert!(proxy.log().contains("not of \"hiding\""));
    drop(proxy);
    set.shutdown().await.unwrap();
}

#[tokio::test]
async fn ipv6_and_unix_sockets_serve_alike() {
    let fixture = fixture();
    let shown = hello(&fixture.ipv6).await;
    assert!(fixture.ipv6.starts_with("[::1]:"));
    assert_eq!(hosts(&shown), [fixture.ipv6.as_str()]);
    let uri = format!("mongodb://{}/?replicaSet={}", fixture.ipv6, set_name());
    let seen = run_python("python/presentation.py", &["presented_ipv6", &uri]);
    assert_eq!(
        (&seen["work"], &seen["kind"]),
        (&worked(), &json!("ReplicaSetWithPrimary"))
    );

    let mode = std::fs::metadata(&fixture.unix).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let uri = format!(
        "mongodb://{}/",
        fixture.unix.display().to_string().replace('/', "%2F")
    );
    let seen = run_python("python/presentation.py", &["presented_unix", &uri]);
    assert_eq!((&seen["work"], &seen["hello"]), (&worked(), &json!(["msg"])));
    let mut stream = UnixStream::connect(&fixture.unix).await.unwrap();
    let asked = msg(1, 0, &[body_section(&doc! { "whatsmyuri": 1, "$db": "admin" })]);
    stream.write_all(&asked).await.unwrap();
    let mut reply = vec![0; 1024];
    let count = stream.read(&mut reply).await.unwrap();
    assert!(reply[..count].windows(4).any(|part| part == b"unix"));
}

#[tokio::test]
async fn a_sockets_file_is_removed_at_stop_and_a_stale_one_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let proxy = Proxy::start(
        &shared_set().uri(),
        &format!("[[listener]]\naddress = '{}'\n", path.display()),
    );
    drop(UnixStream::connect(&path).await.unwrap());
    let (status, log) = proxy.stop();
    assert!(status.success(), "{log}");
    assert!(!path.exists());
}

#[tokio::test]
async fn an_election_shows_as_a_new_election_of_a_primary_that_stayed_one() {
    let set = restless_set().await;
    let sections = "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\n";
    let proxy = Proxy::start(&with_heartbeat(&set.uri(), ""), sections);
    let address = proxy.status()["listeners"][1]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut client = Raw::connect(address.as_str()).await.unwrap();
    let before = client
        .command(&doc! { "hello": 1, "$db": "admin" })
        .await
        .unwrap()
        .body;
    let mut watcher = Client::connect(address.as_str()).await;
    let id = client.next_id();
    let waiting = msg(id, EXHAUST_ALLOWED, &[body_section(&wait_on(&before, 60_000))]);
    client.send(&waiting).await.unwrap();
    set.step_down().await.unwrap();
    let election = before.get_object_id("electionId").unwrap();
    let started = Instant::now();
    let won = loop {
        let reply = client.receive().await.unwrap().unwrap().body;
        assert!(reply.get_bool("isWritablePrimary").unwrap());
        let shown = watcher.succeed("admin", doc! { "hello": 1 }).await;
        assert!(shown.get_bool("isWritablePrimary").unwrap(), "all along");
        if reply.get_object_id("electionId").unwrap() > election {
            break reply;
        }
        assert!(started.elapsed() < LIMIT);
    };
    let counter = |hello: &Document| {
        hello
            .get_document("topologyVersion")
            .unwrap()
            .get_i64("counter")
            .unwrap()
    };
    assert!(counter(&won) > counter(&before));
    assert_eq!(
        won.get_str("setName").unwrap(),
        before.get_str("setName").unwrap()
    );
}

#[tokio::test]
async fn without_a_secondary_the_alias_is_not_shown_as_one() {
    let set: ReplicaSet = start_set(Options {
        nodes: 1,
        set_name: "alone".to_owned(),
        ..Options::default()
    });
    let sections = "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\nsecondary_address = '127.0.0.1:0'\n";
    let proxy = Proxy::start(&set.uri(), sections);
    let status = proxy.status();
    let hello = hello(status["listeners"][2]["address"].as_str().unwrap()).await;
    assert!(!hello.get_bool("secondary").unwrap() && !hello.get_bool("isWritablePrimary").unwrap());
    drop(proxy);
    set.shutdown().await.unwrap();
}

#[tokio::test]
async fn in_front_of_a_standalone_every_listener_shows_a_standalone() {
    let folder = temporary_folder().unwrap();
    let guard = Guard::for_temporary(&folder).unwrap();
    let port = free_ports(1).unwrap()[0];
    let program = mongod::find(&|_| {}).await.unwrap();
    let arguments = [
        "--dbpath".into(),
        folder.clone().into_os_string(),
        "--port".into(),
        port.to_string().into(),
        "--bind_ip".into(),
        "127.0.0.1".into(),
    ];
    let mut mongod = guard.spawn(&program, &arguments, &folder.join("log")).unwrap();
    let sections = "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\n";
    let proxy = Proxy::start(&format!("mongodb://127.0.0.1:{port}/"), sections);
    let status = proxy.status();
    for index in 0..2 {
        let address = status["listeners"][index]["address"].as_str().unwrap();
        let hello = hello(address).await;
        assert!(hello.get_bool("isWritablePrimary").unwrap());
        for key in ["msg", "setName", "hosts"] {
            assert!(!hello.contains_key(key), "{key}: {hello}");
        }
        let mut client = Client::connect(address).await;
        client
            .succeed("alone", doc! { "insert": "tides", "documents": [{}] })
            .await;
    }
    drop(proxy);
    guard.kill(&mut mongod).unwrap();
}

#[tokio::test]
async fn clients_that_describe_themselves_are_counted_and_may_do_so_once() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    let described = doc! { "driver": { "name": "tide", "version": "7" }, "os": { "type": "x" } };
    let hello = || doc! { "hello": 1, "client": described.clone() };
    client.succeed("admin", hello()).await;
    assert_eq!(
        proxy.status()["clients"]["drivers"],
        json!([{ "name": "tide", "version": "7", "connected": 1 }])
    );
    assert_eq!(number(&client.run("admin", hello()).await, "code"), Some(186));
    drop(client);
    eventually("it is counted no more", LIMIT, async || {
        proxy.status()["clients"]["drivers"] == json!([])
    })
    .await;
}
