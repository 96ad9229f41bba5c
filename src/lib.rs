//! Tidegate is a MongoDB wire-protocol proxy that stands between applications and a replica set.
//!
//! The modules are listed in layer order: each imports only modules above it (`tests/tidy.rs` holds
//! the edges). `ARCHITECTURE.md` tells how a command travels through them.

pub mod audit;
pub mod shutdown;
pub mod telemetry;
pub mod tls;

pub mod auth;
pub mod topology;
pub mod wire;

pub mod net;

pub mod command;

pub mod failover;
pub mod routing;

pub mod upstream;

pub mod pool;

pub mod client;

pub mod sandbox;

pub mod config;

pub mod admin;

pub mod app;

pub mod cli;
