//! What the integration tests share: the replica set, proxies, and the Python and Node environments.
//!
//! Everything here but `raw` is synchronous and may be called from `#[test]` and `#[tokio::test]` functions alike. Failures
//! panic with the log or output that explains them.

mod balancer;
mod browser;
#[path = "../../src/tls/testing.rs"]
#[allow(unreachable_pub, reason = "the library's tests compile it, too")]
pub(crate) mod certificates;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod compressed;
pub(crate) mod dns;
pub(crate) mod environment;
pub(crate) mod legacy;
pub(crate) mod legacy_client;
pub(crate) mod legacy_differential;
pub(crate) mod login;
pub(crate) mod many_users;
pub(crate) mod nothing;
mod old_mongod;
mod provenance;
mod proxy;
pub(crate) mod raw;
pub(crate) mod relay;
mod run;
pub(crate) mod schema;
pub(crate) mod secrets_scan;
mod set;
pub(crate) mod steady;
pub(crate) mod users;

pub(crate) use balancer::Balancer;
pub(crate) use browser::Browser;
pub(crate) use client::Client;
pub(crate) use environment::{go_client, mongosh, node_modules, python, rust_client};
pub(crate) use old_mongod::{old_mongod, old_set, start_old_set};
pub(crate) use provenance::provenance;
pub(crate) use proxy::{Proxy, http_get, http_get_with};
pub(crate) use run::{Output, run, run_mongosh, run_python};
pub(crate) use secrets_scan::SecretsScan;
pub(crate) use set::{shared_proxy, shared_set, start_set};
