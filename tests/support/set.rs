//! Replica sets for tests.
//!
//! The set that tests share is never dropped (statics are not): its guard ends it with the test process.

use std::sync::OnceLock;

use tidegate::sandbox::{MemberOptions, Options, ReplicaSet};

use super::Proxy;

/// What all tests that do no harm share: three nodes that can be told apart by the tags `dc` and `role`, with
/// `enableTestCommands=1`. Tests that kill, pause or demote nodes start their own.
pub(crate) fn shared_set() -> &'static ReplicaSet {
    static SET: OnceLock<Result<ReplicaSet, String>> = OnceLock::new();
    match SET.get_or_init(|| try_start(shared_options())) {
        Ok(set) => set,
        Err(error) => panic!("the shared replica set did not start: {error}"),
    }
}

/// A proxy with the default configuration in front of [`shared_set`].
pub(crate) fn shared_proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| Proxy::start(&shared_set().uri(), ""))
}

/// Starts a set of the test's own.
pub(crate) fn start_set(options: Options) -> ReplicaSet {
    match try_start(options) {
        Ok(set) => set,
        Err(error) => panic!("the replica set did not start: {error}"),
    }
}

fn shared_options() -> Options {
    let member = |dc: &str, role: &str| MemberOptions {
        tags: [
            ("dc".to_owned(), dc.to_owned()),
            ("role".to_owned(), role.to_owned()),
        ]
        .into(),
        ..MemberOptions::default()
    };
    Options {
        members: vec![member("east", "a"), member("east", "b"), member("west", "c")],
        mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
        ..Options::default()
    }
}

/// On a thread and runtime of its own, because the caller may be inside a runtime already.
fn try_start(options: Options) -> Result<ReplicaSet, String> {
    let start = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime
            .block_on(ReplicaSet::start(options, |step| println!("{step}")))
            .map_err(|e| e.to_string())
    };
    std::thread::spawn(start)
        .join()
        .unwrap_or_else(|_| Err("the starting thread panicked".to_owned()))
}
