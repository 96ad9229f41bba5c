//! From the tree of values to each module's own options.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Config, MOST_CONNECTIONS, access, auth, check, listeners,
    mistake::{Mistakes, Place, Report},
    reader::Section,
    schema, secret,
    tree::{Node, Table, Value},
    uri::{self, ConnectionString, Supported, UriOptions},
};
use crate::{
    admin, client, failover, pool, telemetry::log, tls::Connector, topology::ReadPreference, upstream,
};

/// Where the admin endpoint listens that names no address.
pub(super) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9218);

/// Most bytes of `appName` (Handshake specification).
const LONGEST_APP_NAME: usize = 128;

const COMMENTS: &[(&str, bool)] = &[("off", false), ("identity", true)];

const EXACTLY_ONCE: &[(&str, bool)] = &[("auto", true), ("off", false)];

const FORMATS: &[(&str, log::Format)] = &[
    ("auto", log::Format::Auto),
    ("text", log::Format::Text),
    ("json", log::Format::Json),
];

/// Resolves the whole tree. `folder` is where the file is, from which relative paths in it count.
pub(super) fn resolve(mut root: Table, folder: &Path, mut report: Report) -> Result<Config, Mistakes> {
    let connection = upstream_section(&mut root, folder, &mut report);
    let upstream = upstream_options(&connection, &mut report);
    let identifies = connection.identify;
    let fallback = uri_read_preference(&connection, upstream.heartbeat, &mut report);
    let listeners = listeners::listeners(&mut root, folder, &fallback, upstream.heartbeat, &mut report);
    let has_credential = connection.supported.credential.is_some();
    let takes_certificates = listeners.iter().any(|(listener, _)| takes_certificates(listener));
    let auth = auth::auth_section(&mut root, folder, has_credential, takes_certificates, &mut report);
    auth::warn_of_open(&auth, &listeners, &mut report);
    let pool = pool_section(&mut root, &connection, &mut report);
    let limits = limits_section(&mut root, &mut report);
    let failover = failover_section(&mut root, &upstream, &limits, &mut report);
    let drain = drain_section(&mut root, &mut report);
    let admin = admin_section(&mut root, folder, &listeners, &mut report);
    let audit = access::audit_section(&mut root, folder, &mut report);
    let watches = reload_section(&mut root, &mut report);
    let upgrade = upgrade_section(&mut root, folder, &mut report);
    let log = log_section(&mut root, &mut report);
    for (name, node) in &root {
        report.mistake(&node.place, name, schema::unknown(None, name));
    }
    check::listeners(&listeners, &mut report);
    let mut listeners: Vec<_> = listeners.into_iter().map(|(options, _)| options).collect();
    let mut files = report.take_files();
    let settings = report.take_settings();
    let warnings = report.finish()?;
    files.extend(auth.users_file.clone());
    for listener in &mut listeners {
        listener.demands_login = auth.source.demands_login();
        listener.identifies = identifies;
    }
    Ok(Config {
        connection: connection.string,
        upstream,
        auth,
        pool,
        failover,
        drain,
        listeners,
        limits,
        admin,
        audit,
        upgrade,
        watches,
        log,
        files,
        settings,
        warnings,
    })
}

/// Whether clients can show certificates there.
fn takes_certificates(listener: &client::ListenerOptions) -> bool {
    let tls = listener.tls.as_ref();
    tls.is_some_and(|tls| tls.acceptor.options().client_ca.is_some())
}

/// Takes a section that is written `[name]`; an empty one where there is none.
pub(super) fn section<'a>(root: &mut Table, name: &'static str, report: &'a mut Report) -> Section<'a> {
    let (table, place) = match root.remove(name) {
        Some(Node {
            value: Value::Table(table),
            place,
        }) => (table, place),
        Some(Node { place, .. }) => {
            report.mistake(&place, name, format!("must be a section, written [{name}]"));
            (Table::new(), place)
        }
        None => (Table::new(), Place::Nowhere),
    };
    Section::new(name.to_owned(), place, table, report)
}

