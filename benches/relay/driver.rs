//! The load by the official Rust driver: a program of its own (`tests/clients/rust`), so that the driver is no dependency of the
//! proxy. It is built here, as the benchmark itself is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::children::{Core, Running};
use crate::measure::ready;
use crate::peers::{Peer, Started};
use crate::target::DOCUMENTS;
use crate::{Outcome, cargo};

/// Builds the program.
pub(crate) fn build() -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = cargo::target().join("test-env/rust-client");
    eprintln!("building the load with the Rust driver ...");
    let mut cargo = cargo::command();
    cargo
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(root.join("tests/clients/rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        cargo.arg("--release");
        "release"
    };
    cargo::succeed(&mut cargo, "the load with the Rust driver can't be built")?;
    Ok(target.join(profile).join("tidegate-test-client"))
}

/// Starts it and waits until it is warm.
pub(crate) fn start(
    program: &Path,
    core: Core,
    peer: (&Peer, &Started),
    clients: usize,
    [warm_up, window]: [&str; 2],
) -> Outcome<Running> {
    let (peer, started) = peer;
    // What is not a whole set by itself must not be left for the addresses that the nodes tell.
    let direct = if matches!(peer, Peer::Tidegate(_)) {
        ""
    } else {
        "&directConnection=true"
    };
    let uri = format!(
        "mongodb://127.0.0.1:{}/?maxPoolSize={clients}{direct}",
        started.port
    );
    let (clients, documents) = (clients.to_string(), DOCUMENTS.to_string());
    let pid = started.pid().map(|pid| pid.to_string());
    let mut arguments = vec!["load", &uri, &clients, &documents, warm_up, window];
    arguments.extend(pid.as_deref());
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    ready(Running::start(core, program.as_os_str(), &arguments, None)?)
}
