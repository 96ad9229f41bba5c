//! Tests against real processes: `mongod`, `tidegate`, Python and `mongosh`.
//!
//! One program, so that its tests share one replica set and one proxy (`support::shared_set`, `support::shared_proxy`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod access;
mod across_pymongo;
mod admin;
mod admin_answers;
mod admin_commands;
mod awaits;
mod bad_input;
mod chaos;
mod chart;
mod command_line;
mod commits;
mod compression;
mod dashboard;
mod demo;
mod detection;
mod drain;
mod drivers;
mod environments;
mod exactly_once;
mod exhaust;
mod fail_points;
mod fleet;
mod gate;
mod identity;
mod isolation;
mod kills;
mod legacy;
mod legacy_differential;
mod legacy_drivers;
mod live;
mod logins;
mod many_users;
mod members;
mod metrics;
mod mongos;
mod mongosh;
mod old_commands;
mod old_servers;
mod one_core;
mod parity;
mod presentation;
mod private_memory;
mod reads_again;
mod relays;
mod reload;
mod rescue;
mod sandbox;
mod service_user;
mod sharing;
mod srv_records;
mod stuck;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "helpers that only some configurations of the tests use"
)]
mod support;
mod tls;
mod topology;
mod unknown_outcome;
mod upgrade;
mod upkeep;
mod upstream_kinds;
mod users_file;
mod waiting_hello;
