//! Tidegate built with a profile of its own traffic, as images hold it.
//!
//! It is built once with counters, which [`training`] fills, and once with what they counted; `ARCHITECTURE.md` tells what that is good
//! for. Of options for the compiler those in `RUSTFLAGS` apply, and none of cargo's configuration.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Outcome, cargo, training};

/// How long each part of the training takes: enough for millions of branches, of which only the proportions matter.
const LESSON_MS: u64 = 1_500;

/// The program, which nobody builds anew as long as this is kept.
pub(crate) struct Guided {
    pub(crate) program: PathBuf,
    _lock: File,
}

/// The program that merges what the counters wrote: the toolchain's own, because each version of LLVM has its own format.
pub(crate) struct Profdata {
    tool: PathBuf,
    /// The triple of this machine. Named to cargo, it keeps build scripts and macros from being counted.
    host: OsString,
}

impl Profdata {
    /// The one of the toolchain that is used here; an error tells how it is installed.
    pub(crate) fn find() -> Outcome<Self> {
        let libraries = cargo::target_libraries()?;
        let folder = libraries.parent().unwrap_or(&libraries);
        let tool = folder.join("bin/llvm-profdata");
        if !tool.is_file() {
            return Err("the toolchain has no llvm-profdata, so Tidegate can't be built with a profile; rustup component add llvm-tools".into());
        }
        let host = folder.file_name().unwrap_or_default().to_owned();
        Ok(Self { tool, host })
    }

    /// Leaves the whole profile or none: the compiler would only warn of a part.
    fn merge(&self, counted: &Path, profile: &Path) -> Outcome<()> {
        let part = profile.with_file_name("part");
        let mut merge = Command::new(&self.tool);
        merge.args(["merge", "--sparse", "-o"]).arg(&part).arg(counted);
        cargo::succeed(&mut merge, "what was counted can't be merged")?;
        fs::rename(&part, profile)
            .map_err(|error| format!("cannot write {}: {error}", profile.display()).into())
    }

    /// Builds the program, unless that is done already.
    pub(crate) fn build(&self) -> Outcome<Guided> {
        let folder = cargo::target().join("guided");
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        eprintln!("building Tidegate with a profile; ten minutes where it or the benchmark has changed ...");
        lock.lock()?;
        let [counted, first, second] = ["counted", "instrumented", "optimized"].map(|name| folder.join(name));
        let instrumented = self.compile(&first, "-Cprofile-generate=", &counted)?;
        // The traffic is in this program. A name for each content, for cargo looks at the option and not into the file.
        let name = fingerprint(&[&instrumented, &std::env::current_exe()?])?;
        let threads = if training::cores()?.is_one() {
            "one"
        } else {
            "several"
        };
        let profile = folder.join(format!("{name}-{threads}.profdata"));
        if !profile.exists() {
            remove(&second)?;
            remove(&counted)?;
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.extension().is_some_and(|ending| ending == "profdata") {
                    fs::remove_file(path)?;
                }
            }
            training::train(&instrumented, LESSON_MS)?;
            self.merge(&counted, &profile)?;
        }
        Ok(Guided {
            program: self.compile(&second, "-Cprofile-use=", &profile)?,
            _lock: lock,
        })
    }

    /// A release build in a target folder of its own, with this option for the compiler.
    fn compile(&self, target: &Path, option: &str, path: &Path) -> Outcome<PathBuf> {
        let mut option = OsString::from(option);
        option.push(path);
        let mut command = cargo::command();
        command
            .args(["build", "--release", "--locked", "--bin", "tidegate", "--target"])
            .arg(&self.host)
            .arg("--target-dir")
            .arg(target)
            .env("CARGO_ENCODED_RUSTFLAGS", cargo::compiler_options(option));
        cargo::succeed(&mut command, "Tidegate can't be built with a profile")?;
        Ok(target.join(&self.host).join("release/tidegate"))
    }
}

/// What the contents of these files come to, in sixteen digits.
fn fingerprint(files: &[&Path]) -> Outcome<String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?);
    }
    Ok(hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn remove(folder: &Path) -> Outcome<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", folder.display()).into())
        }
        _ => Ok(()),
    }
}