/// The connection string and where it was given.
struct Connection {
    place: Place,
    key: &'static str,
    string: ConnectionString,
    /// What can be done of it.
    supported: Supported,
    nameserver: Option<SocketAddr>,
    /// What the proxy's connections to the nodes call themselves, over what the string says.
    app_name: Option<String>,
    /// Commands tell the nodes whose they are.
    identify: bool,
}

fn upstream_section(root: &mut Table, folder: &Path, report: &mut Report) -> Connection {
    let is_whole = report.is_whole();
    let mut section = section(root, "upstream", report);
    let inline = section.text("uri");
    let file = section.text("uri_file");
    let key = if section.is_given("uri_file") {
        "uri_file"
    } else {
        "uri"
    };
    let place = section.place_of(key).clone();
    if section.is_given("uri") && section.is_given("uri_file") {
        section.mistake("uri_file", "uri is given too; keep one of the two");
    } else if is_whole && section.are_sound(&["uri", "uri_file"]) && inline.is_none() && file.is_none() {
        section.mistake(
            "uri",
            "is missing: write uri = \"mongodb://host1:27017,host2:27017/?replicaSet=NAME\" in [upstream]",
        );
    }
    let from_file = file.and_then(|path| {
        // In the file a relative path counts from that file, in a variable from the working directory.
        let base = if place.is_untyped() { Path::new("") } else { folder };
        let path = base.join(path);
        section.note_file(&path);
        secret::read(&path)
            .map_err(|problem| section.mistake("uri_file", problem))
            .ok()
    });
    let read = inline.or(from_file).map(|text| uri::parse_supported(&text));
    let (string, supported) = read
        .unwrap_or_else(|| Ok(Default::default()))
        .unwrap_or_else(|errors| {
            for error in errors {
                section.mistake(key, error.to_string());
            }
            Default::default()
        });
    for warning in string.warnings.iter().chain(&supported.notes) {
        section.warning(key, warning.as_str());
    }
    let nameserver = section.name_server("nameserver");
    let app_name = section.text("app_name");
    if app_name
        .as_ref()
        .is_some_and(|name| name.len() > LONGEST_APP_NAME)
    {
        section.mistake(
            "app_name",
            format!("is longer than {LONGEST_APP_NAME} bytes, which nodes refuse"),
        );
    }
    let identify = section.choice("comment", COMMENTS, false);
    section.notes.connection(&string, &place);
    let in_uri = supported.options.app_name.clone();
    if in_uri.is_some() {
        section.notes.given_by_uri("app_name");
    }
    let default = || upstream::Options::default().app_name;
    let shown = app_name.clone().or(in_uri).unwrap_or_else(default);
    section.notes.value("app_name", shown);
    section.finish(|name| schema::unknown(schema::section("upstream"), name));
    Connection {
        place,
        key,
        string,
        supported,
        nameserver,
        app_name,
        identify,
    }
}

fn upstream_options(connection: &Connection, report: &mut Report) -> upstream::Options {
    let default = upstream::Options::default();
    let Supported {
        seeds,
        srv,
        options,
        credential,
        ..
    } = connection.supported.clone();
    let tls = options
        .tls
        .map(Connector::new)
        .transpose()
        .unwrap_or_else(|error| {
            let key = format!("upstream.{}", connection.key);
            report.mistake(&connection.place, &key, error.to_string());
            None
        });
    upstream::Options {
        seeds,
        srv,
        nameserver: connection.nameserver,
        set_name: options.set_name,
        direct: options.direct.unwrap_or(default.direct),
        app_name: connection
            .app_name
            .clone()
            .or(options.app_name)
            .unwrap_or(default.app_name),
        connect_timeout: options.connect_timeout.unwrap_or(default.connect_timeout),
        heartbeat: options.heartbeat.unwrap_or(default.heartbeat),
        server_selection_timeout: options
            .server_selection_timeout
            .unwrap_or(default.server_selection_timeout),
        local_threshold: options.local_threshold.unwrap_or(default.local_threshold),
        tls,
        compressors: options.compressors.unwrap_or(default.compressors),
        zlib_level: options.zlib_level.unwrap_or(default.zlib_level),
        service: credential.map(|credential| credential.login()),
    }
}

