//! TLS on both sides: nodes that demand it, listeners in each mode, certificates that are wrong, missing or replaced, and the names
//! that MongoDB reads in certificates.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use rcgen::{DistinguishedName, DnType, DnValue};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tidegate::{
    net::Socket,
    sandbox::{Guard, Options, ReplicaSet, temporary_folder},
    tls::{Acceptor, AcceptorOptions, Connector, ConnectorOptions},
    topology::Address,
    upstream::{self, Login},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Client, Proxy,
    certificates::{Authority, Time, subject},
    client::{eventually, is_ok},
    raw::{body_section, msg},
    run_python, start_set,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A set of one node that takes connections with TLS alone, and the authority that it trusts.
struct Nodes {
    authority: Authority,
    set: ReplicaSet,
    _guard: Guard,
}

fn nodes() -> &'static Nodes {
    static NODES: OnceLock<Nodes> = OnceLock::new();
    NODES.get_or_init(|| {
        let folder = temporary_folder().unwrap();
        let guard = Guard::for_temporary(&folder).unwrap();
        let authority = Authority::in_folder(folder);
        let [server, ca] = [authority.server(), authority.ca()].map(|path| path.display().to_string());
        let set = start_set(Options {
            nodes: 1,
            // The sandbox speaks no TLS: what it has to say is said before TLS is demanded.
            mongod_arguments: [
                "--tlsMode",
                "preferTLS",
                "--tlsCertificateKeyFile",
                &server,
                "--tlsCAFile",
                &ca,
                "--tlsAllowConnectionsWithoutCertificates",
            ]
            .map(str::to_owned)
            .into(),
            ..Options::default()
        });
        let demand = async {
            set.command(0, doc! { "setParameter": 1, "tlsMode": "requireTLS" })
                .await
        };
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        std::thread::scope(|scope| scope.spawn(|| runtime().block_on(demand)).join().unwrap()).unwrap();
        Nodes {
            authority,
            set,
            _guard: guard,
        }
    })
}

/// The set's connection string with these options.
fn upstream_uri(options: &str) -> String {
    format!("{}&{options}", nodes().set.uri())
}

fn trusting_uri() -> String {
    upstream_uri(&format!(
        "tls=true&tlsCAFile={}",
        nodes().authority.ca().display()
    ))
}

/// A listener with TLS, as sections for [`Proxy::start`].
fn listener(keys: &str) -> String {
    let server = nodes().authority.server();
    format!(
        "[[listener]]\naddress = '127.0.0.1:0'\n[listener.tls]\ncertificate = '{}'\n{keys}\n",
        server.display()
    )
}

/// Where the listener at this place listens.
fn address(proxy: &Proxy, index: usize) -> SocketAddr {
    let address = &proxy.status()["listeners"][index]["address"];
    address.as_str().unwrap().parse().unwrap()
}

fn connector(certificate: Option<&Path>) -> Connector {
    connector_of(&nodes().authority, certificate)
}

fn connector_of(authority: &Authority, certificate: Option<&Path>) -> Connector {
    Connector::new(ConnectorOptions {
        ca: Some(authority.ca()),
        certificate_key: certificate.map(Path::to_owned),
        ..ConnectorOptions::default()
    })
    .unwrap()
}

/// A client with TLS.
struct TlsClient(Socket);

