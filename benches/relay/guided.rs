//! Tidegate built with a profile of its own traffic, as images hold it.
//!
//! A command's way runs through some 40 KiB of code in four crates, and the kernel pushes it out of the first cache at every system
//! call. A compiler that knows which branches are taken lays them side by side, inlines along them and moves the rest away. So the
//! program is built twice: once with counters, which [`training`] fills, and once with what they counted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::{Outcome, cargo, training};

/// How long each part of the training takes: enough for millions of branches, of which only the proportions matter.
const LESSON_MS: u64 = 1_500;

/// The program that merges what the counters wrote: the toolchain's own, because each version of LLVM has its own format.
pub(crate) struct Profdata(PathBuf);

impl Profdata {
    /// The one of the toolchain that is used here, if its component is installed.
    pub(crate) fn find() -> Option<Self> {
        let output = Command::new("rustc")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--print", "target-libdir"])
            .output()
            .ok()?;
        let libraries = String::from_utf8(output.stdout).ok()?;
        let tool = Path::new(libraries.trim())
            .with_file_name("bin")
            .join("llvm-profdata");
        tool.is_file().then_some(Self(tool))
    }

    fn merge(&self, counted: &Path, profile: &Path) -> Outcome<()> {
        let mut merge = Command::new(&self.0);
        merge.args(["merge", "--sparse", "-o"]).arg(profile).arg(counted);
        if merge.status()?.success() {
            return Ok(());
        }
        Err(format!("{} could not merge {}", self.0.display(), counted.display()).into())
    }
}

/// Builds the program, unless that is done already, and says where it is.
pub(crate) fn build(profdata: &Profdata) -> Outcome<PathBuf> {
    let folder = cargo::target().join("guided");
    let [counted, profile] = ["counted", "tidegate.profdata"].map(|name| folder.join(name));
    let [first, second] = ["instrumented", "optimized"].map(|name| folder.join(name));
    eprintln!("building Tidegate with a profile; ten minutes when its sources have changed ...");
    let instrumented = compile(&first, option("-Cprofile-generate=", &counted))?;
    if !is_newer(&profile, &instrumented) {
        // Cargo does not look into the profile. And build scripts have written theirs, too.
        for old in [&second, &counted] {
            remove(old)?;
        }
        training::train(&instrumented, LESSON_MS)?;
        profdata.merge(&counted, &profile)?;
    }
    compile(&second, option("-Cprofile-use=", &profile))
}

/// A release build in a target folder of its own, with this option for the compiler.
fn compile(target: &Path, option: OsString) -> Outcome<PathBuf> {
    let mut command = cargo::command();
    command
        .args([
            "build",
            "--release",
            "--locked",
            "--bin",
            "tidegate",
            "--target-dir",
        ])
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", cargo::compiler_options(option));
    if !command.status()?.success() {
        return Err("Tidegate could not be built with a profile".into());
    }
    Ok(target.join("release/tidegate"))
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// Whether `file` is there and was written after `other`.
fn is_newer(file: &Path, other: &Path) -> bool {
    let written = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    written(file).is_some_and(|file| written(other).is_some_and(|other| file > other))
}

fn remove(folder: &Path) -> Outcome<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", folder.display()).into())
        }
        _ => Ok(()),
    }
}
