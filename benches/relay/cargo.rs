//! Cargo as it is run from here, for programs that are measured or that measure.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;

/// What divides options in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// Below this folder everything is built that this program builds itself.
pub(crate) fn target() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
}

/// The cargo that runs this program, in the project's folder.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program of its own package would be taken for a change by build scripts.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

/// Runs `command`; without success the error says that this is so, and why.
pub(crate) fn succeed(command: &mut Command, otherwise: &str) -> Outcome<()> {
    let program = command.get_program().display().to_string();
    let status = command
        .status()
        .map_err(|error| format!("{otherwise}: cannot run {program}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{otherwise}: {program} ended with {status}; what it wrote is above").into())
}

/// The folder of the libraries that the toolchain has for this machine.
pub(crate) fn target_libraries() -> Outcome<PathBuf> {
    let output = Command::new("rustc")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--print", "target-libdir"])
        .output()
        .map_err(|error| format!("cannot run rustc: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("rustc can't say where its libraries are: {}", text.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// The options for the compiler that the environment has, and this one: what is given to cargo takes their place.
pub(crate) fn compiler_options(option: OsString) -> OsString {
    let mut all = std::env::var_os("CARGO_ENCODED_RUSTFLAGS").unwrap_or_else(|| {
        let plain = std::env::var("RUSTFLAGS").unwrap_or_default();
        let words: Vec<&str> = plain.split_whitespace().collect();
        words.join(SEPARATOR).into()
    });
    if !all.is_empty() {
        all.push(SEPARATOR);
    }
    all.push(option);
    all
}