/// The read preference of the connection string: the default of listeners that give none.
fn uri_read_preference(
    connection: &Connection,
    heartbeat: std::time::Duration,
    report: &mut Report,
) -> ReadPreference {
    let parts = connection
        .supported
        .options
        .read_preference
        .clone()
        .unwrap_or_default();
    parts.assemble(heartbeat).unwrap_or_else(|problems| {
        for problem in problems {
            let key = format!("upstream.{}", connection.key);
            report.mistake(
                &connection.place,
                &key,
                format!("the read preference is not usable: {problem}"),
            );
        }
        ReadPreference::default()
    })
}

/// The pool: its own keys, then the connection string's options, then the defaults.
fn pool_section(root: &mut Table, connection: &Connection, report: &mut Report) -> pool::Options {
    let default = pool::Options::default();
    let UriOptions {
        max_pool_size,
        min_pool_size,
        max_connecting,
        wait_timeout,
        max_idle,
        ..
    } = connection.supported.options;
    let mut section = section(root, "pool", report);
    let options = pool::Options {
        max_size: section.count(
            "max_size",
            1..=MOST_CONNECTIONS,
            max_pool_size.unwrap_or(default.max_size),
        ),
        max_awaiting: section.count("max_awaiting", 0..=MOST_CONNECTIONS, default.max_awaiting),
        max_per_user: section.count_or_off("max_per_user", 1..=MOST_CONNECTIONS, default.max_per_user),
        min_per_user: section.count("min_per_user", 0..=MOST_CONNECTIONS, default.min_per_user),
        min_size: section.count(
            "min_size",
            0..=MOST_CONNECTIONS,
            min_pool_size.unwrap_or(default.min_size),
        ),
        max_connecting: section.count(
            "max_connecting",
            1..=MOST_CONNECTIONS,
            max_connecting.unwrap_or(default.max_connecting),
        ),
        wait_timeout: section.duration("wait_timeout", wait_timeout.unwrap_or(default.wait_timeout)),
        idle_timeout: section.duration_or_off("idle_timeout", max_idle.unwrap_or(default.idle_timeout)),
        max_lifetime: section.duration_or_off("max_lifetime", default.max_lifetime),
    };
    for (key, is_in_uri) in [
        ("max_size", max_pool_size.is_some()),
        ("min_size", min_pool_size.is_some()),
        ("max_connecting", max_connecting.is_some()),
        ("wait_timeout", wait_timeout.is_some()),
        ("idle_timeout", max_idle.is_some()),
    ] {
        if is_in_uri {
            section.notes.given_by_uri(key);
        }
    }
    let in_file = check::pool(&mut section, &options);
    section.finish(|name| schema::unknown(schema::section("pool"), name));
    if let Err(problem) = in_file {
        // Neither of the two was given in the file, so both come from the connection string.
        report.mistake(
            &connection.place,
            &format!("upstream.{}", connection.key),
            problem,
        );
    }
    options
}

/// What becomes of commands in an election. The connection string's option says how long a driver would wait for a node.
fn failover_section(
    root: &mut Table,
    upstream: &upstream::Options,
    limits: &client::Limits,
    report: &mut Report,
) -> failover::Options {
    let default = failover::Options::default();
    let mut section = section(root, "failover", report);
    let hold = section.duration_or_off("hold", Some(upstream.server_selection_timeout));
    let options = failover::Options {
        hold: hold.unwrap_or_default(),
        hold_commands: section.count("hold_commands", 1..=check::MOST_CLIENTS, default.hold_commands),
        hold_bytes: section.size("hold_bytes", check::HOLD_BYTES, default.hold_bytes),
        exactly_once: section.choice("exactly_once", EXACTLY_ONCE, default.exactly_once),
    };
    check::failover(&mut section, &options, limits);
    section.finish(|name| schema::unknown(schema::section("failover"), name));
    options
}

/// How the proxy goes when it is asked to.
fn drain_section(root: &mut Table, report: &mut Report) -> client::drain::Options {
    let default = client::drain::Options::default();
    let mut section = section(root, "drain", report);
    let options = client::drain::Options {
        grace: section
            .duration_or_off("grace", Some(default.grace))
            .unwrap_or_default(),
        deadline: section.duration("deadline", default.deadline),
    };
    check::drain(&mut section, &options);
    section.finish(|name| schema::unknown(schema::section("drain"), name));
    options
}

