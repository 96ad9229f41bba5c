//! A status to render, and a proxy to look at, for the tests of this module.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    Access, View,
    status::{
        Awaits, Buffer, Buffers, Certificate, Clients, Command, Config, Connections, Gate, Listener, Node,
        Pool, Reloads, ServerSessions, Status, Took, Topology,
    },
};
use crate::{
    audit::Audit,
    client::{ListenerOptions, Listeners, Listening, Shared},
    shutdown::Shutdown,
    tls::Acceptor,
    upstream::{self, Cluster},
};

/// A pool of up to a hundred, ten of them for awaits, with one idle connection.
pub(super) fn pool() -> Pool {
    Pool {
        in_use: 0,
        idle: 1,
        connecting: 0,
        waiting: 0,
        max_size: 90,
        awaits: Awaits {
            in_use: 3,
            waiting: 2,
            max: 10,
        },
        min_size: 0,
        generation: 2,
        opened: 5,
        closed: 4,
        connect_failures: 3,
        waits: 4,
        wait_seconds: 0.5,
        average_wait_ms: Some(125.0),
        wait_timeouts: 1,
    }
}

fn node(address: &str, state: &str, kind: &str) -> Node {
    Node {
        avoided_seconds: None,
        address: address.to_owned(),
        kind: kind.to_owned(),
        state: state.to_owned(),
        rtt_ms: Some(1.25),
        staleness_seconds: None,
        last_write: Some("2023-11-14T22:13:20.123Z".to_owned()),
        last_update_age_seconds: Some(0.5),
        tags: [("dc".to_owned(), "east".to_owned())].into(),
        min_wire_version: 0,
        max_wire_version: 17,
        hidden: false,
        passive: false,
        error: None,
        took: Took::default(),
        pool: pool(),
        connections: Connections {
            current: Some(12),
            available: Some(815),
            per_proxy: 102,
            proxies_that_fit: Some(8),
            age_seconds: Some(1.5),
            unknown_because: None,
        },
    }
}

/// Three nodes: a primary, a secondary, and one that is down.
pub(super) fn status() -> Status {
    let secondary = Node {
        staleness_seconds: Some(10.5),
        ..node("b:27017", "secondary", "RSSecondary")
    };
    let mut down = Node {
        rtt_ms: None,
        last_update_age_seconds: None,
        last_write: None,
        error: Some("cannot connect: refused".to_owned()),
        ..node("c:27017", "unknown", "Unknown")
    };
    down.connections = Connections {
        current: None,
        available: None,
        proxies_that_fit: None,
        age_seconds: None,
        unknown_because: Some("the node does not answer".to_owned()),
        ..down.connections
    };
    let buffer = |used_bytes| Buffer {
        used_bytes,
        total_bytes: 256 << 20,
    };
    Status {
        version: "1.2.3".to_owned(),
        pid: 77,
        started: "2023-11-14T22:13:20.123Z".to_owned(),
        uptime_seconds: 3_723.4,
        ready: true,
        stopping: false,
        drain: None,
        config: Some(Config {
            file: Some("/etc/tidegate/proxy.toml".to_owned()),
            hash: Some("0123456789abcdef".repeat(4)),
            loaded_at: "2023-11-14T22:13:20.123Z".to_owned(),
            loaded_at_seconds: 1_700_000_000.25,
            last_reload_succeeded: false,
            last_reload_at: Some("2023-11-14T23:00:00.000Z".to_owned()),
            mistakes: vec!["proxy.toml:7: pool.max_size: must be a number".to_owned()],
            wait_for_restart: vec!["log.format".to_owned()],
            reloads: Reloads {
                applied: 3,
                unchanged: 2,
                invalid: 1,
            },
        }),
        listeners: vec![Listener {
            address: "127.0.0.1:27018".to_owned(),
            presents_as: "mongos".to_owned(),
            reaches: "cluster".to_owned(),
            advertise: None,
            read_preference: "readPreference=primary".to_owned(),
        }],
        certificates: vec![Certificate {
            used_by: "listener 127.0.0.1:27018".to_owned(),
            file: "/etc/tidegate/server.pem".to_owned(),
            subject: "CN=proxy,O=Tide".to_owned(),
            expires: "2033-05-18T03:33:20Z".to_owned(),
            expires_at_seconds: 2e9,
        }],
        topology: Topology {
            kind: "ReplicaSetWithPrimary".to_owned(),
            set_name: Some("rs0".to_owned()),
            primary: Some("a:27017".to_owned()),
            compatibility_error: None,
            nodes: vec![node("a:27017", "primary", "RSPrimary"), secondary, down],
        },
        gate: Gate {
            state: "paused".to_owned(),
            commands: 7,
            max_commands: 100,
            bytes: 4096,
            max_bytes: 1 << 20,
            hold_seconds: 30.0,
            oldest_seconds: Some(1.5),
            paused_seconds: Some(2.0),
        },
        server_sessions: ServerSessions {
            idle: 2,
            created: 6,
            discarded: 3,
            expired: 1,
        },
        clients: Clients {
            connected: 3,
            accepted: 9,
            refused: 0,
            max_clients: 10_000,
            max_clients_per_address: None,
            per_core: vec![2, 1],
            drivers: Vec::new(),
            legacy: Vec::new(),
        },
        cursors_pinned: 4,
        commands: vec![Command {
            name: "find".to_owned(),
            took: Took::default(),
        }],
        buffers: Buffers {
            requests: buffer(0),
            replies: buffer(1 << 20),
        },
        counters: [
            ("commands".to_owned(), 1234),
            ("commands_failed".to_owned(), 2),
            ("streams".to_owned(), 0),
        ]
        .into(),
    }
}

/// A proxy that listens there, and knows no node. Call it within a runtime.
pub(super) fn view(address: SocketAddr, access: Access, tls: Option<Acceptor>, audit: Audit) -> Arc<View> {
    let shutdown = Shutdown::new();
    let cluster = Cluster::start(upstream::Options::default(), &shutdown, {
        let shutdown = shutdown.clone();
        move |address| {
            let options = Arc::new(upstream::Options::default());
            crate::pool::Pool::new(
                address.clone(),
                crate::pool::Options::default(),
                options,
                Arc::new([]),
                &shutdown,
            )
        }
    });
    let options = ListenerOptions::at(address);
    let listening = Listening::new(options, Arc::default(), &shutdown, &shutdown);
    Arc::new(View {
        shared: Arc::new(Shared::new(cluster, Arc::default(), audit, None, 1)),
        cores: Arc::new([]),
        listeners: Arc::new(Listeners::from_pointee(vec![Arc::new(listening)])),
        upstream: upstream::Options::default(),
        certificates: Arc::default(),
        reloading: Arc::default(),
        access: ArcSwap::from_pointee(access),
        tls: ArcSwapOption::from_pointee(tls),
        settings: ArcSwap::default(),
    })
}
