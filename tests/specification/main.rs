//! MongoDB's official specification tests, as far as they concern a proxy.
//!
//! Their JSON files come with PyMongo's source distribution (`fetch`). Each module runs every file of its folder through
//! `report`, which prints how many cases ran, or lists the file with the reason why it cannot apply to a proxy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod application_errors;
mod bson_corpus;
mod connection_string;
mod credentials;
mod described;
mod discovery;
mod extended_json;
mod fetch;
mod monitoring_events;
mod pool_simulation;
mod pooling;
mod read_write_concern;
mod report;
mod server_selection;
mod srv_seedlist;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "only the part that runs programs is needed here"
)]
mod support;
mod unified_exemptions;