fn limits_section(root: &mut Table, report: &mut Report) -> client::Limits {
    let default = client::Limits::default();
    let mut section = section(root, "limits", report);
    let max_clients = section.count("max_clients", 1..=check::MOST_CLIENTS, default.max_clients);
    let limits = client::Limits {
        max_clients,
        max_clients_per_address: section.count_or_off(
            "max_clients_per_address",
            1..=check::MOST_CLIENTS,
            default.max_clients_per_address,
        ),
        // Half of them, whatever else it says: clients that have logged in shall find a place beside strangers.
        max_unauthenticated: section.count(
            "max_unauthenticated",
            1..=check::MOST_CLIENTS,
            (max_clients / 2).max(1),
        ),
        login_timeout: section.duration("login_timeout", default.login_timeout),
        login_delay_max: section
            .duration_or_off("login_delay_max", Some(default.login_delay_max))
            .unwrap_or_default(),
        handshake_timeout: section.duration("handshake_timeout", default.handshake_timeout),
        idle_timeout: section.duration_or_off("idle_timeout", default.idle_timeout),
        buffer_bytes: section.size("buffer_bytes", check::BUFFER_BYTES, default.buffer_bytes),
        stream_above: section.size("stream_above", check::STREAM_ABOVE, default.stream_above),
        min_read_rate: section.size("min_read_rate", check::MIN_READ_RATE, default.min_read_rate),
    };
    check::limits(&mut section, &limits);
    section.finish(|name| schema::unknown(schema::section("limits"), name));
    limits
}

fn admin_section(
    root: &mut Table,
    folder: &Path,
    listeners: &[(client::ListenerOptions, Place)],
    report: &mut Report,
) -> Option<admin::Options> {
    let mut section = section(root, "admin", report);
    let address = section.address("address", true, DEFAULT_ADMIN);
    if let Some(address) = address {
        check::admin(&mut section, address, listeners);
    }
    let (access, tls) = access::admin(&mut section, folder, address);
    section.finish(|name| schema::unknown(schema::section("admin"), name));
    address.map(|address| admin::Options { address, access, tls })
}

/// Whether the file is read again when it changes.
fn reload_section(root: &mut Table, report: &mut Report) -> bool {
    let mut section = section(root, "reload", report);
    let watches = section.choice("watch", listeners::SWITCH, true);
    section.finish(|name| schema::unknown(schema::section("reload"), name));
    watches
}

/// Where the next process asks for the listening sockets.
fn upgrade_section(root: &mut Table, folder: &Path, report: &mut Report) -> Option<PathBuf> {
    let mut section = section(root, "upgrade", report);
    let wanted = "a path such as \"/run/tidegate/upgrade.sock\", or \"off\"";
    let socket = section.read("socket", wanted, |node| match &node.value {
        Value::Text(text) if text == "off" => Some(Ok(None)),
        Value::Text(text) if text.is_empty() => Some(Err("is empty; write \"off\" for none".to_owned())),
        // In the file a relative path counts from that file, in a variable from the working directory.
        Value::Text(text) if node.place.is_untyped() => Some(Ok(Some(text.into()))),
        Value::Text(text) => Some(Ok(Some(folder.join(text)))),
        _ => None,
    });
    section.finish(|name| schema::unknown(schema::section("upgrade"), name));
    socket.flatten()
}

fn log_section(root: &mut Table, report: &mut Report) -> log::Options {
    let mut section = section(root, "log", report);
    let level = section.text("level").map(|text| text.parse::<log::Level>());
    let level = level
        .unwrap_or_else(|| Ok(log::Level::default()))
        .unwrap_or_else(|error| {
            section.mistake("level", error.to_string());
            log::Level::default()
        });
    let format = section.choice("format", FORMATS, log::Format::default());
    let slow = section.duration_or_off("slow", log::Options::default().slow);
    section.finish(|name| schema::unknown(schema::section("log"), name));
    log::Options { level, format, slow }
}