impl TlsClient {
    async fn connect(address: SocketAddr, connector: &Connector) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let stream = connector
            .connect("localhost", stream)
            .await
            .map_err(io::Error::other)?;
        Ok(Self(Socket::new(stream)))
    }

    /// Runs a command. With TLS 1.3 a client learns only now that its certificate was not accepted.
    async fn run(&mut self, command: Document) -> io::Result<Document> {
        self.0.write_all(&msg(1, 0, &[body_section(&command)])).await?;
        loop {
            if let Some(frame) = self.0.take_frame().map_err(io::Error::other)? {
                return Document::from_reader(&frame.bytes()[21..]).map_err(io::Error::other);
            }
            if self.0.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn ping() -> Document {
    doc! { "ping": 1, "$db": "admin" }
}

/// Whether a client with this connector gets an answer.
async fn is_served(address: SocketAddr, connector: &Connector) -> bool {
    match TlsClient::connect(address, connector).await {
        Ok(mut client) => client.run(ping()).await.is_ok_and(|reply| is_ok(&reply)),
        Err(_) => false,
    }
}

#[tokio::test]
async fn drivers_are_served_with_tls_on_both_sides_and_on_one() {
    let ca = nodes().authority.ca().display().to_string();
    let sections = listener("mode = 'require'") + &listener("mode = 'allow'");
    let proxy = Proxy::start(&trusting_uri(), &sections);
    let tls = json!({ "tls": true, "tlsCAFile": ca }).to_string();
    for (index, options) in [(0, "{}"), (1, tls.as_str()), (2, &tls), (2, "{}")] {
        let uri = format!("mongodb://localhost:{}/", address(&proxy, index).port());
        let outcome = run_python("python/tls.py", &[&uri, options]);
        assert_eq!(
            outcome["length"], 5_000_000,
            "listener {index}, {options}: {outcome}"
        );
    }
    let certificates = &proxy.status()["certificates"];
    assert_eq!(certificates[0]["subject"], "CN=server");
    assert_eq!(certificates[0]["expires"], "2120-01-01T00:00:00Z");
    assert!(proxy.metric("tidegate_certificate_expiry_seconds") > 4e9);
    assert!(proxy.metric("tidegate_tls_accepted_total") >= 2.0);
}

#[tokio::test]
async fn who_speaks_tls_where_it_is_not_spoken_or_does_not_where_it_must_is_told_in_the_log() {
    let proxy = Proxy::start(
        &trusting_uri(),
        &format!(
            "{}\n[limits]\nhandshake_timeout = '1s'\n",
            listener("mode = 'require'")
        ),
    );
    let mut plain = Client::connect(address(&proxy, 1)).await;
    assert!(plain.try_run("admin", doc! { "ping": 1 }).await.is_err());
    assert!(!is_served(address(&proxy, 0), &connector(None)).await);
    let log = proxy.log();
    for (said, times) in [
        ("it does not speak TLS, which this listener requires", 1),
        ("it speaks TLS, which this listener does not", 1),
    ] {
        assert_eq!(log.matches(said).count(), times, "{said}\n{log}");
    }
    // Half a handshake, and half of what decides.
    for begun in [&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3, 0, 0, 0][..], &[22, 3]] {
        let started = Instant::now();
        let mut half = TcpStream::connect(address(&proxy, 1)).await.unwrap();
        half.write_all(begun).await.unwrap();
        // It may say goodbye in the manner of TLS.
        let closed = tokio::time::timeout(LIMIT, half.read_to_end(&mut Vec::new())).await;
        closed.expect("the connection is closed").ok();
        assert!(
            started.elapsed() >= Duration::from_millis(900),
            "{:?}",
            started.elapsed()
        );
    }
    eventually("both are counted", LIMIT, async || {
        proxy.metric("tidegate_clients_timed_out_total") >= 2.0
    })
    .await;
}

#[tokio::test]
async fn clients_certificates_that_are_wrong_are_refused_and_the_reason_is_logged() {
    let Nodes { authority, .. } = nodes();
    let stranger = Authority::new();
    let keys = format!(
        "client_ca = '{}'\nclient_certificates = 'required'",
        authority.ca().display()
    );
    let proxy = Proxy::start(&trusting_uri(), &listener(&keys));
    let listener = address(&proxy, 1);
    let good = authority.client("good", Time::Now);
    assert!(is_served(listener, &connector(Some(&good))).await);
    assert!(!is_served(listener, &connector(None)).await);
    let foreign = stranger.client("foreign", Time::Now);
    assert!(!is_served(listener, &connector(Some(&foreign))).await);
    // Our own connector refuses to present what has expired; a driver does not look.
    let expired = authority.client("expired", Time::Past);
    let uri = format!("mongodb://localhost:{}/", listener.port());
    let options = json!({
        "tls": true,
        "tlsCAFile": authority.ca().display().to_string(),
        "tlsCertificateKeyFile": expired.display().to_string(),
        "serverSelectionTimeoutMS": 500,
    });
    let outcome = run_python("python/tls.py", &[&uri, &options.to_string()]);
    assert!(outcome["error"].is_string(), "{outcome}");
    let log = proxy.log();
    for said in [
        "the peer has to present a certificate, and has none",
        "the named certificate authority has not issued it",
        "the peer's certificate, or one of its chain, has expired",
    ] {
        assert!(log.contains(said), "{said}\n{log}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_trusted_is_not_used_and_the_check_says_why() {
    let stranger = Authority::new();
    let port = nodes().set.address(0).rsplit_once(':').unwrap().1.to_owned();
    let ca = nodes().authority.ca();
    for (uri, says) in [
        (
            upstream_uri(&format!("tls=true&tlsCAFile={}", stranger.ca().display())),
            "the named certificate authority has not issued it",
        ),
        (
            format!(
                "mongodb://127.0.0.2:{port}/?directConnection=true&tls=true&tlsCAFile={}",
                ca.display()
            ),
            "cannot connect",
        ),
        (upstream_uri("serverSelectionTimeoutMS=1000"), "DOWN"),
    ] {
        let outcome = check(&uri);
        assert!(outcome.contains(says), "{uri}: {outcome}");
    }
    for options in [
        format!("tls=true&tlsCAFile={}", ca.display()),
        "tls=true&tlsInsecure=true".to_owned(),
        format!(
            "tls=true&tlsAllowInvalidCertificates=true&tlsCAFile={}",
            stranger.ca().display()
        ),
    ] {
        let outcome = check(&upstream_uri(&options));
        assert!(
            outcome.contains("primary") && !outcome.contains("DOWN"),
            "{options}: {outcome}"
        );
    }
}

/// What `tidegate check --connect` prints for a connection string.
fn check(uri: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    fs::write(&file, format!("[upstream]\nuri = '{uri}'\n")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "--connect", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn certificates_are_replaced_while_connections_are_open() {
    let (old, new) = (Authority::new(), Authority::new());
    let path = old.path("listener.pem");
    let issue = |authority: &Authority| {
        let name = subject(&[(DnType::CommonName, "listener")]);
        let (certificate, key) = authority.issue_pem(&["localhost"], name, Time::Now);
        fs::write(&path, certificate + &key).unwrap();
    };
    issue(&old);
    let sections = format!(
        "[[listener]]\naddress = '127.0.0.1:0'\n[listener.tls]\ncertificate = '{}'\n",
        path.display()
    );
    let proxy = Proxy::start(&trusting_uri(), &sections);
    let listener = address(&proxy, 1);
    let [trusts_old, trusts_new] = [&old, &new].map(|authority| connector_of(authority, None));
    let mut open = TlsClient::connect(listener, &trusts_old).await.unwrap();
    assert!(is_ok(&open.run(ping()).await.unwrap()));
    let hang_up = || {
        let pid = Pid::from_raw(i32::try_from(proxy.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    };
    fs::write(&path, "half a certificate").unwrap();
    hang_up();
    eventually("the broken file is told", LIMIT, async || {
        proxy.log().contains("certificates stay as they were")
    })
    .await;
    assert!(is_served(listener, &trusts_old).await);
    issue(&new);
    hang_up();
    eventually("the new certificate is used", LIMIT, async || {
        is_served(listener, &trusts_new).await
    })
    .await;
    assert!(!is_served(listener, &trusts_old).await);
    assert!(
        is_ok(&open.run(ping()).await.unwrap()),
        "the connection that was open"
    );
}

#[tokio::test]
async fn the_name_that_a_client_dialled_is_the_address_that_it_is_told() {
    let sections =
        listener("mode = 'require'").replace("[listener.tls]", "presents_as = 'replica_set'\n[listener.tls]");
    let proxy = Proxy::start(&trusting_uri(), &sections);
    let listener = address(&proxy, 1);
    let mut client = TlsClient::connect(listener, &connector(None)).await.unwrap();
    let hello = client.run(doc! { "hello": 1, "$db": "admin" }).await.unwrap();
    assert_eq!(
        hello.get_str("me").unwrap(),
        format!("localhost:{}", listener.port())
    );
}

/// The name that a mongod reads in a client's certificate: it has no such user, and says so. `None` where it closes the connection.
async fn name_by_mongod(certificate: &Path) -> Option<String> {
    let options = upstream::Options {
        tls: Some(connector(Some(certificate))),
        ..upstream::Options::default()
    };
    let address: Address = nodes().set.address(0).parse().unwrap();
    let login = std::sync::Arc::new(Login::with_certificate(""));
    let refused = upstream::connect_as(&address, &options, Some(&login))
        .await
        .unwrap_err();
    let said = refused.to_string();
    if said.contains("closed the connection") {
        return None;
    }
    let from = said
        .find("Could not find user \"")
        .unwrap_or_else(|| panic!("{said}"))
        + 21;
    let to = said.find("\" for db").unwrap();
    Some(said[from..to].to_owned())
}

async fn name_by_us(acceptor: &Acceptor, certificate: &Path) -> Option<String> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    let accepted = socket.accept().await.unwrap().0;
    let connector = connector(Some(certificate));
    let (client, server) = tokio::join!(connector.connect("localhost", dialled), acceptor.accept(accepted));
    client.unwrap();
    server.unwrap().peer_subject().map(str::to_owned)
}

#[tokio::test]
async fn subjects_are_written_as_mongod_writes_them() {
    let Nodes { authority, .. } = nodes();
    let acceptor = Acceptor::new(AcceptorOptions {
        client_ca: Some(authority.ca()),
        ..AcceptorOptions::new(authority.server(), None)
    })
    .unwrap();
    let custom = |oid: &[u64]| DnType::from_oid(oid);
    let text = |value: &str| DnValue::Utf8String(value.to_owned());
    let of = |names: Vec<(DnType, DnValue)>| {
        let mut name = DistinguishedName::new();
        names.into_iter().for_each(|(kind, value)| name.push(kind, value));
        name
    };
    let cn = |value: &str| of(vec![(DnType::CommonName, text(value))]);
    let names = [
        of(vec![
            (
                DnType::CountryName,
                DnValue::PrintableString("DE".try_into().unwrap()),
            ),
            (DnType::StateOrProvinceName, text("Bayern")),
            (DnType::LocalityName, text("M\u{fc}nchen")),
            (DnType::OrganizationName, text("Tide, Inc.")),
            (DnType::OrganizationalUnitName, text("a+b;c<d>e=f\"g\\h")),
            (DnType::CommonName, text("app")),
        ]),
        of(vec![
            (
                custom(&[0, 9, 2342, 19_200_300, 100, 1, 25]),
                DnValue::Ia5String("org".try_into().unwrap()),
            ),
            (custom(&[0, 9, 2342, 19_200_300, 100, 1, 1]), text("u1")),
            (
                custom(&[1, 2, 840, 113_549, 1, 9, 1]),
                DnValue::Ia5String("a@b.c".try_into().unwrap()),
            ),
            (custom(&[2, 5, 4, 9]), text("Road 1")),
            (custom(&[2, 5, 4, 4]), text("Doe")),
            (custom(&[2, 5, 4, 42]), text("Jane")),
            (custom(&[2, 5, 4, 5]), text("77")),
            (custom(&[1, 2, 3, 4, 5]), text("of no name")),
        ]),
        of(vec![(
            DnType::OrganizationName,
            DnValue::BmpString("\u{20ac} caf\u{e9}".try_into().unwrap()),
        )]),
        of(vec![(
            DnType::CommonName,
            DnValue::TeletexString("plain".try_into().unwrap()),
        )]),
        cn(" both "),
        cn(" "),
        cn("  two  "),
        cn("#hash#"),
        cn(" #"),
        cn("\u{e9}"),
        cn("end\\ "),
    ];
    for (index, name) in names.into_iter().enumerate() {
        let path = authority.issue(&format!("subject{index}.pem"), &[], name, Time::Now);
        let expected = name_by_mongod(&path).await;
        assert_eq!(name_by_us(&acceptor, &path).await, expected, "case {index}");
        println!("{expected:?}");
    }
}
